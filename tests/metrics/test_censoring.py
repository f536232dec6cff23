"""Risk metrics under censoring against scikit-survival, lifelines, tables worked by hand and simulated truth.

scikit-survival weights a cancer at T by G(T), the papers and we by G just before T. Both agree where no exam is
censored at the time of a cancer. So `reference` moves its cancers, and only those, a moment earlier: whole days keep
their order and the ties among cancers, a cancer stays before a tied censoring, and its G(T) is G just before T.
"""

from collections.abc import Callable

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from lifelines.datasets import load_rossi, load_waltons
from lifelines.utils import concordance_index
from sklearn.metrics import roc_auc_score
from sksurv.metrics import concordance_index_censored, concordance_index_ipcw, cumulative_dynamic_auc
from sksurv.nonparametric import CensoringDistributionEstimator
from sksurv.util import Surv

from pipeline.metrics.bootstrap import Interval, PatientPairs, resample_counts
from pipeline.metrics.censoring import (
    censoring_distribution,
    dynamic_auc_interval,
    dynamic_auc_pairs,
    uno_interval,
    uno_pairs,
)
from pipeline.metrics.survival import concordance
from tests.metrics.risk_cohorts import COHORTS, DAYS_PER_YEAR, censored, simulated, visits

RESAMPLES = 110  # more than one block
MOMENT = 0.125 / DAYS_PER_YEAR  # less than the quarter of a day by which years and days are out of step


def reference(years: np.ndarray, events: np.ndarray) -> np.ndarray:
    """scikit-survival's table, cancers a moment earlier."""
    return Surv.from_arrays(events, years - MOMENT * events)


def share(pairs: PatientPairs) -> float:
    return float(pairs.won.sum() / pairs.compared.sum())


# Censored at 1, 2, 3 and 5 years, cancers at 2 and 4. Followed on: 5 of 6 after year 1; of the 4 without cancer in
# year 2, 3; of 3 at year 3, 2; the cancer at 4 leaves 1, which ends at 5.
SAMPLE = np.array([1.0, 2.0, 2.0, 3.0, 4.0, 5.0]), np.array([False, True, False, False, True, False])
# Tested: cancers at 1, 2 and 4 years, followed 2 and 5 years. G before 1, 2, 4: 1, 5/6, 5/12.
YEARS, EVENTS = np.array([1.0, 2.0, 2.0, 4.0, 5.0]), np.array([True, True, False, True, False])
RISK = np.array([0.9, 0.4, 0.4, 0.8, 0.1])


def test_censoring_distribution_by_hand() -> None:
    found = censoring_distribution(*SAMPLE)
    np.testing.assert_array_equal(found.years, [1, 2, 3, 4, 5])
    np.testing.assert_allclose(found.uncensored, [5 / 6, 5 / 6 * 3 / 4, 5 / 8 * 2 / 3, 5 / 12, 0])
    np.testing.assert_allclose(found.inverse(np.array([0.5, 1.0, 1.5, 2.0, 4.0, 5.0])), [1, 1, 1.2, 1.2, 2.4, 2.4])


def test_uno_pairs_by_hand() -> None:
    # The cancer at 1 wins against 4 exams at weight 1. That at 2 ties with the one followed 2 years, loses against the
    # cancer at 4 and wins against 5: 1.5 of 3 at weight 1.44. That at 4 wins against 5 at weight 5.76.
    patients = np.array(["a", "b", "c", "d", "e"])
    pairs = uno_pairs(YEARS, EVENTS, RISK, patients, censoring_distribution(*SAMPLE), 5)
    assert pairs.rows.tolist() == [0, 1, 3]
    np.testing.assert_allclose(pairs.compared, [[0, 1, 1, 1, 1], [0, 0, 1.44, 1.44, 1.44], [0, 0, 0, 0, 5.76]])
    np.testing.assert_allclose(pairs.won, [[0, 1, 1, 1, 1], [0, 0, 0.72, 0, 1.44], [0, 0, 0, 0, 5.76]])
    before_four = uno_pairs(YEARS, EVENTS, RISK, patients, censoring_distribution(*SAMPLE), 4)
    assert share(before_four) == pytest.approx((4 + 1.5 * 1.44) / (4 + 3 * 1.44))
    by_family = uno_pairs(YEARS, EVENTS, RISK, np.array([7, 3, 3, 3, 7]), censoring_distribution(*SAMPLE), 5)
    np.testing.assert_allclose(by_family.compared, [[2.88, 1.44 + 5.76], [3, 1]])


