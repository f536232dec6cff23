import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import InputError
from pipeline.reports.audit import audit
from pipeline.reports.generate import Generation
from pipeline.reports.prompt import KEYS as KEYS_IN_ORDER
from pipeline.reports.prompt import PRE_READING_KEYS, select_facts, write_prompt
from pipeline.reports.write import ReportRequest, write_reports
from pipeline.sections import Reports
from pipeline.tables import ANNOTATIONS, DRAFTS, REPORTS, read_table, write_table
from tests.reports.llm_section import llm_section

KEYS = ("density", "birads", "mass", "calcification")
LLM = llm_section(max_model_len=1024, max_tokens=110, temperature=0.5, chunk_prompts=30)


class FakeGenerator:
    """Answers with what `reply` makes of a prompt and the attempt, and keeps what it was asked."""

    name, version, revision = "fake", "1", "abc"

    def __init__(self, reply: Callable[[str, int], str]) -> None:
        self.reply, self.asked = reply, []

    def __call__(self, prompts: Sequence[str], attempt: int, variants: Sequence[int]) -> list[Generation]:
        assert len(set(zip(prompts, variants, strict=True))) == len(prompts)
        self.asked.append((attempt, list(prompts)))
        return [Generation(self.reply(prompt, attempt), 7, True) for prompt in prompts]


class RotatingGenerator(FakeGenerator):
    """Another order of sentences for every variant; half of the prompts fail."""

    def __call__(self, prompts: Sequence[str], attempt: int, variants: Sequence[int]) -> list[Generation]:
        replies = (_rotated(prompt, variant) for prompt, variant in zip(prompts, variants, strict=True))
        return [Generation(reply, 7, True) for reply in replies]


def _rotated(prompt: str, variant: int) -> str:
    sentences = prompt.partition("fluent paragraph: ")[2].rstrip(".").split(". ")
    turn = variant % len(sentences)
    return ". ".join([*sentences[turn:], *sentences[:turn]]) + "." if len(prompt) % 2 else "Nonsense."


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


def _run(
    tmp_path: Path, generator: FakeGenerator, attempts: int = 1, cap: int | None = None, variants: int = 1
) -> list[Path]:
    full = ReportRequest((_annotations(tmp_path / "a.parquet"),), tmp_path / "full", "full", KEYS)
    both = (tmp_path / "a.parquet", _annotations(tmp_path / "b.parquet", 40))
    pre_reading = ReportRequest(both, tmp_path / "pre", "pre_reading", PRE_READING_KEYS)
    llm = LLM.model_copy(update={"max_generations": cap})
    write_reports([full, pre_reading], Reports(engine="llm", attempts=attempts, variants=variants), llm, 1, generator)
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
        for name in ("reports.parquet", "drafts.parquet", "engine.json"):
            assert (one / name).read_bytes() == (two / name).read_bytes()


def test_template_engine_asks_nobody(tmp_path: Path) -> None:
    request = ReportRequest((_annotations(tmp_path / "a.parquet"),), tmp_path / "out", "full", KEYS)
    generator = FakeGenerator(_expand)
    write_reports([request], Reports(engine="template", attempts=1, variants=1), LLM, 1, generator)
    assert generator.asked == []
    rows = read_table(tmp_path / "out" / "reports.parquet", REPORTS)
    assert set(rows["origin"]) == {"template"}
    assert _engine(tmp_path / "out")["engine"] == "template"


@pytest.mark.parametrize("changed", [{"attempts": 2, "variants": 1}, {"attempts": 1, "variants": 2}])
def test_texts_that_must_all_be_equal_are_refused(changed: dict[str, int]) -> None:
    greedy = LLM.model_copy(update={"temperature": 0.0})
    with pytest.raises(InputError, match=r"reports\.(attempts|variants): 2 .* at llm\.temperature 0"):
        write_reports([], Reports(engine="llm", **changed), greedy, 1, FakeGenerator(_expand))


def test_variants_are_different_texts_spread_over_the_breasts_of_a_prompt(tmp_path: Path) -> None:
    file = _annotations(tmp_path / "many.parquet", breasts=4000)
    request = ReportRequest((file,), tmp_path / "many", "full", ("birads",))
    settings = Reports(engine="template", attempts=1, variants=4)
    write_reports([request], settings, LLM, 1)
    rows = read_table(request.out / "reports.parquet", REPORTS)
    assert rows.groupby("prompt_id")["report"].nunique().eq(4).all()
    assert rows.groupby(["prompt_id", "variant"])["report_id"].nunique().eq(1).all()
    shares = rows["variant"].value_counts(normalize=True)
    assert set(shares.index) == {0, 1, 2, 3}
    assert shares.between(0.22, 0.28).all()
    half = ReportRequest(
        (_annotations(tmp_path / "half.parquet", breasts=2000),), tmp_path / "half", "full", ("birads",)
    )
    write_reports([half], settings, LLM, 1)
    before = read_table(half.out / "reports.parquet", REPORTS).set_index("breast_id")["report"]
    assert rows.set_index("breast_id").loc[before.index, "report"].equals(before)


