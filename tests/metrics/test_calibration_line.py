"""The closed intervals of calibration slope and intercept against refits without each patient, and their coverage."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from pipeline.metrics.calibration_line import calibration_line_intervals
from pipeline.metrics.recalibration import calibration_slope


def cohort(patients: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and owners: four images of each patient, who share a part of the logit and of the noise."""
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(patients, 1)) + rng.normal(size=(patients, 4)) - 1).ravel()
    noise = (0.8 * rng.logistic(size=(patients, 1)) + rng.logistic(size=(patients, 4))).ravel()
    return logits + noise > 0, expit(1.4 * logits + 0.3), np.arange(patients).repeat(4)


def refit(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Slope and intercept by scikit-learn."""
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(probabilities)[:, None], labels)
    return np.array([model.coef_[0, 0], model.intercept_[0]])


def test_reach_equals_the_jackknife_that_leaves_out_each_patient() -> None:
    labels, probabilities, patients = cohort(150, 0)
    seeds = np.stack([probabilities, expit(0.7 * logit(probabilities) + np.random.default_rng(1).normal(size=600))])
    found = np.array(calibration_line_intervals(labels, seeds, patients))
    without = [np.mean([refit(labels[patients != p], row[patients != p]) for row in seeds], axis=0) for p in range(150)]
    jackknife = np.sqrt(149 / 150 * ((without - np.mean(without, axis=0)) ** 2).sum(axis=0))
    np.testing.assert_allclose(found[:, 0], np.mean([refit(labels, row) for row in seeds], axis=0), atol=1e-6)
    np.testing.assert_allclose((found[:, 2] - found[:, 1]) / 2 / 1.96, jackknife, rtol=0.03)
    np.testing.assert_allclose(found[:, 1] + found[:, 2], 2 * found[:, 0])


def test_images_of_one_patient_do_not_narrow_the_interval() -> None:
    labels, probabilities, patients = cohort(80, 2)
    once = calibration_line_intervals(labels, probabilities[None], patients)
    copied = calibration_line_intervals(np.tile(labels, 5), np.tile(probabilities, 5)[None], np.tile(patients, 5))
    np.testing.assert_allclose(once, copied, atol=1e-8)


def test_the_intervals_hold_the_truth_as_often_as_they_say() -> None:
    truth = calibration_slope(*cohort(200_000, 3)[:2])
    found = np.array(
        [calibration_line_intervals(y, p[None], who) for y, p, who in (cohort(150, s) for s in range(300))]
    )
    held = ((found[:, :, 1] <= truth) & (np.array(truth) <= found[:, :, 2])).mean(axis=0)
    assert (np.abs(held - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 300)).all()  # three standard errors of 300 cohorts


@pytest.mark.parametrize("probabilities", [[0.1, 0.2, 0.2, 0.3], [0.4, 0.4, 0.4, 0.4]])
def test_without_a_line_there_is_no_interval(probabilities: list[float]) -> None:
    labels = np.array([False, False, True, True])
    rows = np.array([[0.1, 0.3, 0.2, 0.4], probabilities])  # one seed has a line
    assert np.isnan(calibration_line_intervals(labels, rows, np.arange(4))).all()
