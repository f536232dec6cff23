"""How far predicted risks are too extreme or too timid, and maps fitted on validation data that correct them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

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


def _require_both_classes(labels: Bool[np.ndarray, " sample"]) -> None:
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        raise ValueError(f"calibration needs both classes: found {positives} positives and {negatives} negatives")


def _logistic_line(values: Float[np.ndarray, " sample"], targets: Float[np.ndarray, " sample"]) -> tuple[float, float]:
    """Slope and intercept of the greatest likelihood; a target t counts as t positives and 1 - t negatives.

    The values are standardised for the solver, so that the result does not depend on their scale.
    """
    centre, scale = values.mean(), values.std()
    rows = np.tile((values - centre) / scale, 2)[:, None]
    outcomes = np.repeat([1, 0], len(values))
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=TOLERANCE)
    model.fit(rows, outcomes, sample_weight=np.concatenate([targets, 1 - targets]))
    slope = model.coef_[0, 0] / scale
    return float(slope), float(model.intercept_[0] - slope * centre)
