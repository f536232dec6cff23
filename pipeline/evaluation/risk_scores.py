"""Scores the risk models on the sealed follow-up: c-indices, n-year AUCs, calibration at the last horizon."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from pipeline.downstream.follow_up import followed_exams, observed
from pipeline.evaluation.rounding import DECIMALS, interval_metrics, rounded
from pipeline.metrics.bootstrap import Interval, auc_interval, cut_points, mean_interval
from pipeline.metrics.censoring import (
    Censoring,
    censoring_distribution,
    dynamic_auc_interval,
    known_by,
    uno_interval,
)
from pipeline.metrics.survival import (
    concordance_interval,
    horizon_labels,
    observed_to_expected,
    risk_reliability,
)
from pipeline.metrics.weighted import weighted_calibration_error
from pipeline.sections import Risk

CALIBRATION_BINS = 10  # deciles of risk, as in Hosmer & Lemeshow 1980
RELIABILITY_GROUPS = 5  # of the figure: about 40 of the demo's test exams each


def score_risk(
    predictions: pd.DataFrame, labels: pd.DataFrame, images: pd.DataFrame, risk: Risk, resamples: int, seed: int
) -> dict[str, Any]:
    """Metrics of every method, none of a cohort without follow-up; each but the calibration has value, low, high, n and
    events.

    c_index, auc_1y ... auc_<horizon>y; and corrected for censoring: uno_c, dynamic_auc_1y ... dynamic_auc_<horizon>y,
    observed_to_expected, calibration_<horizon>y (brier, brier_low, brier_high, ece, n). encoder (frozen or finetuned)
    and prior_exams (the model saw them) say which model it was.

    Args:
        predictions: Rows of tables.PREDICTIONS; those of task `risk` on the test split are read.
        labels: Sealed test images (tables.SEALED) of the risk cohort.
        images: All images (tables.COHORT) of the risk cohort; how long the exams of its train and validation splits
            were followed gives the censoring distribution.
        risk: Horizon and switches.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Raises:
        ValueError: an exam was scored that is not in the sealed test split, or no development exam has follow-up.
    """
    by_method, found = scored_exams(predictions, labels, risk), {}
    if not by_method:
        return {}
    development = followed_exams(images[images["split"] != "test"], risk.exclude_screen_detected)
    censoring = censoring_distribution(*observed(development))
    for method, own in by_method.items():
        model = {"encoder": risk.encoder, "prior_exams": risk.prior_exams and method == "exam"}
        plain = _method_metrics(own, risk, resamples, seed)
        found[method] = model | plain | _censored_metrics(own, censoring, risk.horizon_years, resamples, seed)
    return found


def risk_calibration_table(predictions: pd.DataFrame, labels: pd.DataFrame, risk: Risk) -> pd.DataFrame:
    """method, group, predicted, observed, n: `risk_reliability` at the last horizon in RELIABILITY_GROUPS.

    No rows of a method with fewer exams than groups. Args: as `score_risk`.
    """
    parts = []
    for method, own in scored_exams(predictions, labels, risk).items():
        if len(own) >= RELIABILITY_GROUPS:
            last = own[risk.horizon_years].to_numpy().astype(np.float64)
            found = risk_reliability(*observed(own), last, risk.horizon_years, RELIABILITY_GROUPS)
            values = {"predicted": found.predicted, "observed": found.observed, "n": found.sizes}
            parts.append(pd.DataFrame({"method": method, "group": range(1, RELIABILITY_GROUPS + 1), **values}))
    empty = pd.DataFrame(columns=["method", "group", "predicted", "observed", "n"])
    return pd.concat(parts, ignore_index=True).round(DECIMALS) if parts else empty


def scored_exams(predictions: pd.DataFrame, labels: pd.DataFrame, risk: Risk) -> dict[str, pd.DataFrame]:
    """By method, rows of `followed_exams` with the risk within each year of the horizon, the mean over seeds."""
    rows = predictions[(predictions["task"] == "risk") & (predictions["split"] == "test")]
    if strangers := sorted(set(rows["exam_id"]) - set(labels["exam_id"])):
        raise ValueError(f"risk: scored exam {strangers[0]}, which is not in the sealed test split")
    exams = followed_exams(labels, risk.exclude_screen_detected)
    found = {}
    for method, group in rows.groupby("method", sort=True):
        by_seed = group.groupby(["exam_id", "horizon_years"])["score"].mean().unstack("horizon_years")
        found[str(method)] = exams.join(by_seed, how="inner").sort_index()
    return found


def _method_metrics(exams: pd.DataFrame, risk: Risk, resamples: int, seed: int) -> dict[str, Any]:
    """Metrics of one model; the c-index ranks by the risk at the last horizon."""
    to_cancer, followed = exams["years_to_cancer"].to_numpy(), exams["years_followed"].to_numpy()
    patients = exams["patient_id"].to_numpy().astype(str)
    last = exams[risk.horizon_years].to_numpy().astype(np.float64)
    years, events = observed(exams)
    interval = concordance_interval(years, events, last, patients, resamples, seed)
    found = {"c_index": interval_metrics("value", interval) | {"n": len(exams), "events": int(events.sum())}}
    for horizon in range(1, risk.horizon_years + 1):
        labels, known = horizon_labels(to_cancer, followed, horizon, risk.mirai_compat)
        scores = exams[horizon].to_numpy().astype(np.float64)[known]
        interval = auc_interval(labels[known], scores, patients[known], resamples, seed)
        counts = {"n": int(known.sum()), "events": int(labels.sum())}
        found[f"auc_{horizon}y"] = interval_metrics("value", interval) | counts
    return found


def _censored_metrics(
    exams: pd.DataFrame, censoring: Censoring, horizon_years: int, resamples: int, seed: int
) -> dict[str, Any]:
    """Metrics of one model in which a cancer counts for those lost before; n: who can be in a pair, or all exams."""
    (years, events), patients = observed(exams), exams["patient_id"].to_numpy().astype(str)
    last = exams[horizon_years].to_numpy().astype(np.float64)
    before = events & (years < horizon_years)
    interval = uno_interval(years, events, last, patients, censoring, horizon_years, resamples, seed)
    found = {"uno_c": _counted(interval, len(exams), years[before], censoring)}
    for horizon in range(1, horizon_years + 1):
        scores, cases = exams[horizon].to_numpy().astype(np.float64), events & (years <= horizon)
        interval = dynamic_auc_interval(years, events, scores, patients, censoring, horizon, resamples, seed)
        n = int((cases | (years > horizon)).sum())
        found[f"dynamic_auc_{horizon}y"] = _counted(interval, n, years[cases], censoring)
    ratio = interval_metrics("value", observed_to_expected(years, events, last, patients, horizon_years))
    cancers = int((events & (years <= horizon_years)).sum())
    found["observed_to_expected"] = ratio | {"n": len(exams), "events": cancers}
    found[f"calibration_{horizon_years}y"] = _calibration(exams, censoring, horizon_years, resamples, seed)
    return found


def _counted(
    interval: Interval, n: int, cancer_years: Float[np.ndarray, " cancer"], censoring: Censoring
) -> dict[str, Any]:
    """An interval with its exams and cancers; one that G does not reach says so."""
    entry = interval_metrics("value", interval) | {"n": n, "events": len(cancer_years)}
    if cancer_years.max(initial=0) > censoring.years[-1]:
        entry["flag"] = "a cancer came later than any development exam was followed"
    return entry


def _calibration(
    exams: pd.DataFrame, censoring: Censoring, horizon_years: int, resamples: int, seed: int
) -> dict[str, float | int | None]:
    """Brier score and calibration error at the last horizon, each exam weighted as `known_by` says; n: that count.

    Null where the exams with, or without, cancer by then are of fewer than MIN_PATIENTS patients, or G is not known.
    """
    (years, events), patients = observed(exams), exams["patient_id"].to_numpy().astype(str)
    last = exams[horizon_years].to_numpy().astype(np.float64)
    known = (events & (years <= horizon_years)) | (years >= horizon_years)
    found: dict[str, float | int | None] = {**dict.fromkeys(("brier", "brier_low", "brier_high", "ece"))}
    found["n"] = int(known.sum())
    labels = (events & (years <= horizon_years))[known]
    if not cut_points(labels, patients[known]) or years[known].clip(max=horizon_years).max() > censoring.years[-1]:
        return found
    cases, weights = known_by(years, events, horizon_years, censoring)
    brier = mean_interval(weights * (last - cases) ** 2, patients, resamples, seed)
    error = weighted_calibration_error(cases[known], last[known], weights[None, known], CALIBRATION_BINS)[0]
    limits = dict(zip(("brier", "brier_low", "brier_high"), map(rounded, brier), strict=True))
    return found | limits | {"ece": rounded(float(error))}
