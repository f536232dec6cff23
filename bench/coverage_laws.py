"""The laws that bench/coverage.py draws its cohorts from, and the true values: integrals over them, no estimates.

Images: four of each patient; a third of the patients have two positive ones. Scores are binormal and share a patient
effect; probabilities are those of the first score, too extreme and too high. Grades: one of four per patient, of all
four images; the guess is the grade whose mean score is nearest. Ranks: log-normal, with a patient effect. Exams: two of
each patient; exponential times to cancer, whose rates share a patient effect; follow-up ends with the patient's dropout
or after six years.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri
from scipy.stats import norm

from pipeline.evaluation.risk_scores import CALIBRATION_BINS

IMAGES, POSITIVE_PATIENTS = 4, 1 / 3  # the first two images of a positive patient, those of one breast, are positive
PREVALENCE = POSITIVE_PATIENTS / 2
SEPARATIONS = np.array([1.6, 1.0])  # of two scores; standard deviation 1 between patients, 1 within
SPREAD = np.sqrt(2)  # standard deviation of a score among the negatives, or among the positives
SHARED = 0.6  # correlation of the two scores, between patients and within
SLOPE, SHIFT = 1.25, 0.3  # of the logits of the probabilities, on the true ones
HIT_SCORE = 1.2  # the second score is above it in a quarter of the images: a query's answer is found

GRADES, GRADE_STEP = 4, 0.6  # all equally frequent; the score rises by so much a grade

LOG_RANK = 4.0  # of the median rank; standard deviation 1 between patients, 1 within

EXAMS = 2
RATE, DROPOUT = 0.05, 0.1  # cancers at the median risk, and ends of follow-up, per year
HORIZON_YEARS, FOLLOWED_YEARS = 5, 6
NOISE = 1.0  # standard deviation of the noise on the other risk; that of the logarithm of the rates is 1
CELLS = 2000  # of equal probability, into which the integrals cut the risk


class Images(NamedTuple):
    """Per image: labels, two scores, patients."""

    labels: np.ndarray
    scores: np.ndarray
    patients: np.ndarray


class Grades(NamedTuple):
    """Per image: grade, score, patients."""

    grades: np.ndarray
    scores: np.ndarray
    patients: np.ndarray


class Exams(NamedTuple):
    """Per exam: years to cancer or end of follow-up, whether there was cancer, its true risk, patients."""

    years: np.ndarray
    events: np.ndarray
    risk: np.ndarray
    patients: np.ndarray


def draw_images(rng: np.random.Generator, patients: int) -> Images:
    """A cohort for the statistics of two classes."""
    positive = rng.random((patients, 1)) < POSITIVE_PATIENTS
    labels = positive & (np.arange(IMAGES) < IMAGES // 2)
    mix = np.linalg.cholesky([[1, SHARED], [SHARED, 1]])
    effects = np.tensordot(mix, rng.normal(size=(2, patients, 1)) + rng.normal(size=(2, patients, IMAGES)), 1)
    scores = SEPARATIONS[:, None, None] * labels + effects
    return Images(labels.ravel(), scores.reshape(2, -1), np.repeat(np.arange(patients), IMAGES))


def draw_grades(rng: np.random.Generator, patients: int) -> Grades:
    """A cohort for the AUC of an ordinal label."""
    grades = np.repeat(rng.integers(GRADES, size=(patients, 1)), IMAGES, axis=1)
    scores = GRADE_STEP * grades + rng.normal(size=(patients, 1)) + rng.normal(size=(patients, IMAGES))
    return Grades(grades.ravel(), scores.ravel(), np.repeat(np.arange(patients), IMAGES))


def guesses(scores: np.ndarray) -> np.ndarray:
    """Expected grades by the score, before they are rounded and clipped."""
    return scores / GRADE_STEP


def draw_ranks(rng: np.random.Generator, patients: int) -> np.ndarray:
    """Ranks of the right answers of as many queries as a cohort has images."""
    logs = LOG_RANK + rng.normal(size=(patients, 1)) + rng.normal(size=(patients, IMAGES))
    return np.ceil(np.exp(logs)).astype(np.int64).ravel()


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


def true_dropout() -> tuple[np.ndarray, np.ndarray]:
    """Times up to the end of follow-up and the share that nobody has lost by then."""
    years = np.linspace(0, FOLLOWED_YEARS, CELLS + 1)[1:]
    return years, np.exp(-DROPOUT * years)


def draw_other_risk(rng: np.random.Generator, exams: Exams) -> np.ndarray:
    """A risk that knows less: noise on the logarithm of the rates."""
    return np.log(-np.log1p(-exams.risk)) + NOISE * rng.normal(size=len(exams.risk))


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Of the first score."""
    return expit(SLOPE * _true_logit(scores) + SHIFT)


