"""Prior exams: never a later one, only those near enough, and what grew since the last is learned from them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.downstream.priors import PRIOR_EXAMS, with_priors
from pipeline.downstream.risk import risk
from pipeline.metrics.survival import concordance
from pipeline.tables import COHORT, FEATURES, PREDICTIONS, read_table, write_table
from tests.downstream.risk_section import FROZEN, UNUSED

Write = Callable[..., pd.DataFrame]
LABELS = ["mass", "calcification", "malignant", "density", "birads", "years_to_cancer", "years_followed"]


def run(folder: Path, name: str, **update: object) -> pd.DataFrame:
    """Scores within five years by method and exam."""
    risk(folder / "cohort", folder / "features", UNUSED, FROZEN.model_copy(update=update), 3, folder / name)
    rows = read_table(folder / name / "predictions.parquet", PREDICTIONS)
    return rows[rows["horizon_years"] == 5].set_index(["method", "exam_id"])["score"].unstack("method")


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cohort and features."""
    return read_table(folder / "cohort" / "images.parquet", COHORT), read_table(
        folder / "features" / "features.parquet", FEATURES
    )


def write(folder: Path, images: pd.DataFrame, features: pd.DataFrame) -> None:
    write_table(images, folder / "cohort" / "images.parquet", COHORT)
    write_table(features, folder / "features" / "features.parquet", FEATURES)


def copied(rows: pd.DataFrame, exam: str) -> pd.DataFrame:
    """The same images as another exam of their patients."""
    return rows.assign(**{n: rows[n].str.replace("-e0", f"-{exam}") for n in ("exam_id", "breast_id", "image_id")})


def add_exam(folder: Path, exam: str, day: int, patient: str) -> None:
    """One more exam of a patient: other features, no follow-up."""
    images, features = read(folder)
    chosen = features[features["exam_id"] == f"{patient}-e0"]
    other = copied(chosen, exam).assign(backbone=[-2 * vector for vector in chosen["backbone"]])
    new = copied(images[images["exam_id"] == f"{patient}-e0"], exam).assign(exam_day=day)
    new[LABELS] = None
    write(folder, pd.concat([images, new.astype(images.dtypes)]), pd.concat([features, other]))


@pytest.fixture
def folder(tmp_path: Path, write_archive: Write) -> Path:
    """One exam of each of 40 patients, on day 1000."""
    write_archive(tmp_path, patients=40)
    images, features = read(tmp_path)
    write(tmp_path, images.assign(exam_day=np.int32(1000)), features)
    return tmp_path


def test_a_cohort_without_prior_exams_gives_the_same_bytes_with_the_switch_on(folder: Path) -> None:
    run(folder, "on", prior_exams=True)
    run(folder, "off", prior_exams=False)
    on, off = (folder / name / "predictions.parquet" for name in ("on", "off"))
    assert on.read_bytes() == off.read_bytes()


@pytest.mark.parametrize(("day", "counts"), [(999, True), (1000, False), (1001, False), (3000, False)])
def test_a_risk_depends_on_earlier_exams_of_the_patient_alone(folder: Path, day: int, counts: bool) -> None:
    before = run(folder, "before")
    add_exam(folder, "e1", day, "small-p003")  # a test patient
    after = run(folder, "after")
    moved = (after.loc[before.index] - before).abs().gt(2e-6)
    assert moved.loc["small-p003-e0", "exam"] == counts
    assert not moved["view"].any()
    assert not moved.drop("small-p003-e0").any(axis=None)


def test_the_order_of_the_rows_changes_nothing(folder: Path) -> None:
    for patient in ("small-p001", "small-p003", "small-p004", "small-p005"):
        add_exam(folder, "e1", 400, patient)
    run(folder, "before")
    write(folder, *(table.sample(frac=1, random_state=1) for table in read(folder)))
    run(folder, "after")
    before, after = (folder / name / "predictions.parquet" for name in ("before", "after"))
    assert before.read_bytes() == after.read_bytes()


def test_the_latest_exams_near_enough_are_prior_with_their_whole_years() -> None:
    days = {"a": 0, "b": 1000, "c": 4000, "d": 4366, "e": 4700, "f": 4730, "g": 4750, "other": 100}
    images = pd.DataFrame({"exam_id": list(days), "patient_id": ["p"] * 7 + ["q"], "image_id": list("ABCDEFGO")})
    found = with_priors(images.sample(frac=1, random_state=0), pd.Series(days))
    by_exam = {
        exam: sorted(zip(rows["image_id"], rows["prior_years"], strict=True)) for exam, rows in found.groupby("exam_id")
    }
    assert PRIOR_EXAMS == 3
    assert by_exam == {
        "a": [("A", 0)],
        "b": [("A", 3), ("B", 0)],
        "c": [("B", 8), ("C", 0)],  # A: 11 years
        "d": [("B", 9), ("C", 1), ("D", 0)],
        "e": [("B", 10), ("C", 2), ("D", 1), ("E", 0)],
        "f": [("C", 2), ("D", 1), ("E", 1), ("F", 0)],
        "g": [("D", 1), ("E", 1), ("F", 1), ("G", 0)],
        "other": [("O", 0)],
    }


def test_what_only_the_growth_since_the_prior_exam_tells_is_learned_with_it_and_not_without(
    tmp_path: Path, write_archive: Write
) -> None:
    has_cancer = write_growth(tmp_path, write_archive)
    concordances = []
    for prior_exams in (True, False):
        scores = run(tmp_path, f"{prior_exams}", prior_exams=prior_exams, epochs=12)["exam"].loc[has_cancer.index]
        years = np.where(has_cancer, 2.0, 7.0)
        concordances.append(concordance(years, has_cancer.to_numpy(), scores.to_numpy(np.float64)))
    assert concordances[0] > 0.85
    assert 0.3 < concordances[1] < 0.7


def write_growth(folder: Path, write_archive: Write) -> pd.Series:
    """Two exams of 200 patients a year apart: feature 0 of the second tells nothing, and grew to it by 1 where there
    will be cancer, fell to it by 1 where not. Gives which test exams have cancer."""
    write_archive(folder, patients=200)
    images, features = read(folder)
    generator = np.random.default_rng(1)
    has_cancer = pd.Series(generator.random(200) < 0.5, sorted(images["patient_id"].unique()))
    level = pd.Series(generator.normal(size=200), has_cancer.index)

    def exam(name: str, day: int, first: pd.Series) -> tuple[pd.DataFrame, pd.DataFrame]:
        vectors = generator.normal(size=(len(features), 4)).astype(np.float32)
        vectors[:, 0] = first[features["patient_id"]]
        rows = copied(images, name).assign(exam_day=np.int32(day), years_to_cancer=np.nan, years_followed=np.nan)
        return rows, copied(features, name).assign(backbone=list(vectors))

    first, first_features = exam("e1", 0, level - np.where(has_cancer, 1, -1))
    second, second_features = exam("e2", 365, level)
    known, cancer = second["split"] != "test", has_cancer[second["patient_id"]].to_numpy()
    second["years_to_cancer"] = np.where(known & cancer, 2.0, np.nan)
    second["years_followed"] = np.where(known, np.where(cancer, 2.0, 7.0), np.nan)
    write(folder, pd.concat([first, second]), pd.concat([first_features, second_features]))
    test = second[second["split"] == "test"].drop_duplicates("exam_id")
    return has_cancer[test["patient_id"]].set_axis(test["exam_id"])