def test_dynamic_auc_pairs_by_hand() -> None:
    # At 3 years: cancers at 1 (weight 1, wins twice) and 2 (weight 1.2, loses and wins) against those at 4 and 5.
    patients = np.arange(5)
    pairs = dynamic_auc_pairs(YEARS, EVENTS, RISK, patients, censoring_distribution(*SAMPLE), 3)
    np.testing.assert_allclose(pairs.compared, [[0, 0, 0, 1, 1], [0, 0, 0, 1.2, 1.2]])
    np.testing.assert_allclose(pairs.won, [[0, 0, 0, 1, 1], [0, 0, 0, 0, 1.2]])
    at_four = dynamic_auc_pairs(YEARS, EVENTS, RISK, patients, censoring_distribution(*SAMPLE), 4)
    np.testing.assert_allclose(at_four.compared[:, 4], [1, 1.2, 2.4])  # the cancer at 4 is one, at exactly the horizon
    assert at_four.compared[:, :4].sum() == 0


@pytest.mark.parametrize("load", [load_rossi, load_waltons])
def test_censoring_distribution_equals_lifelines_with_cancers_moved_before_tied_censorings(load: Callable) -> None:
    table = load()
    years, events = table.iloc[:, 0].to_numpy(np.float64), table.iloc[:, 1].to_numpy() == 1
    found = censoring_distribution(years, events)
    fitted = KaplanMeierFitter().fit(years - 0.25 * events, ~events)
    np.testing.assert_allclose(found.uncensored, fitted.predict(found.years), atol=1e-12)


@pytest.mark.parametrize("load", [load[0] for load in COHORTS])
def test_censoring_distribution_equals_scikit_survival_with_ties(load: Callable) -> None:
    years, events, _ = load()
    found = censoring_distribution(years, events)
    assert len(np.intersect1d(years[events], years[~events]))
    fitted = CensoringDistributionEstimator().fit(Surv.from_arrays(events, years))
    np.testing.assert_allclose(found.uncensored, fitted.predict_proba(found.years), atol=1e-12)


@pytest.mark.parametrize(("load", "horizons"), COHORTS)
def test_uno_equals_scikit_survival(load: Callable, horizons: tuple[float, ...]) -> None:
    cohort = load()
    years, events, risk = cohort.test
    censoring = censoring_distribution(*cohort.development)
    for horizon in horizons:
        test = reference(years, events)
        expected, *_ = concordance_index_ipcw(reference(*cohort.development), test, risk, horizon - MOMENT)
        found = share(uno_pairs(years, events, risk, np.arange(len(years)), censoring, horizon))
        assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("load", "horizons"), COHORTS)
def test_dynamic_auc_equals_scikit_survival(load: Callable, horizons: tuple[float, ...]) -> None:
    cohort = load()
    years, events, risk = cohort.test
    censoring = censoring_distribution(*cohort.development)
    # scikit-survival asks for G at the cancers after the horizon too: censored at the last known G they stay controls.
    last = cohort.development[0].max()
    test = reference(np.minimum(years, last), events & (years <= last))
    expected, _ = cumulative_dynamic_auc(reference(*cohort.development), test, risk, horizons)
    everyone = np.arange(len(years))
    found = [share(dynamic_auc_pairs(years, events, risk, everyone, censoring, horizon)) for horizon in horizons]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_scikit_survival_counts_a_censoring_at_the_time_of_a_cancer_and_we_do_not() -> None:
    # Cancers at 1 and 2, one exam censored at 1, one at 3. G before 1 is 1; at 1, 2/3.
    years, events = np.array([1.0, 1.0, 2.0, 3.0]), np.array([True, False, True, False])
    plain = Surv.from_arrays(events, years)
    np.testing.assert_allclose(CensoringDistributionEstimator().fit(plain).predict_ipcw(plain), [1.5, 0, 1.5, 0])
    np.testing.assert_allclose(censoring_distribution(years, events).inverse(years[events]), [1, 1.5])


