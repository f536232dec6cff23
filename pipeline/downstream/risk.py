"""Risk of cancer within 1 to T years: per exam with the aggregator, and per view without."""

import sys
from pathlib import Path

import pandas as pd
import torch

from pipeline.downstream.feature_table import read_features
from pipeline.downstream.follow_up import followed_exams, observed
from pipeline.downstream.labels import DEVELOPMENT, read_images
from pipeline.downstream.predictions import Origin, prediction_rows, write_predictions
from pipeline.downstream.priors import with_priors
from pipeline.downstream.risk_finetune import Tuning, tuned_risks
from pipeline.downstream.risk_models import ExamRisk, Risks, Splits, ViewRisk, frozen_risks, targets
from pipeline.downstream.units import padded_units
from pipeline.metrics.censoring import Censoring, censoring_distribution
from pipeline.metrics.recalibration import risk_map
from pipeline.sections import Risk

# method -> the column that makes a unit, and its model
METHODS: dict[str, tuple[str, type[ExamRisk] | type[ViewRisk]]] = {
    "exam": ("exam_id", ExamRisk),
    "view": ("image_id", ViewRisk),
}


def risk(cohort: Path, features: Path, tuning: Tuning, settings: Risk, seed: int, out: Path) -> None:
    """Writes out/predictions.parquet: cumulative probabilities per test exam and year of the horizon.

    They are calibrated on the validation exams (`risk_map`); where those do not suffice, a warning says so. A cohort
    without training or without validation exams of known years gives no rows and a warning: most public archives have
    no follow-up.

    Args:
        cohort: Folder of the cohort table; follow-up is read of the train and validation splits only.
        features: Folder of the pretrained encoder's features of that cohort.
        tuning: Read for a fine-tuned encoder alone.
        settings: Horizon, epochs, learning rate, prior exams, encoder, whether screen-detected cancers are left out.
        seed: Of initial weights, order and dropout.
        out: Folder to write to.

    Raises:
        InputError: the encoder is fine-tuned on a GPU, and none is there.
    """
    images, cohort_images = read_features(features), read_images(cohort)
    development = cohort_images[cohort_images["split"].isin(DEVELOPMENT)]
    followed = followed_exams(development, settings.exclude_screen_detected)
    exams = followed[targets(followed, settings.horizon_years)[1].any(dim=1).numpy()]
    if lacking := sorted(set(DEVELOPMENT) - set(exams["split"])):
        print(
            f"warning: risk.cohort: {cohort.name}: no {' and no '.join(lacking)} exam with a cancer or a year of"
            " follow-up; no risk model",
            file=sys.stderr,
        )
        write_predictions([], out)
        return
    censoring = censoring_distribution(*observed(followed))
    exam_days = cohort_images.groupby("exam_id")["exam_day"].first()
    parts = []
    for method, (unit, architecture) in METHODS.items():
        rows = with_priors(images, exam_days) if settings.prior_exams and unit == "exam_id" else images
        splits = _splits(rows, unit, exams)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = architecture(splits.train.slots.images.shape[2], settings.horizon_years)
            if settings.encoder == "frozen":
                risks = frozen_risks(model, splits, exams, settings, seed)
            else:
                risks = tuned_risks(model, splits, exams, settings, seed, tuning)
        scores = _calibrated(method, risks, exams, censoring)
        ids = splits.test.ids.drop_duplicates("exam_id")[["exam_id", "patient_id"]].sort_values("exam_id")
        for year in range(1, settings.horizon_years + 1):
            origin = Origin("risk", method, "pretrained", 1.0, seed, "test", year)
            parts.append(prediction_rows(ids, scores.loc[ids["exam_id"], year - 1].to_numpy(), origin))
    write_predictions(parts, out)


def _splits(images: pd.DataFrame, unit: str, exams: pd.DataFrame) -> Splits:
    """Units of the train and validation exams with a known year, and of all test exams."""
    chosen = (
        exams.index[exams["split"] == "train"],
        exams.index[exams["split"] == "validation"],
        images.loc[images["split"] == "test", "exam_id"],
    )
    return Splits(*(padded_units(images[images["exam_id"].isin(ids)], unit) for ids in chosen))


def _calibrated(method: str, risks: Risks, exams: pd.DataFrame, censoring: Censoring) -> pd.DataFrame:
    """The test exams' risks by the validation exams' risk_map; where that is None, as predicted, with a warning."""
    outcomes = observed(exams.loc[risks.validation.index])
    if (calibrated := risk_map(risks.validation.to_numpy(), *outcomes, censoring)) is None:
        reason = "too few validation exams, or risks that do not rank them"
        print(f"warning: risk {method}: {reason}; not calibrated", file=sys.stderr)
        return risks.test
    return pd.DataFrame(calibrated(risks.test.to_numpy()), risks.test.index)
