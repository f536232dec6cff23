"""Operating points, precision, partial AUC and pF1, in many weightings of the samples at once.

None of them is a share of won pairs, so a resample of patients enters as a weight per sample: how often the sample's
patient was drawn. All functions take labels and scores once and a row of weights per resample, sort once, and return
a value per row; NaN where a row leaves the statistic undefined. Integer weights equal repeating the samples.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class Curve(NamedTuple):
    """Weights of the positives and of the negatives called, at the thresholds from "none" to "all"; ties together."""

    found: Float[np.ndarray, "resample threshold"]
    alarms: Float[np.ndarray, "resample threshold"]


def weighted_average_precision(
    labels: Bool[np.ndarray, " sample"],
    scores: Float[np.ndarray, " sample"],
    weights: Float[np.ndarray, "resample sample"],
) -> Float[np.ndarray, " resample"]:
    """Precision averaged over the recall steps, samples of equal score taken in one step.

    Args:
        labels: True for positives.
        scores: Higher means more of the label; any scale.
        weights: Non-negative.

    Returns:
        Values in [0, 1], as scikit-learn's average_precision_score; NaN without a positive.
    """
    found, alarms = _curve(labels, scores, weights)
    called = found + alarms
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return _ratio((np.diff(found, axis=1) * precision[:, 1:]).sum(axis=1), found[:, -1])


def sensitivity_at_specificity(
    labels: Bool[np.ndarray, " sample"],
    scores: Float[np.ndarray, " sample"],
    weights: Float[np.ndarray, "resample sample"],
    specificity: float,
) -> Float[np.ndarray, " resample"]:
    """Highest sensitivity among the thresholds whose specificity is at least the given one.

    Nothing is interpolated: samples of equal score are called together, and each row of weights has its own threshold.

    Args:
        labels: True for positives.
        scores: Higher means more of the label; any scale.
        weights: Non-negative.
        specificity: In [0, 1].

    Returns:
        Sensitivities in [0, 1], 0 where only calling nobody is specific enough; NaN without both classes.

    Raises:
        ValueError: specificity is not in [0, 1].
    """
    curve = _curve(labels, scores, weights)
    found, _ = _at_threshold(curve, specificity)
    return np.where(curve.alarms[:, -1] > 0, _ratio(found, curve.found[:, -1]), np.nan)


def recall_rate_at_specificity(
    labels: Bool[np.ndarray, " sample"],
    scores: Float[np.ndarray, " sample"],
    weights: Float[np.ndarray, "resample sample"],
    specificity: float,
) -> Float[np.ndarray, " resample"]:
    """Share of all samples called positive at the threshold of `sensitivity_at_specificity`.

    Of several thresholds with that sensitivity the highest is meant, which recalls the fewest.

    Args, Raises: as `sensitivity_at_specificity`.

    Returns:
        Shares in [0, 1]; NaN without both classes.
    """
    curve = _curve(labels, scores, weights)
    positives, negatives = curve.found[:, -1], curve.alarms[:, -1]
    rate = _ratio(np.add(*_at_threshold(curve, specificity)), positives + negatives)
    return np.where((positives > 0) & (negatives > 0), rate, np.nan)


def partial_auc(
    labels: Bool[np.ndarray, " sample"],
    scores: Float[np.ndarray, " sample"],
    weights: Float[np.ndarray, "resample sample"],
    max_rate: float,
) -> Float[np.ndarray, " resample"]:
    """Area under the ROC curve up to a false positive rate, on the scale of an AUC.

    The curve is linear between thresholds, so that ties count half. A useless score has 0.5, a perfect one 1.

    Args:
        labels: True for positives.
        scores: Higher means more of the label; any scale.
        weights: Non-negative.
        max_rate: Highest false positive rate, in (0, 1]; 1 gives the AUC.

    Returns:
        Areas of at most 1, as scikit-learn's roc_auc_score(max_fpr=max_rate); NaN without both classes.

    Raises:
        ValueError: max_rate is not in (0, 1].

    Source: McClish, Medical Decision Making 1989, 9:190-195.
    """
    if not 0 < max_rate <= 1:
        raise ValueError(f"the highest false positive rate must lie in (0, 1]: found {max_rate}")
    found, alarms = _curve(labels, scores, weights)
    positives, negatives = found[:, -1], alarms[:, -1]
    steps = np.diff(alarms, axis=1)
    widths = np.diff(np.minimum(alarms, max_rate * negatives[:, None]), axis=1)
    inside = np.divide(widths, steps, out=np.zeros_like(steps), where=steps > 0)
    area = (widths * (found[:, :-1] + inside * np.diff(found, axis=1) / 2)).sum(axis=1)
    useless = max_rate**2 / 2
    return (1 + (_ratio(area, positives * negatives) - useless) / (max_rate - useless)) / 2


def probabilistic_f1(
    labels: Bool[np.ndarray, " sample"],
    scores: Float[np.ndarray, " sample"],
    weights: Float[np.ndarray, "resample sample"],
) -> Float[np.ndarray, " resample"]:
    """pF1: the F1 of calling each sample with its probability instead of at a threshold.

    With P the sum of the positives' probabilities, pPrecision = P / (sum of all) and pRecall = P / (number of
    positives); their harmonic mean is 2 P / (sum of all + number of positives), which is 0 where P is 0.

    Args:
        labels: True for positives.
        scores: Probabilities in [0, 1]; calibration changes the value, unlike of the other statistics here.
        weights: Non-negative.

    Returns:
        Values in [0, 1]; NaN without a positive.

    Raises:
        ValueError: a score is not in [0, 1].

    Source: Yacouby & Axman, Eval4NLP 2020, 79-91; the metric of the RSNA 2022 screening mammography challenge (beta 1).
    """
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"pF1 needs probabilities in [0, 1]: found {scores.min()} to {scores.max()}")
    positives = weights @ labels.astype(np.float64)
    f1 = _ratio(2 * (weights @ (scores * labels)), weights @ scores + positives)
    return np.where(positives > 0, f1, np.nan)


def _curve(
    labels: Bool[np.ndarray, " sample"],
    scores: Float[np.ndarray, " sample"],
    weights: Float[np.ndarray, "resample sample"],
) -> Curve:
    """Sorts the samples from the highest score down and adds their weights up to the end of each tie."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    called = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1], [True]]))  # samples at each threshold
    return Curve(*(_sums_of_first(np.where(side[order], weights[:, order], 0), called) for side in (labels, ~labels)))


