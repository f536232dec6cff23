"""What fine-tuning leaves: nothing changed is nothing forgotten, and what changed is measured on the same patients."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.downstream import zero_shot as zero_shot_module
from pipeline.downstream.feature_table import read_features
from pipeline.downstream.forgetting import retrieval_left, zero_shot_left
from pipeline.downstream.recall import Queries, recall_change
from pipeline.downstream.retrieval import questions
from pipeline.downstream.zero_shot import text_side, zero_shot
from pipeline.sections import Task
from pipeline.tables import FEATURES, PREDICTIONS, TEXT_KEYS, TEXT_STATES, read_table, write_table
from tests.downstream.test_zero_shot import KEYS, TASKS, TEXT, LetterEncoder

Write = Callable[..., pd.DataFrame]
SCORED = ["mass_small", "density_small"]
ALL_TASKS = TASKS | {
    "mass_other": Task(cohort="other", label="mass", unit="image", kind="binary", score_on=["small"]),
    "mass_again": Task(cohort="small", label="mass", unit="image", kind="binary", score_on=["other"]),
}
DIRECTIONS = {"image_to_text", "text_to_image", "cc_to_mlo"}
OWN_PROMPTS = {
    "mass": {0: ["no mass {side}", "nothing"], 1: ["mass {side}", "a mass"]},
    "density": {grade: [f"density {letter}", f"{letter} {{side}}"] for grade, letter in enumerate("ABCD")},
}
PROMPTS = {"zero_shot": OWN_PROMPTS, "zero_shot_mammo_clip": {"mass": {0: ["no mass"], 1: ["mass"]}}}


@pytest.fixture
def folder(tmp_path: Path, write_archive: Write, write_model: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cohorts; fine-tuning left mass_small as it was, made the views equal on mass_other; no other task has any."""
    for cohort in ("small", "other"):
        truth = write_archive(tmp_path / cohort, cohort=cohort, patients=60, width=256)
        (tmp_path / "all").mkdir(exist_ok=True)
        (tmp_path / cohort / "features").rename(tmp_path / "all" / cohort)
    write_model(tmp_path / "model")
    _write_text(tmp_path / "text", truth)
    write_tuned(tmp_path, "mass_small", changed=False)
    write_tuned(tmp_path, "mass_other", changed=True)
    for task in ("density_small", "mass_again"):
        write_table(read_features(tmp_path / "all/small")[:0], tmp_path / "tuned" / task / "features.parquet", FEATURES)
    monkeypatch.setattr(zero_shot_module, "load_text_encoder", lambda _: LetterEncoder())
    monkeypatch.setattr(zero_shot_module, "prompt_methods", lambda _: PROMPTS)
    monkeypatch.setattr(zero_shot_module, "caption_methods", lambda: PROMPTS)
    return tmp_path


def write_tuned(folder: Path, task: str, changed: bool) -> None:
    features = read_features(folder / "all" / ALL_TASKS[task].cohort)
    features = features[features["split"] == "test"]
    if changed:
        vectors = np.random.default_rng(1).normal(size=(features["breast_id"].nunique(), 256)).astype(np.float32)
        own = list(vectors[pd.factorize(features["breast_id"])[0]])
        features = features.assign(backbone=own, embedding=own)
    write_table(features, folder / "tuned" / task / "features.parquet", FEATURES)


def _write_text(folder: Path, truth: pd.DataFrame) -> None:
    """Reports of cohort other that tell density and mass."""
    keys = truth.drop_duplicates("breast_id")[["breast_id", "patient_id", "split"]]
    said = truth.drop_duplicates("breast_id")["density"] + truth.drop_duplicates("breast_id")["mass"].astype(str)
    keys = keys.assign(report_id=said, prompt_id=said)
    reports = sorted(said.unique())
    states = np.random.default_rng(0).normal(size=(len(reports), 3, 6)).astype(np.float32)
    rows = {"report_id": reports, "tokens": 3, "width": 6, "states": [state.tobytes() for state in states]}
    write_table(keys, folder / "keys.parquet", TEXT_KEYS)
    write_table(pd.DataFrame(rows), folder / "states.parquet", TEXT_STATES)


