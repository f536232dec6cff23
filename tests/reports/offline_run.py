"""What vLLM does in a process of its own (it opens a process group and seeds generators): answers, and its errors.

Usage: python -m tests.reports.offline_run SECTION PROMPTS OUT, all JSON; OUT is a file.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import InputError
from pipeline.reports.chunks import ChunkedGenerator
from pipeline.reports.llm_folder import locate_llm
from pipeline.scratch import scratch_root
from pipeline.sections import Llm
from tests.reports.llm_section import numbered

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def main(section: str, prompts: list[str], out: Path) -> None:
    """Writes what tests/reports/test_generate.py looks at."""
    llm = Llm.model_validate_json(section)
    produced, caching = _spy()
    sampled = llm.model_copy(update={"temperature": 0.5, "prefix_caching": False})
    generator = ChunkedGenerator(sampled, 1)
    first = generator(prompts, 1, numbered(prompts))
    shutil.rmtree(scratch_root() / "reports")
    again = generator(prompts, 1, numbered(prompts))
    shutil.rmtree(scratch_root() / "reports")
    found = {
        "sampled": [first, again],
        "alone": generator(prompts[4:5], 1, numbered(prompts[4:5])),
        "occurrences": generator(prompts[:1] * 3, 2, numbered(prompts[:1] * 3)),
        "greedy": ChunkedGenerator(llm, 1)(prompts, 1, numbered(prompts)),
        "caching": caching,
        "tokens": produced,
        "errors": _errors(llm, prompts),
    }
    out.write_text(json.dumps(found))


def _spy() -> tuple[list[list[list[int]]], list[bool]]:
    """Collects, call by call, the tokens that vLLM itself produced, and whether it caches prefixes."""
    import vllm  # here, because pytest imports every module that it looks for doctests in

    produced: list[list[list[int]]] = []
    caching: list[bool] = []
    generate = vllm.LLM.generate

    def spy(self: vllm.LLM, *args: object, **kwargs: object) -> list[object]:
        outputs = generate(self, *args, **kwargs)
        produced.append([list(request.outputs[0].token_ids) for request in outputs])
        caching.append(bool(self.llm_engine.vllm_config.cache_config.enable_prefix_caching))
        return outputs

    vllm.LLM.generate = spy
    return produced, caching


def _errors(llm: Llm, prompts: list[str]) -> dict[str, str]:
    """What a user reads when the model or the settings are wrong."""
    good = Path(locate_llm(llm.model))
    broken, silent, fat = (scratch_root() / name for name in ("broken", "silent", "fat"))
    for folder in (broken, silent, fat):
        folder.mkdir()
        for name in TOKENIZER[:2] if folder == silent else TOKENIZER:
            shutil.copy(good / name, folder)
    shutil.copy(good / "config.json", broken)
    for folder, kv_heads in ((silent, 1), (fat, 16)):
        _write_tiny_model(folder, kv_heads)
    cases: dict[str, dict[str, object]] = {
        "no weights": {"model": str(broken)},
        "no chat template": {"model": str(silent)},
        "too little memory": {"model": str(fat), "max_model_len": 131072},
        "longer than the model": {"max_model_len": 100_000},
        "too many GPUs": {"tensor_parallel": 64},
        "prompt too long": {"max_tokens": 500},
    }
    return {
        name: _error(lambda c=change: ChunkedGenerator(llm.model_copy(update=c), 1)(prompts, 3, numbered(prompts)))
        for name, change in cases.items()
    }


def _write_tiny_model(folder: Path, kv_heads: int) -> None:
    """Random weights: little to load, and with 16 KV heads 32 KB of cache per token, 4 GiB at full length."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 128}
    heads = {"num_attention_heads": 16, "num_key_value_heads": kv_heads}
    config = LlamaConfig(**sizes, **heads, vocab_size=49152, max_position_embeddings=131072, tie_word_embeddings=True)
    LlamaForCausalLM(config).save_pretrained(folder)


def _error(run: Callable[[], object]) -> str:
    """The message, or what happened instead."""
    try:
        run()
    except InputError as error:
        return str(error)
    return "no error"


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3]))
