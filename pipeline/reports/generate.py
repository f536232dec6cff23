"""The form in which every engine answers prompts, and vLLM in this process (the only module that imports it)."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from pipeline.reports.chat_tokens import chat_tokens
from pipeline.reports.llm_folder import hub_commit, locate_llm
from pipeline.reports.start_errors import start_error, stop_error
from pipeline.sections import Llm

# What vLLM reads from the environment; whatever is set already stays.
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # start-up of 50 s instead of 130 s on two cores (measurements.md)
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the default claims cores that a container may not have
    # Small operators wait for each other by spinning: on two busy cores one thread gives 120 tokens/s, two give 15.
    "OMP_NUM_THREADS": "1",
    # One KV cache entry of SmolLM2-135M is 46 KB in float32, so 1 GiB holds 23,000 tokens: 22 prompts of full length.
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


class Generation(NamedTuple):
    """text: what the LLM wrote; tokens: how many; finished: it ended by itself, not at its token limit."""

    text: str
    tokens: int
    finished: bool


class Generator(Protocol):
    """Anything that answers prompts in order; `name`, `version` and the model's `revision` go into engine.json."""

    name: str
    version: str
    revision: str

    def __call__(self, prompts: Sequence[str], attempt: int, variants: Sequence[int]) -> list[Generation]:
        """One generation per prompt; another attempt, or another variant of the same prompt, is another sample."""


class Chunk(NamedTuple):
    """Prompts that are answered, kept or lost together; seeds: in [0, 2^31), one per prompt, of its sampling."""

    prompts: Sequence[str]
    seeds: Sequence[int]


# What a started engine is: it yields the generations of each chunk, in order, as soon as they are there.
Answer = Callable[[Sequence[Chunk]], Iterator[list[Generation]]]


def start_vllm(llm: Llm) -> Answer:
    """Starts one vLLM engine in this process.

    Args:
        llm: The profile's section, a hub model's `revision` being its commit.

    Returns:
        The same prompts, seed and machine give the same text.

    Raises:
        InputError: the model cannot be loaded, does not fit, is no chat model, or stops in between.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    model = locate_llm(llm.model)
    import vllm
    from vllm.platforms import current_platform

    on_cpu = bool(current_platform.is_cpu())
    if on_cpu:
        _register_in_process()
    try:
        engine = vllm.LLM(model=model, disable_log_stats=True, **engine_settings(llm, on_cpu))
    except Exception as error:  # where several GPUs work together, vLLM raises nothing narrower
        raise start_error(llm, str(error)) from error
    tokenizer = engine.get_tokenizer()

    def answer(chunks: Sequence[Chunk]) -> Iterator[list[Generation]]:
        for chunk in chunks:
            prompts = [{"prompt_token_ids": tokens} for tokens in chat_tokens(tokenizer, chunk.prompts, llm)]
            sampling = [vllm.SamplingParams(**sampling_settings(llm, seed)) for seed in chunk.seeds]
            try:
                outputs = [request.outputs[0] for request in engine.generate(prompts, sampling, use_tqdm=False)]
            except Exception as error:  # as above
                raise stop_error(llm, str(error)) from error
            yield [Generation(o.text, len(o.token_ids), o.finish_reason == "stop") for o in outputs]

    return answer


def engine_settings(llm: Llm, on_cpu: bool) -> dict[str, str | int | bool | None]:
    """Arguments of a vLLM engine, whoever starts it.

    On CPUs nothing is compiled, which takes longer than a demo's worth of tokens, and no prompt is cut in two: there
    vLLM 0.32 fails at half a prompt of a request with a seed (`CPU Generator does not use offset`).
    """
    for_cpu: dict[str, bool] = {"enforce_eager": True, "enable_chunked_prefill": False} if on_cpu else {}
    return {
        "revision": hub_commit(llm),
        "tokenizer_revision": hub_commit(llm),
        "dtype": llm.dtype,
        "tensor_parallel_size": llm.tensor_parallel,
        "max_model_len": llm.max_model_len,
        "enable_prefix_caching": llm.prefix_caching,
        **for_cpu,
    }


def sampling_settings(llm: Llm, seed: int) -> dict[str, int | float]:
    """Arguments of one request to a vLLM engine."""
    return {"temperature": llm.temperature, "max_tokens": llm.max_tokens, "seed": seed}


def _register_in_process() -> None:
    """Spares the 24 s in which vLLM inspects a Llama in a second interpreter, which only guards a GPU's state."""
    from vllm import ModelRegistry
    from vllm.model_executor.models.llama import LlamaForCausalLM

    ModelRegistry.register_model("LlamaForCausalLM", LlamaForCausalLM)
