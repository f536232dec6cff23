"""Every cheat that is known of this field's evaluation code, tried here: each is refused, or a check finds it.

What the checks themselves prove is tested where they are; here somebody turns each of them round.
"""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.cohorts.manifest import write_manifests
from pipeline.downstream import features as features_module
from pipeline.downstream import probe as probe_module
from pipeline.downstream.features import embed
from pipeline.downstream.labels import read_images
from pipeline.downstream.probe import probe
from pipeline.errors import InputError
from pipeline.models.two_tower import load_model
from pipeline.params import read_params
from pipeline.tables import COHORT, read_table, write_table
from tests import test_dvc_graph as graph
from tests.downstream.test_features import BATCH, CPU
from tests.downstream.test_probe import MASS, SETTINGS

ROOT = Path(__file__).resolve().parents[2]
Write = Callable[..., pd.DataFrame]


def test_a_patient_in_training_and_test_is_refused_by_every_task(tmp_path: Path, write_archive: Write) -> None:
    """Overlap: `filter` cannot make such a table; whoever edits one gets no further."""
    write_archive(tmp_path)
    file = tmp_path / "cohort/images.parquet"
    images = read_table(file, COHORT)
    moved = images["patient_id"] == images.loc[images["split"] == "test", "patient_id"].iloc[0]
    images.loc[images[moved].index[:1], "split"] = "train"
    write_table(images, file, COHORT)
    with pytest.raises(InputError, match="1 patients are in two splits"):
        read_images(tmp_path / "cohort")
    archives = read_params(ROOT).profile.archives
    with pytest.raises(InputError, match="1 patients are in two splits"):
        write_manifests(tmp_path, ["cohort"], {"cohort": archives["screening"]}, tmp_path / "splits")


LEARNING = ["probe", "probe_baseline", "finetune", "risk", "fuse", "zero_shot", "forgetting", "embed", "pretrain"]
# The label column itself, and the reports that tell BI-RADS and findings: retrieval reads these, to rank them.
LABELS = [
    *("data/sealed/vindr", "data/sealed", "data/raw/${item.cohort}", "data/catalog/${item.cohort}"),
    *("data/catalog/vindr", "data/annotations/vindr/test.parquet", "data/annotations/${item.cohort}"),
    *("data/annotations/${item.cohort}/test.parquet", "data/reports/evaluate", "data/text/evaluate"),
]


@pytest.mark.parametrize("dep", LABELS)
@pytest.mark.parametrize("stage", LEARNING)
def test_a_stage_that_reads_labels_of_test_patients_is_found(
    monkeypatch: pytest.MonkeyPatch, stage: str, dep: str
) -> None:
    if (stage, dep) == ("forgetting", "data/text/evaluate"):
        pytest.skip("asks the fine-tuned model for these reports, as retrieve does")
    cheating = copy.deepcopy(graph.DAG)
    cheating[stage].get("do", cheating[stage])["deps"].append(dep)
    monkeypatch.setattr(graph, "DAG", cheating)
    assert any(graph.readers(path) != allowed for path, allowed in graph.TEST_LABELS.items())


def used_rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[np.ndarray, pd.DataFrame]]:
    """The training rows of every fit of a probe, with the patients they belong to."""
    seen = []
    original = probe_module._fit

    def spy(images: probe_module.ProbeImages, rows: np.ndarray, *others: object) -> object:
        seen.append((rows, images.train))
        return original(images, rows, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(probe_module, "_fit", spy)
    (folder / "features").rename(folder / "small")
    probe(
        "mass",
        MASS.model_copy(update={"score_on": []}),
        folder / "cohort",
        {"pretrained": folder},
        SETTINGS,
        "resnet34",
        7,
        folder / "out",
    )
    return seen


def whole_patients(rows: np.ndarray, train: pd.DataFrame) -> bool:
    """Whether every patient's rows are all used, or none."""
    used = pd.Series(rows).groupby(train["patient_id"].to_numpy()).mean()
    return bool(used.isin([0.0, 1.0]).all())


def test_fractions_by_image_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_archive: Write) -> None:
    write_archive(tmp_path)
    fits = used_rows(tmp_path, monkeypatch)
    assert len(fits) == len(SETTINGS.fractions) * len(SETTINGS.seeds)
    assert all(whole_patients(*fit) for fit in fits)
    generator = np.random.default_rng(0)
    by_image = [(generator.random(len(rows)) < rows.mean(), train) for rows, train in fits if not rows.all()]
    assert by_image and not any(whole_patients(*fit) for fit in by_image)


def test_batch_norm_in_training_mode_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_archive: Write, write_shards: Write, write_model: Write
) -> None:
    """As in a linear probe whose encoder was frozen by its gradients alone."""
    write_shards(tmp_path / "shards", write_archive(tmp_path, patients=8))
    write_model(tmp_path / "model")

    def left_in_training(folder: Path) -> object:
        model, config = load_model(folder)
        monkeypatch.setattr(model, "eval", model.train)
        return model.train(), config

    embed(tmp_path / "shards", tmp_path / "model", tmp_path / "frozen", BATCH, CPU)
    monkeypatch.setattr(features_module, "load_model", left_in_training)
    with pytest.raises(ValueError, match=r"running_mean changed while images were embedded"):
        embed(tmp_path / "shards", tmp_path / "model", tmp_path / "drifting", BATCH, CPU)
    assert not (tmp_path / "drifting/features.parquet").exists()
