import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.reports import chunks as chunks_module
from pipeline.reports.chunks import CODE, ChunkedGenerator
from pipeline.reports.generate import Answer, Chunk, Generation
from pipeline.sections import Llm
from tests.reports.llm_section import llm_section, numbered

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = [f"prompt {i}" for i in range(8)]


class Spy:
    """An engine that counts starts and chunks, and may break down at a chunk."""

    def __init__(self, breaks_at: int | None = None) -> None:
        self.starts, self.chunks, self.breaks_at = [], [], breaks_at

    def start(self, llm: Llm) -> Answer:
        self.starts.append(llm)

        def answer(chunks: Sequence[Chunk]) -> Iterator[list[Generation]]:
            for chunk in chunks:
                if len(self.chunks) == self.breaks_at:
                    raise KeyboardInterrupt
                self.chunks.append(list(chunk.prompts))
                yield [Generation(f"{p} {s}", 3, True) for p, s in zip(chunk.prompts, chunk.seeds, strict=True)]

        return answer


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path))


@pytest.fixture
def llm(tmp_path: Path) -> Llm:
    """A section whose model is a folder with a small file."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return llm_section(model=str(folder), temperature=0.5)


def _generate(llm: Llm, prompts: list[str] = PROMPTS, seed: int = 1, attempt: int = 1) -> list[list[str]]:
    """The chunks that an engine is asked for."""
    spy = Spy()
    ChunkedGenerator(llm, seed, spy.start)(prompts, attempt, numbered(prompts))
    return spy.chunks


def test_finished_chunks_are_not_generated_again(llm: Llm, tmp_path: Path) -> None:
    broken = Spy(breaks_at=2)
    with pytest.raises(KeyboardInterrupt):
        ChunkedGenerator(llm, 1, broken.start)(PROMPTS, 1, numbered(PROMPTS))
    assert broken.chunks == [PROMPTS[:3], PROMPTS[3:6]]
    resumed = Spy()
    answers = ChunkedGenerator(llm, 1, resumed.start)(PROMPTS, 1, numbered(PROMPTS))
    assert resumed.chunks == [PROMPTS[6:]]
    assert [answer.text.rpartition(" ")[0] for answer in answers] == PROMPTS
    assert all(type(answer) is Generation for answer in answers)
    shutil.rmtree(tmp_path / "reports")
    assert ChunkedGenerator(llm, 1, Spy().start)(PROMPTS, 1, numbered(PROMPTS)) == answers


def test_a_finished_run_does_not_start_the_engine_and_an_engine_starts_once(llm: Llm) -> None:
    first, second = Spy(), Spy()
    generator = ChunkedGenerator(llm, 1, first.start)
    generator(PROMPTS, 1, numbered(PROMPTS))
    generator(PROMPTS, 2, numbered(PROMPTS))
    ChunkedGenerator(llm, 1, second.start)(PROMPTS, 1, numbered(PROMPTS))
    assert (len(first.starts), len(second.starts)) == (1, 0)
    assert first.starts[0].revision == generator.revision


# Interrupted for good: a process of its own is killed at its third chunk, with nothing to clean up after itself.
KILLED = """
import json, sys, time
from pathlib import Path
from pipeline.reports.chunks import ChunkedGenerator
from pipeline.reports.generate import Generation
from pipeline.sections import Llm

log, hangs_at = Path(sys.argv[2]), int(sys.argv[3])

def start(llm):
    def answer(chunks):
        for chunk in chunks:
            with log.open("a") as stream:
                stream.write(json.dumps(list(chunk.prompts)) + "\\n")
            while len(log.read_text().splitlines()) == hangs_at:
                time.sleep(0.05)
            yield [Generation(f"{p} {s}", 3, True) for p, s in zip(chunk.prompts, chunk.seeds)]
    return answer

