"""Frozen features do not depend on the batch, are of the model in evaluation mode, and are byte-stable."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.downstream.feature_table import feature_matrix, read_features
from pipeline.downstream.features import embed
from pipeline.errors import InputError
from pipeline.models.two_tower import load_model
from pipeline.sections import Compute
from pipeline.shards.read import ShardImages, index_shards
from pipeline.tables import SPLITS

Write = Callable[..., pd.DataFrame]
CPU = Compute(device="cpu", precision="fp32", workers=1, backend="local", processes=1)
BATCH = {"default": 7}


@pytest.fixture
def folder(tmp_path: Path, write_archive: Write, write_shards: Write, write_model: Write) -> Path:
    images = write_archive(tmp_path, patients=8)
    write_shards(tmp_path / "shards", images.sample(frac=1, random_state=0))
    write_model(tmp_path / "pretrained")
    write_model(tmp_path / "initial", method="none")
    return tmp_path


def test_equal_for_every_batch_size_and_to_the_model_by_hand(folder: Path) -> None:
    embed(folder / "shards", folder / "pretrained", folder / "seven", BATCH, CPU)
    embed(folder / "shards", folder / "pretrained", folder / "one", {"default": 3, "test_efficientnet": 1}, CPU)
    seven, one = read_features(folder / "seven"), read_features(folder / "one")
    assert seven["image_id"].is_monotonic_increasing
    assert len(seven) == 32
    assert set(seven["split"]) == set(SPLITS)
    pd.testing.assert_frame_equal(seven.drop(columns=["backbone", "embedding"]), one[seven.columns[:-2]])
    for column in ("backbone", "embedding"):
        np.testing.assert_allclose(feature_matrix(seven, column), feature_matrix(one, column), atol=1e-5)
    index = index_shards(folder / "shards", SPLITS)
    pixels = torch.from_numpy(ShardImages(folder / "shards").read(index[index["image_id"] == seven["image_id"][5]]))
    with torch.inference_mode():
        by_hand = load_model(folder / "pretrained")[0].eval().image(pixels[:, None])
    np.testing.assert_allclose(seven["backbone"][5], by_hand.backbone[0], atol=1e-5)
    np.testing.assert_allclose(seven["embedding"][5], by_hand.embedding[0], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(feature_matrix(seven, "embedding"), axis=1), 1, atol=1e-5)


def test_the_initial_encoder_has_no_embedding(folder: Path) -> None:
    embed(folder / "shards", folder / "initial", folder / "out", BATCH, CPU)
    features = read_features(folder / "out")
    assert features["embedding"].isna().all()
    assert feature_matrix(features, "backbone").shape[0] == 32
    with pytest.raises(ValueError, match=r"small-p000.*no embedding"):
        feature_matrix(features, "embedding")


def test_the_file_is_the_same_twice(folder: Path) -> None:
    for out in ("first", "second"):
        embed(folder / "shards", folder / "pretrained", folder / out, BATCH, CPU)
    first, second = ((folder / out / "features.parquet").read_bytes() for out in ("first", "second"))
    assert first == second


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_profile_without_a_gpu_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"compute\.device is cuda, found no usable GPU"):
        embed(
            folder / "shards", folder / "pretrained", folder / "out", BATCH, CPU.model_copy(update={"device": "cuda"})
        )
