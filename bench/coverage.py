"""How often the 95 % intervals hold the true value: coverage over 2,000 simulated cohorts of 150 patients each.

    OMP_NUM_THREADS=1 PYTHONPATH=. nice -n 15 python bench/coverage.py            # about ten minutes on two idle cores

The cohorts and their true values: bench/coverage_laws.py; the G of Uno's c comes from 300 other patients. The subgroups
are patients by turns, the first of them scored by the first score, the others by the second. Wanted: 93 to 97 %, at a
standard error of 0.5 points. The control takes images for patients, and must fail.

AUC, c and average precision lie up to two points below 95 %: a cohort that comes out too high has the narrower
interval, too. Harrell's c lies lowest: dropout moves its limit 0.003 away from the c without dropout, which it is held
against.
The calibration error cannot be covered, so the report gives it none: see OUTSIDE.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from bench.coverage_laws import (
    EXAMS,
    GRADES,
    HIT_SCORE,
    HORIZON_YEARS,
    IMAGES,
    Exams,
    Grades,
    Images,
    draw_exams,
    draw_grades,
    draw_images,
    draw_other_risk,
    draw_ranks,
    guesses,
    probabilities,
    true_dropout,
    true_values,
)
from pipeline.evaluation.operating_points import CALIBRATED, RANKED, SampleStatistic
from pipeline.evaluation.scored import Scored
from pipeline.evaluation.subgroups import auc_gap
from pipeline.metrics.bootstrap import Interval, auc_interval, mean_interval
from pipeline.metrics.calibration_line import calibration_line_intervals
from pipeline.metrics.censoring import (
    Censoring,
    censoring_distribution,
    dynamic_auc_interval,
    known_by,
    uno_interval,
)
from pipeline.metrics.delong import delong_interval, delong_test
from pipeline.metrics.paired import concordance_difference, paired_auc_gain
from pipeline.metrics.survival import concordance_interval, observed_to_expected
from pipeline.metrics.weighted import weighted_interval, weighted_kappa, weighted_median

COHORTS, PATIENTS, DEVELOPMENT_PATIENTS, RESAMPLES, PROCESSES = 2000, 150, 300, 500, 2
WANTED = (0.93, 0.97)
LINE = "calibration_slope", "calibration_intercept"
KNOWN = "risk_brier_with_true_g"
TRUE_G = Censoring(*true_dropout())
CONTROL = "delong_images_as_patients"
RESULT = Path("bench/results/coverage.json")
# Why a statistic is known to lie outside the wanted range.
OUTSIDE = {
    "ece": "the noise of each bin counts as error, and every resample adds noise; it is reported without an interval",
    "risk_brier": "G is held fixed though it is an estimate from other patients; with the true one: control",
}


def image_intervals(cohort: Images, resamples: int, seed: int) -> dict[str, Interval]:
    """Every interval of images of two classes."""
    labels, (a, b), patients = cohort
    draws = (patients, resamples, seed)
    return {
        "auc": auc_interval(labels, a, *draws),
        "delong": delong_interval(labels, a, patients),
        CONTROL: delong_interval(labels, a, np.arange(len(labels))),
        "auc_gain": paired_auc_gain(labels, a, b, *draws),
        "delong_gain": Interval(*delong_test(labels, a, b, patients)[:3]),
        "subgroup_gap": _subgroup_gap(cohort, resamples, seed),
        "recall_at_1": mean_interval((b > HIT_SCORE).astype(np.float64), *draws),
        **_weighted(RANKED, cohort, a, resamples, seed),
        **_weighted(CALIBRATED, cohort, probabilities(a), resamples, seed),
        **dict(zip(LINE, calibration_line_intervals(labels, probabilities(a)[None], patients), strict=True)),
    }


def grade_intervals(cohort: Grades, resamples: int, seed: int) -> dict[str, Interval]:
    """Every interval of an ordinal label."""
    kappa = partial(weighted_kappa, cohort.grades, guesses(cohort.scores), classes=GRADES)
    return {
        "ordinal_auc": auc_interval(*cohort, resamples, seed),
        "quadratic_kappa": weighted_interval(kappa, cohort.patients, resamples, seed),
    }


def risk_intervals(
    cohort: Exams, other_risk: np.ndarray, censoring: Censoring, resamples: int, seed: int
) -> dict[str, Interval]:
    """Every interval of exams."""
    years, events, risk, patients = cohort
    gain = concordance_difference(years, events, risk, other_risk, patients, resamples, seed)
    cases, weights = known_by(years, events, HORIZON_YEARS, censoring)
    _, true_weights = known_by(years, events, HORIZON_YEARS, TRUE_G)
    return {
        "harrell_c": concordance_interval(years, events, risk, patients, resamples, seed),
        "harrell_c_gain": Interval(*gain[:3]),
        "uno_c": uno_interval(*cohort, censoring, HORIZON_YEARS, resamples, seed),
        "dynamic_auc": dynamic_auc_interval(*cohort, censoring, HORIZON_YEARS, resamples, seed),
        "observed_to_expected": observed_to_expected(years, events, risk, patients, HORIZON_YEARS),
        "risk_brier": mean_interval(weights * (risk - cases) ** 2, patients, resamples, seed),
        KNOWN: mean_interval(true_weights * (risk - cases) ** 2, patients, resamples, seed),
    }


def intervals(seed: int, patients: int = PATIENTS, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """Every interval of one cohort; the data are drawn from another stream than the resamples."""
    rng = np.random.default_rng([seed, 1])
    images, exams = draw_images(rng, patients), draw_exams(rng, patients)
    development = draw_exams(rng, DEVELOPMENT_PATIENTS)
    censoring = censoring_distribution(development.years, development.events)
    grades, other_risk = draw_grades(rng, patients), draw_other_risk(rng, exams)
    of_images = image_intervals(images, resamples, seed) | grade_intervals(grades, resamples, seed)
    median = partial(weighted_median, draw_ranks(rng, patients))
    of_images["median_rank"] = weighted_interval(median, images.patients, resamples, seed)
    return of_images | risk_intervals(exams, other_risk, censoring, resamples, seed)


def coverage(found: list[Interval], truth: float) -> dict[str, float]:
    """How often the intervals hold the truth, on which side they miss it, and how the estimates scatter about it."""
    value, low, high = np.array(found).T
    rounded = {
        "coverage": np.mean((low <= truth) & (truth <= high)),
        "too_high": np.mean(low > truth),
        "too_low": np.mean(high < truth),
        "truth": truth,
        "mean_error": np.mean(value) - truth,
        "standard_deviation": np.std(value, ddof=1),
        "mean_width": np.mean(high - low),
    }
    return {name: round(float(number), 4) for name, number in rounded.items()}


def _weighted(
    statistics: Mapping[str, SampleStatistic], cohort: Images, scores: np.ndarray, resamples: int, seed: int
) -> dict[str, Interval]:
    """Intervals of the report's statistics of weighted images."""
    return {
        name: weighted_interval(partial(statistic, cohort.labels, scores), cohort.patients, resamples, seed)
        for name, statistic in statistics.items()
    }


