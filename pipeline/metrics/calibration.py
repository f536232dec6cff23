"""Whether predicted probabilities mean what they say: Brier score, reliability bins, expected calibration error."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class Reliability(NamedTuple):
    """Bins of neighbouring predictions: their mean prediction, the observed share of positives, their size."""

    predicted: Float[np.ndarray, " bin"]
    observed: Float[np.ndarray, " bin"]
    sizes: Int[np.ndarray, " bin"]


def brier(labels: Bool[np.ndarray, " sample"], probabilities: Float[np.ndarray, " sample"]) -> float:
    """Mean squared difference between probability and outcome; 0 is perfect, 0.25 is always saying 0.5.

    Source: Brier, Monthly Weather Review 1950, 78:1-3.
    """
    return float(np.mean((probabilities - labels) ** 2))


def reliability(
    labels: Bool[np.ndarray, " sample"], probabilities: Float[np.ndarray, " sample"], bins: int
) -> Reliability:
    """Splits the samples, sorted by probability, into bins of equal size (screening risks crowd near zero).

    Raises:
        ValueError: there are fewer samples than bins, or no bin.
    """
    if not 0 < bins <= len(labels):
        raise ValueError(f"cannot split {len(labels)} samples into {bins} bins")
    groups = np.array_split(np.argsort(probabilities, kind="stable"), bins)
    return Reliability(
        np.array([probabilities[g].mean() for g in groups], dtype=np.float64),
        np.array([labels[g].mean() for g in groups]),
        np.array([len(g) for g in groups]),
    )


def expected_calibration_error(
    labels: Bool[np.ndarray, " sample"], probabilities: Float[np.ndarray, " sample"], bins: int
) -> float:
    """Mean distance between predicted and observed share over bins of equal size, weighted by their sizes.

    Raises:
        ValueError: there are fewer samples than bins, or no bin.

    Source: Nguyen & O'Connor, EMNLP 2015 (adaptive bins); in [0, 1], 0 is calibrated.
    """
    binned = reliability(labels, probabilities, bins)
    return float(np.average(np.abs(binned.predicted - binned.observed), weights=binned.sizes))