def true_values() -> dict[str, float]:
    """What each interval should hold."""
    # Two images of different patients: their scores differ by a normal variable of variance 2 (1 + 1).
    auc, other_auc = (float(area) for area in ndtr(SEPARATIONS / 2))
    sensitivities = {percent: float(_sensitivity(1 - percent / 100)) for percent in (90, 95)}
    found_shares = ndtr((SEPARATIONS[1] - HIT_SCORE) / SPREAD), ndtr(-HIT_SCORE / SPREAD)
    concordance = _true_concordance(FOLLOWED_YEARS)
    return {
        **dict.fromkeys(("auc", "delong"), auc),
        **dict.fromkeys(("auc_gain", "delong_gain", "subgroup_gap"), auc - other_auc),
        "ordinal_auc": _true_ordinal_auc(),
        "quadratic_kappa": _true_kappa(),
        "median_rank": float(np.ceil(np.exp(LOG_RANK))),
        "calibration_slope": 1 / SLOPE,
        "calibration_intercept": -SHIFT / SLOPE,
        "average_precision": _true_average_precision(),
        **{f"sensitivity_at_{percent}": found for percent, found in sensitivities.items()},
        **{f"recall_rate_at_{percent}": _recall_rate(percent, found) for percent, found in sensitivities.items()},
        "partial_auc_10": _true_partial_auc(0.1),
        **_true_calibration(),
        "recall_at_1": float(PREVALENCE * found_shares[0] + (1 - PREVALENCE) * found_shares[1]),
        "harrell_c": concordance,
        "harrell_c_gain": concordance - _true_concordance(FOLLOWED_YEARS, NOISE),
        "uno_c": _true_concordance(HORIZON_YEARS),
        "dynamic_auc": _true_dynamic_auc(),
        "observed_to_expected": 1.0,
        "risk_brier": _true_risk_brier(),
    }


def _true_logit(scores: np.ndarray) -> np.ndarray:
    """Log odds of a positive given the first score."""
    return logit(PREVALENCE) + SEPARATIONS[0] / SPREAD**2 * (scores - SEPARATIONS[0] / 2)


def _sensitivity(false_positive: float | np.ndarray) -> np.ndarray:
    """The ROC curve of the first score."""
    return np.asarray(ndtr(ndtri(false_positive) + SEPARATIONS[0] / SPREAD))


def _recall_rate(percent: int, sensitivity: float) -> float:
    """Share of all images called at a specificity of so many percent."""
    return PREVALENCE * sensitivity + (1 - PREVALENCE) * (1 - percent / 100)


def _true_partial_auc(max_rate: float) -> float:
    """McClish's standardised area below the ROC curve up to the rate."""
    area = max_rate * np.mean(_sensitivity((np.arange(100 * CELLS) + 0.5) / (100 * CELLS) * max_rate))
    return float((1 + (area - max_rate**2 / 2) / (max_rate - max_rate**2 / 2)) / 2)


