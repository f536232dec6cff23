"""What a reviewer asks of a classifier beside its AUC: operating points, precision, calibration, breasts and exams.

Nothing is fitted on a label of the test split: the maps from scores to probabilities come from validation patients. The
thresholds of a given specificity are read from the test scores, as a ROC curve is; they describe it and choose nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from pipeline.evaluation.probability_maps import Maps, calibration_maps, mapped
from pipeline.evaluation.risk_scores import CALIBRATION_BINS
from pipeline.evaluation.scored import Scored, scored_images, validation_as_test
from pipeline.evaluation.unit_scores import GROUPS, unit_scores, validation_units
from pipeline.metrics.bootstrap import UNSUPPORTED, Interval, cut_points
from pipeline.metrics.calibration_line import calibration_line_intervals
from pipeline.metrics.delong import delong_interval
from pipeline.metrics.operating import (
    partial_auc,
    probabilistic_f1,
    recall_rate_at_specificity,
    sensitivity_at_specificity,
    weighted_average_precision,
)
from pipeline.metrics.weighted import Statistic, weighted_brier, weighted_calibration_error, weighted_interval
from pipeline.sections import Calibration, Task

# From labels, scores or probabilities of one seed, and weights per resample to a value per resample.
SampleStatistic = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

COLUMNS = (
    *("task", "split", "setting", "encoder", "unit", "aggregate", "statistic"),
    *("value", "low", "high", "n", "patients", "positives"),
)
# Radiologists of the US screen at a specificity of 89 % (Lehman et al., Radiology 2017, 283:49-58); European programmes
# are to recall less than 5 % of the women screened before (European guidelines, 4th edition 2006).
RANKED: dict[str, SampleStatistic] = {
    "average_precision": weighted_average_precision,
    "sensitivity_at_90": partial(sensitivity_at_specificity, specificity=0.90),
    "sensitivity_at_95": partial(sensitivity_at_specificity, specificity=0.95),
    "recall_rate_at_90": partial(recall_rate_at_specificity, specificity=0.90),
    "recall_rate_at_95": partial(recall_rate_at_specificity, specificity=0.95),
    "partial_auc_10": partial(partial_auc, max_rate=0.10),
}
CALIBRATED: dict[str, SampleStatistic] = {
    "pf1": probabilistic_f1,
    "brier": weighted_brier,
    "ece": partial(weighted_calibration_error, bins=CALIBRATION_BINS),
}
# Its interval held the truth in 3 % of the simulated cohorts (bench/results/coverage.json): noise counts as error, and
# every resample adds some.
WITHOUT_INTERVAL = ("ece",)
LINE = ("calibration_slope", "calibration_intercept")
STATISTICS = ("auc", *RANKED, *CALIBRATED, *LINE)
# The RSNA 2022 challenge asks for one prediction per breast, and scores it by pF1.
BREAST_STATISTICS = ("auc", "average_precision", "sensitivity_at_90", "pf1")


def operating_points(
    predictions: pd.DataFrame,
    development: Mapping[str, pd.DataFrame],
    labels: Mapping[str, pd.DataFrame],
    tasks: Mapping[str, Task],
    calibration: Calibration,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Every binary task at all training patients (`lp_100`, `ft_100`) and without a label (`zero_shot`).

    Images have all of STATISTICS: the AUC with DeLong's interval; RANKED on the scores; CALIBRATED and LINE on
    probabilities. A seed's probabilities are its scores through a map fitted on that seed's validation predictions
    of the task's own cohort and applied to `test` and to transfer alike; never on test labels. Values are means over
    the training seeds. Breasts and exams have the AUC of each aggregate of `unit_scores`; the mean and the maximum of
    breasts all of BREAST_STATISTICS, with a map fitted on validation breasts.

    Args:
        predictions: Rows of tables.PREDICTIONS, those of the validation split among them.
        development: tables.COHORT by cohort, which holds the labels of the validation split.
        labels: Sealed test images (tables.SEALED) by cohort.
        tasks: By name; ordinal ones are left out.
        calibration: Platt's map or isotonic regression.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        One row per statistic with COLUMNS. unit: image, breast or exam; aggregate: mean, max, learned, or `none` of an
        image; statistic: as `table_name` says. value, low, high: with a 95 % interval over patients; WITHOUT_INTERVAL
        have none. n: units with a known label; patients, positives: of these. All NaN below MIN_PATIENTS patients with
        a positive, or with a negative; CALIBRATED and LINE are NaN where `calibration_maps` has no map, `learned` where
        validation is too small for it.

    Raises:
        ValueError: an image was scored that is not in its split, or not by every seed.
    """
    binary = {name: task for name, task in tasks.items() if task.kind == "binary"}
    rows = _reported_rows(predictions, binary)
    maps = calibration_maps(scored_images(*validation_as_test(rows, development), binary), calibration)
    units = [("image", "none", STATISTICS, maps, scored_images(rows, labels, binary))]
    for kind, column in GROUPS.items():
        known = validation_units(rows, development, binary, column) if kind == "breast" else {}
        for aggregate, scored in unit_scores(rows, development, labels, binary, column).items():
            wanted = BREAST_STATISTICS if aggregate in known else ("auc",)
            units.append((kind, aggregate, wanted, calibration_maps(known.get(aggregate, []), calibration), scored))
    found = [
        _row(unit, kind, aggregate, table_name(name, calibration), interval)
        for kind, aggregate, wanted, maps, scored in units
        for unit in scored
        for name, interval in _intervals(unit, wanted, maps, resamples, seed).items()
    ]
    return pd.DataFrame(found, columns=COLUMNS)


