"""Each modality serves the label that it tells, fusion runs without text, unknown labels count for nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from pipeline.downstream.fusion import BATCH, BOTH, IMAGE, TEXT, fuse, label_loss, mean_auc, probabilities
from pipeline.downstream.fusion_inputs import Banks, Breasts, Sources
from pipeline.downstream.predictions import FUSION_METHODS
from pipeline.errors import InputError
from pipeline.models.co_attention import CoAttentionClassifier, Tokens
from pipeline.models.text_states import KEYS_FILE, STATES_FILE
from pipeline.sections import Compute, Fuse
from pipeline.tables import COHORT, PREDICTIONS, TEXT_KEYS, TEXT_STATES, read_table, write_table

Write = Callable[..., None]
Archive = Callable[..., pd.DataFrame]
LABELS = ["malignant", "calcification"]
SETTINGS = Fuse(cohort="small", labels=LABELS, grid=[2, 1], epochs=8, learning_rate=3e-3, text_dropout=0.3)
CPU = Compute(device="cpu", precision="fp32", workers=1, backend="local", processes=1)


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


@pytest.fixture
def archive(tmp_path: Path, write_archive: Archive, write_shards: Write, write_model: Write) -> pd.DataFrame:
    """Images that show malignancy, and a calcification drawn by lot, which no image shows; every label, by breast."""
    images = write_archive(tmp_path, patients=60)
    write_shards(tmp_path / "shards", images)
    write_model(tmp_path / "model")
    lot = {breast: np.random.default_rng(n).random() < 0.5 for n, breast in enumerate(images["breast_id"].unique())}
    images["calcification"] = images["breast_id"].map(lot)
    file = tmp_path / "cohort" / "images.parquet"
    tested = images["split"] == "test"
    write_table(read_table(file, COHORT).assign(calcification=images["calcification"].mask(tested)), file, COHORT)
    return images.drop_duplicates("breast_id")


def run(folder: Path, name: str = "out", settings: Fuse = SETTINGS, report: str = "report") -> pd.DataFrame:
    sources = Sources(*(folder / part for part in ("cohort", "shards", "model", "table", report)))
    fuse(sources, settings, 2, {"default": 64}, CPU, folder / name)
    return read_table(folder / name / "predictions.parquet", PREDICTIONS)


def aucs(rows: pd.DataFrame, breasts: pd.DataFrame, label: str) -> dict[str, float]:
    joined = rows[rows["task"] == f"fuse_{label}"].merge(breasts[["breast_id", label]], on="breast_id")
    return {m: roc_auc_score(r[label].astype(bool), r["score"]) for m, r in joined.groupby("method")}


@pytest.mark.parametrize("carrier", ["table", "report"])
def test_each_modality_serves_the_label_it_tells_and_fusion_both(
    tmp_path: Path, archive: pd.DataFrame, carrier: str
) -> None:
    for segment in ("table", "report"):
        write_text(tmp_path / segment, archive, "calcification" if segment == carrier else None)
    rows = run(tmp_path)
    test = archive[archive["split"] == "test"]
    assert rows.groupby(["task", "method"]).size().to_dict() == {
        (f"fuse_{label}", method): len(test) for label in LABELS for method in FUSION_METHODS
    }
    assert rows["image_id"].isna().all()
    assert set(rows["breast_id"]) == set(test["breast_id"])
    malignant, calcification = (aucs(rows, archive, label) for label in LABELS)
    assert min(malignant["image"], malignant["fusion"], malignant["fusion_without_text"]) > 0.9
    assert min(calcification["text"], calcification["fusion"]) > 0.95
    assert max(malignant["text"], calcification["image"], calcification["fusion_without_text"]) < 0.75


def test_runs_where_some_breasts_have_no_report(tmp_path: Path, archive: pd.DataFrame) -> None:
    write_text(tmp_path / "table", archive, None)
    write_text(tmp_path / "report", archive[::2], None)
    assert aucs(run(tmp_path), archive, "malignant")["fusion"] > 0.9


def test_text_that_training_drops_is_not_learned(tmp_path: Path, archive: pd.DataFrame) -> None:
    for segment in ("table", "report"):
        write_text(tmp_path / segment, archive, "calcification")
    found = aucs(run(tmp_path, settings=SETTINGS.model_copy(update={"text_dropout": 0.9999})), archive, "calcification")
    assert found["text"] > 0.95  # a model of text alone drops none
    assert found["fusion"] < 0.75


def test_labels_of_the_test_split_are_never_read(tmp_path: Path, archive: pd.DataFrame) -> None:
    for segment in ("table", "report"):
        write_text(tmp_path / segment, archive, None)
    settings = SETTINGS.model_copy(update={"epochs": 2})
    run(tmp_path, "sealed", settings)
    file = tmp_path / "cohort" / "images.parquet"
    images = read_table(file, COHORT)
    images.loc[images["split"] == "test", LABELS] = True
    write_table(images, file, COHORT)
    run(tmp_path, "planted", settings)
    sealed, garbage = (tmp_path / name / "predictions.parquet" for name in ("sealed", "planted"))
    assert sealed.read_bytes() == garbage.read_bytes()


def test_a_label_of_one_grade_is_refused(tmp_path: Path, write_archive: Archive) -> None:
    write_archive(tmp_path, patients=30)
    with pytest.raises(InputError, match=r"fuse\.labels: calcification: expected training breasts with and without"):
        run(tmp_path)


def test_a_label_that_nobody_knows_is_refused(tmp_path: Path, write_archive: Archive) -> None:
    write_archive(tmp_path, patients=30)
    file = tmp_path / "cohort" / "images.parquet"
    write_table(read_table(file, COHORT).assign(calcification=None), file, COHORT)
    with pytest.raises(InputError, match=r"fuse\.labels: calcification: .* found 0 and 0"):
        run(tmp_path)


def test_a_cohort_without_validation_breasts_is_refused(tmp_path: Path, archive: pd.DataFrame) -> None:
    file = tmp_path / "cohort" / "images.parquet"
    images = read_table(file, COHORT)
    write_table(images[images["split"] != "validation"], file, COHORT)
    with pytest.raises(InputError, match=r"fuse\.cohort: cohort: expected labelled validation breasts, found none"):
        run(tmp_path)


def test_a_method_does_not_depend_on_what_it_does_not_see() -> None:
    torch.manual_seed(0)
    count, model = BATCH + 3, CoAttentionClassifier((4, 8), (5, 2), 2, 16)
    torch.nn.init.normal_(model.text.null)

    def bank(rows: int, tokens: int, width: int) -> Tokens:
        present = (torch.arange(rows) > 0)[:, None].repeat(1, tokens)
        return Tokens(torch.randn(rows, tokens, width), present, torch.zeros(rows, tokens, dtype=torch.long))

    banks = Banks(bank(2 * count + 1, 2, 4), bank(3, 3, 5), bank(3, 6, 5))
    image, rows = 1 + torch.arange(2 * count).view(count, 2), torch.arange(count)[:, None]
    ids = pd.DataFrame(index=range(count))
    told, mute = (Breasts(ids, image, rows % k, rows % k) for k in (3, 1))
    others = told._replace(image=image.flip(0))
    np.testing.assert_array_equal(*(probabilities(model, b, banks, IMAGE) for b in (told, mute)))
    np.testing.assert_array_equal(*(probabilities(model, b, banks, TEXT) for b in (told, others)))
    both, withheld = (probabilities(model, told, banks, sees) for sees in (BOTH, IMAGE))
    missing = (rows % 3 == 0).flatten().numpy()
    np.testing.assert_allclose(both[missing], withheld[missing], rtol=1e-5)
    assert not np.isclose(both[~missing], withheld[~missing]).any()


def test_unknown_labels_count_for_nothing_in_loss_and_selection() -> None:
    nan = float("nan")
    target = torch.tensor([[1.0, nan], [0.0, 1.0], [nan, 0.0]])
    logits, weight = torch.tensor([[0.3, 9.0], [-1.0, 0.5], [7.0, 2.0]]), torch.tensor([2.0, 3.0])
    by_hand = [2 * np.log1p(np.exp(-0.3)), np.log1p(np.exp(-1.0)), 3 * np.log1p(np.exp(-0.5)), np.log1p(np.exp(2.0))]
    assert label_loss(logits, target, weight).item() == pytest.approx(np.mean(by_hand), rel=1e-6)
    scores = np.array([[0.9, 0.1], [0.2, 0.4], [0.0, 0.6], [0.1, 0.5]])
    grades = np.array([[1, nan], [0, 1.0], [nan, 0], [1, 0]])
    assert mean_auc(grades, scores) == 0.25  # (1/2 + 0) / 2
    assert mean_auc(np.array([[1, nan], [0, 1.0], [nan, 1], [1, 1]]), scores) == 0.5
    assert mean_auc(np.ones((4, 2)), scores) is None