def left(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Both files."""
    out, model = folder / "out", folder / "model"
    zero_shot_left(folder / "tuned", text_side(model, KEYS, TEXT), ALL_TASKS, SCORED, out)
    asked = questions(model, folder / "text")
    retrieval_left(folder / "tuned", folder / "all", asked, ALL_TASKS, ["other"], 1, 100, out)
    return read_table(out / "predictions.parquet", PREDICTIONS), json.loads((out / "retrieval.json").read_text())


def test_an_encoder_that_did_not_change_forgot_nothing(folder: Path) -> None:
    rows, retrieval = left(folder)
    zero_shot(folder / "all", folder / "model", ALL_TASKS, SCORED, KEYS, TEXT, folder / "before")
    before = read_table(folder / "before" / "predictions.parquet", PREDICTIONS)
    before = before[before["method"] == "zero_shot"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, before.assign(encoder="ft_mass_small").astype(rows.dtypes), atol=2e-6)
    change = retrieval["mass_small"]["cc_to_mlo"]
    assert change["before"] == change["after"]
    assert change["difference"] == {"recall_at_1": 0.0, "low": None, "high": None}  # where none changes, none tells


def test_only_tasks_of_the_cohort_are_scored_by_what_was_fine_tuned_on_it(folder: Path) -> None:
    rows, retrieval = left(folder)
    assert set(map(tuple, rows[["task", "encoder"]].drop_duplicates().to_numpy())) == {
        (task, "ft_mass_small") for task in SCORED
    }  # mass_other has no image of cohort small, and the others were not fine-tuned
    assert {task: set(ways) for task, ways in retrieval.items()} == {
        "mass_small": {"cc_to_mlo"},  # of cohort small no report is there
        "mass_other": DIRECTIONS,
    }


def test_several_encoders_of_a_cohort_are_scored_each_by_its_own_features(folder: Path) -> None:
    write_tuned(folder, "mass_again", changed=True)
    together = left(folder)[0]
    (folder / "tuned/mass_small/features.parquet").write_bytes(
        (folder / "tuned/density_small/features.parquet").read_bytes()
    )
    alone = left(folder)[0]
    again = together[together["encoder"] == "ft_mass_again"].reset_index(drop=True)
    assert set(together["encoder"]) == {"ft_mass_small", "ft_mass_again"}
    pd.testing.assert_frame_equal(again, alone, atol=2e-6)


def test_the_difference_says_how_far_after_lies_from_before(folder: Path) -> None:
    change = left(folder)[1]["mass_other"]["cc_to_mlo"]
    before, after, difference = (change[name] for name in ("before", "after", "difference"))
    assert before["queries"] == after["queries"] and before["gallery"] == after["gallery"]
    assert before["recall_at_1"] < after["recall_at_1"] == 1.0
    assert difference["recall_at_1"] == pytest.approx(1.0 - before["recall_at_1"], abs=1.01e-4)
    assert 0 < difference["low"] <= difference["recall_at_1"] <= difference["high"]


def test_a_difference_is_resampled_by_patient_and_both_sides_together() -> None:
    generator = np.random.default_rng(3)
    patients = np.arange(30).repeat(4)
    hard = generator.random(30).repeat(4)  # of the patient, and shared by both
    first, second = ((generator.random(120) + hard > bar).astype(int) for bar in (1.0, 1.2))
    before, after = (Queries(2 - hits, patients.astype(str), 120, 1 / 120) for hits in (first, second))
    found = recall_change(before, after, 0, 4000)
    means = [(second - first)[patients == p].mean() for p in range(30)]
    drawn = [np.mean(generator.choice(means, 30)) for _ in range(4000)]
    assert found["recall_at_1"] == round(float(np.mean(second - first)), 4)
    np.testing.assert_allclose([found["low"], found["high"]], np.percentile(drawn, [2.5, 97.5]), atol=0.015)


def test_other_queries_are_refused_and_few_patients_give_no_number() -> None:
    patients = np.array(["a", "b", "c"])
    queries = Queries(np.array([1, 2, 1]), patients, 3, 1 / 3)
    assert recall_change(queries, queries, 0, 100) == {"recall_at_1": None, "low": None, "high": None}
    with pytest.raises(ValueError, match="the same queries before and after"):
        recall_change(queries, queries._replace(clusters=patients[::-1].copy()), 0, 100)


@pytest.mark.parametrize("method", ["none", "mama"])
def test_a_model_without_our_text_has_what_it_can_be_asked(folder: Path, write_model: Write, method: str) -> None:
    """none: the views by its pooled feature maps alone; mama: zero-shot by its own text encoder, no report."""
    write_model(folder / "model", method=method)
    if method == "none":
        for file in sorted(folder.glob("[at][lu]*/*/features.parquet")):
            write_table(read_features(file.parent).assign(embedding=None), file, FEATURES)
    rows, retrieval = left(folder)
    assert set(rows["encoder"]) == (set() if method == "none" else {"ft_mass_small"})
    assert {task: set(ways) for task, ways in retrieval.items()} == {
        "mass_small": {"cc_to_mlo"},
        "mass_other": {"cc_to_mlo"},
    }


def test_both_files_are_the_same_twice(folder: Path) -> None:
    left(folder)
    first = {file.name: file.read_bytes() for file in (folder / "out").iterdir()}
    left(folder)
    assert first == {file.name: file.read_bytes() for file in (folder / "out").iterdir()}
