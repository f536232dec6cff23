"""Risk with a fine-tuned encoder: the pretrained one is trained along with the risk model, on the exams' images."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Int, Int64, UInt8
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pipeline.allocator import keep_freed_memory
from pipeline.downstream.features import autocast, chosen_device
from pipeline.downstream.fit import Schedule, fit, shuffled_batches
from pipeline.downstream.follow_up import validation_concordance
from pipeline.downstream.risk_models import BATCH, ExamRisk, Risks, Splits, ViewRisk, exam_risks, targets
from pipeline.downstream.units import Slots, Units
from pipeline.models.hazard import masked_hazard_loss
from pipeline.models.image_tower import ImageEncoder, hold_batch_norm
from pipeline.models.two_tower import load_model
from pipeline.precision import global_average
from pipeline.sections import Augment, Compute, Downstream, Risk, by_encoder
from pipeline.shards.read import ShardImages, index_shards
from pipeline.tables import SPLITS
from pipeline.training.augment import augment as deform
from pipeline.training.order import kept_row_groups
from pipeline.training.reader import ahead


class Tuning(NamedTuple):
    """What fine-tuning reads beside features and follow-up.

    shards: folder of the cohort's evaluation shards. model: folder of the pretrained model. downstream: learning rate,
    and by encoder the images that pass at once. augment: deformations of the training images.
    """

    shards: Path
    model: Path
    downstream: Downstream
    augment: Augment
    compute: Compute


class Pictures(NamedTuple):
    """Images of shards, and their rows of index_shards by image_id with number, which seeds an image's deformation."""

    images: ShardImages
    rows: pd.DataFrame

    def read(self, numbers: Int64[Tensor, " image"]) -> UInt8[Tensor, "image h w"] | Float32[Tensor, "image h w"]:
        """The images with these numbers."""
        return torch.from_numpy(self.images.read(self.rows.iloc[numbers.tolist()]))


class TrainingBatch(NamedTuple):
    """Numbers of the units; each image of theirs once; the image of every slot that holds one; the epoch."""

    units: Int[Tensor, " unit"]
    numbers: Int64[Tensor, " image"]
    images: UInt8[Tensor, "image h w"] | Float32[Tensor, "image h w"]
    place: Int[Tensor, " slot"]
    epoch: int


