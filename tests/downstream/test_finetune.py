"""Fine-tuning learns on shards, keeps batch-norm statistics, and never sees the labels of the test split."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from pipeline.downstream import finetune as module
from pipeline.downstream.classifier import image_scores, load_classifier, scores_and_features
from pipeline.downstream.feature_table import feature_matrix, read_features
from pipeline.downstream.finetune import finetune
from pipeline.downstream.transfer import transfer
from pipeline.errors import InputError
from pipeline.models.two_tower import load_model
from pipeline.params import read_params
from pipeline.sections import Compute, Finetune, Task
from pipeline.shards.read import ShardImages, index_shards
from pipeline.tables import COHORT, PREDICTIONS, SHARD, read_table, write_table

Write = Callable[..., pd.DataFrame]
ROOT = Path(__file__).resolve().parents[2]
PROFILE = read_params(ROOT).profile
MASS = Task(cohort="small", label="mass", unit="image", kind="binary", score_on=["other"])
DENSITY = Task(cohort="small", label="density", unit="image", kind="ordinal", score_on=["other"])
SETTINGS = Finetune(tasks=["mass_small"], seed=4, learning_rate=3e-3)
CPU = Compute(device="cpu", precision="fp32", workers=1, backend="local", processes=1)


def run(
    folder: Path,
    name: str = "out",
    task: Task = MASS,
    epochs: int = 1,
    compute: Compute = CPU,
    settings: Finetune = SETTINGS,
) -> pd.DataFrame:
    downstream = PROFILE.downstream.model_copy(update={"finetune_epochs": {"default": 9, "test_efficientnet": epochs}})
    finetune(
        "mass_small",
        task,
        folder / "cohort",
        folder / "shards",
        folder / "model",
        settings,
        downstream,
        PROFILE.augment,
        compute,
        folder / name,
        folder / name / "features",
        folder / name / "model",
    )
    return read_table(folder / name / "predictions.parquet", PREDICTIONS)


@pytest.fixture
def folder(tmp_path: Path, write_archive: Write, write_shards: Write, write_model: Write) -> Path:
    write_shards(tmp_path / "shards", write_archive(tmp_path, patients=40))
    write_model(tmp_path / "model")
    return tmp_path


def test_learns_and_scores_validation_and_test(folder: Path, write_archive: Write) -> None:
    truth = write_archive(folder / "again", patients=40)
    rows = run(folder, epochs=8).merge(truth[["image_id", "mass", "split"]], on="image_id", suffixes=("", "_true"))
    assert (rows["split"] == rows["split_true"]).all()
    assert rows["split"].value_counts().to_dict() == {"test": 44, "validation": 32}
    assert rows[["task", "method", "encoder", "fraction", "seed"]].drop_duplicates().to_numpy().tolist() == [
        ["mass_small", "ft", "pretrained", 1.0, 4]
    ]
    test = rows[rows["split"] == "test"]
    assert roc_auc_score(test["mass"].astype(bool), test["score"]) > 0.9


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `_start` gave: classifier, tower and schedule, once per fine-tuning."""
    found: list[Any] = []
    original = module._start

    def spy(*arguments: object) -> object:
        found.append(original(*arguments))
        return found[-1]

    monkeypatch.setattr(module, "_start", spy)
    return found


def test_batch_norm_keeps_its_statistics_while_weights_learn(folder: Path, started: list[Any]) -> None:
    run(folder)
    before, after = load_model(folder / "model")[0].image.encoder.state_dict(), started[0][0].encoder.state_dict()
    statistics = [name for name in before if "running" in name]
    assert statistics
    assert all(torch.equal(before[name], after[name]) for name in statistics)
    assert any(not torch.equal(before[name], after[name]) for name in before if name.endswith("weight"))


def test_features_are_of_the_fine_tuned_encoder_under_the_tr_module_of_pretraining(
    folder: Path, started: list[Any]
) -> None:
    run(folder)
    features = read_features(folder / "out/features")
    index = index_shards(folder / "shards", ["test"]).sort_values("image_id", ignore_index=True)
    assert features["image_id"].tolist() == index["image_id"].tolist()
    pixels = torch.from_numpy(ShardImages(folder / "shards").read(index))[:, None]
    model = load_model(folder / "model")[0]
    with torch.inference_mode():
        before = model.image(pixels)
        model.image.encoder.load_state_dict(started[0][0].encoder.state_dict())
        after = model.image(pixels)
    for column in ("backbone", "embedding"):
        np.testing.assert_allclose(feature_matrix(features, column), getattr(after, column), atol=1e-5)
        assert not np.allclose(feature_matrix(features, column), getattr(before, column), atol=1e-2)


def test_one_pass_for_both_scores_as_the_classifier_does(folder: Path, started: list[Any]) -> None:
    run(folder)
    classifier, tower, _ = started[0]
    images, rows = ShardImages(folder / "shards"), index_shards(folder / "shards", ["validation"])
    alone = image_scores(classifier, images, rows, 5, CPU)
    both, features = scores_and_features(classifier, tower, images, rows, 5, CPU)
    assert np.array_equal(alone, both)
    assert features["image_id"].tolist() == rows["image_id"].tolist()


def run_transfer(folder: Path, task: Task) -> pd.DataFrame:
    out = folder / "transferred"
    transfer("mass_small", task, folder / "out/model", folder / "all", SETTINGS, {"default": 16}, CPU, out)
    return read_table(out / "predictions.parquet", PREDICTIONS)


