"""AUC, average precision, kappa and ROC against numbers worked out by hand and against slow definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, cohen_kappa_score, roc_auc_score

from pipeline.metrics.classification import auc, average_precision, macro_auc, quadratic_kappa, roc_curve


def slow_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    wins = [(p > n) + 0.5 * (p == n) for p in scores[labels] for n in scores[~labels]]
    return float(np.mean(wins))


def test_auc_by_hand() -> None:
    # Pairs: 0.8 beats 0.1 and 0.4; 0.4 beats 0.1 and ties with 0.4 -> (1 + 1 + 1 + 0.5) / 4.
    labels = np.array([False, True, False, True])
    assert auc(labels, np.array([0.1, 0.4, 0.4, 0.8])) == 0.875


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_auc_equals_its_definition_with_ties(rows: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([r[0] for r in rows]), np.array([float(r[1]) for r in rows])
    if labels.all() or not labels.any():
        with pytest.raises(ValueError, match="both classes"):
            auc(labels, scores)
    else:
        assert auc(labels, scores) == pytest.approx(slow_auc(labels, scores), abs=1e-12)


def test_average_precision_by_hand() -> None:
    # Positives found at ranks 1 and 3: precision 1 and 2/3.
    labels = np.array([True, False, True, False])
    assert average_precision(labels, np.array([0.9, 0.8, 0.7, 0.1])) == pytest.approx((1 + 2 / 3) / 2)
    with pytest.raises(ValueError, match="found none"):
        average_precision(np.zeros(3, dtype=bool), np.ones(3))


def test_macro_auc_is_the_mean_over_cut_points() -> None:
    grades = np.array([0, 0, 1, 1, 2, 2])
    scores = np.array([0.1, 0.5, 0.4, 0.9, 0.8, 1.0])
    # grade >= 1: 7 of 8 pairs won; grade >= 2: 0.8 loses to 0.9 once, so 7 of 8.
    assert macro_auc(grades, scores) == pytest.approx((7 / 8 + 7 / 8) / 2)
    with pytest.raises(ValueError, match="two grades"):
        macro_auc(np.ones(3, dtype=int), np.ones(3))


def test_quadratic_kappa_by_hand() -> None:
    # Observed cost: one step off, once. Expected: counts (2, 1, 1) against (1, 2, 1), (12 + 2 + 6) / n = 20 / 4.
    grades = np.array([0, 0, 1, 2])
    assert quadratic_kappa(grades, np.array([0.2, 0.6, 1.4, 5.0]), 3) == pytest.approx(1 - 1 / (20 / 4))
    assert quadratic_kappa(grades, grades.astype(float), 3) == 1


def test_roc_by_hand_and_its_area() -> None:
    labels = np.array([True, False, True, False])
    curve = roc_curve(labels, np.array([0.9, 0.8, 0.7, 0.1]), np.array([0.0, 0.25, 0.5, 1.0]))
    # Vertical to 0.5 at rate 0, level to rate 0.5, then vertical to 1.
    np.testing.assert_allclose(curve, [0.5, 0.75, 1.0, 1.0])
    rng = np.random.default_rng(0)
    labels, grid = rng.random(500) < 0.3, np.linspace(0, 1, 2001)
    scores = rng.normal(size=500) + labels
    assert np.trapezoid(roc_curve(labels, scores, grid), grid) == pytest.approx(roc_auc_score(labels, scores), abs=2e-3)


def test_average_precision_and_kappa_equal_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    labels, scores = rng.random(300) < 0.2, np.round(rng.normal(size=300), 1)
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    grades, expected = rng.integers(0, 4, 300), rng.uniform(-1, 5, 300)
    guessed = np.clip(np.rint(expected), 0, 3).astype(int)
    slow = cohen_kappa_score(grades, guessed, labels=range(4), weights="quadratic")
    assert quadratic_kappa(grades, expected, 4) == pytest.approx(slow, abs=1e-12)
    assert np.isnan(quadratic_kappa(np.ones(5, dtype=int), np.ones(5), 4))
