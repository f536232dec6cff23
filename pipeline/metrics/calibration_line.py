"""Intervals of the calibration slope and intercept: in closed form, since a fit per resample would take minutes."""

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.special import expit, logit

from pipeline.metrics.bootstrap import REACH, UNSUPPORTED, Interval
from pipeline.metrics.recalibration import CLIP, CalibrationLine, calibration_slope


def calibration_line_intervals(
    labels: Bool[np.ndarray, " sample"],
    probabilities: Float[np.ndarray, "seed sample"],
    patients: Shaped[np.ndarray, " sample"],
) -> tuple[Interval, Interval]:
    """`calibration_slope` with 95 % intervals over patients, by linearisation (the "sandwich" clustered by patient).

    Near its fitted value a line is a sum over the samples: each moves it by its residual times (1, logit), through the
    inverse of the information matrix. What the samples of a patient add up to is her influence; the sum of the squared
    influences is the variance. An influence on the mean over seeds is the mean of those on the seeds' lines.

    Args:
        labels: True for positives.
        probabilities: Predicted, in [0, 1], by the model of each training seed; by maps that hold still.
        patients: Whose sample it is; two patients at least.

    Returns:
        Slope and intercept, means over the seeds; all NaN where a seed has no line.

    Raises:
        ValueError: there is no positive or no negative.

    Source: Liang & Zeger, Biometrika 1986, 73:13-22.
    """
    lines = [calibration_slope(labels, row) for row in probabilities]
    if np.isnan(lines).any():
        return UNSUPPORTED, UNSUPPORTED
    pairs = zip(lines, probabilities, strict=True)
    influences = np.mean([_influences(labels, row, line) for line, row in pairs], axis=0)
    _, owner = np.unique(patients, return_inverse=True)
    count = int(owner.max()) + 1
    by_patient = np.stack([np.bincount(owner, each, count) for each in influences])
    errors = REACH * np.sqrt(count / (count - 1) * (by_patient**2).sum(axis=1))
    slope, intercept = zip(np.mean(lines, axis=0).tolist(), errors.tolist(), strict=True)
    return _around(*slope), _around(*intercept)


def _influences(
    labels: Bool[np.ndarray, " sample"], probabilities: Float[np.ndarray, " sample"], line: CalibrationLine
) -> Float[np.ndarray, "2 sample"]:
    """How far each sample moves slope and intercept."""
    logits = logit(np.clip(probabilities.astype(np.float64), CLIP, 1 - CLIP))
    columns = np.stack([logits, np.ones(len(logits))])
    expected = expit(line.slope * logits + line.intercept)
    information = (columns * expected * (1 - expected)) @ columns.T
    return np.asarray(np.linalg.solve(information, columns * (labels - expected)))


def _around(value: float, reach: float) -> Interval:
    return Interval(value, value - reach, value + reach)