@pytest.fixture
def elsewhere(folder: Path, write_archive: Write, write_shards: Write) -> pd.DataFrame:
    """The labels of a cohort that fine-tuning never saw; its shards, and those of `small`, lie in `all`."""
    images = write_archive(folder / "other", cohort="other", patients=30, seed=3)
    write_shards(folder / "all/other", images)
    (folder / "shards").rename(folder / "all/small")
    (folder / "shards").symlink_to(folder / "all/small")
    return images


def test_the_saved_classifier_scores_its_own_test_images_as_fine_tuning_did(folder: Path, elsewhere: object) -> None:
    rows = run(folder)
    model, config = load_classifier(folder / "out/model") or pytest.fail("no classifier")
    assert config.grades == model.grades == [0, 1]
    images = index_shards(folder / "shards", ["test"])
    again = pd.Series(image_scores(model, ShardImages(folder / "shards"), images, 5, CPU), images["image_id"])
    scored = rows[rows["split"] == "test"].set_index("image_id")["score"]
    np.testing.assert_allclose(again.loc[scored.index], scored, atol=1e-5)


def test_a_fine_tuned_model_is_scored_on_the_test_images_of_other_cohorts(folder: Path, elsewhere: Any) -> None:
    run(folder, epochs=8)
    rows = run_transfer(folder, MASS)
    origins = rows[["task", "method", "encoder", "fraction", "seed", "split"]].drop_duplicates()
    assert origins.to_numpy().tolist() == [["mass_small", "ft", "pretrained", 1.0, 4, "transfer_other"]]
    truth = elsewhere[elsewhere["split"] == "test"].set_index("image_id")["mass"].astype(bool)
    assert sorted(rows["image_id"]) == sorted(truth.index)
    assert roc_auc_score(truth.loc[rows["image_id"]], rows["score"]) > 0.9
    assert run_transfer(folder, MASS.model_copy(update={"score_on": []})).empty


def test_a_task_that_was_not_fine_tuned_is_scored_nowhere(folder: Path, elsewhere: object) -> None:
    run(folder, settings=SETTINGS.model_copy(update={"tasks": []}))
    assert load_classifier(folder / "out/model") is None
    assert run_transfer(folder, MASS).empty


def test_weights_of_another_classifier_are_refused(folder: Path, elsewhere: object) -> None:
    run(folder)
    config = folder / "out/model/config.json"
    config.write_text(config.read_text().replace("[\n    0,\n    1\n  ]", "[0, 1, 2]"))
    with pytest.raises(InputError, match=r"model\.safetensors: not the weights of config\.json beside it"):
        run_transfer(folder, MASS)


def test_a_model_without_tr_module_has_no_embedding(folder: Path, write_model: Write) -> None:
    write_model(folder / "model", method="none")
    run(folder)
    features = read_features(folder / "out/features")
    assert features["embedding"].isna().all() and features["backbone"].notna().all()


def test_a_task_that_is_not_listed_is_not_fine_tuned(folder: Path, started: list[Any]) -> None:
    rows = run(folder, settings=SETTINGS.model_copy(update={"tasks": ["mass_other"]}))
    assert rows.empty and not started
    assert read_features(folder / "out/features").empty


def test_labels_of_the_test_split_are_never_read_and_the_file_is_the_same_twice(folder: Path) -> None:
    run(folder, "sealed")
    file = folder / "cohort" / "images.parquet"
    images = read_table(file, COHORT)
    images.loc[images["split"] == "test", "mass"] = True
    write_table(images, file, COHORT)
    run(folder, "planted")
    for file in ("predictions.parquet", "features/features.parquet", "model/model.safetensors"):
        assert (folder / "sealed" / file).read_bytes() == (folder / "planted" / file).read_bytes()


def test_ordinal_scores_are_expected_grades(folder: Path) -> None:
    assert run(folder, task=DENSITY)["score"].between(0, 3).all()


def test_one_grade_only_warns_and_gives_no_rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = MASS.model_copy(update={"label": "calcification"})
    assert run(folder, task=task).empty
    assert read_features(folder / "out/features").empty
    assert "mass_small: one grade only" in capsys.readouterr().err


def test_a_task_without_labelled_validation_images_is_named(folder: Path) -> None:
    file = folder / "cohort" / "images.parquet"
    images = read_table(file, COHORT)
    images.loc[images["split"] == "validation", "mass"] = None
    write_table(images, file, COHORT)
    with pytest.raises(InputError, match=r"tasks\.mass_small: cohort small: .* found no labelled validation image"):
        run(folder)


def test_a_cohort_without_test_images_is_not_transferred_to(folder: Path, elsewhere: object) -> None:
    run(folder)
    (folder / "all/third").mkdir()
    for shard in (folder / "all/other").glob("shard-*.parquet"):
        rows = read_table(shard, SHARD)
        rows["image_id"] = rows["image_id"].str.replace("other", "third")
        write_table(rows.assign(split="train"), folder / "all/third" / shard.name, SHARD)
    with pytest.raises(InputError, match=r"tasks\.mass_small: cohort third: expected test images, found no test image"):
        run_transfer(folder, MASS.model_copy(update={"score_on": ["third"]}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_profile_without_a_gpu_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"compute\.device is cuda, found no usable GPU"):
        run(folder, compute=CPU.model_copy(update={"device": "cuda"}))