class TunedRisk(nn.Module):
    """Encoder and risk model; features reach it less their mean, in units of the deviation that all share.

    Both are those of the frozen features and stay. One deviation, not one for each feature as for the frozen encoder:
    a feature that hardly moves before training (a tenth of the demo's: less than 1/500 of the others) would, in units
    of its own, be amplified as soon as the encoder learns.

    Args:
        encoder: The pretrained one.
        model: Takes the scaled features.
        frozen: Features of the training images before training.
        most: Images that pass at once; more pass one part after another, each computed again on the way back.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, encoder: ImageEncoder, model: ExamRisk | ViewRisk, frozen: Float32[Tensor, "image feature"], most: int
    ) -> None:
        super().__init__()
        self.encoder, self.model, self.most = encoder, model, most
        self.register_buffer("mean", frozen.mean(dim=0))
        self.register_buffer("deviation", frozen.var(dim=0, correction=0).mean().sqrt())

    def features(
        self, images: UInt8[Tensor, "image 1 h w"] | Float[Tensor, "image 1 h w"]
    ) -> Float32[Tensor, "image feature"]:
        """Scaled global averages of the feature maps of images with values 0 to 255."""
        parts = images.split(self.most)
        is_kept = len(parts) == 1 or not torch.is_grad_enabled()
        pooled = [
            self._pooled(part) if is_kept else checkpoint(self._pooled, part, use_reentrant=False) for part in parts
        ]
        return (torch.cat(pooled).float() - self.mean) / self.deviation

    def _pooled(self, images: Tensor) -> Tensor:
        return global_average(self.encoder(images))


def tuned_risks(
    model: ExamRisk | ViewRisk, splits: Splits, exams: pd.DataFrame, settings: Risk, seed: int, tuning: Tuning
) -> Risks:
    """As `frozen_risks`, but the encoder learns, too, from deformed images, at the profile's fine-tuning rate.

    Batch norm keeps the statistics of pretraining, as in `finetune`.

    Args:
        model: Trained in place.
        splits: Units with features as embedded: these give the scale, and are computed anew.
        exams: Rows of followed_exams, with those of the training and validation units.
        settings: Horizon and epochs.
        seed: Of order and deformations.
        tuning: Images, encoder, learning rate, device.

    Raises:
        InputError: a GPU is asked for and none is there.
    """
    device = chosen_device(tuning.compute)
    keep_freed_memory()
    pretrained, config = load_model(tuning.model)
    most = by_encoder(tuning.downstream.finetune_batch, config.encoder)
    frozen = splits.train.slots.images[splits.train.slots.present]
    tuned = TunedRisk(pretrained.image.encoder, model, frozen, most).to(device)
    tuned.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # an overload torch does not type
    rows = index_shards(tuning.shards, SPLITS).reset_index(names="number").set_index("image_id")
    pictures = Pictures(ShardImages(tuning.shards, kept_row_groups(world=1)), rows)
    _train(tuned, splits, pictures, exams, settings, seed, tuning)
    return Risks(*(_tuned_exam_risks(tuned, units, pictures, tuning.compute) for units in splits[1:]))


def _train(
    tuned: TunedRisk,
    splits: Splits,
    pictures: Pictures,
    exams: pd.DataFrame,
    settings: Risk,
    seed: int,
    tuning: Tuning,
) -> None:
    """Fits encoder and risk model; the epoch is chosen by Harrell's c of the validation exams."""
    device, compute, train = chosen_device(tuning.compute), tuning.compute, splits.train
    labels, mask = (field.to(device) for field in targets(exams.loc[train.ids["exam_id"]], settings.horizon_years))
    generator = torch.Generator().manual_seed(seed)

    def batches(epoch: int) -> Iterator[TrainingBatch]:
        def read(units: Int[Tensor, " unit"]) -> TrainingBatch:
            numbers, place = _images_of(train, units, pictures)
            return TrainingBatch(units, numbers, pictures.read(numbers), place, epoch)

        return ahead(read, list(shuffled_batches(len(labels), BATCH, generator)), workers=1)

    def loss(batch: TrainingBatch) -> Float[Tensor, ""]:
        hold_batch_norm(tuned.train())
        deformed = deform(batch.images.to(device), batch.numbers, tuning.augment, seed, batch.epoch)
        with autocast(device, compute):
            features = tuned.features(deformed)
        logits = tuned.model(_filled(train.slots.of(batch.units), features[batch.place.to(device)]))
        return masked_hazard_loss(logits, labels[batch.units], mask[batch.units])

    def score() -> float | None:
        return validation_concordance(exams, _tuned_exam_risks(tuned, splits.validation, pictures, compute))

    scaler = torch.amp.GradScaler(device.type, enabled=compute.precision == "fp16")
    schedule = Schedule(settings.epochs, BATCH, tuning.downstream.finetune_learning_rate)
    fit(tuned, batches, loss, score, len(labels), schedule, scaler)


def _tuned_exam_risks(tuned: TunedRisk, units: Units, pictures: Pictures, compute: Compute) -> pd.DataFrame:
    """`exam_risks` of these units' images, undeformed, as the encoder sees them now."""
    device = chosen_device(compute)
    tuned.eval()
    numbers, place = _images_of(units, torch.arange(len(units.ids)), pictures)
    with torch.inference_mode(), autocast(device, compute):
        parts = [tuned.features(pictures.read(part)[:, None].to(device)) for part in numbers.split(tuned.most)]
    slots = _filled(units.slots, torch.cat(parts)[place.to(device)])
    return exam_risks(tuned.model, units._replace(slots=slots))


def _images_of(
    units: Units, chosen: Int[Tensor, " unit"], pictures: Pictures
) -> tuple[Int64[Tensor, " image"], Int64[Tensor, " slot"]]:
    """Numbers of the images of these units, each once, and which of them every slot with an image holds, in order."""
    held = units.image_ids[chosen.numpy()][units.slots.present[chosen].numpy()]
    numbers, place = np.unique(pictures.rows["number"].loc[held].to_numpy(np.int64), return_inverse=True)
    return torch.from_numpy(numbers), torch.from_numpy(place)


def _filled(slots: Slots, features: Float32[Tensor, "slot feature"]) -> Slots:
    """The slots on the features' device, with these features in those that hold an image, zeros in the others."""
    view, side, prior_years, present = (field.to(features.device) for field in slots[1:])
    images = features.new_zeros((*present.shape, features.shape[1]))
    images[present] = features
    return Slots(images, view, side, prior_years, present)