def _subgroup_gap(cohort: Images, resamples: int, seed: int) -> Interval:
    """AUC of every second patient by the first score minus that of the others by the second."""
    grades, patients = cohort.labels.astype(np.int64), cohort.patients
    units = {}
    for group, scores in enumerate(cohort.scores):
        own = patients % 2 == group
        units[str(group)] = Scored("", "", "", "", False, grades[own], scores[None, own], patients[own])
    return auc_gap(units, "0", "1", resamples, seed)


def main() -> None:
    """Draws the cohorts, writes the coverages and names those outside the wanted range."""
    found = Parallel(n_jobs=PROCESSES, verbose=1)(delayed(intervals)(seed) for seed in range(COHORTS))
    covered = {name: coverage([each[name] for each in found], truth) for name, truth in true_values().items()}
    missed = [name for name, each in covered.items() if not WANTED[0] <= each["coverage"] <= WANTED[1]]
    truths = {CONTROL: true_values()["delong"], KNOWN: true_values()["risk_brier"]}
    controls = {name: coverage([each[name] for each in found], truth) for name, truth in truths.items()}
    result = {
        "cohorts": COHORTS,
        "patients": PATIENTS,
        "images": PATIENTS * IMAGES,
        "exams": PATIENTS * EXAMS,
        "resamples": RESAMPLES,
        "intervals": covered,
        "control": controls,
        "outside": {name: OUTSIDE.get(name, "not known why") for name in missed},
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
