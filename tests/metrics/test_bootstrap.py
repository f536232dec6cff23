"""The matrix form of the patient bootstrap against resampling written out, and its coverage of patients."""

import tracemalloc

import numpy as np
import pytest
from lifelines.utils import concordance_index
from sklearn.metrics import average_precision_score, cohen_kappa_score, roc_auc_score

from pipeline.metrics import bootstrap, paired
from pipeline.metrics.bootstrap import (
    auc_interval,
    auc_pairs,
    mean_interval,
    pair_interval,
    resample_counts,
)
from pipeline.metrics.classification import macro_auc, quadratic_kappa
from pipeline.metrics.operating import partial_auc, weighted_average_precision
from pipeline.metrics.paired import paired_auc_gain
from pipeline.metrics.survival import concordance_interval
from pipeline.metrics.weighted import weighted_interval, weighted_kappa, weighted_median

RESAMPLES = 130  # more than one block


@pytest.fixture
def cohort() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """60 patients with 1 to 4 images; labels and scores share a patient effect; ties in the scores."""
    rng = np.random.default_rng(3)
    patients = np.repeat([f"p{i}" for i in range(60)], rng.integers(1, 5, 60))
    effect = rng.normal(size=60)[np.unique(patients, return_inverse=True)[1]]
    labels = effect + rng.normal(size=len(patients)) > 0.5
    scores = np.round(np.stack([labels + effect + rng.normal(size=len(patients)) for _ in range(3)]), 1)
    return labels, scores, patients


def drawn_samples(patients: np.ndarray, seed: int) -> list[np.ndarray]:
    """The rows of every resample, written out."""
    names, owner = np.unique(patients, return_inverse=True)
    counts = np.concatenate(list(resample_counts(len(names), RESAMPLES, seed))).astype(int)
    return [np.concatenate([np.tile(np.flatnonzero(owner == i), n) for i, n in enumerate(row) if n]) for row in counts]


def test_every_resample_draws_as_many_patients_as_there_are() -> None:
    counts = np.concatenate(list(resample_counts(37, 250, 0)))
    assert counts.shape == (250, 37)
    assert (counts.sum(axis=1) == 37).all()
    assert abs(counts.mean() - 1) < 1e-12
    assert abs((counts == 0).mean() - (1 - 1 / 37) ** 37) < 0.02


