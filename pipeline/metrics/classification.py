"""Discrimination of binary labels and ordinal grades: AUC, average precision, quadratic kappa, ROC curve."""

import numpy as np
from jaxtyping import Bool, Float, Int


def auc(labels: Bool[np.ndarray, " sample"], scores: Float[np.ndarray, " sample"]) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counted half.

    Args:
        labels: True for positives.
        scores: Higher means more of the label; any scale.

    Returns:
        Area in [0, 1].

    Raises:
        ValueError: there is no positive or no negative.

    Source: Mann-Whitney U by mid-ranks (Hanley & McNeil, Radiology 1982, 143:29-36).
    """
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        raise ValueError(f"AUC needs both classes: found {positives} positives and {negatives} negatives")
    _, level, ties = np.unique(scores, return_inverse=True, return_counts=True)
    mid_ranks = np.cumsum(ties) - (ties - 1) / 2
    rank_sum = mid_ranks[level][labels].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(labels: Bool[np.ndarray, " sample"], scores: Float[np.ndarray, " sample"]) -> float:
    """Precision averaged over the recall steps; the prevalence is the value of a useless score.

    Raises:
        ValueError: there is no positive.
    """
    if not labels.any():
        raise ValueError("average precision needs a positive: found none")
    found, alarms = _hits_from_the_top(labels, scores)
    recall_steps = np.diff(found, prepend=0) / found[-1]
    return float((recall_steps * found / (found + alarms)).sum())


def macro_auc(grades: Int[np.ndarray, " sample"], scores: Float[np.ndarray, " sample"]) -> float:
    """Mean AUC over the cut points of an ordinal grade (grade >= k, for every grade present but the lowest).

    Args:
        grades: Ordinal grades, such as density A to D as 0 to 3.
        scores: Expected grade, or any score that grows with it.

    Returns:
        Area in [0, 1]; each cut point weighs the same, however rare.

    Raises:
        ValueError: there are fewer than two different grades.
    """
    present = np.unique(grades)
    if len(present) < 2:
        raise ValueError(f"ordinal AUC needs two grades: found {present.tolist()}")
    return float(np.mean([auc(grades >= cut, scores) for cut in present[1:]]))


def quadratic_kappa(grades: Int[np.ndarray, " sample"], expected: Float[np.ndarray, " sample"], classes: int) -> float:
    """Cohen's kappa with quadratic weights between the grades and the rounded expected grades.

    Args:
        grades: True grades, 0 to classes - 1.
        expected: Expected grades on the same scale; rounded and clipped to it.
        classes: Number of grades.

    Returns:
        1 for full agreement, 0 for chance, negative below; NaN when both are constant and equal.

    Source: Cohen, Psychological Bulletin 1968, 70:213-220.
    """
    guessed = np.clip(np.rint(expected), 0, classes - 1).astype(np.int64)
    observed = float(((grades - guessed) ** 2).mean())
    by_chance = float(((grades[:, None] - np.arange(classes)) ** 2 * np.bincount(guessed, minlength=classes)).mean())
    by_chance *= classes / len(grades)
    return 1 - observed / by_chance if by_chance else float("nan")


def roc_curve(
    labels: Bool[np.ndarray, " sample"],
    scores: Float[np.ndarray, " sample"],
    false_positive_rates: Float[np.ndarray, " point"],
) -> Float[np.ndarray, " point"]:
    """Sensitivity at given false positive rates, linear between the points of the empirical ROC curve.

    Raises:
        ValueError: there is no positive or no negative.
    """
    if labels.all() or not labels.any():
        raise ValueError("a ROC curve needs both classes")
    found, alarms = _hits_from_the_top(labels, scores)
    rates = np.concatenate([[0.0], alarms / alarms[-1]])
    sensitivity = np.concatenate([[0.0], found / found[-1]])
    highest = np.append(np.diff(rates) > 0, True)  # of a vertical step, its top
    return np.asarray(np.interp(false_positive_rates, rates[highest], sensitivity[highest]))


def _hits_from_the_top(
    labels: Bool[np.ndarray, " sample"], scores: Float[np.ndarray, " sample"]
) -> tuple[Int[np.ndarray, " level"], Int[np.ndarray, " level"]]:
    """Positives and negatives at or above each distinct score, from the highest down."""
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    return np.cumsum(labels[order])[last_of_tie], np.cumsum(~labels[order])[last_of_tie]
