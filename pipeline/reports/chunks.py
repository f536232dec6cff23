"""Reports in chunks, whatever the engine: what a finished chunk holds is kept in scratch and not generated again."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from pipeline.errors import InputError
from pipeline.reports.cluster_llm import ray_version, start_ray
from pipeline.reports.endpoint import server_version, start_endpoint
from pipeline.reports.generate import Answer, Chunk, Generation, start_vllm
from pipeline.reports.llm_folder import engine_version
from pipeline.reports.llm_revision import pinned
from pipeline.scratch import scratch_root
from pipeline.sections import Llm

STARTS: dict[str, Callable[[Llm], Answer]] = {"vllm": start_vllm, "endpoint": start_endpoint, "ray": start_ray}
# What a report's text depends on. Parallelism, caching and a server's address change at most the rounding of sums, as
# another GPU does: what they give is as good a sample of the same model. The prompts stand in the key themselves.
KEYED = {"engine", "model", "revision", "dtype", "max_model_len", "max_tokens", "temperature"}
_IN_PROCESS = ("chat_tokens.py", "generate.py", "llm_folder.py")
CODE = {"vllm": _IN_PROCESS, "ray": (*_IN_PROCESS, "cluster_llm.py"), "endpoint": ("endpoint.py",)}


class _Item(NamedTuple):
    """A prompt to answer, and the key under which scratch holds its generation once its chunk is finished."""

    prompt: str
    key: str

    @property
    def seed(self) -> int:
        """Of the prompt's sampling, in [0, 2^31)."""
        return int(self.key[:8], 16) % 2**31


class ChunkedGenerator:
    """Answers prompts with the profile's engine, which starts at the first chunk that scratch does not hold.

    Attributes:
        name: `llm.engine`.
        version: Of vLLM (and Ray), or what the server says of itself.
        revision: The commit of a hub model, a digest of local files; for a server `llm.revision` or `unknown`.
    """

    def __init__(self, llm: Llm, seed: int, start: Callable[[Llm], Answer] | None = None) -> None:
        """Finds out what would answer; starts nothing yet.

        Args:
            llm: The profile's section.
            seed: Of the sampling; with a prompt, its variant and the attempt it gives the seed of that prompt.
            start: Starts the engine; None: what `llm.engine` names.

        Raises:
            InputError: the engine is not installed, the server cannot be asked, or there is no such model.
        """
        self.name: str = llm.engine
        self.version = _version(llm)
        self._llm = llm if llm.engine == "endpoint" else pinned(llm)
        self.revision = self._llm.revision or "unknown"
        self._seed = seed
        self._start = start or STARTS[llm.engine]
        self._answer: Answer | None = None

    def __call__(self, prompts: Sequence[str], attempt: int, variants: Sequence[int]) -> list[Generation]:
        """One generation per prompt, in order; interrupted and called again, it generates no finished chunk twice.

        Args:
            prompts: What to ask.
            attempt: Another attempt is another sample.
            variants: Which of its prompt's reports each is; prompt and variant together occur once.

        Raises:
            InputError: whatever the engine says of model, settings or prompts.
        """
        items = [
            _Item(prompt, _digest([prompt, variant, attempt, self._seed]))
            for prompt, variant in zip(prompts, variants, strict=True)
        ]
        folder = self._folder()
        kept = _read(folder)
        if missing := [item for item in items if item.key not in kept]:
            self._generate(missing, folder, len(prompts), attempt)
            kept = _read(folder)
        return [kept[item.key] for item in items]

    def _folder(self) -> Path:
        """Where generations of just these settings are kept, by this engine and this code."""
        settings = self._llm.model_dump(include=KEYED)
        code = [hashlib.sha256(Path(__file__).with_name(name).read_bytes()).hexdigest() for name in CODE[self.name]]
        return scratch_root() / "reports" / _digest([settings, self.version, code])

    def _generate(self, missing: list[_Item], folder: Path, prompts: int, attempt: int) -> None:
        """Has the engine answer what is missing, and keeps each chunk as soon as it is there.

        A prompt's seed comes from its key alone, so that neither other prompts nor other code draw another sample.
        """
        size = self._llm.chunk_prompts
        cut = [missing[i : i + size] for i in range(0, len(missing), size)]
        names = [_digest([item.key for item in items]) for items in cut]
        chunks = [Chunk([item.prompt for item in items], [item.seed for item in items]) for items in cut]
        label = f"reports, attempt {attempt}"
        with tqdm(total=prompts, initial=prompts - len(missing), desc=label, unit="prompt", mininterval=1) as progress:
            self._answer = self._answer or self._start(self._llm)
            started, tokens = time.monotonic(), 0
            for items, name, generations in zip(cut, names, self._answer(chunks), strict=True):
                _keep(folder / f"{name}.json", items, generations)
                tokens += sum(generation.tokens for generation in generations)
                progress.update(len(generations))
                progress.set_postfix_str(f"{tokens / (time.monotonic() - started):.0f} tokens/s")


def _version(llm: Llm) -> str:
    """Of what would answer, as engine.json records it."""
    if llm.engine == "endpoint":
        return server_version(llm)
    version = engine_version()
    if version is None:
        raise InputError(
            f"llm.engine: {llm.engine} needs vLLM, which is not installed; install requirements/gpu.txt or"
            " requirements/cpu.txt, name a server (llm.engine: endpoint), or set reports.engine to template"
        )
    return f"{version}, ray {ray_version()}" if llm.engine == "ray" else version


def _digest(content: object) -> str:
    """Of anything JSON can hold: 80 bits, so that a million items do not meet."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def _keep(file: Path, items: Sequence[_Item], generations: Sequence[Generation]) -> None:
    """Writes under another name first: a file that is there is whole."""
    if len(generations) != len(items):
        raise ValueError(f"the engine gave {len(generations)} answers to {len(items)} prompts")
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}")
    content = {item.key: generation for item, generation in zip(items, generations, strict=True)}
    unfinished.write_text(json.dumps(content), encoding="utf-8")
    os.replace(unfinished, file)


def _read(folder: Path) -> dict[str, Generation]:
    """The generations of every finished chunk, by key."""
    chunks = (json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json")))
    return {key: Generation(*entry) for chunk in chunks for key, entry in chunk.items()}
