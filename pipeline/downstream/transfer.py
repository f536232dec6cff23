"""Transfer of fine-tuned models: what each says, untrained, about the test images of other cohorts."""

from collections.abc import Mapping
from pathlib import Path

import torch

from pipeline.allocator import keep_freed_memory
from pipeline.downstream.classifier import image_scores, load_classifier, tuned_origin
from pipeline.downstream.features import chosen_device
from pipeline.downstream.labels import check_images
from pipeline.downstream.predictions import prediction_rows, scored_splits, write_predictions
from pipeline.sections import Compute, Finetune, Task, by_encoder
from pipeline.shards.read import ShardImages, index_shards


def transfer(
    task_name: str,
    task: Task,
    tuned: Path,
    shards: Path,
    settings: Finetune,
    embed_batch: Mapping[str, int],
    compute: Compute,
    out: Path,
) -> None:
    """Writes out/predictions.parquet: expected grades of the test images of every cohort in the task's `score_on`.

    The file has no row for a task that was not fine-tuned.

    Args:
        task_name: Name of the task.
        task: The cohorts to score.
        tuned: Folder of the fine-tuned classifier.
        shards: Folder of the evaluation shards, one folder per cohort.
        settings: Of the fine-tuning.
        embed_batch: Images per forward pass by encoder.
        compute: Device and precision.
        out: Folder to write to.

    Raises:
        InputError: a GPU is asked for and none is there, the classifier's files do not fit each other, or a cohort has
            no test image.
    """
    device, parts = chosen_device(compute), []
    keep_freed_memory()
    if (loaded := load_classifier(tuned)) is not None:
        model, config = loaded
        model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch does not type it
        batch = by_encoder(embed_batch, config.encoder)
        for split, cohort in scored_splits(task).items():
            if split != "test":
                rows = index_shards(shards / cohort, ["test"])
                check_images(task_name, cohort, {"test": rows})
                scores = image_scores(model, ShardImages(shards / cohort), rows, batch, compute)
                parts.append(prediction_rows(rows, scores, tuned_origin(task_name, settings, split)))
    write_predictions(parts, out)
