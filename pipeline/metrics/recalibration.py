"""How far predicted risks are too extreme or too timid, and maps fitted on validation data that correct them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from pipeline.metrics.bootstrap import MIN_PATIENTS
from pipeline.metrics.censoring import Censoring, known_by

# Keeps the logit finite (within 13.8); a rate of one in a million is far below what 1e5 exams can tell from zero.
CLIP = 1e-6
# Largest gradient of the mean log-likelihood at the end: Newton's steps pass it in about ten iterations.
TOLERANCE = 1e-10


class CalibrationLine(NamedTuple):
    """logit(share of positives) = intercept + slope * logit(predicted probability)."""

    slope: float
    intercept: float


@dataclass(frozen=True)
class PlattMap:
    """Probability 1 / (1 + exp(-(slope * score + intercept))); Platt's A and B are their negatives."""

    slope: float
    intercept: float

    def __call__(self, scores: Float[np.ndarray, " other"]) -> Float[np.ndarray, " other"]:
        """Probabilities in [0, 1] of the label; in the order of the scores where the slope is positive."""
        return np.asarray(expit(self.slope * scores + self.intercept))


@dataclass(frozen=True)
class RiskMap:
    """One slope for the logits of all years' risks and an intercept per year; see `risk_map`."""

    slope: float
    intercepts: Float[np.ndarray, " year"]

    def __call__(self, risks: Float[np.ndarray, "exam year"]) -> Float[np.ndarray, "exam year"]:
        """Probabilities in [0, 1] of cancer within each year; a year never below the one before it."""
        logits = logit(np.clip(risks.astype(np.float64), CLIP, 1 - CLIP))
        return np.asarray(np.maximum.accumulate(expit(self.slope * logits + self.intercepts), axis=1))


def calibration_slope(
    labels: Bool[np.ndarray, " sample"], probabilities: Float[np.ndarray, " sample"]
) -> CalibrationLine:
    """Unpenalised logistic regression of the outcome on the logit of its predicted probability.

    Args:
        labels: True for positives.
        probabilities: Predicted, in [0, 1]; clipped to [1e-6, 1 - 1e-6], so that 0 and 1 have a logit.

    Returns:
        Slope 1 and intercept 0 for calibrated predictions; a slope below 1 for too extreme ones, above 1 for too timid
        ones. The intercept is that of this line, not the one at a slope fixed at 1 ("calibration in the large"). Both
        NaN where no line fits best: the predictions are all equal, or no positive and negative overlap in them.

    Raises:
        ValueError: there is no positive or no negative.

    Source: Cox, Biometrika 1958, 45:562-565; Van Calster et al., BMC Medicine 2019, 17:230.
    """
    _require_both_classes(labels)
    logits = logit(np.clip(probabilities.astype(np.float64), CLIP, 1 - CLIP))
    positives, negatives = logits[labels], logits[~labels]
    if positives.min() >= negatives.max() or negatives.min() >= positives.max():
        return CalibrationLine(np.nan, np.nan)
    return CalibrationLine(*_logistic_line(logits, labels.astype(np.float64)))


def platt(labels: Bool[np.ndarray, " sample"], scores: Float[np.ndarray, " sample"]) -> PlattMap:
    """Platt scaling: a logistic curve through the scores, fitted to smoothed targets.

    Args:
        labels: True for positives; of validation samples, which the scores were not trained on.
        scores: Any scale; higher need not mean more of the label.

    Returns:
        The map from scores to probabilities. The targets are (P + 1) / (P + 2) for the P positives and 1 / (N + 2) for
        the N negatives in place of 1 and 0, so that separated classes have a finite slope.

    Raises:
        ValueError: there is no positive or no negative, or all scores are equal.

    Source: Platt, Advances in Large Margin Classifiers 1999, pp. 61-74.
    """
    _require_both_classes(labels)
    if scores.min() == scores.max():
        raise ValueError(f"Platt scaling needs scores that differ: all {len(scores)} are {scores[0]}")
    positives, negatives = labels.sum(), (~labels).sum()
    targets = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    return PlattMap(*_logistic_line(scores.astype(np.float64), targets))