answers = ChunkedGenerator(Llm.model_validate_json(sys.argv[1]), 1, start)(json.loads(sys.argv[4]), 1, [0] * 8)
print(json.dumps(answers))
"""


def test_a_killed_run_goes_on_and_generates_no_finished_chunk_twice(llm: Llm, tmp_path: Path) -> None:
    log = tmp_path / "chunks.log"
    command = [sys.executable, "-c", KILLED, llm.model_dump_json(), str(log)]
    killed = subprocess.Popen([*command, "3", json.dumps(PROMPTS)], cwd=ROOT, stderr=subprocess.DEVNULL)
    while not log.is_file() or len(log.read_text().splitlines()) < 3:
        assert killed.poll() is None
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert len(list((tmp_path / "reports").glob("*/*.json"))) == 2
    again = subprocess.run([*command, "0", json.dumps(PROMPTS)], cwd=ROOT, capture_output=True, text=True, check=True)
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    assert asked == [PROMPTS[:3], PROMPTS[3:6], PROMPTS[6:], PROMPTS[6:]]  # only the one in flight is asked twice
    in_one_go = ChunkedGenerator(llm.model_copy(update={"chunk_prompts": 3}), 1, Spy().start)(
        PROMPTS, 1, numbered(PROMPTS)
    )
    assert [Generation(*answer) for answer in json.loads(again.stdout)] == in_one_go
    assert "8/8" in again.stderr and "tokens/s" in again.stderr


def test_an_extended_run_generates_only_what_is_new_wherever_it_stands(llm: Llm) -> None:
    before = ChunkedGenerator(llm, 1, Spy().start)(PROMPTS, 1, numbered(PROMPTS))
    spy, extended = Spy(), ["new 1", *PROMPTS[:4], "new 2", *PROMPTS[4:], PROMPTS[0]]
    answers = ChunkedGenerator(llm, 1, spy.start)(extended, 1, numbered(extended))
    assert spy.chunks == [["new 1", "new 2", PROMPTS[0]]]
    assert [*answers[1:5], *answers[6:10]] == before
    assert answers[10] != before[0]


def test_each_variant_of_a_prompt_is_another_sample(llm: Llm) -> None:
    answers = ChunkedGenerator(llm, 1, Spy().start)(["the same"] * 7, 1, numbered(["the same"] * 7))
    assert len({answer.text for answer in answers}) == 7
    assert ChunkedGenerator(llm, 1, Spy().start)(["the same"] * 7, 1, numbered(["the same"] * 7)) == answers


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.9}, {"max_tokens": 25}, {"dtype": "bfloat16"}, {"max_model_len": 256},
        {"seed": 2}, {"attempt": 2}, {"version": "0.33"}, {"engine": "ray"}, {"weights": b"other"}, {"code": b"other"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_what_the_text_depends_on_is_generated_anew(llm: Llm, tmp_path: Path, monkeypatch, change: dict) -> None:
    copy = tmp_path / "code"
    copy.mkdir()
    for name in {name for names in CODE.values() for name in names}:
        (copy / name).write_bytes((ROOT / "pipeline/reports" / name).read_bytes())
    monkeypatch.setattr(chunks_module, "__file__", str(copy / "chunks.py"))
    assert len(_generate(llm)) == 3
    assert not _generate(llm)
    outside = {name: change.pop(name) for name in ("seed", "attempt", "version", "weights", "code") if name in change}
    if "version" in outside:
        monkeypatch.setattr(chunks_module, "engine_version", lambda: outside["version"])
    if "weights" in outside:
        (Path(llm.model) / "model.safetensors").write_bytes(outside["weights"])
    if "code" in outside:
        (copy / "generate.py").write_bytes(outside["code"])
    changed = llm.model_copy(update=change)
    assert len(_generate(changed, seed=outside.get("seed", 1), attempt=outside.get("attempt", 1))) == 3


def test_where_and_how_fast_it_is_generated_changes_nothing(llm: Llm) -> None:
    assert len(_generate(llm)) == 3
    elsewhere = {"tensor_parallel": 4, "prefix_caching": False, "max_generations": 5, "prompt": "v2"}
    assert not _generate(llm.model_copy(update=elsewhere))
    assert not _generate(llm, PROMPTS[:6])


def test_other_code_or_settings_draw_the_same_seeds(llm: Llm) -> None:
    """So that only what has changed shows in the text."""
    warm = ChunkedGenerator(llm, 1, Spy().start)(PROMPTS, 1, numbered(PROMPTS))
    assert (
        ChunkedGenerator(llm.model_copy(update={"temperature": 0.9}), 1, Spy().start)(PROMPTS, 1, numbered(PROMPTS))
        == warm
    )
    assert ChunkedGenerator(llm, 2, Spy().start)(PROMPTS, 1, numbered(PROMPTS)) != warm
    assert ChunkedGenerator(llm, 1, Spy().start)(PROMPTS, 2, numbered(PROMPTS)) != warm


def test_a_prompt_keeps_its_seed_among_other_prompts(llm: Llm, tmp_path: Path) -> None:
    """So that a cohort that grows keeps the reports it had, also where nothing of them is left in scratch."""
    few = ChunkedGenerator(llm, 1, Spy().start)(["prompt 5", "prompt 5", "prompt 2"], 1, [3, 7, 0])
    shutil.rmtree(tmp_path / "reports")
    many = ChunkedGenerator(llm, 1, Spy().start)(["prompt 5", "prompt 5", *PROMPTS], 1, [1, 7, 0, 0, 0, 0, 0, 3, 0, 0])
    assert few == [many[7], many[1], many[4]] and few[0] != few[1]


def test_an_engine_that_leaves_answers_out_is_a_bug(llm: Llm) -> None:
    for short in ([[]], [[Generation("a", 1, True)] * 3]):
        with pytest.raises(ValueError):
            ChunkedGenerator(llm, 1, lambda _, short=short: lambda chunks: iter(short))(PROMPTS, 1, numbered(PROMPTS))


@pytest.mark.parametrize("engine", ["vllm", "ray"])
def test_without_vllm_the_error_says_what_to_do(llm: Llm, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    monkeypatch.setattr(chunks_module, "engine_version", lambda: None)
    with pytest.raises(InputError, match=rf"llm\.engine: {engine} needs vLLM.*requirements/gpu.txt"):
        ChunkedGenerator(llm.model_copy(update={"engine": engine}), 1)
