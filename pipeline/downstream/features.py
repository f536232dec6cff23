"""Frozen features: one row per image, computed once per encoder and read by every task."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.allocator import keep_freed_memory
from pipeline.errors import InputError
from pipeline.models.image_tower import ImageOutput, ImageTower
from pipeline.models.two_tower import load_model
from pipeline.sections import Compute, by_encoder
from pipeline.shards.read import iterate
from pipeline.tables import FEATURES, SPLITS, write_table

IDS = [name for name in FEATURES.names if name not in ("backbone", "embedding")]
Seen = TypeVar("Seen")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def embed(shards: Path, model_folder: Path, out: Path, batch: dict[str, int], compute: Compute) -> None:
    """Writes out/features.parquet (tables.FEATURES) for every image of the shards, all three splits.

    The model is frozen and in evaluation mode. embedding is null for an encoder whose Tr module is not trained.

    Args:
        shards: Folder of an evaluation cohort's shards.
        model_folder: Folder of the encoder.
        out: Folder to write to.
        batch: Images per forward pass by encoder (downstream.embed_batch of the profile).
        compute: Device and precision.

    Raises:
        InputError: a GPU is asked for and none is there.
        ValueError: the encoder changed while images passed (a BatchNorm that takes batch statistics, as in training,
            makes features depend on which images are embedded together).
    """

    def rows(ids: pd.DataFrame, tower: ImageTower, images: Tensor) -> pd.DataFrame:
        return feature_rows(ids, tower(images))

    write_features(over_images(shards, model_folder, rows, batch, compute), out)


def over_images(
    shards: Path,
    model_folder: Path,
    see: Callable[[pd.DataFrame, ImageTower, Tensor], Seen],
    batch: dict[str, int],
    compute: Compute,
) -> list[Seen]:
    """What the frozen image tower makes of every image of the shards, batch by batch in file order.

    Args:
        shards: Folder of an evaluation cohort's shards.
        model_folder: Folder of the encoder.
        see: Takes rows of index_shards, the tower and their images [image 1 height width], 0 to 255, on the device.
        batch: Images per forward pass by encoder.
        compute: Device and precision.

    Raises: as `embed`.
    """
    device = chosen_device(compute)
    keep_freed_memory()
    model, config = load_model(model_folder)
    model.eval().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # untyped in torch
    before = {name: value.clone() for name, value in model.named_buffers()}
    with torch.inference_mode(), autocast(device, compute):
        parts = [
            see(ids, model.image, torch.from_numpy(images)[:, None].to(device))
            for ids, images in iterate(shards, SPLITS, by_encoder(batch, config.encoder))
        ]
    if moved := [name for name, value in model.named_buffers() if not torch.equal(value, before[name])]:
        raise ValueError(f"{model_folder}: {moved[0]} changed while images were embedded; a frozen encoder keeps it")
    return parts


def feature_rows(ids: pd.DataFrame, output: ImageOutput) -> pd.DataFrame:
    """Rows of tables.FEATURES: what the image tower says about the images with these ids, in their order."""
    backbone, embedding = (_vectors(vectors, len(ids)) for vectors in (output.backbone, output.embedding))
    return ids[IDS].assign(backbone=backbone, embedding=embedding)


def write_features(parts: Sequence[pd.DataFrame], out: Path) -> None:
    """Writes out/features.parquet (tables.FEATURES), sorted by image_id; without parts it has no row."""
    empty = pd.DataFrame({name: [] for name in FEATURES.names}, dtype=object)
    rows = pd.concat(parts) if parts else empty
    write_table(rows.sort_values("image_id", ignore_index=True), out / "features.parquet", FEATURES)


def chosen_device(compute: Compute) -> torch.device:
    """The device of the profile.

    Raises:
        InputError: a GPU is asked for and none is there.
    """
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "compute.device is cuda, found no usable GPU; run on a machine with one, or set compute.device to cpu and"
            " compute.precision to fp32 (profile: demo in params.yaml does)"
        )
    return torch.device(compute.device)


def autocast(device: torch.device, compute: Compute) -> torch.autocast:
    """Mixed precision as the profile says; none for fp32."""
    return torch.autocast(device.type, PRECISIONS[compute.precision], enabled=compute.precision != "fp32")


def _vectors(vectors: Float[Tensor, "image channel"] | None, images: int) -> np.ndarray:
    """One float32 vector per image in an array of objects, or as many nulls."""
    column = [None] * images if vectors is None else list(vectors.float().cpu().numpy())
    return pd.Series(column, dtype=object).to_numpy()