@pytest.fixture(params=["pairs", "ranks"])
def counting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of patients, or ranks of samples as where there are many of them."""
    if request.param == "ranks":
        monkeypatch.setattr(bootstrap, "MOST_PAIRS", 0)
        monkeypatch.setattr(bootstrap, "auc_pairs", None)
        monkeypatch.setattr(paired, "auc_pairs", None)


@pytest.mark.usefixtures("counting")
def test_auc_interval_equals_resampling_written_out(cohort) -> None:
    labels, scores, patients = cohort
    slow = [np.mean([roc_auc_score(labels[i], s[i]) for s in scores]) for i in drawn_samples(patients, 5)]
    found = auc_interval(labels, scores, patients, RESAMPLES, 5)
    assert found.value == pytest.approx(np.mean([roc_auc_score(labels, s) for s in scores]), abs=1e-12)
    np.testing.assert_allclose(found[1:], np.percentile(slow, [2.5, 97.5]), atol=1e-12)


@pytest.mark.usefixtures("counting")
def test_paired_gain_equals_resampling_written_out(cohort) -> None:
    labels, scores, patients = cohort
    a, b = scores[0], scores[1:]
    slow = [
        roc_auc_score(labels[i], a[i]) - np.mean([roc_auc_score(labels[i], s[i]) for s in b])
        for i in drawn_samples(patients, 5)
    ]
    found = paired_auc_gain(labels, a, b, patients, RESAMPLES, 5)
    np.testing.assert_allclose(found[1:], np.percentile(slow, [2.5, 97.5]), atol=1e-12)
    assert paired_auc_gain(labels, a, a, patients, RESAMPLES, 5) == (0, 0, 0)


@pytest.mark.usefixtures("counting")
def test_ordinal_interval_averages_the_cut_points(cohort) -> None:
    labels, scores, patients = cohort
    grades = labels.astype(int) + (scores[1] > 1.5)
    slow = [macro_auc(grades[i], scores[0][i]) for i in drawn_samples(patients, 2)]
    found = auc_interval(grades, scores[0], patients, RESAMPLES, 2)
    assert found.value == pytest.approx(macro_auc(grades, scores[0]), abs=1e-12)
    np.testing.assert_allclose(found[1:], np.percentile(slow, [2.5, 97.5]), atol=1e-12)


def test_memory_of_many_pairs_grows_with_the_samples() -> None:
    """20,000 patients of whom all but 1,000 have a positive: 3 GB a matrix of pairs."""
    rng = np.random.default_rng(0)
    labels, patients = np.arange(20_000) >= 1000, np.arange(20_000)
    scores = labels + rng.normal(size=20_000)
    tracemalloc.start()
    found = auc_interval(labels, scores, patients, 2, 0)
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()
    assert found.value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_concordance_interval_equals_lifelines_on_every_resample(cohort) -> None:
    events, scores, patients = cohort
    years = np.round(np.random.default_rng(0).uniform(0, 5, len(events)))
    slow = [concordance_index(years[i], -scores[0][i], events[i]) for i in drawn_samples(patients, 1)]
    found = concordance_interval(years, events, scores[0], patients, RESAMPLES, 1)
    assert found.value == concordance_index(years, -scores[0], events)
    np.testing.assert_allclose(found[1:], np.percentile(slow, [2.5, 97.5]), atol=1e-12)


def test_mean_interval_equals_resampling_written_out(cohort) -> None:
    _, scores, patients = cohort
    slow = [scores[0][i].mean() for i in drawn_samples(patients, 4)]
    found = mean_interval(scores[0], patients, RESAMPLES, 4)
    assert found.value == scores[0].mean()
    np.testing.assert_allclose(found[1:], np.percentile(slow, [2.5, 97.5]))


def test_images_of_one_patient_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(0)
    labels, patients = np.arange(100) % 2 == 0, np.arange(100)
    scores = labels + rng.normal(size=100) * 1.5
    once = auc_interval(labels, scores, patients, 500, 0)
    copied = auc_interval(np.tile(labels, 8), np.tile(scores, 8), np.tile(patients, 8), 500, 0)
    np.testing.assert_allclose(once, copied)
    as_strangers = auc_interval(np.tile(labels, 8), np.tile(scores, 8), np.arange(800), 500, 0)
    assert as_strangers.high - as_strangers.low < 0.5 * (once.high - once.low)


@pytest.mark.parametrize("positives", [0, 9])
def test_too_few_positive_patients_give_no_number(positives: int) -> None:
    labels, scores = np.arange(200) < 2 * positives, np.linspace(0, 1, 200)
    patients = np.arange(200) // 2
    for found in (
        auc_interval(labels, scores, patients, 100, 0),
        paired_auc_gain(labels, scores, scores, patients, 100, 0),
        concordance_interval(scores, labels, scores, patients, 100, 0),
        mean_interval(scores[: 2 * positives], patients[: 2 * positives], 100, 0),
    ):
        assert not found.is_supported
        assert np.isnan(found).all()
    enough = np.arange(200) < 20
    assert auc_interval(enough, scores, patients, 100, 0).is_supported


def test_the_same_seed_gives_the_same_interval(cohort) -> None:
    labels, scores, patients = cohort
    first = auc_interval(labels, scores, patients, 200, 9)
    assert first == auc_interval(labels, scores, patients, 200, 9)
    assert first != auc_interval(labels, scores, patients, 200, 10)
    assert pair_interval([auc_pairs(labels, scores, patients)], 60, 200, 9) == first


def test_weighted_interval_equals_resampling_written_out(cohort) -> None:
    labels, scores, patients = cohort
    slow = [average_precision_score(labels[i], scores[0][i]) for i in drawn_samples(patients, 5)]
    found = weighted_interval(lambda w: weighted_average_precision(labels, scores[0], w), patients, RESAMPLES, 5)
    assert found.value == pytest.approx(average_precision_score(labels, scores[0]), abs=1e-12)
    np.testing.assert_allclose(found[1:], np.percentile(slow, [2.5, 97.5]), atol=1e-12)


def test_weighted_median_equals_numpy_on_every_resample(cohort) -> None:
    _, scores, patients = cohort
    values = np.round(scores[0] * 3).astype(int)
    names, owner = np.unique(patients, return_inverse=True)
    counts = np.concatenate(list(resample_counts(len(names), RESAMPLES, 8)))
    slow = [np.median(values[i]) for i in drawn_samples(patients, 8)]
    assert any(median % 1 for median in slow)  # between two values
    assert weighted_median(values, counts[:, owner]).tolist() == slow


def test_kappa_interval_equals_scikit_learn_on_every_resample(cohort) -> None:
    labels, scores, patients = cohort
    grades = labels.astype(int) + (scores[1] > 1.5)
    guessed = np.clip(np.rint(scores[0] + 0.5), 0, 3).astype(int)
    slow = [
        cohen_kappa_score(grades[i], guessed[i], labels=range(4), weights="quadratic")
        for i in drawn_samples(patients, 6)
    ]
    found = weighted_interval(lambda w: weighted_kappa(grades, scores[0] + 0.5, w, 4), patients, RESAMPLES, 6)
    assert found.value == pytest.approx(quadratic_kappa(grades, scores[0] + 0.5, 4), abs=1e-12)
    np.testing.assert_allclose(found[1:], np.percentile(slow, [2.5, 97.5]), atol=1e-12)


@pytest.mark.filterwarnings("error")
def test_kappa_of_one_grade_is_zero_and_of_full_constant_agreement_not_defined() -> None:
    weights = np.array([[1.0, 1.0, 1.0], [0.0, 3.0, 0.0], [2.0, 0.0, 1.0]])
    found = weighted_kappa(np.array([1, 2, 3]), np.array([2.1, 1.9, 2.0]), weights, 4)
    np.testing.assert_allclose(found, [0.0, np.nan, 0.0], atol=1e-15)  # the second draws grade 2 alone


def test_weighted_interval_draws_the_patients_of_auc_interval(cohort) -> None:
    labels, scores, patients = cohort
    found = weighted_interval(lambda w: partial_auc(labels, scores[0], w, 1.0), patients, RESAMPLES, 5)
    np.testing.assert_allclose(found, auc_interval(labels, scores[0], patients, RESAMPLES, 5), atol=1e-12)


def test_weighted_interval_leaves_out_resamples_without_a_positive(cohort) -> None:
    _, scores, patients = cohort
    labels = patients == "p3"
    positives = [i for i in drawn_samples(patients, 1) if labels[i].any()]
    assert len(positives) < 0.8 * RESAMPLES
    slow = [average_precision_score(labels[i], scores[0][i]) for i in positives]
    found = weighted_interval(lambda w: weighted_average_precision(labels, scores[0], w), patients, RESAMPLES, 1)
    np.testing.assert_allclose(found[1:], np.percentile(slow, [2.5, 97.5]), atol=1e-12)


@pytest.mark.filterwarnings("error")
def test_weighted_interval_without_patients_or_positives_enough_is_unsupported() -> None:
    def mean_weight(weights: np.ndarray) -> np.ndarray:
        return weights.mean(axis=1)

    assert np.isnan(weighted_interval(mean_weight, np.arange(36) // 4, 100, 0)).all()
    assert weighted_interval(mean_weight, np.arange(40) // 4, 100, 0) == (1, 1, 1)
    nobody, scores = np.zeros(40, dtype=bool), np.linspace(0, 1, 40)
    found = weighted_interval(lambda w: weighted_average_precision(nobody, scores, w), np.arange(40), 100, 0)
    assert np.isnan(found).all()