@pytest.mark.parametrize("load", [load_rossi, load_waltons])
def test_without_censoring_uno_equals_harrell(load: Callable) -> None:
    table = load()
    table = table[table.iloc[:, 1] == 1]
    years, events = table.iloc[:, 0].to_numpy(np.float64), np.ones(len(table), dtype=bool)
    risk = np.round(-years + np.random.default_rng(0).normal(0, 20, len(years)), -1)
    pairs = uno_pairs(years, events, risk, np.arange(len(years)), censoring_distribution(years, events), np.inf)
    assert share(pairs) == pytest.approx(concordance_index(years, -risk, events), abs=1e-12)
    assert concordance(years, events, risk) == pytest.approx(concordance_index_censored(events, years, risk)[0])


def test_censoring_after_the_last_cancer_leaves_harrell_as_lifelines_has_it() -> None:
    table = load_rossi()  # 318 of 432 are censored, all in week 52
    years, events = table["week"].to_numpy(np.float64), table["arrest"].to_numpy() == 1
    risk = (10 * table["prio"] - table["age"]).to_numpy(np.float64)
    pairs = uno_pairs(years, events, risk, np.arange(len(years)), censoring_distribution(years, events), 53)
    assert share(pairs) == pytest.approx(concordance_index(years, -risk, events), abs=1e-12)
    assert concordance(years, events, risk) == pytest.approx(concordance_index_censored(events, years, risk)[0])


@pytest.mark.parametrize("horizon", [1, 2.5, 5])
def test_without_censoring_the_dynamic_auc_is_the_auc(horizon: float) -> None:
    years, events, risk = simulated(300, 0)
    risk = np.round(risk, 1)
    pairs = dynamic_auc_pairs(years, events, risk, np.arange(300), censoring_distribution(years, events), horizon)
    assert share(pairs) == pytest.approx(roc_auc_score(years <= horizon, risk), abs=1e-12)


def test_under_heavy_censoring_uno_stays_nearer_to_the_truth_than_harrell() -> None:
    uno_errors, harrell_errors = [], []
    for seed in range(5):
        whole = simulated(1200, seed)
        seen = censored(whole, seed)
        assert seen.events.mean() < 0.5
        truth, harrell = (
            concordance_index(np.minimum(c.years, 5), -c.risk, c.events & (c.years < 5)) for c in (whole, seen)
        )
        everyone = np.zeros(len(seen.risk))  # one patient: the sums are all that is asked
        uno = share(uno_pairs(*seen, everyone, censoring_distribution(*seen[:2]), 5))
        uno_errors.append(uno - truth)
        harrell_errors.append(harrell - truth)
    assert np.mean(harrell_errors) > 0.04
    assert abs(np.mean(uno_errors)) < 0.01
    assert np.abs(uno_errors).max() < np.abs(harrell_errors).min()


def test_under_heavy_censoring_the_dynamic_auc_stays_nearer_to_the_truth_than_the_auc_of_the_known() -> None:
    weighted_errors, plain_errors = [], []
    for seed in range(5):
        whole = simulated(3000, seed)
        seen = censored(whole, seed)
        truth = roc_auc_score(whole.years <= 4, whole.risk)
        known = (seen.years > 4) | seen.events
        pairs = dynamic_auc_pairs(*seen, np.zeros(3000), censoring_distribution(*seen[:2]), 4)
        weighted_errors.append(share(pairs) - truth)
        plain_errors.append(roc_auc_score(seen.years[known] <= 4, seen.risk[known]) - truth)
    assert np.mean(plain_errors) > 0.03
    assert abs(np.mean(weighted_errors)) < 0.01
    assert np.abs(weighted_errors).max() < np.abs(plain_errors).min()


