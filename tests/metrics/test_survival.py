"""Harrell's c against counted pairs, and the n-year labels against a table worked out by hand."""

import numpy as np
import pytest

from pipeline.metrics.survival import concordance, horizon_labels, observed_years

NAN = np.nan
# cancer at 1, 2 and 4 years; followed 5, 2 and 1 years without cancer; nothing known.
TO_CANCER = np.array([1.0, 2.0, 4.0, NAN, NAN, NAN, NAN])
FOLLOWED = np.array([1.0, 2.0, 4.0, 5.0, 2.0, 1.0, NAN])


def test_observed_years() -> None:
    years, events = observed_years(TO_CANCER, FOLLOWED)
    np.testing.assert_array_equal(years, [1, 2, 4, 5, 2, 1, NAN])
    assert events.tolist() == [True, True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("horizon", "mirai", "labels", "known"),
    [
        (2, False, [1, 1, 0, 0, 0, 0, 0], [1, 1, 0, 1, 1, 0, 0]),
        (2, True, [1, 1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0, 0]),
        (5, False, [1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0]),
        (5, True, [1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0]),
        (1, False, [1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 1, 1, 1, 0]),
    ],
)
def test_horizon_labels_by_hand(horizon: int, mirai: bool, labels: list[int], known: list[int]) -> None:
    found_labels, found_known = horizon_labels(TO_CANCER, FOLLOWED, horizon, mirai)
    assert found_labels.astype(int).tolist() == labels
    assert found_known.astype(int).tolist() == known


def test_concordance_by_hand() -> None:
    # Comparable: (1, 3), (1, 2 censored), (1, 5), (3, 5). Risks 0.5, 0.9, 0.5, 0.1: lost, tied, won, won.
    years, events = np.array([1.0, 3.0, 2.0, 5.0]), np.array([True, True, False, False])
    assert concordance(years, events, np.array([0.5, 0.9, 0.5, 0.1])) == pytest.approx(2.5 / 4)


def test_concordance_equals_counted_pairs() -> None:
    rng = np.random.default_rng(1)
    years, events, risk = rng.integers(1, 6, 80).astype(float), rng.random(80) < 0.4, np.round(rng.random(80), 1)
    won, compared = 0.0, 0
    for i in np.flatnonzero(events):
        for j in range(80):
            if years[j] > years[i] or (years[j] == years[i] and not events[j]):
                compared += 1
                won += float(risk[i] > risk[j]) + 0.5 * float(risk[i] == risk[j])
    assert concordance(years, events, risk) == pytest.approx(won / compared, abs=1e-12)
