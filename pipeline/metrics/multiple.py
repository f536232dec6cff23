"""p values of a family of tests, adjusted so that the chance of any false finding keeps its level."""

import numpy as np
from jaxtyping import Float


def holm(p_values: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Holm's step-down adjustment: the k-th smallest of m p values times m - k + 1, never below an earlier one.

    Args:
        p_values: In [0, 1], under any dependence between the tests; NaN where a test was not possible.

    Returns:
        Adjusted p values in the given order, at most 1. Those at or below a level are the findings whose chance of
        holding any false one is at most that level. NaN stays NaN and does not count as a test.

    Source: Holm, Scandinavian Journal of Statistics 1979, 6:65-70.
    """
    order = np.argsort(p_values, kind="stable")[: np.isfinite(p_values).sum()]  # NaN sorts last
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted = np.full(len(p_values), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted
