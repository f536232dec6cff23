"""The 95 % intervals on a few simulated cohorts of bench/coverage.py, and its true values against a huge one."""

import numpy as np
import pytest
from lifelines.utils import concordance_index
from scipy.special import logit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, cohen_kappa_score, roc_auc_score, roc_curve

from bench import coverage_laws as laws
from bench.coverage import CONTROL, KNOWN, coverage, intervals
from pipeline.metrics.bootstrap import Interval, auc_interval
from pipeline.metrics.classification import macro_auc

COHORTS, PATIENTS, RESAMPLES = 100, 60, 120
WIDE = {"observed_to_expected": 0.015, "calibration_slope": 0.02, "calibration_intercept": 0.03}


def of_images(images: laws.Images) -> dict[str, float]:
    """Every statistic of images, by scikit-learn or by its definition."""
    labels, (first, second), _ = images
    aucs = roc_auc_score(labels, first), roc_auc_score(labels, second)
    alarms, found, _ = roc_curve(labels, first)
    sensitivities = {percent: np.interp(1 - percent / 100, alarms, found) for percent in (90, 95)}
    shares = np.array([labels.mean(), 1 - labels.mean()])
    chance = laws.probabilities(first)
    line = LogisticRegression(C=np.inf).fit(logit(chance)[:, None], labels)
    observed, predicted = calibration_curve(labels, chance, n_bins=10, strategy="quantile")
    precision, recall = chance[labels].sum() / chance.sum(), chance[labels].sum() / labels.sum()
    return {
        "auc": aucs[0],
        "auc_gain": aucs[0] - aucs[1],
        "average_precision": average_precision_score(labels, first),
        **{f"sensitivity_at_{percent}": value for percent, value in sensitivities.items()},
        **{
            f"recall_rate_at_{percent}": shares @ np.array([value, 1 - percent / 100])
            for percent, value in sensitivities.items()
        },
        "partial_auc_10": roc_auc_score(labels, first, max_fpr=0.1),
        "pf1": 2 * precision * recall / (precision + recall),
        "brier": brier_score_loss(labels, chance),
        "ece": np.abs(observed - predicted).mean(),
        "calibration_slope": float(line.coef_[0, 0]),
        "calibration_intercept": float(line.intercept_[0]),
        "recall_at_1": (second > laws.HIT_SCORE).mean(),
    }


def of_exams(exams: laws.Exams, other_risk: np.ndarray) -> dict[str, float]:
    """Every statistic of exams that nobody dropped out of."""
    years, events, risk, _ = exams
    early = events & (years < laws.HORIZON_YEARS)
    concordance = concordance_index(years, -risk, events)
    return {
        "harrell_c": concordance,
        "harrell_c_gain": concordance - concordance_index(years, -other_risk, events),
        "uno_c": concordance_index(np.minimum(years, laws.HORIZON_YEARS), -risk, early),
        "dynamic_auc": roc_auc_score(early, risk),
        "observed_to_expected": early.mean() / risk.mean(),
        "risk_brier": brier_score_loss(early, risk),
    }


def test_true_values_are_those_of_one_huge_cohort_without_dropout() -> None:
    rng, truth = np.random.default_rng(0), laws.true_values()
    images, exams = laws.draw_images(rng, 30000), laws.draw_exams(rng, 30000, dropout=1e-9)
    grades = laws.draw_grades(rng, 30000)
    expected = of_images(images) | of_exams(exams, laws.draw_other_risk(rng, exams))
    expected["ordinal_auc"] = macro_auc(grades.grades, grades.scores)
    guessed = np.clip(np.rint(laws.guesses(grades.scores)), 0, laws.GRADES - 1)
    expected["quadratic_kappa"] = cohen_kappa_score(grades.grades, guessed, weights="quadratic")
    ranks = np.median(laws.draw_ranks(rng, 30000))
    assert truth["median_rank"] == pytest.approx(ranks, abs=2)  # standard error 0.4
    del truth["median_rank"]
    assert (exams.years[~exams.events] == laws.FOLLOWED_YEARS).all()
    assert set(truth) - set(expected) == {"delong", "delong_gain", "subgroup_gap"}  # the same numbers again
    for name, value in expected.items():  # 60,000 exams, 120,000 images: standard errors of at most 0.007
        assert truth[name] == pytest.approx(value, abs=WIDE.get(name, 0.008)), name
    gaps = [values["uno_c"] - values["harrell_c"] for values in (truth, expected)]  # one cohort: its scatter cancels
    assert gaps[0] == pytest.approx(gaps[1], abs=2e-3)


def test_intervals_cover_the_truth_in_about_95_of_100_cohorts() -> None:
    found: dict[str, list[Interval]] = {}
    for seed in range(COHORTS):
        for name, interval in intervals(seed, PATIENTS, RESAMPLES).items():
            found.setdefault(name, []).append(interval)
    truth = laws.true_values()
    assert set(found) == {*truth, CONTROL, KNOWN}
    covered = {name: coverage(found[name], value)["coverage"] for name, value in truth.items()}
    assert covered.pop("ece") < 0.93  # too high by the noise of its bins
    assert min(covered.values()) >= 0.86  # four standard errors below 0.95
    assert np.mean(list(covered.values())) < 0.99


def test_intervals_of_copied_images_cover_too_little_unless_copies_share_their_patient() -> None:
    truth, shared, strangers = laws.true_values()["auc"], [], []
    for seed in range(COHORTS):
        labels, (scores, _), patients = laws.draw_images(np.random.default_rng([seed, 5]), 60)
        copies = [np.tile(column, 3) for column in (labels, scores, patients)]
        shared.append(auc_interval(*copies, RESAMPLES, seed))
        strangers.append(auc_interval(*copies[:2], np.arange(len(copies[0])), RESAMPLES, seed))
    assert coverage(shared, truth)["coverage"] >= 0.88
    assert coverage(strangers, truth)["coverage"] < 0.8


def test_coverage_counts_both_sides() -> None:
    found = [Interval(0.5, 0.4, 0.6), Interval(0.7, 0.6, 0.8), Interval(0.2, 0.1, 0.3), Interval(0.6, 0.5, 0.7)]
    row = coverage(found, 0.5)
    assert (row["coverage"], row["too_high"], row["too_low"]) == (0.5, 0.25, 0.25)
    assert (row["mean_error"], row["mean_width"]) == (0, 0.2)
