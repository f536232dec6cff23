"""Calibration slope, Platt and isotonic maps against their definitions and against simulated truth."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from pipeline.metrics.calibration import expected_calibration_error
from pipeline.metrics.recalibration import calibration_slope, isotonic, platt


def simulated(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn with the probabilities of the logits, which crowd at low risk."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2, 1.5, samples)
    return rng.random(samples) < expit(logits), logits


def slow_line(targets: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Slope and intercept of the least cross-entropy, by a search without gradients."""

    def loss(line: np.ndarray) -> float:
        predicted = expit(line[0] * values + line[1])
        return float(-(targets * np.log(predicted) + (1 - targets) * np.log(1 - predicted)).mean())

    options = {"xatol": 1e-9, "fatol": 1e-14, "maxiter": 4000, "maxfev": 4000}
    return np.asarray(minimize(loss, [0.0, 0.0], method="Nelder-Mead", options=options).x)


@pytest.mark.parametrize(("factor", "shift"), [(1, 0), (2, 0), (0.5, 1)])
def test_slope_and_intercept_undo_a_known_distortion(factor: float, shift: float) -> None:
    labels, logits = simulated(20_000, 0)
    found = calibration_slope(labels, expit(factor * logits + shift))
    # logit = (distorted - shift) / factor: slope 1 / factor, intercept -shift / factor, within 3 standard errors of
    # the logistic regression (inverse Fisher information at the truth).
    rows = np.stack([factor * logits + shift, np.ones(len(logits))])
    weights = expit(logits) * expit(-logits)
    errors = np.sqrt(np.diag(np.linalg.inv(rows * weights @ rows.T)))
    assert errors.max() < 0.1
    assert (np.abs(np.array(found) - [1 / factor, -shift / factor]) < 3 * errors).all()


def test_slope_maximises_the_likelihood() -> None:
    labels, logits = simulated(300, 1)
    found = calibration_slope(labels, expit(logits).astype(np.float32))
    np.testing.assert_allclose(found, slow_line(labels, logits), atol=1e-5)


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_probabilities_of_0_and_1_count_as_one_in_a_million(precision: type) -> None:
    labels, logits = simulated(300, 2)
    probabilities = np.where(logits < -3, 0.0, np.where(logits > 0, 1.0, expit(logits))).astype(precision)
    assert {0.0, 1.0} < set(probabilities)
    clipped = np.where(logits < -3, logit(1e-6), np.where(logits > 0, logit(1 - 1e-6), logits))
    np.testing.assert_allclose(calibration_slope(labels, probabilities), slow_line(labels, clipped), atol=1e-5)


@pytest.mark.parametrize("probabilities", [[0.1, 0.2, 0.2, 0.3], [0.3, 0.2, 0.2, 0.1], [0.4, 0.4, 0.4, 0.4]])
def test_no_line_through_separated_or_equal_predictions(probabilities: list[float]) -> None:
    assert np.isnan(calibration_slope(np.array([False, False, True, True]), np.array(probabilities))).all()


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e4])
def test_platt_maximises_the_likelihood_of_his_targets(scale: float) -> None:
    labels, logits = simulated(200, 3)
    positives, negatives = labels.sum(), (~labels).sum()
    targets = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, intercept = slow_line(targets, logits)
    found = platt(labels, scale * (logits + 5))
    np.testing.assert_allclose(
        [found.slope * scale, found.intercept + 5 * found.slope * scale], [slope, intercept], atol=1e-6
    )
    np.testing.assert_allclose(found(scale * (logits[:7] + 5)), expit(slope * logits[:7] + intercept), atol=1e-6)


def test_platt_by_hand_on_two_scores() -> None:
    # Two groups, two numbers: the curve meets the mean target of each. P = 4, N = 2: targets 5/6 and 1/4.
    labels = np.array([False, True, True, False, True, True])
    scores = np.array([0.0, 0.0, 1.0, 0.0, 1.0, 1.0])
    found = platt(labels, scores)(np.array([0.0, 1.0]))
    np.testing.assert_allclose(found, [(5 / 6 + 2 / 4) / 3, 5 / 6], atol=1e-9)


def test_platt_is_finite_where_the_classes_are_separated() -> None:
    # One score per class: the curve meets the smoothed targets 1/4 and 3/4 themselves.
    scores = np.array([0.0, 0.0, 1.0, 1.0])
    np.testing.assert_allclose(platt(scores > 0, scores)(scores), [0.25, 0.25, 0.75, 0.75], atol=1e-9)


def test_isotonic_by_hand() -> None:
    # 0, 1, 1, 0, 1 at scores 1 to 5: the last 0 pools with the 1 before it (1/2), which is below the 1 before that,
    # so all three pool to 2/3. Given in another order; between scores the map is linear, outside them level.
    labels, scores = np.array([True, True, False, False, True]), np.array([5.0, 2.0, 4.0, 1.0, 3.0])
    found = isotonic(labels, scores)(np.array([0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 9.0]))
    np.testing.assert_allclose(found, [0, 0, 1 / 3, 2 / 3, 2 / 3, 2 / 3, 1, 1], atol=1e-12)


def test_isotonic_never_falls() -> None:
    labels, logits = simulated(500, 4)
    found = isotonic(labels, logits)(np.linspace(-9, 9, 1001))
    assert (np.diff(found) >= 0).all()
    assert 0 <= found[0] < found[-1] <= 1


@pytest.mark.parametrize("fit", [platt, isotonic])
def test_recalibrated_probabilities_are_nearer_the_truth_on_fresh_data(fit) -> None:
    (labels, logits), (fresh_labels, fresh_logits) = simulated(5000, 5), simulated(5000, 6)
    before = expected_calibration_error(fresh_labels, expit(2 * fresh_logits + 1), 10)
    after = expected_calibration_error(fresh_labels, fit(labels, 2 * logits + 1)(2 * fresh_logits + 1), 10)
    assert before > 0.05
    assert after < 0.02


@pytest.mark.parametrize("fit", [platt, isotonic, calibration_slope])
@pytest.mark.parametrize("label", [False, True])
def test_one_class_is_refused(fit, label: bool) -> None:
    with pytest.raises(ValueError, match="both classes"):
        fit(np.full(4, label), np.linspace(0.1, 0.9, 4))


def test_equal_scores_have_no_platt_curve() -> None:
    with pytest.raises(ValueError, match=r"all 4 are 0\.5"):
        platt(np.array([True, False, True, False]), np.full(4, 0.5))
