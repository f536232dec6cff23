"""Brier score and calibration error worked out by hand."""

import numpy as np
import pytest

from pipeline.metrics.calibration import brier, expected_calibration_error, reliability

LABELS = np.array([False, False, True, True])
PROBABILITIES = np.array([0.1, 0.3, 0.2, 0.8])


def test_brier_by_hand() -> None:
    assert brier(LABELS, PROBABILITIES) == pytest.approx((0.01 + 0.09 + 0.64 + 0.04) / 4)


def test_calibration_error_by_hand() -> None:
    # Bins {0.1, 0.2} and {0.3, 0.8}: predicted 0.15 and 0.55, observed 0.5 and 0.5.
    binned = reliability(LABELS, PROBABILITIES, 2)
    np.testing.assert_allclose(binned.predicted, [0.15, 0.55])
    np.testing.assert_allclose(binned.observed, [0.5, 0.5])
    assert binned.sizes.tolist() == [2, 2]
    assert expected_calibration_error(LABELS, PROBABILITIES, 2) == pytest.approx((0.35 + 0.05) / 2)


def test_a_calibrated_forecaster_has_a_small_error() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random(20_000) ** 3
    labels = rng.random(20_000) < probabilities
    assert expected_calibration_error(labels, probabilities, 10) < 0.01
    assert expected_calibration_error(labels, np.sqrt(probabilities), 10) > 0.1


def test_more_bins_than_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="5 bins"):
        reliability(LABELS, PROBABILITIES, 5)