def _true_average_precision() -> float:
    """Mean precision at the scores of the positives, cut at those of cells of equal probability."""
    sensitivity = (np.arange(100 * CELLS) + 0.5) / (100 * CELLS)
    # A threshold that lets this share of the positives pass lies SEPARATIONS / SPREAD nearer to the negatives.
    false_positive = ndtr(ndtri(sensitivity) - SEPARATIONS[0] / SPREAD)
    passed = PREVALENCE * sensitivity
    return float(np.mean(passed / (passed + (1 - PREVALENCE) * false_positive)))


def _true_calibration() -> dict[str, float]:
    """pF1, Brier score and calibration error in bins of equal probability, over a fine grid of scores."""
    grid = np.linspace(-6, 6, 100 * CELLS) * SPREAD + SEPARATIONS[0] / 2
    positives = PREVALENCE * norm.pdf(grid, SEPARATIONS[0], SPREAD) * (grid[1] - grid[0])
    everyone = positives + (1 - PREVALENCE) * norm.pdf(grid, 0, SPREAD) * (grid[1] - grid[0])
    chance = probabilities(grid)
    excess = chance * everyone - positives
    bins = np.minimum((np.cumsum(everyone) * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return {
        "pf1": float(2 * (chance * positives).sum() / ((chance * everyone).sum() + PREVALENCE)),
        "brier": float((chance**2 * everyone - 2 * chance * positives + positives).sum()),
        "ece": float(np.abs(np.bincount(bins, excess)).sum()),
    }


def _true_ordinal_auc() -> float:
    """Mean over the cuts of the AUC; images of one patient have one grade and are never compared."""
    steps = np.arange(GRADES)[:, None] - np.arange(GRADES)
    won = ndtr(GRADE_STEP * steps / 2)
    return float(np.mean([won[cut:, :cut].mean() for cut in range(1, GRADES)]))


def _true_kappa() -> float:
    """Quadratic kappa of grade and guess."""
    grades, cuts = np.arange(GRADES), (np.arange(GRADES - 1) + 0.5) * GRADE_STEP
    below = ndtr((cuts - GRADE_STEP * grades[:, None]) / SPREAD)
    together = np.diff(below, axis=1, prepend=0, append=1) / GRADES
    squares = (grades[:, None] - grades) ** 2
    by_chance = np.outer(together.sum(axis=1), together.sum(axis=0))
    return float(1 - (together * squares).sum() / (by_chance * squares).sum())


def _true_risk_brier() -> float:
    """Mean squared distance of the true risk at the horizon and the outcome."""
    free = np.exp(-_risk_grid() * HORIZON_YEARS)
    return float(np.mean(free * (1 - free)))


def _risk_grid() -> np.ndarray:
    """Rates of cancer in cells of equal probability, from low to high."""
    return np.asarray(RATE * np.exp(ndtri((np.arange(CELLS) + 0.5) / CELLS)))


def _share_in_order(weights: np.ndarray, noise: float = 0) -> float:
    """Share of pairs (first cell, other cell) in which the first has the higher risk, half in the same cell."""
    risk = np.log(_risk_grid())
    ahead = risk[:, None] - risk
    won = ndtr(ahead / (np.sqrt(2) * noise)) if noise else (np.sign(ahead) + 1) / 2
    return float((weights * won).sum() / weights.sum())


def _true_concordance(years: float, noise: float = 0) -> float:
    """c of the pairs whose earlier cancer comes within so many years, without dropout.

    Exams with rates r and s: the first has its cancer before the other's and by t with r / (r + s) (1 - e^-(r + s)t).
    """
    first, other = _risk_grid()[:, None], _risk_grid()
    return _share_in_order(first / (first + other) * -np.expm1(-(first + other) * years), noise)


def _true_dynamic_auc() -> float:
    """AUC of cancer by the horizon."""
    free = np.exp(-_risk_grid() * HORIZON_YEARS)
    return _share_in_order((1 - free)[:, None] * free)
