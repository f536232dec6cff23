"""Statistics of weighted samples against scikit-learn, tables worked out by hand, and repeated samples."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve

from pipeline.metrics.calibration import brier, expected_calibration_error
from pipeline.metrics.operating import (
    partial_auc,
    probabilistic_f1,
    recall_rate_at_specificity,
    sensitivity_at_specificity,
    weighted_average_precision,
)
from pipeline.metrics.weighted import weighted_brier, weighted_calibration_error

Statistic = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

# Scores of four positives and ten negatives. Called down to each score: 0.9: 1 and 0; 0.8: 2 and 1; 0.7: 2 and 2;
# 0.6: 3 and 3; 0.2: 4 and 5; 0.1: 4 and 10.
POSITIVES = [0.9, 0.8, 0.6, 0.2]
NEGATIVES = [0.8, 0.7, 0.6, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1]
LABELS, SCORES = np.arange(14) < 4, np.array(POSITIVES + NEGATIVES)
ONES = np.ones((1, 14))


def tied_sample() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """200 samples on 21 different scores, in 30 weightings, a fifth of the weights zero."""
    rng = np.random.default_rng(0)
    labels = rng.random(200) < 0.3
    scores = np.round(np.clip(0.4 + 0.15 * labels + 0.2 * rng.normal(size=200), 0, 1) * 20) / 20
    return labels, scores, rng.exponential(size=(30, 200)) * (rng.random((30, 200)) > 0.2)


def slow_operating_point(labels: np.ndarray, scores: np.ndarray, specificity: float) -> tuple[float, float]:
    """Sensitivity and recall rate by trying every threshold, and none that calls anybody."""
    points = []
    for threshold in [np.inf, *np.unique(scores)]:
        called = scores >= threshold
        if (~called)[~labels].mean() >= specificity:
            points.append((called[labels].mean(), called.mean()))
    return max(points, key=lambda point: (point[0], -point[1]))


def slow_pf1(labels: np.ndarray, scores: np.ndarray) -> float:
    """The challenge's definition: the harmonic mean of pPrecision and pRecall."""
    if not scores[labels].sum():
        return 0.0
    precision, recall = scores[labels].sum() / scores.sum(), scores[labels].sum() / labels.sum()
    return float(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize(
    ("specificity", "sensitivity", "recalled"),
    [(1.0, 1, 1), (0.95, 1, 1), (0.9, 2, 3), (0.8, 2, 3), (0.7, 3, 6), (0.6, 3, 6), (0.5, 4, 9), (0.0, 4, 9)],
)
def test_operating_points_by_hand(specificity: float, sensitivity: int, recalled: int) -> None:
    # At 0.8 the threshold 0.7 is specific enough, but recalls one more than 0.8 and finds nobody more.
    assert sensitivity_at_specificity(LABELS, SCORES, ONES, specificity) == sensitivity / 4
    assert recall_rate_at_specificity(LABELS, SCORES, ONES, specificity) == recalled / 14


def test_weighted_operating_points_by_hand() -> None:
    # The first positive thrice; without the negative of score 0.8: called down to 0.8: 4 of 6 and 0 of 9.
    thrice, without = np.ones(14), np.ones(14)
    thrice[0] = 3
    without[[0, 4]] = 3, 0
    weights = np.stack([thrice, without])
    np.testing.assert_array_equal(sensitivity_at_specificity(LABELS, SCORES, weights, 0.95), [3 / 6, 4 / 6])
    np.testing.assert_array_equal(recall_rate_at_specificity(LABELS, SCORES, weights, 0.95), [3 / 16, 4 / 15])


def test_no_threshold_may_be_specific_enough_to_call_anybody() -> None:
    labels, scores = np.array([True, False]), np.array([0.5, 0.5])
    assert sensitivity_at_specificity(labels, scores, np.ones((1, 2)), 0.95) == 0
    assert recall_rate_at_specificity(labels, scores, np.ones((1, 2)), 0.95) == 0


def test_probabilistic_f1_by_hand() -> None:
    # Positives 2.5, all 5.5: pPrecision 2.5 / 5.5, pRecall 2.5 / 4. Then the first positive thrice.
    weights = np.stack([np.ones(14), np.where(np.arange(14) == 0, 3, 1)])
    expected = [2 / (5.5 / 2.5 + 4 / 2.5), 2 / (7.3 / 4.3 + 6 / 4.3)]
    np.testing.assert_allclose(probabilistic_f1(LABELS, SCORES, weights), expected)
    assert probabilistic_f1(LABELS, np.zeros(14), ONES) == 0
    assert probabilistic_f1(LABELS, LABELS.astype(float), ONES) == 1


def test_average_precision_and_brier_equal_scikit_learn_with_sample_weights() -> None:
    labels, scores, weights = tied_sample()
    expected = [average_precision_score(labels, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(weighted_average_precision(labels, scores, weights), expected, atol=1e-12)
    expected = [brier_score_loss(labels, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(weighted_brier(labels, scores, weights), expected, atol=1e-12)


@pytest.mark.parametrize("max_rate", [0.01, 0.1, 0.5, 1.0])
def test_partial_auc_equals_scikit_learn_with_sample_weights(max_rate: float) -> None:
    labels, scores, weights = tied_sample()
    expected = [roc_auc_score(labels, scores, sample_weight=w, max_fpr=max_rate) for w in weights]
    np.testing.assert_allclose(partial_auc(labels, scores, weights, max_rate), expected, atol=1e-12)


@pytest.mark.parametrize("specificity", [0.5, 0.9, 0.95])
def test_operating_points_equal_those_of_scikit_learns_curve(specificity: float) -> None:
    labels, scores, weights = tied_sample()
    sensitivities = sensitivity_at_specificity(labels, scores, weights, specificity)
    recalls = recall_rate_at_specificity(labels, scores, weights, specificity)
    for weight, sensitivity, recall in zip(weights, sensitivities, recalls, strict=True):
        alarms, found, thresholds = roc_curve(labels, scores, sample_weight=weight, drop_intermediate=False)
        best = found[1 - alarms >= specificity].max()
        assert sensitivity == pytest.approx(best, abs=1e-12)
        called = scores >= thresholds[np.flatnonzero(found >= best - 1e-12)[0]]
        assert recall == pytest.approx(np.average(called, weights=weight), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=20))
def test_integer_weights_equal_repeated_samples(rows: list[tuple[bool, int, int]]) -> None:
    labels, scores = np.array([r[0] for r in rows]), np.array([r[1] / 4 for r in rows])
    times = np.array([r[2] for r in rows])
    label, score = np.repeat(labels, times), np.repeat(scores, times)
    two_sided = 0 < label.sum() < len(label)
    references: list[tuple[Statistic, Callable[[], float], bool]] = [
        (weighted_average_precision, lambda: average_precision_score(label, score), label.any()),
        (probabilistic_f1, lambda: slow_pf1(label, score), label.any()),
        (
            lambda *s: sensitivity_at_specificity(*s, 0.75),
            lambda: slow_operating_point(label, score, 0.75)[0],
            two_sided,
        ),
        (
            lambda *s: recall_rate_at_specificity(*s, 0.75),
            lambda: slow_operating_point(label, score, 0.75)[1],
            two_sided,
        ),
        (lambda *s: partial_auc(*s, 0.3), lambda: roc_auc_score(label, score, max_fpr=0.3), two_sided),
    ]
    for weighted, reference, is_defined in references:
        expected = reference() if is_defined else np.nan
        np.testing.assert_allclose(weighted(labels, scores, times[None].astype(float)), [expected], atol=1e-12)
    if len(label):
        found = weighted_brier(labels, scores, times[None].astype(float))
        np.testing.assert_allclose(found, [np.mean((score - label) ** 2)], atol=1e-12)


def test_only_the_order_of_the_scores_counts_for_operating_points() -> None:
    labels, scores, weights = tied_sample()
    for statistic in (sensitivity_at_specificity, recall_rate_at_specificity, partial_auc):
        found = statistic(labels, scores, weights, 0.9)
        np.testing.assert_array_equal(statistic(labels, np.exp(9 * scores) - 5, weights, 0.9), found)


def test_calibration_with_weights_of_one_equals_calibration() -> None:
    labels, scores, _ = tied_sample()
    ones = np.ones((1, 200))
    for bins in (1, 7, 200):
        expected = expected_calibration_error(labels, scores, bins)
        np.testing.assert_allclose(weighted_calibration_error(labels, scores, ones, bins), [expected], atol=1e-12)
    np.testing.assert_allclose(weighted_brier(labels, scores, ones), [brier(labels, scores)], atol=1e-12)


def test_weighted_calibration_error_by_hand() -> None:
    # Bins {0.1, 0.2} and {0.3, 0.8}, whatever the weights. Without the 0.3: 0.15 and 0.8 predicted, 0.5 and 1
    # observed, of weight 2 and 1. With the 0.2 alone: 0.2 predicted, 1 observed.
    labels, probabilities = np.array([False, False, True, True]), np.array([0.1, 0.3, 0.2, 0.8])
    weights = np.array([[1.0, 0, 1, 1], [0.0, 0, 5, 0]])
    found = weighted_calibration_error(labels, probabilities, weights, 2)
    np.testing.assert_allclose(found, [(2 * 0.35 + 0.2) / 3, 0.8])


def test_arguments_out_of_range_are_refused() -> None:
    for statistic in (sensitivity_at_specificity, recall_rate_at_specificity):
        with pytest.raises(ValueError, match=r"found 95\.0"):
            statistic(LABELS, SCORES, ONES, 95.0)
    with pytest.raises(ValueError, match=r"found 0\.0"):
        partial_auc(LABELS, SCORES, ONES, 0.0)
    with pytest.raises(ValueError, match=r"0\.2 to 1\.8"):
        probabilistic_f1(LABELS, SCORES * 2, ONES)
    with pytest.raises(ValueError, match="15 bins"):
        weighted_calibration_error(LABELS, SCORES, ONES, 15)
