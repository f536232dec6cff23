"""L2 logistic regression on frozen features (`lp`), solved in the span of the training rows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Integer
from sklearn.linear_model import LogisticRegression

# Gradient tolerance and iteration limit of lbfgs: at 1e-5 scores agree with a solution to 1e-9 within 1e-3 in
# probability, and 600 x 1280 features converge in under 300 iterations (scikit-learn's default limit is 100).
TOLERANCE = 1e-5
ITERATIONS = 2000


class Standardiser(NamedTuple):
    """Mean and standard deviation per feature of the training rows; a constant feature keeps scale 1."""

    mean: Float64[np.ndarray, " feature"]
    scale: Float64[np.ndarray, " feature"]

    @classmethod
    def fit(cls, features: Float64[np.ndarray, "row feature"]) -> "Standardiser":
        """Takes both from the training rows alone."""
        deviation = features.std(axis=0)
        return cls(features.mean(axis=0), np.where(deviation > 0, deviation, 1.0))

    def apply(self, features: Float64[np.ndarray, "row feature"]) -> Float64[np.ndarray, "row feature"]:
        """Zero mean and unit deviation on the training rows."""
        return np.asarray((features - self.mean) / self.scale)


def row_space(features: Float64[np.ndarray, "row feature"]) -> Float64[np.ndarray, "feature rank"] | None:
    """An orthonormal basis of the span of the rows, or None where there are at least as many rows as features.

    The minimiser of a loss of X w + b with penalty |w|^2 has w in the span of the rows of X, because a part of w
    orthogonal to them changes no X w and only adds to the penalty. So w = Q a with Q^T Q = 1 and |w| = |a|: the
    problem in X Q is the same problem with as many unknowns as rows.
    """
    rows, width = features.shape
    return None if rows >= width else np.linalg.qr(features.T)[0]


def logistic_path(
    train: Float64[np.ndarray, "row feature"],
    grades: Integer[np.ndarray, " row"],
    others: Sequence[Float64[np.ndarray, "_ feature"]],
    c_grid: Sequence[float],
) -> list[list[Float64[np.ndarray, "_ grade"]]]:
    """Class probabilities of other rows for every penalty (multinomial where there are more than two grades).

    No class weights: the scores stay calibrated to the prevalence, and the AUC ranks either way.

    Args:
        train: Features of the training rows, standardised here by their own mean and deviation.
        grades: Their grades, at least two distinct ones; columns of the result follow np.unique(grades).
        others: Further sets of rows to score.
        c_grid: Inverse strengths of the L2 penalty, as scikit-learn's C.

    Returns:
        For each C, for each set of rows, the probabilities.

    Raises:
        ValueError: there is only one grade.
    """
    standardiser = Standardiser.fit(train)
    standard = standardiser.apply(train)
    basis = row_space(standard)
    sets = [standardiser.apply(rows) for rows in others]
    if basis is not None:
        standard, sets = standard @ basis, [rows @ basis for rows in sets]
    path = []
    for c in c_grid:
        model = LogisticRegression(C=c, tol=TOLERANCE, max_iter=ITERATIONS).fit(standard, grades)
        path.append([model.predict_proba(rows) for rows in sets])
    return path
