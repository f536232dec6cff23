import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from pipeline.errors import InputError
from pipeline.reports.chat_tokens import chat_tokens
from pipeline.reports.generate import engine_settings
from pipeline.reports.start_errors import start_error
from tests.reports.conftest import Engines
from tests.reports.llm_section import llm_section


def test_the_section_reaches_the_engine() -> None:
    llm = llm_section(model="org/chat", revision="abc", tensor_parallel=4, prefix_caching=False)
    assert engine_settings(llm, on_cpu=False) == {
        "revision": "abc",
        "tokenizer_revision": "abc",
        "dtype": "float32",
        "tensor_parallel_size": 4,
        "max_model_len": 512,
        "enable_prefix_caching": False,
    }
    assert engine_settings(llm, on_cpu=True)["enable_chunked_prefill"] is False


@pytest.mark.parametrize(
    ("said", "keys"),
    [
        (
            "CUDA out of memory. Tried to allocate 224.00 MiB.",
            ["llm.max_model_len 512", "llm.tensor_parallel 1", "dtype"],
        ),
        (
            "Free memory on device cuda:0 (1.0/80.0 GiB) on startup is less than desired GPU memory utilization (0.9,"
            " 72 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
            ["llm.max_model_len 512", "llm.tensor_parallel 1", "memory"],
        ),
        (
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization`.",
            ["llm.max_model_len 512"],
        ),
        ("World size (8) is larger than the number of available GPUs (1) in this node.", ["llm.tensor_parallel 1"]),
        ("WorkerProc initialization failed due to an exception in a background process.", ["llm.dtype", "memory"]),
        ("org/x is not a local folder\nand is not a valid identifier", ["llm.model", "org/x is not a local folder;"]),
        ("", ["no reason given"]),
    ],
)
def test_an_engine_s_last_words_become_one_line(said: str, keys: list[str]) -> None:
    """Words of GPUs, which no test here has."""
    message = str(start_error(llm_section(), said))
    assert "\n" not in message and message.startswith("llm.model: ")
    assert all(key in message for key in keys)


def test_a_prompt_is_the_user_s_turn_of_a_chat(smollm2: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    tokens = chat_tokens(tokenizer, ["Name a colour.", "Hi."], llm_section())
    texts = [tokenizer.decode(ids) for ids in tokens]
    assert all(text.endswith("<|im_start|>assistant\n") for text in texts)
    assert "<|im_start|>user\nName a colour.<|im_end|>" in texts[0]


def test_a_prompt_and_its_report_must_fit(smollm2: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    length = len(chat_tokens(tokenizer, ["Name a colour."], llm_section())[0])
    exact = llm_section(max_model_len=length + 24)
    assert chat_tokens(tokenizer, ["Hi.", "Name a colour."], exact)
    with pytest.raises(InputError, match=rf"llm\.max_model_len: {length + 23}: expected at least {length + 24}"):
        chat_tokens(tokenizer, ["Hi.", "Name a colour."], llm_section(max_model_len=length + 23))


def test_the_real_engine_produces_tokens(engines: Engines, smollm2: Path) -> None:
    """SmolLM2 answers through vllm.LLM, twice the same."""
    found = engines.offline()
    first, again = found["sampled"]
    assert first == again
    tokens = found["tokens"]
    assert [len(call) for call in tokens] == [3, 3, 3, 3, 1, 3, 3, 3]  # every run in chunks of llm.chunk_prompts
    ids = tokens[0] + tokens[1]
    assert all(0 < len(answer) <= 24 for answer in ids)
    assert [len(answer) for answer in ids] == [count for _, count, _ in first]
    assert len({text for text, _, _ in first}) > 1
    vocabulary = json.loads((smollm2 / "tokenizer.json").read_text())["model"]["vocab"]
    assert max(max(answer) for answer in ids) < len(vocabulary)
    assert found["alone"] == [first[4]]  # a prompt's seed decides, not what else is in its chunk
    assert len({text for text, _, _ in found["occurrences"]}) == 3
    assert found["caching"] == [False] * 6 + [True] * 2


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("no weights", ["llm.model: ", "weights", "complete"]),
        ("no chat template", ["llm.model: ", "without chat template", "instruct"]),
        ("too little memory", ["llm.max_model_len 131072", "llm.tensor_parallel 1", "llm.dtype float32", "32640"]),
        ("longer than the model", ["llm.max_model_len 100000", "8192", "lower it"]),
        ("too many GPUs", ["llm.tensor_parallel 64", "heads"]),
        ("prompt too long", ["llm.max_model_len: 512: expected at least", "llm.max_tokens 500"]),
    ],
)
def test_what_is_wrong_with_model_or_settings_is_one_clear_error(engines: Engines, case: str, said: list[str]) -> None:
    message = engines.offline()["errors"][case]
    assert "\n" not in message
    assert all(part in message for part in said), message
