"""Paired differences against a loop over drawn patients, and how often a test of no difference rejects."""

import numpy as np
import pytest
from lifelines.utils import concordance_index

from pipeline.metrics.classification import macro_auc
from pipeline.metrics.paired import auc_difference, bootstrap_p, concordance_difference, paired_auc_gain
from tests.metrics.risk_cohorts import visits

RESAMPLES, SEED = 150, 6


def drawn_rows(patients: np.ndarray) -> list[np.ndarray]:
    """The rows of every resample: one draw of patients after the other, each with all rows."""
    names = np.unique(patients)
    rng = np.random.default_rng(SEED)
    draws = [rng.integers(len(names), size=(min(100, RESAMPLES - start), len(names))) for start in (0, 100)]
    return [np.concatenate([np.flatnonzero(patients == names[one]) for one in draw]) for draw in np.concatenate(draws)]


def two_sided(differences: list[float]) -> float:
    """The p of differences that are never NaN, counted one by one."""
    at_most, at_least = 1, 1  # the sample itself
    for difference in differences:
        at_most += difference <= 0
        at_least += difference >= 0
    return min(1.0, 2 * min(at_most, at_least) / (len(differences) + 1))


@pytest.fixture
def grades() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Four grades by patient, two images each; scores of three seeds and of two, the second a little better."""
    rng = np.random.default_rng(1)
    grade, patients = np.repeat(rng.integers(4, size=80), 2), np.repeat([f"p{i:02}" for i in range(80)], 2)
    first, second = (np.round(0.5 * grade + rng.normal(scale=s, size=(n, 160)), 1) for s, n in ((1.4, 3), (1.2, 2)))
    return grade, first, second, patients


def test_an_ordinal_difference_equals_a_loop_over_drawn_patients(grades) -> None:
    grade, first, second, patients = grades

    def difference(rows: np.ndarray) -> float:
        a, b = ([macro_auc(grade[rows], seed[rows]) for seed in scores] for scores in (first, second))
        return float(np.mean(a) - np.mean(b))

    slow = [difference(rows) for rows in drawn_rows(patients)]
    found = auc_difference(grade, first, second, patients, RESAMPLES, SEED)
    assert found.value == pytest.approx(difference(np.arange(len(grade))), abs=1e-12)
    np.testing.assert_allclose((found.low, found.high), np.percentile(slow, [2.5, 97.5]), atol=1e-12)
    assert found.p == two_sided(slow)
    assert 0.01 < found.p < 0.99
    assert found[:3] == paired_auc_gain(grade, first, second, patients, RESAMPLES, SEED)


def test_a_difference_of_c_equals_lifelines_in_a_loop_over_drawn_patients() -> None:
    exams, patients, _ = visits()
    years, events, risk = np.round(exams.years, 1), exams.events, exams.risk  # ties in time and risk
    other = np.round(risk + np.random.default_rng(2).normal(scale=0.5, size=len(risk)), 1)
    slow = [
        concordance_index(years[rows], -risk[rows], events[rows])
        - concordance_index(years[rows], -other[rows], events[rows])
        for rows in drawn_rows(patients)
    ]
    found = concordance_difference(years, events, risk, other, patients, RESAMPLES, SEED)
    whole = [concordance_index(years, -each, events) for each in (risk, other)]
    assert found.value == pytest.approx(whole[0] - whole[1], abs=1e-12)
    np.testing.assert_allclose((found.low, found.high), np.percentile(slow, [2.5, 97.5]), atol=1e-12)
    assert found.p == two_sided(slow)


def test_a_model_does_not_differ_from_itself(grades) -> None:
    grade, first, _, patients = grades
    assert auc_difference(grade, first, first, patients, 50, 0) == (0, 0, 0, 1)
    exams, owners, _ = visits()
    assert concordance_difference(*exams, exams.risk, owners, 50, 0) == (0, 0, 0, 1)


def test_swapping_the_models_turns_the_sign_and_keeps_p(grades) -> None:
    grade, first, second, patients = grades
    there, back = (
        auc_difference(grade, *pair, patients, RESAMPLES, SEED) for pair in ((first, second), (second, first))
    )
    np.testing.assert_allclose(there[:3], (-back.value, -back.high, -back.low), atol=1e-12)
    assert there.p == back.p


def test_nine_patients_with_cancer_give_no_number() -> None:
    exams, patients, _ = visits()
    few = exams.events & np.isin(patients, np.unique(patients[exams.events])[:9])
    assert np.isnan(concordance_difference(exams.years, few, exams.risk, -exams.risk, patients, 20, 0)).all()
    assert np.isnan(auc_difference(few, exams.risk, -exams.risk, patients, 20, 0)).all()


def test_p_by_hand() -> None:
    assert bootstrap_p(np.array([0.1, 0.2, 0.3])) == 2 * 1 / 4  # none at or below zero, and the sample
    assert bootstrap_p(np.array([0.1, 0.2, -0.3, np.nan])) == 1  # 2 (1 + 1) / 4
    assert bootstrap_p(np.array([0.0] + [-0.1] * 98)) == pytest.approx(2 * 2 / 100)
    assert bootstrap_p(np.full(1999, 0.4)) == pytest.approx(0.001)


def test_equally_good_scores_are_told_apart_in_about_one_of_twenty_cohorts() -> None:
    """Of 150 cohorts of 40 patients: 7.5 expected, at a standard deviation of 2.7; more with images for patients."""
    rejected = {"patients": 0, "images": 0}
    for seed in range(150):
        rng = np.random.default_rng([seed, 7])
        positive = np.repeat(rng.random(40) < 0.5, 4)
        effects = np.repeat(rng.normal(size=(2, 40)), 4, axis=1)
        scores = positive + effects + 0.3 * rng.normal(size=(2, 160))
        for name, owners in (("patients", np.repeat(np.arange(40), 4)), ("images", np.arange(160))):
            rejected[name] += auc_difference(positive, *scores, owners, 200, seed).p < 0.05
    assert 1 <= rejected["patients"] <= 16
    assert rejected["images"] > 30
