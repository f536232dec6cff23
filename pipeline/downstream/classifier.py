"""An encoder with a head over the grades of a label, its folder on disk, and what it says about images of shards."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Float64, UInt8
from torch import Tensor, nn

from pipeline.downstream.features import autocast, chosen_device, feature_rows
from pipeline.downstream.head import zero_head
from pipeline.downstream.labels import expected_grade
from pipeline.downstream.predictions import Origin
from pipeline.models.image_tower import ImageEncoder, ImageTower, create_encoder, feature_shape
from pipeline.models.two_tower import load_weights, read_config, save_model
from pipeline.precision import global_average
from pipeline.sections import Compute, Finetune, Section
from pipeline.shards.read import ShardImages


class ClassifierConfig(Section):
    """Everything needed to rebuild a classifier: the encoder's timm name, the size of its images, the grades it tells.

    No grades: the task was not fine-tuned.
    """

    encoder: str
    height_px: int
    width_px: int
    grades: list[int]


class Classifier(nn.Module):
    """Encoder, global average of its feature map, linear head over the grades."""

    def __init__(self, encoder: ImageEncoder, channels: int, grades: list[int]) -> None:
        super().__init__()
        self.encoder, self.grades = encoder, grades
        self.head = zero_head(channels, len(grades))

    def forward(
        self, images: UInt8[Tensor, "image 1 height width"] | Float[Tensor, "image 1 height width"]
    ) -> Float[Tensor, "image grade"]:
        """Logits per grade of images with values 0 to 255."""
        return self.grade(global_average(self.encoder(images)))

    def grade(self, pooled: Float[Tensor, "image channel"]) -> Float[Tensor, "image grade"]:
        """Logits per grade of pooled feature maps, without autocast: in half precision scores would be tied."""
        with torch.autocast(pooled.device.type, enabled=False):
            logits: Tensor = self.head(pooled)
        return logits


def save_classifier(model: Classifier | None, config: ClassifierConfig, folder: Path) -> None:
    """Writes model.safetensors (without a tensor where there is no model) and config.json into folder, made for it."""
    save_model(nn.Module() if model is None else model, config, folder)


def load_classifier(folder: Path) -> tuple[Classifier, ClassifierConfig] | None:
    """Rebuilds what `save_classifier` wrote, on the CPU, in evaluation mode; None where the task was not fine-tuned.

    Raises:
        InputError: a file is missing, or one of the files does not fit the other.
    """
    config = read_config(folder, ClassifierConfig)
    if not config.grades:
        return None
    size_px = (config.height_px, config.width_px)
    channels = feature_shape(config.encoder, *size_px)[0]
    model = Classifier(create_encoder(config.encoder, size_px), channels, config.grades)
    load_weights(model, folder)
    return model.eval(), config


def tuned_origin(task_name: str, settings: Finetune, split: str) -> Origin:
    """Where scores of a fine-tuned model come from."""
    return Origin(task_name, "ft", "pretrained", 1.0, settings.seed, split)


def image_scores(
    model: Classifier, images: ShardImages, rows: pd.DataFrame, batch: int, compute: Compute
) -> Float64[np.ndarray, " row"]:
    """Expected grades of these rows of index_shards, undeformed."""
    device = chosen_device(compute)
    model.eval()
    with torch.inference_mode(), autocast(device, compute):
        logits = [model(pixels) for _, pixels in _read(images, rows, batch, device)]
    return _expected(logits, model.grades)


def scores_and_features(
    model: Classifier, tower: ImageTower, images: ShardImages, rows: pd.DataFrame, batch: int, compute: Compute
) -> tuple[Float64[np.ndarray, " row"], pd.DataFrame]:
    """As image_scores, and rows of tables.FEATURES by the tower on the same encoder: one pass through it gives both."""
    device = chosen_device(compute)
    tower.eval()
    with torch.inference_mode(), autocast(device, compute):
        outputs = [(part, tower(pixels)) for part, pixels in _read(images, rows, batch, device)]
        logits = [model.grade(output.backbone) for _, output in outputs]
    return _expected(logits, model.grades), pd.concat([feature_rows(part, output) for part, output in outputs])


def _read(
    images: ShardImages, rows: pd.DataFrame, batch: int, device: torch.device
) -> Iterator[tuple[pd.DataFrame, UInt8[Tensor, "image 1 height width"] | Float32[Tensor, "image 1 height width"]]]:
    """These rows of index_shards batch by batch, with their images on the device."""
    for start in range(0, len(rows), batch):
        part = rows.iloc[start : start + batch]
        yield part, torch.from_numpy(images.read(part))[:, None].to(device)


def _expected(logits: list[Tensor], grades: list[int]) -> Float64[np.ndarray, " row"]:
    """Expected grades of the logits of all batches."""
    return expected_grade(torch.cat(logits).double().softmax(dim=1).cpu().numpy(), np.array(grades))
