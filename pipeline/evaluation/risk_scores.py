"""Scores the risk models on the sealed follow-up: c-index, n-year AUC, calibration at the last horizon."""

from typing import Any

import numpy as np
import pandas as pd

from pipeline.evaluation.rounding import interval_metrics, rounded
from pipeline.metrics.bootstrap import auc_interval
from pipeline.metrics.calibration import brier, expected_calibration_error
from pipeline.metrics.survival import concordance_interval, horizon_labels, observed_years
from pipeline.sections import Risk

# A cancer within 6 months of the exam counts as detected by it (Yala et al. 2021, eaba4373; shared method notes).
SCREEN_DETECTED_YEARS = 0.5
CALIBRATION_BINS = 10  # deciles of risk, as in Hosmer & Lemeshow 1980


def score_risk(
    predictions: pd.DataFrame, labels: pd.DataFrame, risk: Risk, resamples: int, seed: int
) -> dict[str, Any]:
    """method -> c_index, auc_1y ... auc_<horizon>y (value, low, high, n, events) and calibration at the horizon.

    Args:
        predictions: Rows of tables.PREDICTIONS; those of task `risk` on the test split are read.
        labels: Sealed test images (tables.SEALED) of the risk cohort.
        risk: Horizon and switches.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Raises:
        ValueError: an exam was scored that is not in the sealed test split.
    """
    exams = followed_exams(labels, risk.exclude_screen_detected)
    rows = predictions[(predictions["task"] == "risk") & (predictions["split"] == "test")]
    if strangers := sorted(set(rows["exam_id"]) - set(labels["exam_id"])):
        raise ValueError(f"risk: scored exam {strangers[0]}, which is not in the sealed test split")
    found = {}
    for method, group in rows.groupby("method", sort=True):
        by_seed = group.groupby(["exam_id", "horizon_years"])["score"].mean().unstack("horizon_years")
        own = exams.join(by_seed, how="inner").sort_index()
        found[str(method)] = _method_metrics(own, risk, resamples, seed)
    return found


def followed_exams(labels: pd.DataFrame, exclude_screen_detected: bool) -> pd.DataFrame:
    """One row per exam (index exam_id) with patient_id, years_to_cancer and years_followed as float, NaN unknown.

    Exams without any follow-up are left out, and with the switch those whose cancer the exam itself detected.
    """
    exams: pd.DataFrame = labels.groupby("exam_id")[["patient_id", "years_to_cancer", "years_followed"]].first()
    years = exams[["years_to_cancer", "years_followed"]].astype("Float64").to_numpy(np.float64, na_value=np.nan)
    exams = exams.assign(years_to_cancer=years[:, 0], years_followed=years[:, 1])
    kept = ~np.isnan(years).all(axis=1)
    followed: pd.DataFrame = exams[kept & ~(exclude_screen_detected & (years[:, 0] < SCREEN_DETECTED_YEARS))]
    return followed


def _method_metrics(exams: pd.DataFrame, risk: Risk, resamples: int, seed: int) -> dict[str, Any]:
    """Metrics of one model; the c-index ranks by the risk at the last horizon."""
    to_cancer, followed = exams["years_to_cancer"].to_numpy(), exams["years_followed"].to_numpy()
    patients = exams["patient_id"].to_numpy().astype(str)
    last = exams[risk.horizon_years].to_numpy().astype(np.float64)
    years, events = observed_years(to_cancer, followed)
    interval = concordance_interval(years, events, last, patients, resamples, seed)
    found = {"c_index": interval_metrics("value", interval) | {"n": len(exams), "events": int(events.sum())}}
    for horizon in range(1, risk.horizon_years + 1):
        labels, known = horizon_labels(to_cancer, followed, horizon, risk.mirai_compat)
        scores = exams[horizon].to_numpy().astype(np.float64)[known]
        interval = auc_interval(labels[known], scores, patients[known], resamples, seed)
        counts = {"n": int(known.sum()), "events": int(labels.sum())}
        found[f"auc_{horizon}y"] = interval_metrics("value", interval) | counts
    labels, known = horizon_labels(to_cancer, followed, risk.horizon_years, mirai_compat=True)
    found[f"calibration_{risk.horizon_years}y"] = _calibration(labels[known], last[known])
    return found


def _calibration(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float | int | None]:
    """Brier score and calibration error of exams whose state at the horizon is known; null below one per bin."""
    if len(labels) < CALIBRATION_BINS:
        return {"brier": None, "ece": None, "n": len(labels)}
    error = expected_calibration_error(labels, probabilities, CALIBRATION_BINS)
    return {"brier": rounded(brier(labels, probabilities)), "ece": rounded(error), "n": len(labels)}
