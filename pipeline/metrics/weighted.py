"""Intervals of statistics that are no share of won pairs: patients are resampled as weights of their samples.

`bootstrap` has the pair statistics and the draws, `operating` the statistics of ranked samples; the median,
agreement and calibration are here.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from pipeline.metrics.bootstrap import MIN_PATIENTS, UNSUPPORTED, Interval, percentiles, resample_counts

Statistic = Callable[[Float[np.ndarray, "resample sample"]], Float[np.ndarray, " resample"]]


def weighted_interval(
    statistic: Statistic, patients: Shaped[np.ndarray, " sample"], resamples: int, seed: int
) -> Interval:
    """A statistic of weighted samples, with an interval over resampled patients.

    Args:
        statistic: From non-negative weights, a row per resample, to a value per row; NaN where it is undefined.
        patients: Whose sample it is; a patient is drawn with all samples.
        resamples: Number of bootstrap resamples.
        seed: Of the resampling; the same seed draws the same patients, here and in `bootstrap`.

    Returns:
        The statistic with all weights one and its interval over the resamples where it is defined; all NaN with fewer
        than MIN_PATIENTS patients, or where the value itself is NaN. Patients are not counted by label.
    """
    _, owner = np.unique(patients, return_inverse=True)
    count = int(owner.max(initial=-1)) + 1
    if count < MIN_PATIENTS:
        return UNSUPPORTED
    value = float(statistic(np.ones((1, len(owner))))[0])
    if np.isnan(value):
        return UNSUPPORTED
    drawn = np.concatenate([statistic(counts[:, owner]) for counts in resample_counts(count, resamples, seed)])
    return Interval(value, *percentiles(drawn))


def weighted_median(
    values: Int[np.ndarray, " sample"], weights: Float[np.ndarray, "resample sample"]
) -> Float[np.ndarray, " resample"]:
    """Median of every value repeated as often as its weight says.

    Args:
        values: Any integers.
        weights: Non-negative whole numbers, with a positive sum in every row.

    Returns:
        The middle value, or the mean of the two in the middle, as numpy's median.
    """
    order = np.argsort(values, kind="stable")
    passed = np.cumsum(weights[:, order], axis=1)
    total = passed[:, -1]
    middle = [(passed < np.floor(place)[:, None]).sum(axis=1) for place in ((total + 1) / 2, total / 2 + 1)]
    return np.asarray(values[order][np.stack(middle)].mean(axis=0))


def weighted_kappa(
    grades: Int[np.ndarray, " sample"],
    expected: Float[np.ndarray, " sample"],
    weights: Float[np.ndarray, "resample sample"],
    classes: int,
) -> Float[np.ndarray, " resample"]:
    """`classification.quadratic_kappa` of weighted samples.

    The disagreement by chance, the mean of (grade - guess)^2 over all pairs of both, is the mean of the squares of both
    less twice the product of their means; so no table of grades is needed.

    Args:
        grades: True grades, 0 to classes - 1.
        expected: Expected grades on the same scale; rounded and clipped to it.
        weights: Non-negative, with a positive sum in every row.
        classes: Number of grades.

    Returns:
        1 for full agreement, 0 for chance, negative below; NaN where both are constant and equal.
    """
    guessed = np.clip(np.rint(expected), 0, classes - 1)
    total = weights.sum(axis=1)
    columns = np.stack([(grades - guessed) ** 2, grades, guessed, grades**2 + guessed**2], axis=1)
    observed, grade, guess, squares = (weights @ columns / total[:, None]).T
    by_chance = squares - 2 * grade * guess
    with np.errstate(invalid="ignore"):
        return np.asarray(1 - observed / by_chance)


def weighted_brier(
    labels: Bool[np.ndarray, " sample"],
    probabilities: Float[np.ndarray, " sample"],
    weights: Float[np.ndarray, "resample sample"],
) -> Float[np.ndarray, " resample"]:
    """`calibration.brier` of weighted samples.

    Args:
        labels: True for positives.
        probabilities: In [0, 1].
        weights: Non-negative, with a positive sum in every row.

    Returns:
        Mean squared differences in [0, 1].
    """
    return np.asarray(weights @ (probabilities - labels) ** 2 / weights.sum(axis=1))


def weighted_calibration_error(
    labels: Bool[np.ndarray, " sample"],
    probabilities: Float[np.ndarray, " sample"],
    weights: Float[np.ndarray, "resample sample"],
    bins: int,
) -> Float[np.ndarray, " resample"]:
    """`calibration.expected_calibration_error` of weighted samples.

    The bins hold equally many samples as they are; they stay the same in every row, and only their weights differ.

    Args:
        labels: True for positives.
        probabilities: In [0, 1].
        weights: Non-negative, with a positive sum in every row.
        bins: Number of bins.

    Returns:
        Mean distances between predicted and observed share, in [0, 1].

    Raises:
        ValueError: there are fewer samples than bins, or no bin.
    """
    if not 0 < bins <= len(labels):
        raise ValueError(f"cannot split {len(labels)} samples into {bins} bins")
    excess = probabilities - labels
    groups = np.array_split(np.argsort(probabilities, kind="stable"), bins)
    distances = [np.abs(weights[:, group] @ excess[group]) for group in groups]
    return np.asarray(np.sum(distances, axis=0) / weights.sum(axis=1))
