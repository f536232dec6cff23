"""Calibration under censoring against scikit-survival, plain labels, a written-out jackknife and simulated truth."""

from collections.abc import Callable

import numpy as np
import pytest
from sksurv.nonparametric import kaplan_meier_estimator

from pipeline.metrics.calibration import reliability
from pipeline.metrics.survival import observed_risk, observed_to_expected, risk_reliability
from tests.metrics.risk_cohorts import COHORTS, simulated, visits


@pytest.mark.parametrize(("load", "horizons"), COHORTS)
def test_reliability_of_risk_is_kaplan_meier_in_each_group(load: Callable, horizons: tuple[float, ...]) -> None:
    years, events, covariate = load()
    risk = (covariate - covariate.min()) / 200
    found = risk_reliability(years, events, risk, horizons[1], 5)
    groups = np.array_split(np.argsort(risk, kind="stable"), 5)
    for group, predicted, observed, size in zip(groups, *found, strict=True):
        steps, survival = kaplan_meier_estimator(events[group], years[group])
        assert observed == pytest.approx(1 - survival[np.searchsorted(steps, horizons[1], side="right") - 1], abs=1e-12)
        assert predicted == pytest.approx(risk[group].mean(), abs=1e-12)
        assert size == len(group)


def test_reliability_without_censoring_is_that_of_labels() -> None:
    years, events, risk = simulated(500, 0)
    probabilities = 1 / (1 + np.exp(-risk))
    expected = reliability(years <= 2, probabilities, 10)
    for found, column in zip(risk_reliability(years, events, probabilities, 2, 10), expected, strict=True):
        np.testing.assert_allclose(found, column, atol=1e-12)


def test_a_group_that_nobody_was_followed_long_enough_in_has_no_observed_risk() -> None:
    # Lower half of the risks followed 2 years at most. Upper half at 3 years: (1 - 1/4) (1 - 1/2) are free of cancer.
    years = np.array([1.0, 2.0, 2.0, 1.5, 1.0, 2.0, 3.0, 3.0])
    events = np.array([True, False, False, False, True, False, True, False])
    found = risk_reliability(years, events, np.linspace(0.1, 0.8, 8), 3, 2)
    np.testing.assert_allclose(found.observed, [np.nan, 1 - 3 / 4 * 1 / 2])
    assert observed_risk(years[:4], events[:4], 2) == pytest.approx(1 / 4)
    assert observed_risk(years[:2], np.array([True, True]), 3) == 1  # nobody is left of whom something is unknown
    with pytest.raises(ValueError, match="8 exams into 9 groups"):
        risk_reliability(years, events, np.linspace(0.1, 0.8, 8), 3, 9)


@pytest.mark.parametrize(("load", "horizons"), COHORTS)
def test_observed_to_expected_equals_greenwood_of_scikit_survival(load: Callable, horizons: tuple[float, ...]) -> None:
    years, events, _ = load()
    for horizon in horizons:
        steps, survival, (low, _) = kaplan_meier_estimator(events, years, conf_type="log-log")
        at = np.searchsorted(steps, horizon, side="right") - 1
        # Its lower limit is survival ** exp(1.96 e / -log(survival)), where e is the error of the log of survival.
        error = -np.log(survival[at]) * np.log(np.log(low[at]) / np.log(survival[at]))
        factor = np.exp(error * survival[at] / (1 - survival[at]))
        found = observed_to_expected(years, events, np.full(len(years), 0.25), np.arange(len(years)), horizon)
        ratio = (1 - survival[at]) / 0.25
        np.testing.assert_allclose(found, [ratio, ratio / factor, ratio * factor], atol=1e-9)


def test_observed_to_expected_takes_the_exams_of_a_patient_together() -> None:
    exams, patients, _ = visits()
    years, events, risk = exams.years, exams.events, np.linspace(0.1, 0.9, len(patients)) ** 2
    found = observed_to_expected(years, events, risk, patients, 3)
    tiled = [np.tile(column, 4) for column in (years, events, risk, patients)]
    np.testing.assert_allclose(observed_to_expected(*tiled, 3), found)

    # The infinitesimal jackknife written out: how the log of the ratio moves with the weight of each patient.
    def log_ratio(weights: np.ndarray) -> float:
        survival = np.prod(
            [
                1 - weights[years == time] @ events[years == time] / weights[years >= time].sum()
                for time in np.unique(years[events & (years <= 3)])
            ]
        )
        return float(np.log((1 - survival) / (weights @ risk / weights.sum())))

    slopes = [
        (log_ratio(1 + 1e-4 * (patients == p)) - log_ratio(1 - 1e-4 * (patients == p))) / 2e-4
        for p in np.unique(patients)
    ]
    error = np.sqrt(np.sum(np.square(slopes)))
    assert np.log(found.high / found.value) == pytest.approx(1.959964 * error, rel=1e-5)
    assert np.log(found.value) == pytest.approx(log_ratio(np.ones(len(patients))))
    as_strangers = observed_to_expected(years, events, risk, np.arange(len(years)), 3)
    assert as_strangers.value == found.value
    assert as_strangers.high != found.high


@pytest.mark.parametrize(("patients_with_cancer", "is_supported"), [(0, False), (9, False), (10, True)])
def test_too_few_patients_with_or_without_cancer_give_no_ratio(patients_with_cancer: int, is_supported: bool) -> None:
    patients = np.arange(100) // 2
    few = patients < patients_with_cancer
    for events in (few, ~few):
        years = np.where(events, 1.0, 3.0)
        for horizon in (2, 3):  # at 3 years all others are censored: known to be free of cancer
            found = observed_to_expected(years, events, np.full(100, 0.1), patients, horizon)
            assert found.is_supported == is_supported
            assert np.isnan(found).all() != is_supported


def test_true_risks_are_calibrated_under_heavy_censoring() -> None:
    rng = np.random.default_rng(0)
    hazards = 0.05 * np.exp(rng.normal(size=4000))
    to_cancer, ends = rng.exponential(size=4000) / hazards, rng.uniform(0, 6, 4000)
    years, events = np.minimum(to_cancer, ends), to_cancer <= ends
    risk = 1 - np.exp(-5 * hazards)
    found = observed_to_expected(years, events, risk, np.arange(4000), 5)
    assert found.low < 1 < found.high < 1.15
    assert (events & (years <= 5)).mean() / risk.mean() < 0.7  # what a share of cancers seen would say