def table_name(statistic: str, calibration: Calibration) -> str:
    """What the table calls a statistic: `brier` of Platt's probabilities, `brier_isotonic` of the others.

    They are different numbers, so that tables of two runs never set one against the other.
    """
    is_mapped = calibration != "platt" and statistic in (*CALIBRATED, *LINE)
    return f"{statistic}_{calibration}" if is_mapped else statistic


def _reported_rows(predictions: pd.DataFrame, tasks: Mapping[str, Task]) -> pd.DataFrame:
    """Predictions of lp_100, ft_100 and zero_shot; scores as float64."""
    full = predictions["method"].isin(["lp", "ft"]) & (predictions["fraction"] == 1)
    chosen = predictions["task"].isin(list(tasks)) & (full | (predictions["method"] == "zero_shot"))
    return predictions[chosen].astype({"score": np.float64})


def _intervals(unit: Scored, wanted: Sequence[str], maps: Maps, resamples: int, seed: int) -> dict[str, Interval]:
    """The wanted statistics of one setting; unsupported where it has no scores, or too few patients."""
    labels = unit.labels
    found = dict.fromkeys(wanted, UNSUPPORTED)
    if np.isnan(unit.scores).any() or not cut_points(labels, unit.patients):
        return found
    found["auc"] = delong_interval(labels, unit.scores, unit.patients)
    weighted = [(name, RANKED[name], unit.scores) for name in wanted if name in RANKED]
    if unit.model in maps:
        chances = mapped(unit, maps)
        weighted += [(name, CALIBRATED[name], chances) for name in wanted if name in CALIBRATED]
        if set(LINE) <= set(wanted):
            found |= dict(zip(LINE, calibration_line_intervals(labels, chances, unit.patients), strict=True))
    for name, statistic, scores in weighted:
        over_seeds = _over_seeds(statistic, labels, scores)
        if name in WITHOUT_INTERVAL:
            found[name] = Interval(float(over_seeds(np.ones((1, len(labels))))[0]), np.nan, np.nan)
        else:
            found[name] = weighted_interval(over_seeds, unit.patients, resamples, seed)
    return found


def _over_seeds(
    statistic: SampleStatistic, labels: Bool[np.ndarray, " sample"], scores: Float[np.ndarray, "seed sample"]
) -> Statistic:
    """Mean over the training seeds, as a function of the weights alone."""
    return lambda weights: np.asarray(np.mean([statistic(labels, row, weights) for row in scores], axis=0))


def _row(unit: Scored, kind: str, aggregate: str, statistic: str, interval: Interval) -> dict[str, object]:
    """One row of the tidy table."""
    names = (unit.task, unit.split, unit.setting, unit.encoder, kind, aggregate, statistic)
    counts = (len(unit.grades), len(np.unique(unit.patients)), int(unit.grades.sum()))
    return dict(zip(COLUMNS, (*names, *interval, *counts), strict=True))
