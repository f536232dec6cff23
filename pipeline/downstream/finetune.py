"""Fine-tuning: the pretrained encoder and a new head, trained together on one task (`ft`)."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from pipeline.allocator import keep_freed_memory
from pipeline.downstream.classifier import (
    Classifier,
    ClassifierConfig,
    image_scores,
    save_classifier,
    scores_and_features,
    tuned_origin,
)
from pipeline.downstream.features import autocast, chosen_device, write_features
from pipeline.downstream.fit import Schedule, fit, shuffled_batches
from pipeline.downstream.head import class_weights
from pipeline.downstream.labels import DEVELOPMENT, check_images, graded_auc, image_grades, warn_of_one_grade
from pipeline.downstream.predictions import prediction_rows, write_predictions
from pipeline.models.config import ModelConfig
from pipeline.models.image_tower import ImageTower, feature_shape, hold_batch_norm
from pipeline.models.two_tower import load_model, read_config
from pipeline.sections import Augment, Compute, Downstream, Finetune, Task, by_encoder
from pipeline.shards.read import ShardImages, index_shards
from pipeline.tables import SPLITS
from pipeline.training.augment import augment as deform
from pipeline.training.order import kept_row_groups
from pipeline.training.reader import ahead


class TrainingBatch(NamedTuple):
    """Decoded images, their rows among the training images (which seed the deformation), and the epoch."""

    images: UInt8[Tensor, "image height width"] | Float32[Tensor, "image height width"]
    rows: Int64[Tensor, " image"]
    epoch: int


def finetune(
    task_name: str,
    task: Task,
    cohort: Path,
    shards: Path,
    model_folder: Path,
    settings: Finetune,
    downstream: Downstream,
    augment: Augment,
    compute: Compute,
    out: Path,
    features: Path,
    tuned: Path,
) -> None:
    """Writes out/predictions.parquet: expected grades of the validation and test images after fine-tuning.

    And features/features.parquet (tables.FEATURES): the test images by the fine-tuned encoder under the Tr module of
    pretraining. And the fine-tuned classifier into tuned (`save_classifier`). A task that is not in the settings' list
    gives no rows and no weights; so, with a warning, do training images that are all of one grade, or none at all.
    Validation images of one grade give a warning.

    Args:
        task_name: Name of the task.
        task: Its label and kind.
        cohort: Folder of the cohort table.
        shards: Folder of the cohort's evaluation shards.
        model_folder: Folder of the pretrained model.
        settings: The tasks to fine-tune on, seed and learning rate (auto: the profile's).
        downstream: Epochs and batch by encoder.
        augment: Deformations of the training images.
        compute: Device and precision.
        out: Folder of the predictions.
        features: Folder of the features.
        tuned: Folder of the classifier.

    Raises:
        InputError: a GPU is asked for and none is there, or the task has no validation or no test image.
    """
    device, parts, embedded, model = chosen_device(compute), [], [], None
    keep_freed_memory()
    rows = _rows_by_split(cohort, shards, task.label)
    network = read_config(model_folder, ModelConfig)
    config = ClassifierConfig(
        encoder=network.encoder,
        height_px=network.height_px,
        width_px=network.width_px,
        grades=_grades(task_name, rows["train"], settings),
    )
    if config.grades:
        learned = {"labelled training": rows["train"], "labelled validation": rows["validation"]}
        check_images(task_name, task.cohort, learned | {"test": rows["test"]})
        warn_of_one_grade(task_name, rows["validation"]["grade"])
        model, tower, schedule = _start(model_folder, config, settings, downstream, device)
        images = ShardImages(shards, kept_row_groups(world=1))
        _train(model, images, rows["train"], rows["validation"], schedule, augment, compute, settings.seed)
        scores = {"validation": image_scores(model, images, rows["validation"], schedule.batch, compute)}
        scores["test"], tested = scores_and_features(model, tower, images, rows["test"], schedule.batch, compute)
        parts = [prediction_rows(rows[s], found, tuned_origin(task_name, settings, s)) for s, found in scores.items()]
        embedded.append(tested)
    write_predictions(parts, out)
    write_features(embedded, features)
    save_classifier(model, config, tuned)


def _grades(task_name: str, train: pd.DataFrame, settings: Finetune) -> list[int]:
    """The grades of the training images, which the model learns to tell; none where it is not to be fine-tuned."""
    grades = sorted(train["grade"].unique().tolist())
    if task_name not in settings.tasks:
        print(f"{task_name}: not in finetune.tasks")
        return []
    if len(grades) < 2:
        print(f"warning: {task_name}: one grade only among the training images", file=sys.stderr)
        return []
    return grades


def _rows_by_split(cohort: Path, shards: Path, label: str) -> dict[str, pd.DataFrame]:
    """Rows of index_shards: train and validation with a known grade, test without."""
    index, graded = index_shards(shards, SPLITS), image_grades(cohort, label)
    labelled = index.merge(graded[["image_id", "grade"]], on="image_id", validate="one_to_one")
    rows = {split: labelled[labelled["split"] == split] for split in DEVELOPMENT}
    return rows | {"test": index[index["split"] == "test"]}


def _start(
    model_folder: Path,
    config: ClassifierConfig,
    settings: Finetune,
    downstream: Downstream,
    device: torch.device,
) -> tuple[Classifier, ImageTower, Schedule]:
    """The pretrained encoder under a head for the grades, and how long to train it.

    The tower is that of pretraining on the very same encoder, which learns in place; its Tr module does not learn.
    """
    pretrained = load_model(model_folder)[0]
    channels = feature_shape(config.encoder, config.height_px, config.width_px)[0]
    model = Classifier(pretrained.image.encoder, channels, config.grades).to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # an overload torch does not type
    rate = downstream.finetune_learning_rate if settings.learning_rate == "auto" else settings.learning_rate
    epochs, batch = (by_encoder(t, config.encoder) for t in (downstream.finetune_epochs, downstream.finetune_batch))
    return model, pretrained.image.to(device), Schedule(epochs, batch, rate)


def _train(
    model: Classifier,
    images: ShardImages,
    train: pd.DataFrame,
    validation: pd.DataFrame,
    schedule: Schedule,
    augment: Augment,
    compute: Compute,
    seed: int,
) -> None:
    """Class-weighted cross-entropy over encoder and head, the epoch chosen by the AUC of the validation images.

    Batch norm keeps the statistics of pretraining: they would drift towards the small training set.
    """
    device = chosen_device(compute)
    targets = torch.from_numpy(np.searchsorted(model.grades, train["grade"].to_numpy())).to(device)
    weights = class_weights(targets)
    known = validation["grade"].to_numpy(np.int64)

    generator = torch.Generator().manual_seed(seed)

    def batches(epoch: int) -> Iterator[TrainingBatch]:
        def read(rows: Int64[Tensor, " image"]) -> TrainingBatch:
            return TrainingBatch(torch.from_numpy(images.read(train.iloc[rows.tolist()])), rows, epoch)

        return ahead(read, list(shuffled_batches(len(train), schedule.batch, generator)), workers=1)

    def loss(batch: TrainingBatch) -> Float[Tensor, ""]:
        hold_batch_norm(model.train())
        deformed = deform(batch.images.to(device), batch.rows, augment, seed, batch.epoch)
        with autocast(device, compute):
            return F.cross_entropy(model(deformed), targets[batch.rows.to(device)], weights)

    def score() -> float | None:
        return graded_auc(known, image_scores(model, images, validation, schedule.batch, compute))

    scaler = torch.amp.GradScaler(device.type, enabled=compute.precision == "fp16")
    fit(model, batches, loss, score, len(train), schedule, scaler)
