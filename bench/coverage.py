"""How often the 95 % intervals hold the true value: coverage over 2,000 simulated cohorts of 150 patients each.

    OMP_NUM_THREADS=1 PYTHONPATH=. nice -n 15 python bench/coverage.py            # two to five minutes on two cores

Images: four of each patient; a third of the patients have two positive ones. Scores are binormal and share a patient
effect. Exams: two of each patient; exponential times to cancer, whose rates share a patient effect; follow-up ends with
the patient's dropout or after six years; G comes from 300 other patients. The true values are integrals over the laws
that the cohorts are drawn from, not estimates. Wanted: 93 to 97 %, at a standard error of 0.5 points. The control takes
images for patients, and must fail.

AUC, c and average precision lie up to a point below 95 %: a cohort that comes out too high has the narrower interval,
too. Harrell's c lies lowest: dropout moves its limit 0.003 away from the c without dropout, which it is held against.
"""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from scipy.special import ndtr, ndtri

from pipeline.metrics.bootstrap import Interval, auc_interval, paired_auc_gain
from pipeline.metrics.censoring import Censoring, censoring_distribution, dynamic_auc_interval, uno_interval
from pipeline.metrics.delong import delong_interval, delong_test
from pipeline.metrics.operating import weighted_average_precision
from pipeline.metrics.survival import concordance_interval, observed_to_expected
from pipeline.metrics.weighted import weighted_interval

COHORTS, PATIENTS, RESAMPLES, PROCESSES = 2000, 150, 500, 2
WANTED = (0.93, 0.97)
CONTROL = "delong_images_as_patients"
RESULT = Path("bench/results/coverage.json")

IMAGES, POSITIVE_PATIENTS = 4, 1 / 3  # the first two images of a positive patient, those of one breast, are positive
SEPARATIONS = np.array([1.6, 1.0])  # of two scores; standard deviation 1 between patients, 1 within
SHARED = 0.6  # correlation of the two scores, between patients and within

EXAMS, DEVELOPMENT_PATIENTS = 2, 300
RATE, DROPOUT = 0.05, 0.1  # cancers at the median risk, and ends of follow-up, per year
HORIZON_YEARS, FOLLOWED_YEARS = 5, 6
CELLS = 2000  # of equal probability, into which the integrals cut the risk


class Images(NamedTuple):
    """Per image: labels, two scores, patients."""

    labels: np.ndarray
    scores: np.ndarray
    patients: np.ndarray


class Exams(NamedTuple):
    """Per exam: years to cancer or end of follow-up, whether there was cancer, its true risk, patients."""

    years: np.ndarray
    events: np.ndarray
    risk: np.ndarray
    patients: np.ndarray


