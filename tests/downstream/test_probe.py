"""Probes: every row that is due, learning where there is signal, and no look at the test labels."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pipeline.downstream.feature_table import read_features
from pipeline.downstream.fit import Schedule
from pipeline.downstream.head import class_weights, train_linear_head
from pipeline.downstream.probe import probe
from pipeline.errors import InputError
from pipeline.sections import Probe, Task
from pipeline.tables import COHORT, FEATURES, PREDICTIONS, read_table, write_table

SETTINGS = Probe(
    fractions=[0.1, 0.5, 1.0],
    seeds=[0, 1],
    c_grid=[0.01, 0.1, 1.0],
    paper_epochs=3,
    paper_learning_rate=5e-3,
    paper_batch={"default": 16},
)
MASS = Task(cohort="small", label="mass", unit="image", kind="binary", score_on=["other"])
DENSITY = Task(cohort="small", label="density", unit="image", kind="ordinal", score_on=["other"])
OTHERS: tuple[list[str], ...] = ([], ["other"], ["third", "other"])
WriteArchive = Callable[..., pd.DataFrame]


def run(folder: Path, task: Task, name: str = "out", settings: Probe = SETTINGS) -> pd.DataFrame:
    features = {encoder: folder / "features" / encoder for encoder in ("pretrained", "initial")}
    probe("mass_small", task, folder / "own" / "cohort", features, settings, "resnet34", 7, folder / name)
    return read_table(folder / name / "predictions.parquet", PREDICTIONS)


@pytest.fixture
def truth(tmp_path: Path, write_archive: WriteArchive) -> pd.DataFrame:
    """Of the cohort `small`; there is `other`, too, whose images look alike to both encoders, and `third`."""
    write_archive(tmp_path / "initial", signal=0.0)
    known = write_archive(tmp_path / "own")
    for encoder, own in (("pretrained", "own"), ("initial", "initial")):
        shutil.copytree(tmp_path / own / "features", tmp_path / "features" / encoder / "small")
        for seed, cohort in enumerate(("other", "third"), start=5):
            write_archive(tmp_path / cohort, cohort=cohort, patients=24, seed=seed)
            shutil.move(tmp_path / cohort / "features", tmp_path / "features" / encoder / cohort)
    return known


def test_every_row_that_is_due(tmp_path: Path, truth: pd.DataFrame) -> None:
    rows = run(tmp_path, MASS)
    keys = ["method", "encoder", "fraction", "seed", "split"]
    counts = rows.groupby(keys).size()
    assert len(counts) == 2 * 2 * 3 * 2 * 3
    splits = truth["split"].value_counts()
    assert set(counts.xs("test", level="split")) == {splits["test"]}
    assert set(counts.xs("validation", level="split")) == {splits["validation"]}
    assert rows.loc[rows["split"] == "transfer_other", "image_id"].str.startswith("other").all()
    assert rows["image_id"].notna().all()
    assert not rows.duplicated([*keys, "image_id"]).any()


def test_every_cohort_of_score_on_is_scored_and_changes_no_other_score(tmp_path: Path, truth: pd.DataFrame) -> None:
    rows = {len(others): run(tmp_path, MASS.model_copy(update={"score_on": others})) for others in OTHERS}
    assert set(rows[0]["split"]) == {"validation", "test"}
    assert set(rows[2]["split"]) == {"validation", "test", "transfer_third", "transfer_other"}
    assert rows[2].loc[rows[2]["split"] == "transfer_third", "image_id"].str.startswith("third").all()
    for fewer in (0, 1):
        kept = rows[2][rows[2]["split"].isin(rows[fewer]["split"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(kept, rows[fewer])


@pytest.mark.parametrize("method", ["lp", "lp_paper"])
def test_ranks_held_out_images_where_the_features_carry_the_label(
    tmp_path: Path, truth: pd.DataFrame, method: str
) -> None:
    rows = run(tmp_path, MASS).merge(truth[["image_id", "mass"]], on="image_id")
    rows = rows[
        (rows["split"] == "test") & (rows["method"] == method) & (rows["fraction"] == 1.0) & (rows["seed"] == 0)
    ]
    aucs = {e: roc_auc_score(r["mass"].astype(bool), r["score"]) for e, r in rows.groupby("encoder")}
    assert aucs["pretrained"] > 0.88
    assert aucs["initial"] < 0.75


@pytest.mark.parametrize("signal", [0.5, 1.4])
def test_reaches_the_best_possible_auc_of_a_planted_signal(
    tmp_path: Path, write_archive: WriteArchive, signal: float
) -> None:
    """Feature 0 is the label times `signal` plus unit noise: the best score there is, of AUC Phi(signal / sqrt 2)."""
    truth = write_archive(tmp_path, patients=1200, width=32, signal=signal)
    settings = SETTINGS.model_copy(
        update={"fractions": [1.0], "seeds": [0], "paper_epochs": 30, "paper_batch": {"default": 96}}
    )
    shutil.move(tmp_path / "features", tmp_path / "small")
    task = MASS.model_copy(update={"score_on": []})
    probe("mass_small", task, tmp_path / "cohort", {"pretrained": tmp_path}, settings, "resnet34", 7, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "predictions.parquet", PREDICTIONS)
    rows = rows[rows["split"] == "test"].merge(truth[["image_id", "mass"]], on="image_id")
    features = read_features(tmp_path / "small").set_index("image_id")["backbone"]
    for method, scored in rows.groupby("method"):
        labels = scored["mass"].astype(bool)
        best = roc_auc_score(labels, [vector[0] for vector in features.loc[scored["image_id"]]])
        assert best == pytest.approx(norm.cdf(signal / 2**0.5), abs=0.03)
        assert roc_auc_score(labels, scored["score"]) == pytest.approx(best, abs=0.03), method


def test_ordinal_score_is_the_expected_grade(tmp_path: Path, truth: pd.DataFrame) -> None:
    rows = run(tmp_path, DENSITY).merge(truth[["image_id", "density"]], on="image_id")
    best = rows[(rows["split"] == "test") & (rows["encoder"] == "pretrained") & (rows["fraction"] == 1.0)]
    assert best["score"].between(0, 3).all()
    means = best[best["method"] == "lp"].groupby("density")["score"].mean()
    np.testing.assert_allclose(means.loc[list("ABCD")], [0, 1, 2, 3], atol=0.45)


def test_labels_of_the_test_split_are_never_read(tmp_path: Path, truth: pd.DataFrame) -> None:
    run(tmp_path, MASS, "sealed")
    file = tmp_path / "own" / "cohort" / "images.parquet"
    images = read_table(file, COHORT)
    planted = images["split"] == "test"
    images.loc[planted, "mass"] = ~truth.set_index("image_id").loc[images["image_id"], "mass"].to_numpy(bool)[planted]
    write_table(images, file, COHORT)
    run(tmp_path, MASS, "planted")
    sealed, garbage = (tmp_path / name / "predictions.parquet" for name in ("sealed", "planted"))
    assert sealed.read_bytes() == garbage.read_bytes()


def test_unknown_labels_are_left_out(tmp_path: Path, truth: pd.DataFrame) -> None:
    file = tmp_path / "own" / "cohort" / "images.parquet"
    images = read_table(file, COHORT)
    unknown = images.loc[images["split"] == "validation", "image_id"].iloc[0]
    images.loc[images["image_id"] == unknown, "mass"] = None
    write_table(images, file, COHORT)
    rows = run(tmp_path, MASS)
    assert unknown not in set(rows["image_id"])


def test_one_grade_only_warns_and_gives_no_rows(
    tmp_path: Path, truth: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Task(cohort="small", label="calcification", unit="image", kind="binary", score_on=["other"])
    assert run(tmp_path, task).empty
    assert "mass_small: one grade only, fraction 0.1, seed 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("split", "known", "found"),
    [("validation", "mass", "labelled validation"), ("train", "mass", "labelled training"), ("test", None, "test")],
)
def test_a_task_without_images_of_a_split_is_named(
    tmp_path: Path, truth: pd.DataFrame, split: str, known: str | None, found: str
) -> None:
    file, features = tmp_path / "own/cohort/images.parquet", tmp_path / "features"
    images = read_table(file, COHORT)
    if known:
        images.loc[images["split"] == split, known] = None
        write_table(images, file, COHORT)
    else:
        for kept in features.glob("*/small/features.parquet"):
            rows = read_table(kept, FEATURES)
            write_table(rows[rows["split"] != split], kept, FEATURES)
    with pytest.raises(InputError, match=f"tasks.mass_small: cohort small: .* found no {found} image; take another"):
        run(tmp_path, MASS)


def test_validation_images_of_one_grade_are_told(
    tmp_path: Path, truth: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own" / "cohort" / "images.parquet"
    images = read_table(file, COHORT)
    images.loc[images["split"] == "validation", "mass"] = False
    write_table(images, file, COHORT)
    assert not run(tmp_path, MASS).empty
    assert capsys.readouterr().err.count("warning: mass_small: validation images of one grade") == 1


def test_fractions_that_would_share_a_name_are_refused(tmp_path: Path, truth: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"probe\.fractions: expected whole percentages .* found 0.014"):
        run(tmp_path, MASS, settings=SETTINGS.model_copy(update={"fractions": [0.01, 0.014, 1.0]}))


def test_at_the_whole_fraction_lp_does_not_depend_on_the_seed(tmp_path: Path, truth: pd.DataFrame) -> None:
    rows = run(tmp_path, MASS)
    whole = rows[(rows["method"] == "lp") & (rows["fraction"] == 1.0) & (rows["encoder"] == "pretrained")]
    scores = whole.pivot_table(index=["split", "image_id"], columns="seed", values="score")
    assert (scores[0] == scores[1]).all()
    half = rows[(rows["method"] == "lp") & (rows["fraction"] == 0.5) & (rows["encoder"] == "pretrained")]
    scores = half.pivot_table(index=["split", "image_id"], columns="seed", values="score")
    assert not (scores[0] == scores[1]).all()


def test_class_weights_by_hand() -> None:
    weights = class_weights(torch.tensor([0, 0, 0, 1]))
    torch.testing.assert_close(weights, torch.tensor([4 / 6, 2.0]))
    with pytest.raises(ValueError, match=r"\[1, 0, 1\]"):
        class_weights(torch.tensor([0, 2]))


def test_the_head_of_the_best_validation_epoch_is_kept() -> None:
    generator = np.random.default_rng(0)
    features, classes = generator.normal(size=(30, 4)).astype(np.float32), np.arange(30) % 2
    seen: list[torch.Tensor] = []
    scores = iter([0.2, 0.9, 0.9, 0.1])

    def score(head: torch.nn.Linear) -> float:
        seen.append(head.weight.detach().clone())
        return next(scores)

    head = train_linear_head(features, classes, score, Schedule(4, 8, 0.1), 0)
    torch.testing.assert_close(head.weight.detach(), seen[1])
    assert not torch.equal(seen[1], seen[2])
