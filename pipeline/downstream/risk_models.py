"""The risk models on the features of a unit's images, their training on frozen features, and the risks they give."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pipeline.downstream.fit import Schedule, fit, one_thread, shuffled_batches
from pipeline.downstream.follow_up import validation_concordance
from pipeline.downstream.units import Slots, Units, standardised
from pipeline.models.hazard import AdditiveHazard, ExamAggregator, hazard_targets, masked_hazard_loss
from pipeline.sections import Risk
from pipeline.tables import EXAM_LABELS

# Units per step (method.md, MV-MLM table: risk 20 epochs, batch 8).
BATCH = 8
# Width of the aggregator: see pipeline/models/hazard.py.
WIDTH = 64


class ExamRisk(nn.Module):
    """Aggregator, then additive hazard: the row RN+Tr of the paper's Table 4."""

    def __init__(self, features: int, horizon_years: int) -> None:
        super().__init__()
        self.aggregator = ExamAggregator(features, WIDTH)
        self.hazard = AdditiveHazard(WIDTH, horizon_years)

    def forward(self, slots: Slots) -> Float[Tensor, "unit year"]:
        """Logits of these units."""
        logits: Tensor = self.hazard(self.aggregator(*slots))
        return logits


class ViewRisk(nn.Module):
    """Additive hazard of one image: the row RN-34 of the paper's Table 4."""

    def __init__(self, features: int, horizon_years: int) -> None:
        super().__init__()
        self.hazard = AdditiveHazard(features, horizon_years)

    def forward(self, slots: Slots) -> Float[Tensor, "unit year"]:
        """Logits of these units, one image each."""
        logits: Tensor = self.hazard(slots.images[:, 0])
        return logits


class Splits(NamedTuple):
    """Units to learn from, to choose and calibrate by, and to score."""

    train: Units
    validation: Units
    test: Units


class Risks(NamedTuple):
    """`exam_risks` of the validation and the test units."""

    validation: pd.DataFrame
    test: pd.DataFrame


def targets(exams: pd.DataFrame, horizon_years: int) -> tuple[Float[Tensor, "exam year"], Bool[Tensor, "exam year"]]:
    """hazard_targets of rows of followed_exams."""
    to_cancer, followed = (torch.tensor(exams[name].to_numpy(np.float32)) for name in EXAM_LABELS)
    return hazard_targets(to_cancer, followed, horizon_years)


def frozen_risks(model: ExamRisk | ViewRisk, splits: Splits, exams: pd.DataFrame, settings: Risk, seed: int) -> Risks:
    """Trains a model on standardised frozen features, the epoch chosen by Harrell's c of the validation exams.

    Args:
        model: Trained in place.
        splits: Units with features as embedded.
        exams: Rows of followed_exams, with those of the training and validation units.
        settings: Horizon, epochs, learning rate.
        seed: Of the order of the units.
    """
    train, validation, test = standardised(*splits)
    labels, mask = targets(exams.loc[train.ids["exam_id"]], settings.horizon_years)
    generator = torch.Generator().manual_seed(seed)

    def batches(_: int) -> Iterator[Int[Tensor, " unit"]]:
        return shuffled_batches(len(labels), BATCH, generator)

    def loss(units: Int[Tensor, " unit"]) -> Float[Tensor, ""]:
        model.train()
        return masked_hazard_loss(model(train.slots.of(units)), labels[units], mask[units])

    def score() -> float | None:
        return validation_concordance(exams, exam_risks(model, validation))

    with one_thread():
        fit(model, batches, loss, score, len(labels), Schedule(settings.epochs, BATCH, settings.learning_rate))
        return Risks(exam_risks(model, validation), exam_risks(model, test))


def exam_risks(model: ExamRisk | ViewRisk, units: Units) -> pd.DataFrame:
    """Probability of cancer within 1, 2, ... years (columns 0, 1, ...) by exam, the mean over its units."""
    model.eval()
    with torch.inference_mode():
        logits = model(units.slots)
    probabilities = pd.DataFrame(logits.double().sigmoid().cpu().numpy())
    return probabilities.groupby(units.ids["exam_id"].to_numpy()).mean()