def _sums_of_first(
    weights: Float[np.ndarray, "resample sample"], samples: Int[np.ndarray, " threshold"]
) -> Float[np.ndarray, "resample threshold"]:
    """Sum of the first n weights of each row, for each n of samples."""
    sums = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums[:, samples]


def _at_threshold(
    curve: Curve, specificity: float
) -> tuple[Float[np.ndarray, " resample"], Float[np.ndarray, " resample"]]:
    """Found and alarms at the highest threshold that finds the most of those that are specific enough.

    Raises:
        ValueError: specificity is not in [0, 1].
    """
    if not 0 <= specificity <= 1:
        raise ValueError(f"a specificity must lie in [0, 1]: found {specificity}")
    negatives = curve.alarms[:, -1:]
    lowest = (_ratio(negatives - curve.alarms, negatives) >= specificity).sum(axis=1) - 1
    row = np.arange(len(lowest))
    most = curve.found[row, lowest]
    highest = np.argmax(curve.found >= most[:, None], axis=1)
    return most, curve.alarms[row, highest]


def _ratio(part: Float[np.ndarray, "*shape"], whole: Float[np.ndarray, "*#shape"]) -> Float[np.ndarray, "*shape"]:
    """The quotient; NaN for 0 / 0."""
    with np.errstate(invalid="ignore"):
        return np.asarray(part / whole)
