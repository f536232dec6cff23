"""Risk of cancer within 1 to T years on frozen features: per exam with the aggregator, and per view without."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pipeline.downstream.feature_table import read_features
from pipeline.downstream.fit import Schedule, fit, one_thread, shuffled_batches
from pipeline.downstream.labels import DEVELOPMENT, read_images
from pipeline.downstream.predictions import Origin, prediction_rows, write_predictions
from pipeline.downstream.units import Units, padded_units, standardised
from pipeline.metrics.censoring import Censoring, censoring_distribution
from pipeline.metrics.recalibration import RiskMap, risk_map
from pipeline.metrics.survival import concordance, observed_years
from pipeline.models.hazard import AdditiveHazard, ExamAggregator, hazard_targets, masked_hazard_loss
from pipeline.sections import Risk
from pipeline.tables import EXAM_LABELS

# Exams per step (method.md, MV-MLM table: risk 20 epochs, batch 8).
BATCH = 8
# Width of the aggregator: see pipeline/models/hazard.py.
WIDTH = 64
# A cancer within 6 months of the exam was found by it (method.md, Risk).
SCREEN_DETECTED_YEARS = 0.5


class ExamRisk(nn.Module):
    """Aggregator, then additive hazard: the row RN+Tr of the paper's Table 4."""

    def __init__(self, features: int, horizon_years: int) -> None:
        super().__init__()
        self.aggregator = ExamAggregator(features, WIDTH)
        self.hazard = AdditiveHazard(WIDTH, horizon_years)

    def forward(self, units: Units, rows: Int[Tensor, " row"]) -> Float[Tensor, "row year"]:
        """Logits of the units with these indices."""
        images, view, side, present = (field[rows] for field in units[1:])
        logits: Tensor = self.hazard(self.aggregator(images, view, side, present))
        return logits


class ViewRisk(nn.Module):
    """Additive hazard of one image: the row RN-34 of the paper's Table 4."""

    def __init__(self, features: int, horizon_years: int) -> None:
        super().__init__()
        self.hazard = AdditiveHazard(features, horizon_years)

    def forward(self, units: Units, rows: Int[Tensor, " row"]) -> Float[Tensor, "row year"]:
        """Logits of the units with these indices, one image each."""
        logits: Tensor = self.hazard(units.images[rows, 0])
        return logits


# method -> the column that makes a unit, and its model
METHODS: dict[str, tuple[str, type[ExamRisk] | type[ViewRisk]]] = {
    "exam": ("exam_id", ExamRisk),
    "view": ("image_id", ViewRisk),
}


def risk(cohort: Path, features: Path, settings: Risk, seed: int, out: Path) -> None:
    """Writes out/predictions.parquet: cumulative probabilities per test exam and year of the horizon.

    They are calibrated on the validation exams (`risk_map`); where those do not suffice, a warning says so.

    Args:
        cohort: Folder of the cohort table; follow-up is read of the train and validation splits only.
        features: Folder of the pretrained encoder's features of that cohort.
        settings: Horizon, epochs, learning rate, whether screen-detected cancers are left out.
        seed: Of initial weights, order and dropout.
        out: Folder to write to.

    Raises:
        ValueError: no training exam has a known year.
    """
    images = read_features(features)
    followed = _followed_exams(cohort, settings)
    censoring = censoring_distribution(*_observed(followed))
    exams = followed[_targets(followed, settings.horizon_years)[1].any(dim=1).numpy()]
    parts = []
    for method, (unit, architecture) in METHODS.items():
        train, validation, test = (
            padded_units(images[images["exam_id"].isin(chosen)], unit)
            for chosen in (
                exams.index[exams["split"] == "train"],
                exams.index[exams["split"] == "validation"],
                images.loc[images["split"] == "test", "exam_id"],
            )
        )
        train, validation, test = standardised(train, validation, test)
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = architecture(train.images.shape[2], settings.horizon_years)
            _train(model, train, validation, exams, settings, seed)
        scores = exam_risks(model, test)
        if (calibrated := _calibration(model, validation, exams, censoring)) is None:
            print(f"warning: risk {method}: too few validation exams to calibrate, as predicted", file=sys.stderr)
        else:
            scores = pd.DataFrame(calibrated(scores.to_numpy()), scores.index)
        ids = test.ids.drop_duplicates("exam_id")[["exam_id", "patient_id"]].sort_values("exam_id")
        for year in range(1, settings.horizon_years + 1):
            origin = Origin("risk", method, "pretrained", 1.0, seed, "test", year)
            parts.append(prediction_rows(ids, scores.loc[ids["exam_id"], year - 1].to_numpy(), origin))
    write_predictions(parts, out)


