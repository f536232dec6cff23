"""Fusion learns from text where text carries the signal, runs without it, and reads only pre-reading reports."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML
from sklearn.metrics import roc_auc_score

from pipeline.downstream.fusion import BATCH, Breasts, Reports, fuse, probabilities
from pipeline.downstream.units import Slots, Units
from pipeline.errors import InputError
from pipeline.models.co_attention import CoAttentionClassifier
from pipeline.models.text_states import KEYS_FILE, STATES_FILE
from pipeline.reports.prompt import PRE_READING_KEYS, select_facts
from pipeline.reports.template import write_template
from pipeline.sections import Fuse
from pipeline.tables import COHORT, IMAGE_LABELS, PREDICTIONS, TEXT_KEYS, TEXT_STATES, read_table, write_table

Write = Callable[..., pd.DataFrame]
ROOT = Path(__file__).resolve().parents[2]
SETTINGS = Fuse(cohort="small", label="malignant", epochs=6, learning_rate=3e-3, text_dropout=0.3)


def write_text(folder: Path, breasts: pd.DataFrame, carries: str | None) -> None:
    """States of two or three tokens; the first token says whether the column `carries` is true."""
    generator = np.random.default_rng(1)
    said = breasts[carries].astype(int) if carries else pd.Series(0, index=breasts.index)
    keys = breasts[["breast_id", "patient_id", "split"]].assign(
        report_id=[f"r{grade}" for grade in said], prompt_id="p"
    )
    reports = sorted(keys["report_id"].unique())
    states = [generator.normal(size=(2 + number, 5)).astype("<f4") for number in range(len(reports))]
    for report, state in zip(reports, states, strict=True):
        state[0, 0] = 2.0 if report == "r1" else -2.0
    rows = {
        "report_id": reports,
        "tokens": [len(s) for s in states],
        "width": [5] * len(states),
        "states": [s.tobytes() for s in states],
    }
    write_table(pd.DataFrame(rows), folder / STATES_FILE, TEXT_STATES)
    write_table(keys.sort_values("breast_id"), folder / KEYS_FILE, TEXT_KEYS)


def run(folder: Path, name: str = "out", settings: Fuse = SETTINGS) -> pd.DataFrame:
    fuse(folder / "cohort", folder / "features", folder / "text", settings, 2, folder / name)
    return read_table(folder / name / "predictions.parquet", PREDICTIONS)


def aucs(rows: pd.DataFrame, breasts: pd.DataFrame) -> dict[str, float]:
    joined = rows.merge(breasts[["breast_id", "malignant"]], on="breast_id")
    return {m: roc_auc_score(r["malignant"].astype(bool), r["score"]) for m, r in joined.groupby("method")}


def test_text_helps_where_it_carries_the_signal(tmp_path: Path, write_archive: Write) -> None:
    breasts = write_archive(tmp_path, patients=80, signal=0.0).drop_duplicates("breast_id")
    write_text(tmp_path / "text", breasts, "malignant")
    rows = run(tmp_path)
    test = breasts[breasts["split"] == "test"]
    assert rows.groupby("method").size().to_dict() == dict.fromkeys(["fusion", "image", "text"], len(test))
    assert rows["image_id"].isna().all()
    assert set(rows["breast_id"]) == set(test["breast_id"])
    assert set(rows["task"]) == {"fuse_malignant"}
    found = aucs(rows, breasts)
    assert found["text"] > 0.99
    assert found["fusion"] > 0.95
    assert found["image"] < 0.75


def test_images_count_where_text_says_nothing_and_is_missing_for_some(tmp_path: Path, write_archive: Write) -> None:
    breasts = write_archive(tmp_path, patients=80).drop_duplicates("breast_id")
    write_text(tmp_path / "text", breasts[::2], None)
    found = aucs(run(tmp_path), breasts)
    assert found["image"] > 0.9
    assert found["fusion"] > 0.9
    assert found["text"] < 0.7


def test_labels_of_the_test_split_are_never_read(tmp_path: Path, write_archive: Write) -> None:
    write_text(tmp_path / "text", write_archive(tmp_path, patients=30).drop_duplicates("breast_id"), None)
    run(tmp_path, "sealed")
    file = tmp_path / "cohort" / "images.parquet"
    images = read_table(file, COHORT)
    images.loc[images["split"] == "test", "malignant"] = True
    write_table(images, file, COHORT)
    run(tmp_path, "planted")
    sealed, garbage = (tmp_path / name / "predictions.parquet" for name in ("sealed", "planted"))
    assert sealed.read_bytes() == garbage.read_bytes()


def test_a_label_of_one_grade_is_refused(tmp_path: Path, write_archive: Write) -> None:
    write_text(tmp_path / "text", write_archive(tmp_path, patients=30).drop_duplicates("breast_id"), None)
    with pytest.raises(InputError, match=r"fuse\.label: calcification"):
        run(tmp_path, settings=SETTINGS.model_copy(update={"label": "calcification"}))


def test_a_method_does_not_depend_on_what_it_does_not_see() -> None:
    torch.manual_seed(0)
    count, model = BATCH + 3, CoAttentionClassifier(4, 5, 16)
    flat = torch.zeros(count, 2, dtype=torch.long)
    slots = Slots(torch.randn(count, 2, 4), flat, flat, flat, flat == 0)
    units = Units(pd.DataFrame(index=range(count)), np.full((count, 2), "image"), slots)
    reports = Reports(torch.randn(3, 6, 5), torch.tensor([[False] * 6, [True] * 6, [True] * 6]))
    mixed, none = (Breasts(units, torch.arange(count) % k) for k in (3, 1))
    other = Breasts(units._replace(slots=slots._replace(images=torch.randn(count, 2, 4))), mixed.report)
    np.testing.assert_array_equal(*(probabilities(model, b, reports, (True, False)) for b in (mixed, none)))
    np.testing.assert_array_equal(*(probabilities(model, b, reports, (False, True)) for b in (mixed, other)))
    both, image = (probabilities(model, mixed, reports, (True, sees)) for sees in (True, False))
    missing = mixed.report.numpy() == 0
    np.testing.assert_allclose(both[missing], image[missing], rtol=1e-5)
    assert not np.isclose(both[~missing], image[~missing]).any()


def test_dvc_hands_fuse_the_pre_reading_reports_only() -> None:
    stage = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]["fuse"]
    text = [word for word in stage["cmd"].split() if "text" in word or "report" in word]
    assert text == ["data/text/evaluate/pre_reading"]
    assert [d for d in stage["deps"] if re.match("data/(text|reports|annotations|sealed)", d)] == text


def test_pre_reading_reports_never_speak_of_a_finding_or_an_assessment() -> None:
    assert set(PRE_READING_KEYS) & set(IMAGE_LABELS) == {"density"}
    row = {
        "laterality": "L",
        "views": "CC,MLO",
        "age_band": "50-59",
        "implant": False,
        "vendor": "vendor",
        "density": "C",
        "birads": 5,
        "mass": True,
        "calcification": True,
    }
    for number in range(40):
        report = write_template(select_facts(row, PRE_READING_KEYS), f"prompt-{number}")
        assert not re.search(r"mass|calcif|bi-?rads|suspicious|malignan|benign|negative|categor", report, re.I), report
