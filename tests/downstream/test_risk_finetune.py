"""Fine-tuned risk starts where the frozen model does, trains the encoder, and never sees test follow-up."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.downstream import risk_finetune as module
from pipeline.downstream import risk_models
from pipeline.downstream.feature_table import read_features
from pipeline.downstream.features import embed
from pipeline.downstream.risk import risk
from pipeline.downstream.risk_finetune import TunedRisk, Tuning
from pipeline.downstream.risk_models import ExamRisk
from pipeline.downstream.units import Units
from pipeline.models.two_tower import load_model
from pipeline.sections import Compute, Risk
from pipeline.tables import COHORT, PREDICTIONS, read_table, write_table
from tests.downstream.risk_section import FROZEN, PROFILE

Write = Callable[..., pd.DataFrame]
CPU = Compute(device="cpu", precision="fp32", workers=1, backend="local", processes=1)
SETTINGS = FROZEN.model_copy(update={"encoder": "finetuned", "epochs": 1, "learning_rate": 1e-12})


@pytest.fixture
def folder(tmp_path: Path, write_archive: Write, write_shards: Write, write_model: Write) -> Path:
    """30 patients; the later half has an exam a year before, too, whose images lie in the shards."""
    images = write_archive(tmp_path, patients=30)
    earlier = images[images["patient_id"] > "small-p014"].copy()
    for name in ("exam_id", "breast_id", "image_id"):
        earlier[name] = earlier[name].str.replace("-e0", "-e9")
    both = pd.concat([images.assign(exam_day=400), earlier.assign(exam_day=0)], ignore_index=True)
    labels = ["mass", "calcification", "malignant", "density", "birads", "years_to_cancer", "years_followed"]
    sealed = both.astype({name: object for name in labels})
    sealed.loc[sealed["split"] == "test", labels] = None
    write_table(sealed, tmp_path / "cohort" / "images.parquet", COHORT)
    write_shards(tmp_path / "shards", both.assign(mass=both["years_to_cancer"].notna()))
    write_model(tmp_path / "model")
    embed(tmp_path / "shards", tmp_path / "model", tmp_path / "features", {"default": 16}, CPU)
    return tmp_path


def run(folder: Path, name: str, rate: float, most: int = 64, settings: Risk = SETTINGS) -> pd.DataFrame:
    update = {"finetune_learning_rate": rate, "finetune_batch": {"default": most}}
    downstream = PROFILE.downstream.model_copy(update=update)
    tuning = Tuning(folder / "shards", folder / "model", downstream, PROFILE.augment, CPU)
    risk(folder / "cohort", folder / "features", tuning, settings, 3, folder / name)
    return read_table(folder / name / "predictions.parquet", PREDICTIONS)


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> list[TunedRisk]:
    """Every model that is fine-tuned."""
    models: list[TunedRisk] = []

    class Kept(TunedRisk):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            models.append(self)

    monkeypatch.setattr(module, "TunedRisk", Kept)
    return models


def test_before_it_learns_it_is_the_frozen_model_on_features_of_one_scale(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_one_scale(train: Units, *others: Units) -> tuple[Units, ...]:
        known = train.slots.images[train.slots.present].numpy()
        mean, deviation = known.mean(axis=0), np.sqrt(known.var(axis=0).mean())
        return tuple(
            units._replace(slots=units.slots._replace(images=(units.slots.images - mean) / deviation))
            for units in (train, *others)
        )

    monkeypatch.setattr(risk_models, "standardised", of_one_scale)
    frozen = run(folder, "frozen", rate=1e-12, settings=SETTINGS.model_copy(update={"encoder": "frozen"}))
    pd.testing.assert_frame_equal(run(folder, "finetuned", rate=1e-12), frozen, atol=2e-6, rtol=0)
    assert frozen["score"].nunique() > 50


def test_the_encoder_learns_and_batch_norm_keeps_its_statistics(folder: Path, tuned: list[TunedRisk]) -> None:
    run(folder, "out", rate=3e-3)
    before = load_model(folder / "model")[0].image.encoder.state_dict()
    assert len(tuned) == 2
    for model in tuned:
        after = model.encoder.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before if "running" in name)
        convolutions = [name for name in before if "conv" in name and name.endswith("weight")]
        assert all(not torch.equal(before[name], after[name]) for name in convolutions)


def test_a_sign_in_the_images_is_learned(folder: Path, write_archive: Write) -> None:
    truth = write_archive(folder / "again", patients=30).drop_duplicates("exam_id").set_index("exam_id")
    rows = run(folder, "out", rate=1e-3, settings=SETTINGS.model_copy(update={"epochs": 6}))
    for method in ("exam", "view"):
        last = rows[(rows["method"] == method) & (rows["horizon_years"] == 5)].set_index("exam_id")["score"]
        has_cancer = truth.loc[truth["split"] == "test", "years_to_cancer"].notna()
        assert last[has_cancer.index[has_cancer]].min() > last[has_cancer.index[~has_cancer]].max()


def test_the_epoch_is_chosen_by_the_validation_exams(
    folder: Path, tuned: list[TunedRisk], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, seen = iter([0.4, 0.9, 0.6] * 2), []

    def planned(exams: pd.DataFrame, risks: pd.DataFrame) -> float:
        assert set(risks.index) == set(exams.index[exams["split"] == "validation"])
        seen.append(copy.deepcopy(tuned[-1].state_dict()))
        return next(given)

    monkeypatch.setattr(module, "validation_concordance", planned)
    run(folder, "out", rate=3e-3, settings=SETTINGS.model_copy(update={"epochs": 3}))
    for model, states in zip(tuned, (seen[:3], seen[3:]), strict=True):
        kept = model.state_dict()
        assert [all(torch.equal(kept[n], state[n]) for n in kept) for state in states] == [False, True, False]


def test_follow_up_of_the_test_split_is_never_read_and_the_file_is_the_same_twice(folder: Path) -> None:
    run(folder, "sealed", rate=3e-3)
    file = folder / "cohort" / "images.parquet"
    images = read_table(file, COHORT)
    images.loc[images["split"] == "test", ["years_to_cancer", "years_followed"]] = [1.0, 1.0]
    write_table(images, file, COHORT)
    run(folder, "planted", rate=3e-3)
    sealed, garbage = (folder / name / "predictions.parquet" for name in ("sealed", "planted"))
    assert sealed.read_bytes() == garbage.read_bytes()


def test_images_in_parts_give_the_features_and_gradients_of_all_at_once(folder: Path) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (7, 1, 64, 64), dtype=np.uint8))
    found = []
    for most in (7, 3):
        encoder = load_model(folder / "model")[0].image.encoder.double().eval()
        frozen = torch.from_numpy(np.stack(read_features(folder / "features")["backbone"]))
        model = TunedRisk(encoder, ExamRisk(frozen.shape[1], 5), frozen, most)
        features = model.features(images)
        features.square().sum().backward()
        found.append((features.detach(), [part.grad for part in encoder.parameters()]))
    torch.testing.assert_close(found[0], found[1])
    assert all(grad is not None and grad.abs().sum() > 0 for grad in found[0][1])


def test_images_are_pooled_in_float32_under_autocast(folder: Path) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 1, 64, 64), dtype=np.uint8))
    encoder = load_model(folder / "model")[0].image.encoder.eval()
    frozen = torch.from_numpy(np.stack(read_features(folder / "features")["backbone"]))
    model = TunedRisk(encoder, ExamRisk(frozen.shape[1], 5), frozen, most=3)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        features, found = encoder(images), model.features(images)
    assert features.dtype == torch.bfloat16
    assert torch.equal(found, (features.float().mean(dim=(2, 3)) - model.mean) / model.deviation)
