"""Risk models learn where features carry it, choose by lifelines' c-index, and never see test follow-up."""

from collections.abc import Callable
from pathlib import Path

import lifelines.utils
import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.downstream.feature_table import read_features
from pipeline.downstream.follow_up import SCREEN_DETECTED_YEARS
from pipeline.downstream.risk import risk
from pipeline.downstream.units import padded_units, standardised
from pipeline.metrics import survival
from pipeline.sections import Risk
from pipeline.tables import COHORT, PREDICTIONS, read_table, write_table
from tests.downstream.risk_section import FROZEN, UNUSED

WriteArchive = Callable[..., pd.DataFrame]


def run(folder: Path, name: str = "out", settings: Risk = FROZEN) -> pd.DataFrame:
    risk(folder / "cohort", folder / "features", UNUSED, settings, 3, folder / name)
    return read_table(folder / name / "predictions.parquet", PREDICTIONS)


def test_learns_by_exam_and_by_view(tmp_path: Path, write_archive: WriteArchive) -> None:
    truth = write_archive(tmp_path, patients=120).drop_duplicates("exam_id").set_index("exam_id")
    rows = run(tmp_path, settings=FROZEN.model_copy(update={"epochs": 8}))
    test = truth[truth["split"] == "test"]
    assert len(rows) == 2 * 5 * len(test)
    assert rows[["image_id", "breast_id"]].isna().all(axis=None)
    for method in ("exam", "view"):
        scores = rows[rows["method"] == method].pivot(index="exam_id", columns="horizon_years", values="score")
        assert scores.columns.tolist() == [1, 2, 3, 4, 5]
        assert (scores.diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
        assert scores.min(axis=None) >= 0
        assert scores.max(axis=None) <= 1
        years, events = survival.observed_years(
            *(test[name].to_numpy(float) for name in ("years_to_cancer", "years_followed"))
        )
        assert survival.concordance(years, events, scores.loc[test.index, 5].to_numpy(float)) > 0.8


def test_the_epoch_is_chosen_by_lifelines(
    tmp_path: Path, write_archive: WriteArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(tmp_path, patients=40)
    sizes = []

    def spy(years: np.ndarray, scores: np.ndarray, events: np.ndarray) -> float:
        sizes.append(len(years))
        return float(lifelines.utils.concordance_index(years, scores, events))

    monkeypatch.setattr(survival, "concordance_index", spy)
    run(tmp_path)
    assert sizes == [8] * (2 * FROZEN.epochs)  # validation exams, each epoch of both models


def test_follow_up_of_the_test_split_is_never_read(tmp_path: Path, write_archive: WriteArchive) -> None:
    write_archive(tmp_path, patients=40)
    run(tmp_path, "sealed")
    file = tmp_path / "cohort" / "images.parquet"
    images = read_table(file, COHORT)
    images.loc[images["split"] == "test", ["years_to_cancer", "years_followed"]] = [1.0, 1.0]
    write_table(images, file, COHORT)
    run(tmp_path, "planted")
    sealed, garbage = (tmp_path / name / "predictions.parquet" for name in ("sealed", "planted"))
    assert sealed.read_bytes() == garbage.read_bytes()


def test_screen_detected_cancers_can_be_left_out(tmp_path: Path, write_archive: WriteArchive) -> None:
    write_archive(tmp_path, patients=40)
    file = tmp_path / "cohort" / "images.parquet"
    images = read_table(file, COHORT)
    early = (images["years_to_cancer"] < 2.0).fillna(False) & (images["split"] != "test")
    images.loc[early, "years_to_cancer"] = SCREEN_DETECTED_YEARS - 0.1
    write_table(images, file, COHORT)
    assert early.any()
    excluding = FROZEN.model_copy(update={"exclude_screen_detected": True})
    expected = run(tmp_path, "switched", excluding)
    images.loc[early, ["years_to_cancer", "years_followed"]] = None
    write_table(images, file, COHORT)
    pd.testing.assert_frame_equal(run(tmp_path, "removed"), expected)


def test_validation_without_cancer_still_trains(tmp_path: Path, write_archive: WriteArchive) -> None:
    write_archive(tmp_path, patients=40)
    file = tmp_path / "cohort" / "images.parquet"
    images = read_table(file, COHORT)
    images.loc[images["split"] == "validation", "years_to_cancer"] = None
    write_table(images, file, COHORT)
    assert run(tmp_path)["score"].notna().all()


@pytest.mark.parametrize("splits", [["train", "validation", "test"], ["validation"]])
def test_a_cohort_without_follow_up_has_no_risk_model(
    tmp_path: Path, write_archive: WriteArchive, splits: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_archive(tmp_path, patients=40)
    file = tmp_path / "cohort" / "images.parquet"
    images = read_table(file, COHORT)
    images.loc[images["split"].isin(splits), ["years_to_cancer", "years_followed"]] = None
    write_table(images, file, COHORT)
    assert run(tmp_path).empty
    told = " and no ".join(split for split in splits if split != "test")
    assert f"warning: risk.cohort: cohort: no {told} exam with a cancer" in capsys.readouterr().err


def test_units_hold_every_image_once_with_its_view_and_side(tmp_path: Path, write_archive: WriteArchive) -> None:
    write_archive(tmp_path, patients=3)
    images = read_features(tmp_path / "features")
    images = images[images["image_id"] != "small-p001-e0-R-MLO"]
    exams = padded_units(images, "exam_id")
    assert exams.ids["exam_id"].tolist() == ["small-p000-e0", "small-p001-e0", "small-p002-e0"]
    assert exams.slots.present.sum(dim=1).tolist() == [4, 3, 4]
    assert exams.slots.view[1].tolist() == [0, 1, 0, 0]
    assert exams.slots.side[1].tolist() == [0, 0, 1, 0]
    assert exams.image_ids[1].tolist() == [f"small-p001-e0-{name}" for name in ("L-CC", "L-MLO", "R-CC")] + [None]
    found = images.set_index("image_id").loc["small-p001-e0-R-CC", "backbone"]
    np.testing.assert_array_equal(exams.slots.images[1, 2].numpy(), found)
    assert padded_units(images, "image_id").slots.images.shape == (11, 1, 8)
    assert padded_units(images, "breast_id").slots.present.sum(dim=1).tolist() == [2, 2, 2, 1, 2, 2]


def test_standardised_by_the_training_images_alone(tmp_path: Path, write_archive: WriteArchive) -> None:
    write_archive(tmp_path, patients=10)
    images = read_features(tmp_path / "features")
    units = [padded_units(images[images["split"] == s], "exam_id") for s in ("train", "test")]
    train, test = standardised(*units)
    known = train.slots.images[train.slots.present]
    torch.testing.assert_close(known.mean(dim=0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(known.std(dim=0, correction=0), torch.ones(8), atol=1e-5, rtol=0)
    raw = units[0].slots.images[units[0].slots.present]
    expected = (units[1].slots.images - raw.mean(dim=0)) / raw.std(dim=0, correction=0)
    torch.testing.assert_close(test.slots.images, expected, atol=1e-4, rtol=1e-4)
