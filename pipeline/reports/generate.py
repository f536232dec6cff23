"""Report generation by vLLM (the only module that imports it): fixed chunks in a fixed order, each kept when done."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from pipeline.errors import InputError
from pipeline.reports.llm_folder import engine_version, locate_llm
from pipeline.scratch import scratch_root
from pipeline.sections import Llm

# One KV cache entry of SmolLM2-135M is 46 KB in float32, so 1 GiB holds 23,000 tokens: 22 prompts of full length.
CPU_KV_CACHE_GIB = 1


class Generation(NamedTuple):
    """text: what the LLM wrote; tokens: how many; finished: it ended by itself, not at its token limit."""

    text: str
    tokens: int
    finished: bool


class Generator(Protocol):
    """Anything that answers prompts in order; `name` and `version` go into engine.json."""

    name: str
    version: str

    def __call__(self, prompts: Sequence[str], attempt: int) -> list[Generation]:
        """One generation per prompt; another attempt gives another sample."""


Answer = Callable[[list[str], int], list[Generation]]


class VllmGenerator:
    """Generates in chunks; a finished chunk is kept in scratch and read back instead of generated again."""

    name = "vllm"

    def __init__(self, llm: Llm, seed: int, start: Callable[[Llm], Answer] | None = None) -> None:
        """Starts nothing yet.

        Args:
            llm: The profile's section.
            seed: Of the sampling; together with a chunk's prompts it decides that chunk's text.
            start: Starts the engine and returns (prompts, seed) -> generations; None: `start_vllm`.

        Raises:
            InputError: vLLM is not installed.
        """
        version = engine_version()
        if version is None:
            raise InputError(
                "reports.engine: llm needs vLLM, which is not installed;"
                " install requirements/gpu.txt or requirements/cpu.txt, or set reports.engine to template"
            )
        self.version = version
        self._llm, self._seed = llm, seed
        self._start = start or start_vllm
        self._answer: Answer | None = None

    def __call__(self, prompts: Sequence[str], attempt: int) -> list[Generation]:
        """One generation per prompt, in chunks of `llm.chunk_prompts`."""
        size = self._llm.chunk_prompts
        chunks = [list(prompts[i : i + size]) for i in range(0, len(prompts), size)]
        return [generation for chunk in chunks for generation in self._generate_chunk(chunk, attempt)]

    def _generate_chunk(self, prompts: list[str], attempt: int) -> list[Generation]:
        """Reads a chunk that an interrupted run finished, or generates and keeps it."""
        key = self._chunk_key(prompts, attempt)
        file = scratch_root() / "reports" / f"{key}.json"
        if file.is_file():
            return [Generation(*entry) for entry in json.loads(file.read_text(encoding="utf-8"))]
        self._answer = self._answer or self._start(self._llm)
        generations = self._answer(prompts, int(key[:8], 16) % 2**31)
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(generations), encoding="utf-8")
        os.replace(unfinished, file)
        return generations

    def _chunk_key(self, prompts: list[str], attempt: int) -> str:
        """Everything a chunk's text depends on; its first digits also seed the sampling."""
        llm = self._llm.model_dump(exclude={"max_generations", "chunk_prompts"})
        code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        parts = json.dumps([prompts, attempt, self._seed, llm, self.version, code], sort_keys=True)
        return hashlib.sha256(parts.encode()).hexdigest()[:20]


def start_vllm(llm: Llm) -> Answer:
    """Starts one vLLM engine in this process.

    Returns:
        (prompts, seed) -> generations. The same prompts, seed and machine give the same text.

    Raises:
        InputError: the model cannot be located or loaded.
    """
    _set_environment()
    model = locate_llm(llm.model)
    import vllm
    from vllm.platforms import current_platform
    from vllm.utils.torch_utils import set_random_seed

    on_cpu = bool(current_platform.is_cpu())
    if on_cpu:
        _register_in_process()
    try:
        engine = vllm.LLM(
            model=model,
            revision=llm.revision,
            dtype=llm.dtype,
            tensor_parallel_size=llm.tensor_parallel,
            max_model_len=llm.max_model_len,
            enforce_eager=on_cpu,  # compiling takes longer than a demo's worth of tokens
            disable_log_stats=True,
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"llm.model: vLLM cannot load {llm.model}: {str(error).splitlines()[0]};"
            " name a package, a folder or a hub model that can be reached from here"
        ) from error

    def answer(prompts: list[str], seed: int) -> list[Generation]:
        """The CPU engine cannot take a seed per request, so there the whole process is seeded per chunk."""
        set_random_seed(seed)
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
        seeds = [None if on_cpu else (seed + i) % 2**31 for i in range(len(prompts))]
        sampling = [vllm.SamplingParams(temperature=llm.temperature, max_tokens=llm.max_tokens, seed=s) for s in seeds]
        outputs = [request.outputs[0] for request in engine.chat(chats, sampling, use_tqdm=False)]
        return [Generation(o.text, len(o.token_ids), o.finish_reason == "stop") for o in outputs]

    return answer


def _set_environment() -> None:
    """What vLLM reads from the environment; whatever is set already stays."""
    settings = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # start-up of 50 s instead of 130 s on two cores (measurements.md)
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the default claims cores that a container may not have
        # Small operators wait for each other by spinning: on two busy cores one thread gives 120 tokens/s, two give 15.
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_KVCACHE_SPACE": str(CPU_KV_CACHE_GIB),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def _register_in_process() -> None:
    """Spares the 24 s in which vLLM inspects a Llama in a second interpreter, which only guards a GPU's state."""
    from vllm import ModelRegistry
    from vllm.model_executor.models.llama import LlamaForCausalLM

    ModelRegistry.register_model("LlamaForCausalLM", LlamaForCausalLM)
