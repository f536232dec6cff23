"""The 95 % intervals on a few simulated cohorts of bench/coverage.py, and its true values against a huge one."""

import numpy as np
import pytest
from lifelines.utils import concordance_index
from sklearn.metrics import average_precision_score, roc_auc_score

from bench.coverage import (
    CONTROL,
    FOLLOWED_YEARS,
    HORIZON_YEARS,
    coverage,
    draw_exams,
    draw_images,
    image_intervals,
    risk_intervals,
    true_values,
)
from pipeline.metrics.bootstrap import Interval, auc_interval
from pipeline.metrics.censoring import censoring_distribution

COHORTS, PATIENTS, RESAMPLES = 100, 60, 120


def test_true_values_are_those_of_one_huge_cohort_without_dropout() -> None:
    rng, truth = np.random.default_rng(0), true_values()
    images = draw_images(rng, 30000)
    first, second = (roc_auc_score(images.labels, scores) for scores in images.scores)
    precision = average_precision_score(images.labels, images.scores[0])
    years, events, risk, _ = draw_exams(rng, 30000, dropout=1e-9)
    early = events & (years < HORIZON_YEARS)
    expected = {
        "auc": first,
        "auc_gain": first - second,
        "average_precision": precision,
        "harrell_c": concordance_index(years, -risk, events),
        "uno_c": concordance_index(np.minimum(years, HORIZON_YEARS), -risk, early),
        "dynamic_auc": roc_auc_score(early, risk),
        "observed_to_expected": early.mean() / risk.mean(),
    }
    assert (years[~events] == FOLLOWED_YEARS).all()
    for name, value in expected.items():  # 60,000 exams, 120,000 images: standard errors of at most 0.007
        assert truth[name] == pytest.approx(value, abs=0.015 if name == "observed_to_expected" else 0.008)
    gaps = [values["uno_c"] - values["harrell_c"] for values in (truth, expected)]  # one cohort: its scatter cancels
    assert gaps[0] == pytest.approx(gaps[1], abs=2e-3)


def test_intervals_cover_the_truth_in_about_95_of_100_cohorts() -> None:
    found: dict[str, list[Interval]] = {}
    for seed in range(COHORTS):
        rng = np.random.default_rng([seed, 4])
        images, exams, development = draw_images(rng, PATIENTS), draw_exams(rng, PATIENTS), draw_exams(rng, PATIENTS)
        censoring = censoring_distribution(development.years, development.events)
        of_cohort = image_intervals(images, RESAMPLES, seed) | risk_intervals(exams, censoring, RESAMPLES, seed)
        for name, interval in of_cohort.items():
            found.setdefault(name, []).append(interval)
    truth = true_values()
    assert set(found) == set(truth)
    covered = {name: coverage(each, truth[name])["coverage"] for name, each in found.items() if name != CONTROL}
    assert min(covered.values()) >= 0.86  # four standard errors below 0.95
    assert np.mean(list(covered.values())) < 0.99


def test_intervals_of_copied_images_cover_too_little_unless_copies_share_their_patient() -> None:
    truth, shared, strangers = true_values()["auc"], [], []
    for seed in range(COHORTS):
        labels, (scores, _), patients = draw_images(np.random.default_rng([seed, 5]), 60)
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
