"""Closed-form AUC intervals against their definitions written out, a table worked by hand, and simulated cohorts."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pipeline.metrics.bootstrap import auc_interval
from pipeline.metrics.delong import clustered_variance, delong_interval, delong_test, structural_components

# Two positives and two negatives: (0.4, 0.8) against (0.1, 0.4). AUC 0.875; the positives beat 0.75 and 1 of the
# negatives, the negatives lose to 1 and 0.75 of the positives.
LABELS = np.array([False, True, False, True])
SCORES = np.array([0.1, 0.4, 0.4, 0.8])


def cohort(seed: int, patients: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patients with 1 to 4 images, many with both labels; three seeds of scores with a patient effect and ties."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"p{i}" for i in range(patients)], rng.integers(1, 5, patients))
    effect = rng.normal(size=patients)[np.unique(names, return_inverse=True)[1]]
    labels = effect + rng.normal(size=len(names)) > 0.5
    scores = np.round(np.stack([labels + effect + rng.normal(size=len(names)) for _ in range(3)]), 1)
    return labels, scores, names


def slow_components(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """V10 and V01: every pair compared."""
    positives, negatives = scores[labels], scores[~labels]
    wins = [[(x > y) + 0.5 * (x == y) for y in negatives] for x in positives]
    return np.mean(wins, axis=1), np.mean(wins, axis=0)


def slow_covariance(labels: np.ndarray, a: np.ndarray, b: np.ndarray, patients: np.ndarray) -> float:
    """Obuchowski's covariance of two AUCs, in her symbols."""
    names, big_m, big_n = np.unique(patients), labels.sum(), (~labels).sum()

    def sums(components: np.ndarray, side: np.ndarray) -> np.ndarray:
        return np.array([(components - components.mean())[patients[side] == name].sum() for name in names])

    (v10_a, v01_a), (v10_b, v01_b) = slow_components(labels, a), slow_components(labels, b)
    x_a, x_b, y_a, y_b = sums(v10_a, labels), sums(v10_b, labels), sums(v01_a, ~labels), sums(v01_b, ~labels)
    i, i10, i01 = len(names), len(np.unique(patients[labels])), len(np.unique(patients[~labels]))
    s10 = i10 / ((i10 - 1) * big_m) * (x_a * x_b).sum()
    s01 = i01 / ((i01 - 1) * big_n) * (y_a * y_b).sum()
    s11, s11_swapped = i / (i - 1) * (x_a * y_b).sum(), i / (i - 1) * (x_b * y_a).sum()
    return s10 / big_m + s01 / big_n + (s11 + s11_swapped) / (big_m * big_n)


def variance(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> float:
    return clustered_variance(structural_components(labels, scores), labels, patients)


def test_structural_components_equal_all_pairs_compared() -> None:
    labels, scores, _ = cohort(0)
    found = structural_components(labels, scores)
    slow = [slow_components(labels, s) for s in scores]
    np.testing.assert_allclose(found.positives, np.mean([v10 for v10, _ in slow], axis=0), atol=1e-14)
    np.testing.assert_allclose(found.negatives, np.mean([v01 for _, v01 in slow], axis=0), atol=1e-14)
    assert len(np.unique(scores)) < 0.5 * scores.size  # there are ties
    assert found.positives.mean() == pytest.approx(np.mean([roc_auc_score(labels, s) for s in scores]), abs=1e-14)


def test_variance_by_hand() -> None:
    # V10 = (0.75, 1), V01 = (1, 0.75): all four lie 1/8 from 0.875, so S10 = S01 = 2/64 / (2 - 1) and
    # S10 / 2 + S01 / 2 = 1/32.
    found = structural_components(LABELS, SCORES)
    assert found.positives.tolist() == [0.75, 1]
    assert found.negatives.tolist() == [1, 0.75]
    assert variance(LABELS, SCORES, np.arange(4)) == pytest.approx(1 / 32, abs=1e-15)


@pytest.mark.parametrize(("owners", "expected"), [("pqqp", 1 / 16), ("ppqq", 0)])
def test_clustered_variance_by_hand(owners: str, expected: float) -> None:
    # Samples in order: 0.1 (V01 +1/8 from the mean), positive 0.4 (V10 -1/8), negative 0.4 (V01 -1/8), 0.8 (V10 +1/8).
    # I = I10 = I01 = 2, so S10 = S01 = 2/(1 x 2) x 2/64 = 1/32 as above, and S11 = 2/1 x the sum of V10 x V01:
    # p = {0.1, 0.8}, q = {0.4, 0.4}: both products +1/64, S11 = 1/16, variance 1/32 + 2/4 x 1/16 = 1/16;
    # p = {0.1, 0.4}, q = {0.4, 0.8}: both products -1/64, variance 1/32 - 1/32.
    assert variance(LABELS, SCORES, np.array(list(owners))) == pytest.approx(expected, abs=1e-15)


def test_clustered_variance_equals_the_paper_written_out() -> None:
    labels, scores, patients = cohort(1)
    for s in scores:
        assert variance(labels, s, patients) == pytest.approx(slow_covariance(labels, s, s, patients), rel=1e-12)
    averaged = np.mean([[slow_covariance(labels, a, b, patients) for a in scores] for b in scores])
    assert variance(labels, scores, patients) == pytest.approx(averaged, rel=1e-12)


def test_one_sample_per_patient_gives_delongs_variance() -> None:
    labels, scores, _ = cohort(2)
    v10, v01 = slow_components(labels, scores[0])
    plain = v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01)
    shuffled = np.random.default_rng(0).permutation(len(labels))
    assert variance(labels, scores[0], shuffled) == pytest.approx(plain, rel=1e-12)
    found = delong_interval(labels, scores[0], shuffled)
    area = roc_auc_score(labels, scores[0])
    np.testing.assert_allclose(found, [area, *norm.interval(0.95, area, np.sqrt(plain))], atol=1e-12)