def test_a_cohort_that_grows_keeps_the_reports_it_had(tmp_path: Path) -> None:
    texts = []
    for breasts in (150, 400):  # most prompts have fewer breasts than variants, so that some variants join later
        file = _annotations(tmp_path / f"{breasts}.parquet", breasts=breasts)
        request = ReportRequest((file,), tmp_path / str(breasts), "full", KEYS)
        settings = Reports(engine="llm", attempts=1, variants=4)
        write_reports([request], settings, LLM, 1, RotatingGenerator(_expand))
        rows = read_table(request.out / "reports.parquet", REPORTS).set_index("breast_id")
        assert set(rows["origin"]) == {"llm", "template"}
        texts.append(rows["report"])
    few, many = texts
    assert many.loc[few.index].equals(few)


HUNG = """
import sys, time
from pathlib import Path
from pipeline.reports import write
from pipeline.sections import Llm, Reports

def hang(*_):
    Path(sys.argv[2], "hangs").touch()
    time.sleep(600)

write._write_engine = hang
request = write.ReportRequest((Path(sys.argv[1]),), Path(sys.argv[2]), "full", ("birads", "mass"))
settings = Reports(engine="template", attempts=1, variants=3)
write.write_reports([request], settings, Llm.model_validate_json(sys.argv[3]), 1)
"""


def test_killed_between_two_files_and_rerun_the_bytes_are_the_same(tmp_path: Path) -> None:
    file, out = _annotations(tmp_path / "a.parquet"), tmp_path / "killed"
    command = [sys.executable, "-c", HUNG, str(file), str(out), LLM.model_dump_json()]
    killed = subprocess.Popen(command, cwd=Path(__file__).resolve().parents[2])
    while not (out / "hangs").exists():
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert not (out / "engine.json").exists()
    settings = Reports(engine="template", attempts=1, variants=3)
    for folder in (out, tmp_path / "whole"):
        write_reports([ReportRequest((file,), folder, "full", ("birads", "mass"))], settings, LLM, 1)
    for name in ("reports.parquet", "drafts.parquet", "engine.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_split_without_breasts_has_empty_tables(tmp_path: Path) -> None:
    none = read_table(_annotations(tmp_path / "a.parquet"), ANNOTATIONS).head(0)
    write_table(none, tmp_path / "none.parquet", ANNOTATIONS)
    request = ReportRequest((tmp_path / "none.parquet",), tmp_path / "out", "full", KEYS)
    write_reports([request], Reports(engine="llm", attempts=1, variants=2), LLM, 1, FakeGenerator(_expand))
    assert read_table(request.out / "reports.parquet", REPORTS).empty
    assert read_table(request.out / "drafts.parquet", DRAFTS).empty


def test_generations_are_at_most_prompts_times_variants_times_attempts(tmp_path: Path) -> None:
    generator = FakeGenerator(lambda *_: "Nonsense.")
    full, pre = _run(tmp_path, generator, attempts=3, variants=2)
    prompts = {prompt for _, each in generator.asked for prompt in each}
    asked = sum(len(each) for _, each in generator.asked)
    assert asked <= len(prompts) * 2 * 3
    assert asked == _engine(full)["generations"] + _engine(pre)["generations"]


def test_an_answer_that_repeats_another_variant_is_asked_again(tmp_path: Path) -> None:
    request = ReportRequest((_annotations(tmp_path / "a.parquet"),), tmp_path / "out", "full", ("birads",))
    same = FakeGenerator(_expand)
    write_reports([request], Reports(engine="llm", attempts=2, variants=2), LLM, 1, same)
    drafts = read_table(request.out / "drafts.parquet", DRAFTS)
    paired = drafts[drafts.groupby("prompt_id")["variant"].transform("size") == 2]
    assert len(paired) > 4
    for _, two in paired.groupby("prompt_id"):
        assert sorted(two["origin"]) == ["llm", "template"]
        assert two["report"].nunique() == 2
        assert [list(codes) for codes in two["codes"]] == [[], ["same_as_variant"] * 2]


def test_drafts_keep_what_was_asked_and_answered_without_identifiers(tmp_path: Path) -> None:
    full, _ = _run(tmp_path, FakeGenerator(lambda prompt, attempt: _expand(prompt, 1) if attempt == 2 else "Hm."), 2)
    drafts = read_table(full / "drafts.parquet", DRAFTS)
    rows = read_table(full / "reports.parquet", REPORTS)
    assert drafts["breasts"].sum() == len(rows)
    assert [next(iter(raws)) for raws in drafts["raws"]] == ["Hm."] * len(drafts)
    for draft in drafts.itertuples():
        assert len(draft.raws) == draft.attempts == 2
        assert draft.tokens == 14
        facts = json.loads(draft.facts)
        assert draft.prompt == write_prompt({key: facts[key] for key in KEYS_IN_ORDER if key in facts}, "v1")
    assert not {"breast_id", "patient_id", "exam_id"} & set(drafts)
    assert _engine(full)["revision"] == "abc"


def test_a_value_that_reads_as_something_else_is_told_before_anything_is_generated(tmp_path: Path) -> None:
    rows = read_table(_annotations(tmp_path / "a.parquet"), ANNOTATIONS)
    write_table(rows.assign(vendor="LT"), tmp_path / "odd.parquet", ANNOTATIONS)
    request = ReportRequest((tmp_path / "odd.parquet",), tmp_path / "out", "full", ("birads", "vendor"))
    asked = FakeGenerator(_expand)
    with pytest.raises(InputError, match=r"prompt \w+: .*birads.* does not pass the audit.*leave the key") as raised:
        write_reports([request], Reports(engine="llm", attempts=1, variants=1), LLM, 1, asked)
    assert not asked.asked and "LT" not in str(raised.value)
