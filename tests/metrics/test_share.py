"""Shares of hits: resampled where there are both, exact binomial limits by patient where there are not."""

import numpy as np
import pytest
from scipy.stats import binomtest

from pipeline.metrics.bootstrap import mean_interval
from pipeline.metrics.share import share_interval


@pytest.mark.parametrize("patients", [10, 37, 400])
def test_without_a_hit_or_a_miss_the_limits_are_exact_binomial_ones_of_the_patients(patients: int) -> None:
    owners = np.arange(patients).repeat(4)
    for hits, value in ((np.zeros(4 * patients, dtype=bool), 0), (np.ones(4 * patients, dtype=bool), 1)):
        exact = binomtest(value * patients, patients).proportion_ci(0.95, method="exact")
        np.testing.assert_allclose(share_interval(hits, owners, 100, 0), (value, exact.low, exact.high), atol=1e-12)


def test_with_both_the_patients_are_resampled() -> None:
    hits, owners = np.random.default_rng(0).random(80) < 0.1, np.arange(80) // 2
    assert share_interval(hits, owners, 200, 3) == mean_interval(hits.astype(float), owners, 200, 3)


def test_fewer_than_ten_patients_give_no_interval() -> None:
    assert np.isnan(share_interval(np.zeros(36, dtype=bool), np.arange(36) // 4, 100, 0)).all()
