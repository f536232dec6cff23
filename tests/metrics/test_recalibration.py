"""Calibration slope, Platt and isotonic maps against their definitions and against simulated truth."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from pipeline.metrics.calibration import expected_calibration_error
from pipeline.metrics.censoring import Censoring, censoring_distribution
from pipeline.metrics.recalibration import RiskMap, calibration_slope, isotonic, platt, risk_map


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


HORIZONS = np.arange(1, 6)


def followed(exams: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, Censoring]:
    """True risks within 1 to 5 years, and what is seen of them: most are lost before the fifth."""
    rng = np.random.default_rng(seed)
    rates = 0.08 * np.exp(rng.normal(size=exams))
    to_cancer, lost = rng.exponential(size=exams) / rates, rng.exponential(5, exams)
    years, events = np.minimum(np.minimum(to_cancer, lost), 6), to_cancer <= np.minimum(lost, 6)
    return 1 - np.exp(-rates[:, None] * HORIZONS), years, events, censoring_distribution(years, events)


def test_risk_map_makes_risks_of_single_years_cumulative_under_censoring() -> None:
    truth, years, events, censoring = followed(8000, 7)
    # Overconfident, and the same for every year: what is left of an additive hazard without increments.
    flat = np.repeat(expit(2 * logit(truth[:, :1]) + 1), 5, axis=1)
    found = risk_map(flat, years, events, censoring)
    assert found is not None
    fresh, *_ = followed(8000, 8)
    mapped = found(np.repeat(expit(2 * logit(fresh[:, :1]) + 1), 5, axis=1))
    assert np.abs(mapped.mean(axis=0) - fresh.mean(axis=0)).max() < 0.015
    assert np.abs(mapped - fresh).mean() < 0.02 < 0.15 < np.abs(flat - truth).mean()
    assert (np.diff(mapped, axis=1) >= 0).all()
    assert (np.argsort(mapped[:, 4]) == np.argsort(fresh[:, 4])).all()


def test_risk_map_maximises_the_weighted_likelihood() -> None:
    truth, years, events, censoring = followed(200, 9)
    risks = truth[:, :2] ** 1.5
    followed_until = np.unique(years[~events])
    lost = np.array(
        [((years == t) & ~events).sum() / ((years > t) | ((years == t) & ~events)).sum() for t in followed_until]
    )
    parts = []
    for year in (1, 2):
        case = events & (years <= year)
        free, until = ~case & (years >= year), np.where(case, years, year)
        weight = (case | free) / [np.prod(1 - lost[followed_until < time]) for time in until]
        target = np.where(case, (case.sum() + 1) / (case.sum() + 2), 1 / (free.sum() + 2))
        parts.append((logit(risks[:, year - 1]), weight, target))

    def loss(numbers: np.ndarray) -> float:
        total = 0.0
        for (logits, weight, target), intercept in zip(parts, numbers[1:], strict=True):
            predicted = expit(numbers[0] * logits + intercept)
            total -= float(weight @ (target * np.log(predicted) + (1 - target) * np.log(1 - predicted)))
        return total

    found = risk_map(risks, years, events, censoring)
    assert found is not None
    best = minimize(loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9, "maxfev": 800}).x
    np.testing.assert_allclose([found.slope, *found.intercepts], best, atol=1e-4)


def test_a_year_is_never_below_the_one_before_it() -> None:
    risks = np.array([[0.1, 0.1, 0.2], [0.1, 0.9, 0.9]])
    found = RiskMap(1.0, np.array([0.0, -1.0, 0.0]))(risks)
    lowered = expit(logit(0.9) - 1)
    np.testing.assert_allclose(found, [[0.1, 0.1, 0.2], [0.1, lowered, 0.9]])


def test_risk_map_needs_cancers_and_a_risk_that_rises_with_them() -> None:
    truth, years, events, censoring = followed(2000, 11)
    assert risk_map(truth, years, events, censoring) is not None
    assert risk_map(1 - truth[:, ::-1], years, events, censoring) is None  # falls where cancers are many
    assert risk_map(np.full_like(truth, 0.1), years, events, censoring) is None
    few = np.flatnonzero(events & (years <= 5))[9:]
    kept = np.setdiff1d(np.arange(2000), few)
    assert risk_map(truth[kept], years[kept], events[kept], censoring) is None
    kept = np.setdiff1d(np.arange(2000), few[1:])
    assert risk_map(truth[kept], years[kept], events[kept], censoring) is not None