def isotonic(
    labels: Bool[np.ndarray, " sample"], scores: Float[np.ndarray, " sample"]
) -> Callable[[Float[np.ndarray, " other"]], Float[np.ndarray, " other"]]:
    """Isotonic regression: the never falling map of the scores with the least squared error (pool adjacent violators).

    Args:
        labels: True for positives; of validation samples, which the scores were not trained on.
        scores: Higher means more of the label.

    Returns:
        The map from scores to probabilities in [0, 1]: linear between the fitted scores, level outside them. It joins
        scores into ties, and needs more samples than Platt's two numbers.

    Raises:
        ValueError: there is no positive or no negative.

    Source: Zadrozny & Elkan, KDD 2002, pp. 694-699.
    """
    _require_both_classes(labels)
    model = IsotonicRegression(out_of_bounds="clip").fit(scores.astype(np.float64), labels.astype(np.float64))
    return lambda others: np.asarray(model.predict(others.astype(np.float64)))


def risk_map(
    risks: Float[np.ndarray, "exam year"],
    years: Float[np.ndarray, " exam"],
    events: Bool[np.ndarray, " exam"],
    censoring: Censoring,
) -> RiskMap | None:
    """Platt scaling of the risks of cancer within 1, 2, ... years, for all years at once and under censoring.

    A model trained with Mirai's mask, which leaves a past cancer out of the years after it, learns something nearer to
    the risk within each year than the risk until then; this map makes it the latter. The order of exams within a year
    stays, save where a year is lifted to the one before it.

    Args:
        risks: Predicted probabilities, never falling over the years; of validation exams.
        years: To cancer, or to the end of follow-up.
        events: True where years ends in cancer.
        censoring: G, of a sample followed at least as long as these exams; each counts for year n as `known_by` says.

    Returns:
        The map; None where it has too little to rest on: fewer than MIN_PATIENTS exams with cancer within the last
        year, or free of it then, or risks that are all equal or do not rise with the share of cancers.

    Source: as `platt`.
    """
    horizons = np.arange(1, risks.shape[1] + 1)
    known = [known_by(years, events, horizon, censoring) for horizon in horizons.tolist()]
    cases, weights = (np.stack(columns, axis=1) for columns in zip(*known, strict=True))
    free = (weights > 0) & ~cases
    logits = logit(np.clip(risks.astype(np.float64), CLIP, 1 - CLIP))
    if min(cases[:, -1].sum(), free[:, -1].sum()) < MIN_PATIENTS or np.ptp(logits, axis=0).max() == 0:
        return None
    targets = np.where(cases, (cases.sum(0) + 1) / (cases.sum(0) + 2), 1 / (free.sum(0) + 2))
    centre, scale = logits.mean(), logits.std()
    year = np.broadcast_to(np.eye(len(horizons)), (len(years), len(horizons), len(horizons)))
    columns = np.concatenate([(logits[..., None] - centre) / scale, year], axis=2).reshape(-1, 1 + len(horizons))
    slope, *intercepts = _coefficients(columns, targets.ravel(), weights.ravel())
    slope = slope / scale
    return RiskMap(float(slope), np.array(intercepts) - slope * centre) if slope > 0 else None


def _require_both_classes(labels: Bool[np.ndarray, " sample"]) -> None:
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        raise ValueError(f"calibration needs both classes: found {positives} positives and {negatives} negatives")


def _logistic_line(values: Float[np.ndarray, " sample"], targets: Float[np.ndarray, " sample"]) -> tuple[float, float]:
    """Slope and intercept of the greatest likelihood; a target t counts as t positives and 1 - t negatives.

    The values are standardised for the solver, so that the result does not depend on their scale.
    """
    centre, scale = values.mean(), values.std()
    columns = np.stack([(values - centre) / scale, np.ones(len(values))], axis=1)
    slope, intercept = _coefficients(columns, targets, np.ones(len(values)))
    return float(slope / scale), float(intercept - slope / scale * centre)


def _coefficients(
    columns: Float[np.ndarray, "sample column"],
    targets: Float[np.ndarray, " sample"],
    weights: Float[np.ndarray, " sample"],
) -> Float[np.ndarray, " column"]:
    """Unpenalised logistic regression on targets between 0 and 1."""
    outcomes = np.repeat([1, 0], len(columns))
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=TOLERANCE, fit_intercept=False)
    model.fit(np.tile(columns, (2, 1)), outcomes, np.concatenate([weights * targets, weights * (1 - targets)]))
    return np.asarray(model.coef_[0])