def drawn_exams(patients: np.ndarray, seed: int) -> list[np.ndarray]:
    """The rows of every resample, written out."""
    names, owner = np.unique(patients, return_inverse=True)
    counts = np.concatenate(list(resample_counts(len(names), RESAMPLES, seed))).astype(int)
    return [np.concatenate([np.flatnonzero(owner == i) for i in np.repeat(np.arange(len(names)), n)]) for n in counts]


def test_uno_interval_equals_resampling_written_out() -> None:
    exams, patients, development = visits()
    censoring = censoring_distribution(*development[:2])
    train, test = (Surv.from_arrays(c.events, c.years) for c in (development, exams))
    slow = [concordance_index_ipcw(train, test[i], exams.risk[i], 4.0)[0] for i in drawn_exams(patients, 5)]
    found = uno_interval(*exams, patients, censoring, 4, RESAMPLES, 5)
    assert found.value == pytest.approx(concordance_index_ipcw(train, test, exams.risk, 4.0)[0], abs=1e-12)
    np.testing.assert_allclose(found[1:], np.percentile(slow, [2.5, 97.5]), atol=1e-12)


def test_dynamic_auc_interval_equals_resampling_written_out() -> None:
    exams, patients, development = visits()
    censoring = censoring_distribution(*development[:2])
    train, test = (Surv.from_arrays(c.events, c.years) for c in (development, exams))
    slow = [cumulative_dynamic_auc(train, test[i], exams.risk[i], 3)[1] for i in drawn_exams(patients, 6)]
    found = dynamic_auc_interval(*exams, patients, censoring, 3, RESAMPLES, 6)
    np.testing.assert_allclose(found[1:], np.percentile(slow, [2.5, 97.5]), atol=1e-12)


@pytest.mark.parametrize("interval", [uno_interval, dynamic_auc_interval])
def test_exams_of_one_patient_do_not_narrow_the_interval(interval: Callable[..., Interval]) -> None:
    exams, patients, development = visits()
    censoring = censoring_distribution(*development[:2])
    once = interval(*exams, patients, censoring, 3, 200, 0)
    copied = interval(*(np.tile(column, 4) for column in (*exams, patients)), censoring, 3, 200, 0)
    np.testing.assert_allclose(once, copied)
    assert once != interval(*exams, patients, censoring, 3, 200, 1)


@pytest.mark.parametrize(("patients_with_cancer", "is_supported"), [(0, False), (9, False), (10, True)])
def test_too_few_patients_on_either_side_give_no_number(patients_with_cancer: int, is_supported: bool) -> None:
    patients = np.arange(100) // 2
    years = np.linspace(1, 2, 100)
    few = patients < patients_with_cancer
    for events in (few, ~few):
        at = np.where(events, years, years + 2)
        censoring = censoring_distribution(at, events)
        for found in (
            uno_interval(at, events, -years, patients, censoring, 2.5, 20, 0),
            dynamic_auc_interval(at, events, -years, patients, censoring, 2.5, 20, 0),
        ):
            assert found.is_supported == is_supported
            assert np.isnan(found).all() != is_supported


def test_a_cancer_beyond_the_censoring_sample_gives_no_number() -> None:
    exams, patients, (years, events, _) = visits()
    followed_less = censoring_distribution(np.minimum(years, 2.0), events & (years < 2))
    for interval, pairs in ((uno_interval, uno_pairs), (dynamic_auc_interval, dynamic_auc_pairs)):
        assert not interval(*exams, patients, followed_less, 4, 20, 0).is_supported
        assert interval(*exams, patients, followed_less, 2, 20, 0).is_supported
        with pytest.raises(ValueError, match="was followed 2 years at most: lower the horizon"):
            pairs(*exams, patients, followed_less, 4)


def test_a_censoring_sample_needs_exams() -> None:
    with pytest.raises(ValueError, match="found none"):
        censoring_distribution(np.zeros(0), np.zeros(0, dtype=bool))
