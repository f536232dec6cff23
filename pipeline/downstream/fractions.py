"""Label fractions: drawn by patient, stratified, nested (10 % inside 50 % inside 100 %), as method.md asks."""

import math
from collections.abc import Sequence

import pandas as pd
from numpy.random import Generator


def nested_patients(graded: pd.DataFrame, fractions: Sequence[float], generator: Generator) -> dict[float, set[str]]:
    """Draws the patients whose labels each fraction may use.

    Every stratum (patients of equal highest grade: for a binary label, any positive or none) is shuffled once, and
    each fraction takes the first patients of every stratum, rounded up: so a smaller fraction lies inside a larger.

    Args:
        graded: patient_id and grade of the training images.
        fractions: Shares of the patients, in (0, 1].
        generator: Source of the shuffles.

    Returns:
        Patients by fraction.
    """
    highest = graded.groupby("patient_id", sort=True)["grade"].max()
    drawn: dict[float, set[str]] = {fraction: set() for fraction in fractions}
    for _, stratum in highest.groupby(highest, sort=True):
        shuffled = generator.permutation(stratum.index.to_numpy(dtype=object))
        for fraction in fractions:
            drawn[fraction] |= set(shuffled[: _rounded_up(fraction * len(shuffled))])
    return drawn


def _rounded_up(count: float) -> int:
    """The next whole number; 0.1 * 30 is 3.0000000000000004 in binary and means 3."""
    return math.ceil(round(count, 9))
