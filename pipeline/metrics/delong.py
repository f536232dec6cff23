"""Intervals and tests of AUCs in closed form, with the images of one patient counted as one draw.

The AUC is a mean over positives, and over negatives, of the share of the other side that each is ordered rightly
against: DeLong's structural components. How the sums of these components scatter between patients is its variance.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.special import ndtr
from scipy.stats import rankdata

from pipeline.metrics.bootstrap import REACH, UNSUPPORTED, Interval, cut_points


class Components(NamedTuple):
    """Structural components of an AUC: both parts have the AUC as their mean; a difference of two AUCs has theirs."""

    positives: Float[np.ndarray, " positive"]  # share of the negatives below each positive
    negatives: Float[np.ndarray, " negative"]  # share of the positives above each negative


class AucTest(NamedTuple):
    """AUC of a minus AUC of b, its 95 % interval, its standard score and two-sided p; all NaN where unsupported."""

    difference: float
    low: float
    high: float
    z: float
    p: float


def delong_interval(
    labels: Bool[np.ndarray, " sample"],
    scores: Float[np.ndarray, "*seeds sample"],
    patients: Shaped[np.ndarray, " sample"],
) -> Interval:
    """AUC with a normal interval from the variance between patients.

    Args:
        labels: True for positives.
        scores: Higher means more of the label; with a leading axis of training seeds the mean AUC over them is taken.
        patients: Whose sample it is; one sample per patient gives DeLong's interval.

    Returns:
        The AUC and its interval, cut off at 0 and 1; all NaN if fewer than MIN_PATIENTS have a positive, or a negative.
        A perfect order has no scatter, so its interval is the point 1: too narrow in a small sample.
    """
    if not cut_points(labels, patients):
        return UNSUPPORTED
    components = structural_components(labels, scores)
    value = components.positives.mean()
    reach = REACH * np.sqrt(clustered_variance(components, labels, patients))
    return Interval(float(value), max(float(value - reach), 0.0), min(float(value + reach), 1.0))


def delong_test(
    labels: Bool[np.ndarray, " sample"],
    scores_a: Float[np.ndarray, "*seeds_a sample"],
    scores_b: Float[np.ndarray, "*seeds_b sample"],
    patients: Shaped[np.ndarray, " sample"],
) -> AucTest:
    """Whether two scores of the same samples differ in AUC, with patients as the independent draws.

    Args: as `delong_interval`.

    Returns:
        The difference in [-1, 1], its interval, z and p; difference 0 and p 1 for scores in the same order. All NaN
        if fewer than MIN_PATIENTS have a positive, or a negative. A difference without scatter (one score perfect,
        the other constant or reversed) has an infinite z and p 0.
    """
    if not cut_points(labels, patients):
        return AucTest(*[np.nan] * 5)
    a, b = structural_components(labels, scores_a), structural_components(labels, scores_b)
    # Components are linear in the AUC: the variance of theirs is var(a) + var(b) - 2 cov(a, b).
    components = Components(a.positives - b.positives, a.negatives - b.negatives)
    difference = components.positives.mean()
    error = np.sqrt(clustered_variance(components, labels, patients))
    low, high = np.clip([difference - REACH * error, difference + REACH * error], -1, 1)
    with np.errstate(divide="ignore"):
        z = difference / error if difference else np.float64(0)
    return AucTest(float(difference), float(low), float(high), float(z), float(2 * ndtr(-abs(z))))


def structural_components(
    labels: Bool[np.ndarray, " sample"], scores: Float[np.ndarray, "*seeds sample"]
) -> Components:
    """Share of the other class that each sample is ordered rightly against, ties half, averaged over the seeds.

    The mid-rank of a positive among all samples, less that among the positives, is the number of negatives below it,
    so sorting replaces the comparison of all pairs: O(n log n).

    Args:
        labels: True for positives; both classes must be present.
        scores: Higher means more of the label.

    Source: DeLong, DeLong & Clarke-Pearson, Biometrics 1988, 44:837-845; mid-ranks as in Sun & Xu, IEEE Signal
    Processing Letters 2014, 21:1389-1393.
    """
    scores = np.atleast_2d(scores)
    ranks = rankdata(scores, axis=1)
    negatives_below = ranks[:, labels] - rankdata(scores[:, labels], axis=1)
    positives_below = ranks[:, ~labels] - rankdata(scores[:, ~labels], axis=1)
    # Ranks are multiples of a half: their sums over seeds are exact, in whatever order the seeds come.
    return Components(
        np.asarray(negatives_below.mean(axis=0) / (~labels).sum()),
        np.asarray(1 - positives_below.mean(axis=0) / labels.sum()),
    )


def clustered_variance(
    components: Components, labels: Bool[np.ndarray, " sample"], patients: Shaped[np.ndarray, " sample"]
) -> float:
    """Variance of an AUC, or of a difference of two, when the samples of a patient depend on each other.

    With a_i and b_i the sums over patient i of the centred components, divided by the numbers M of positives and N of
    negatives, and f(n) = n / (n - 1), the paper's S10 / M + S01 / N + 2 S11 / (M N) is

        f(I10) sum a_i^2 + f(I01) sum b_i^2 + 2 f(I) sum a_i b_i,

    where I patients were seen, I10 with a positive and I01 with a negative. It is summed here as

        f(I) sum (a_i + b_i)^2 + (f(I10) - f(I)) sum a_i^2 + (f(I01) - f(I)) sum b_i^2,

    the same number without a negative term, since f falls: rounding cannot make it negative.

    Args:
        components: Of the samples in their order.
        labels: True for positives.
        patients: Whose sample it is; one sample per patient gives DeLong's variance.

    Raises:
        ZeroDivisionError: all positives, or all negatives, are of one patient.

    Source: Obuchowski, Biometrics 1997, 53:567-578.
    """
    names, owner = np.unique(patients, return_inverse=True)
    sums, factors = [], []
    for part, side in ((components.positives, labels), (components.negatives, ~labels)):
        sums.append(np.bincount(owner[side], part - part.mean(), len(names)) / len(part))
        seen = len(np.unique(owner[side]))
        factors.append(seen / (seen - 1))
    a, b = sums
    factor = len(names) / (len(names) - 1)
    extra = (factors[0] - factor) * (a**2).sum() + (factors[1] - factor) * (b**2).sum()
    return float(factor * ((a + b) ** 2).sum() + extra)