def exam_risks(model: ExamRisk | ViewRisk, units: Units) -> pd.DataFrame:
    """Probability of cancer within 1, 2, ... years (columns 0, 1, ...) by exam, the mean over its units."""
    model.eval()
    with torch.inference_mode():
        logits = model(units, torch.arange(len(units.ids)))
    probabilities = pd.DataFrame(logits.double().sigmoid().numpy())
    return probabilities.groupby(units.ids["exam_id"].to_numpy()).mean()


def _followed_exams(cohort: Path, settings: Risk) -> pd.DataFrame:
    """split, years_to_cancer and years_followed by exam_id, of development exams with follow-up."""
    images = read_images(cohort)
    exams = images[images["split"].isin(DEVELOPMENT)].groupby("exam_id")[["split", *EXAM_LABELS]].first()
    exams[list(EXAM_LABELS)] = exams[list(EXAM_LABELS)].astype("float64")
    if settings.exclude_screen_detected:
        exams = exams[~(exams["years_to_cancer"] < SCREEN_DETECTED_YEARS)]
    return exams[exams[list(EXAM_LABELS)].notna().any(axis=1)]


def _observed(exams: pd.DataFrame) -> tuple[Float[np.ndarray, " exam"], Bool[np.ndarray, " exam"]]:
    """observed_years of rows with years_to_cancer and years_followed."""
    return observed_years(*(exams[name].to_numpy(np.float64) for name in EXAM_LABELS))


def _calibration(
    model: ExamRisk | ViewRisk, validation: Units, exams: pd.DataFrame, censoring: Censoring
) -> RiskMap | None:
    """risk_map of the validation exams."""
    risks = exam_risks(model, validation)
    return risk_map(risks.to_numpy(), *_observed(exams.loc[risks.index]), censoring)


def _targets(exams: pd.DataFrame, horizon_years: int) -> tuple[Float[Tensor, "unit year"], Bool[Tensor, "unit year"]]:
    """hazard_targets of rows with years_to_cancer and years_followed."""
    to_cancer, followed = (torch.tensor(exams[name].to_numpy(np.float32)) for name in EXAM_LABELS)
    return hazard_targets(to_cancer, followed, horizon_years)


def _train(
    model: ExamRisk | ViewRisk, train: Units, validation: Units, exams: pd.DataFrame, settings: Risk, seed: int
) -> None:
    """Fits the model; the epoch is chosen by Harrell's c of the validation exams at the horizon."""
    labels, mask = _targets(exams.loc[train.ids["exam_id"]], settings.horizon_years)
    followed = exams[exams["split"] == "validation"].sort_index()
    years, events = _observed(followed)

    def loss(rows: Int[Tensor, " row"]) -> Float[Tensor, ""]:
        model.train()
        return masked_hazard_loss(model(train, rows), labels[rows], mask[rows])

    def score() -> float | None:
        risks = exam_risks(model, validation)[settings.horizon_years - 1].loc[followed.index]
        try:
            return concordance(years, events, risks.to_numpy())
        except ZeroDivisionError:  # lifelines: no comparable pair, as without any cancer
            return None

    def batches(_: int) -> Iterator[Int[Tensor, " row"]]:
        return shuffled_batches(len(labels), BATCH, generator)

    generator = torch.Generator().manual_seed(seed)
    fit(model, batches, loss, score, len(labels), Schedule(settings.epochs, BATCH, settings.learning_rate))