def test_the_test_uses_variances_and_covariance_of_both_scores() -> None:
    labels, scores, patients = cohort(3)
    a, b = scores[0], scores[1] + 0.5 * scores[2]
    covariance = [slow_covariance(labels, x, y, patients) for x, y in ((a, a), (b, b), (a, b))]
    error = np.sqrt(covariance[0] + covariance[1] - 2 * covariance[2])
    difference = roc_auc_score(labels, a) - roc_auc_score(labels, b)
    z = difference / error
    expected = [difference, *norm.interval(0.95, difference, error), z, 2 * norm.sf(abs(z))]
    assert 0.001 < expected[-1] < 0.9
    np.testing.assert_allclose(delong_test(labels, a, b, patients), expected, rtol=1e-10)
    swapped = delong_test(labels, b, a, patients)
    np.testing.assert_allclose(swapped, [-difference, -expected[2], -expected[1], -z, expected[-1]], rtol=1e-10)


def test_scores_in_the_same_order_do_not_differ() -> None:
    labels, scores, patients = cohort(4)
    for other in (scores, scores[[2, 0, 1]], np.exp(scores)):
        assert delong_test(labels, scores, other, patients) == (0, 0, 0, 0, 1)


def test_copies_within_the_patient_leave_the_interval_but_narrow_the_naive_one() -> None:
    # With copies, a patient's sum of components, M and N all double, and the numbers of patients stay, so that the
    # clustered variance is the same but for rounding. DeLong's variance divides by M - 1 and N - 1: with M = N it
    # falls to (M - 1) / (2 M - 1), a little under a half.
    rng = np.random.default_rng(0)
    labels, patients = np.arange(200) % 2 == 0, np.arange(200) // 4
    scores = labels + rng.normal(size=200) * 1.5
    doubled = [np.tile(array, 2) for array in (labels, scores, patients)]
    once = delong_interval(labels, scores, patients)
    np.testing.assert_allclose(delong_interval(*doubled), once, rtol=1e-12)
    naive = [delong_interval(*doubled[:2], np.arange(400)), delong_interval(labels, scores, np.arange(200))]
    widths = [found.high - found.low for found in naive]
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(99 / 199), rel=1e-9)
    assert widths[0] / widths[1] == pytest.approx(1 / np.sqrt(2), rel=0.01)


def test_interval_agrees_with_the_bootstrap_of_patients() -> None:
    # Images of a patient share the label, but for one in ten, and most of the score.
    rng, patients = np.random.default_rng(0), np.repeat(np.arange(300), 4)
    labels = np.repeat(rng.random(300) < 0.3, 4) ^ (rng.random(1200) < 0.1)
    scores = labels + np.repeat(rng.normal(size=300), 4) + 0.5 * rng.normal(size=(3, 1200))
    found, drawn = delong_interval(labels, scores, patients), auc_interval(labels, scores, patients, 2000, 0)
    width = drawn.high - drawn.low
    assert found.high - found.low == pytest.approx(width, rel=0.1)
    np.testing.assert_allclose(found, drawn, atol=0.1 * width)
    naive = delong_interval(labels, scores, np.arange(1200))
    assert naive.high - naive.low < 0.7 * width


def test_p_values_are_uniform_where_nothing_differs_and_patients_are_clusters() -> None:
    rng, patients = np.random.default_rng(0), np.repeat(np.arange(60), 4)
    p_values, naive = [], []
    for _ in range(400):
        labels = np.repeat(rng.random(60) < 0.4, 4)
        a, b = labels + np.repeat(rng.normal(size=(2, 60)), 4, axis=1) + 0.5 * rng.normal(size=(2, 240))
        p_values.append(delong_test(labels, a, b, patients).p)
        naive.append(delong_test(labels, a, b, np.arange(240)).p)
    assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.09
    assert np.histogram(p_values, bins=4, range=(0, 1))[0] == pytest.approx(100, abs=30)  # 3.5 standard deviations
    assert np.mean(np.array(naive) < 0.05) > 0.2


def test_intervals_stay_between_0_and_1() -> None:
    labels, patients = np.arange(40) < 20, np.arange(40)
    assert delong_interval(labels, labels.astype(float), patients) == (1, 1, 1)
    nearly = labels + np.where(patients == 20, 1.0, 0.0)
    assert delong_interval(labels, nearly, patients).high == 1
    assert delong_interval(labels, -nearly, patients).low == 0
    perfect, reverse = labels.astype(float), (~labels).astype(float)
    assert 0.9 < delong_test(labels, nearly, reverse, patients).difference < 1
    assert delong_test(labels, nearly, reverse, patients).high == 1
    assert delong_test(labels, reverse, nearly, patients).low == -1
    assert delong_test(labels, perfect, reverse, patients) == (1, 1, 1, np.inf, 0)


@pytest.mark.parametrize("positives", [0, 9, 10])
def test_fewer_than_ten_patients_on_a_side_give_no_number(positives: int) -> None:
    labels, patients = np.arange(200) < 2 * positives, np.arange(200) // 2
    scores = np.random.default_rng(0).normal(size=200)
    for side in (labels, ~labels):
        supported = positives == 10
        assert delong_interval(side, scores, patients).is_supported == supported
        assert np.isfinite(delong_test(side, scores, np.abs(scores), patients)).all() == supported
