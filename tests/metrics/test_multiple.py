"""Holm's adjustment against a table worked by hand and against the tests of all subsets that it shortens."""

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.metrics.multiple import holm

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=6).map(np.array)


def test_holm_by_hand() -> None:
    # The example of function Holm in R's package HDLSSkST. From the smallest: 0.001 x 7, 0.0025 x 6, 0.01 x 5,
    # 0.02 x 4, 0.05 x 3, 0.5 x 2 = 1, and 0.69 x 1 is raised to the 1 before it.
    found = holm(np.array([0.50, 0.01, 0.001, 0.69, 0.02, 0.05, 0.0025]))
    np.testing.assert_allclose(found, [1, 0.05, 0.007, 1, 0.08, 0.15, 0.015], rtol=1e-12)


def test_a_later_step_is_never_below_an_earlier_one() -> None:
    # 0.01 x 3, 0.02 x 2 = 0.04, and 0.03 x 1 is raised to 0.04; equal p values share the larger of 0.2 x 2 and 0.2.
    np.testing.assert_allclose(holm(np.array([0.03, 0.01, 0.02])), [0.04, 0.03, 0.04])
    np.testing.assert_allclose(holm(np.array([0.2, 0.2])), [0.4, 0.4])


def test_tests_that_were_not_possible_stay_nan_and_do_not_count() -> None:
    found = holm(np.array([np.nan, 0.02, np.nan, 0.01]))
    np.testing.assert_allclose(found, [np.nan, 0.02, np.nan, 0.02])
    assert np.isnan(holm(np.full(3, np.nan))).all()
    assert holm(np.array([])).shape == (0,)


@settings(max_examples=100, deadline=None)
@given(P_VALUES)
def test_holm_equals_bonferroni_over_every_subset(p_values: np.ndarray) -> None:
    """A hypothesis falls if every subset holding it falls by Bonferroni (closed testing, Marcus et al. 1976)."""
    indices = range(len(p_values))
    subsets = [s for size in range(1, len(p_values) + 1) for s in combinations(indices, size)]
    slow = [max(min(1, len(s) * p_values[list(s)].min()) for s in subsets if i in s) for i in indices]
    np.testing.assert_allclose(holm(p_values), slow, rtol=1e-12)


@settings(max_examples=100, deadline=None)
@given(P_VALUES)
def test_holm_is_bounded_and_keeps_the_order(p_values: np.ndarray) -> None:
    adjusted = holm(p_values)
    assert (adjusted >= p_values).all()
    assert (adjusted <= np.minimum(len(p_values) * p_values, 1)).all()
    assert (np.diff(adjusted[np.argsort(p_values)]) >= 0).all()