def draw_images(rng: np.random.Generator, patients: int) -> Images:
    """A cohort for the AUC, the gain and the average precision."""
    positive = rng.random((patients, 1)) < POSITIVE_PATIENTS
    labels = positive & (np.arange(IMAGES) < IMAGES // 2)
    mix = np.linalg.cholesky([[1, SHARED], [SHARED, 1]])
    effects = np.tensordot(mix, rng.normal(size=(2, patients, 1)) + rng.normal(size=(2, patients, IMAGES)), 1)
    scores = SEPARATIONS[:, None, None] * labels + effects
    return Images(labels.ravel(), scores.reshape(2, -1), np.repeat(np.arange(patients), IMAGES))


def draw_exams(rng: np.random.Generator, patients: int, dropout: float = DROPOUT) -> Exams:
    """A cohort for the metrics of risk; the risk is the true one at the horizon."""
    covariate = (rng.normal(size=(patients, 1)) + rng.normal(size=(patients, EXAMS))) / np.sqrt(2)
    rates = RATE * np.exp(covariate)
    to_cancer = rng.exponential(size=rates.shape) / rates
    lost = rng.exponential(size=(patients, 1)) / dropout
    ends = np.broadcast_to(np.minimum(lost, FOLLOWED_YEARS), rates.shape)
    owners = np.repeat(np.arange(patients), EXAMS)
    columns = (np.minimum(to_cancer, ends), to_cancer <= ends, 1 - np.exp(-HORIZON_YEARS * rates))
    return Exams(*(column.ravel() for column in columns), owners)


def true_values() -> dict[str, float]:
    """What each interval should hold."""
    # Two images of different patients: their scores differ by a normal variable of variance 2 (1 + 1).
    auc, other_auc = (float(area) for area in ndtr(SEPARATIONS / 2))
    return {
        **dict.fromkeys(("auc", "delong", CONTROL), auc),
        **dict.fromkeys(("auc_gain", "delong_gain"), auc - other_auc),
        "average_precision": _true_average_precision(),
        "harrell_c": _true_concordance(FOLLOWED_YEARS),
        "uno_c": _true_concordance(HORIZON_YEARS),
        "dynamic_auc": _true_dynamic_auc(),
        "observed_to_expected": 1.0,
    }


def image_intervals(cohort: Images, resamples: int, seed: int) -> dict[str, Interval]:
    """Every interval of images."""
    labels, (a, b), patients = cohort
    precision = partial(weighted_average_precision, labels, a)
    return {
        "auc": auc_interval(labels, a, patients, resamples, seed),
        "delong": delong_interval(labels, a, patients),
        CONTROL: delong_interval(labels, a, np.arange(len(labels))),
        "auc_gain": paired_auc_gain(labels, a, b, patients, resamples, seed),
        "delong_gain": Interval(*delong_test(labels, a, b, patients)[:3]),
        "average_precision": weighted_interval(precision, patients, resamples, seed),
    }


def risk_intervals(cohort: Exams, censoring: Censoring, resamples: int, seed: int) -> dict[str, Interval]:
    """Every interval of exams."""
    years, events, risk, patients = cohort
    return {
        "harrell_c": concordance_interval(years, events, risk, patients, resamples, seed),
        "uno_c": uno_interval(*cohort, censoring, HORIZON_YEARS, resamples, seed),
        "dynamic_auc": dynamic_auc_interval(*cohort, censoring, HORIZON_YEARS, resamples, seed),
        "observed_to_expected": observed_to_expected(years, events, risk, patients, HORIZON_YEARS),
    }


def intervals(seed: int) -> dict[str, Interval]:
    """Every interval of one cohort; the data are drawn from another stream than the resamples."""
    rng = np.random.default_rng([seed, 1])
    images, exams = draw_images(rng, PATIENTS), draw_exams(rng, PATIENTS)
    development = draw_exams(rng, DEVELOPMENT_PATIENTS)
    censoring = censoring_distribution(development.years, development.events)
    return image_intervals(images, RESAMPLES, seed) | risk_intervals(exams, censoring, RESAMPLES, seed)


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


def _risk_grid() -> np.ndarray:
    """Rates of cancer in cells of equal probability, from low to high."""
    return np.asarray(RATE * np.exp(ndtri((np.arange(CELLS) + 0.5) / CELLS)))


def _share_in_order(weights: np.ndarray) -> float:
    """Share of pairs (first cell, other cell) in which the first has the higher risk, half in the same cell."""
    ahead = (np.sign(np.arange(CELLS)[:, None] - np.arange(CELLS)) + 1) / 2
    return float((weights * ahead).sum() / weights.sum())


def _true_concordance(years: float) -> float:
    """c of the pairs whose earlier cancer comes within so many years, without dropout.

    Exams with rates r and s: the first has its cancer before the other's and by t with r / (r + s) (1 - e^-(r + s)t).
    """
    first, other = _risk_grid()[:, None], _risk_grid()
    return _share_in_order(first / (first + other) * -np.expm1(-(first + other) * years))


def _true_dynamic_auc() -> float:
    """AUC of cancer by the horizon."""
    free = np.exp(-_risk_grid() * HORIZON_YEARS)
    return _share_in_order((1 - free)[:, None] * free)


def _true_average_precision() -> float:
    """Mean precision at the scores of the positives, cut at those of cells of equal probability."""
    prevalence = POSITIVE_PATIENTS / 2
    sensitivity = (np.arange(100 * CELLS) + 0.5) / (100 * CELLS)
    # A threshold that lets this share of the positives pass lies SEPARATIONS / sqrt(2) nearer to the negatives.
    false_positive = ndtr(ndtri(sensitivity) - SEPARATIONS[0] / np.sqrt(2))
    passed = prevalence * sensitivity
    return float(np.mean(passed / (passed + (1 - prevalence) * false_positive)))


def main() -> None:
    """Draws the cohorts, writes the coverages and names those outside the wanted range."""
    found = Parallel(n_jobs=PROCESSES, verbose=1)(delayed(intervals)(seed) for seed in range(COHORTS))
    covered = {name: coverage([each[name] for each in found], truth) for name, truth in true_values().items()}
    control = covered.pop(CONTROL)
    result = {
        "cohorts": COHORTS,
        "patients": PATIENTS,
        "images": PATIENTS * IMAGES,
        "exams": PATIENTS * EXAMS,
        "resamples": RESAMPLES,
        "intervals": covered,
        "control": {CONTROL: control},
        "outside": [name for name, each in covered.items() if not WANTED[0] <= each["coverage"] <= WANTED[1]],
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
