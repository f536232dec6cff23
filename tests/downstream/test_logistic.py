"""The logistic regression in the span of the rows equals the plain one."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.downstream.logistic import Standardiser, logistic_path, row_space

C_GRID = [0.001, 0.1, 1.0]


@pytest.mark.parametrize("grades", [2, 4], ids=["binary", "multinomial"])
@pytest.mark.parametrize(("rows", "width"), [(60, 200), (150, 30)], ids=["wide", "tall"])
def test_equals_plain_logistic_regression(rows: int, width: int, grades: int) -> None:
    generator = np.random.default_rng(rows + grades)
    train, other = generator.normal(3.0, 2.0, size=(rows, width)), generator.normal(3.0, 2.0, size=(20, width))
    train[:, 5] = 1.0  # a constant feature
    labels = (train[:, 0] * 3 + generator.normal(size=rows)).argsort().argsort() * grades // rows
    path = logistic_path(train, labels, [other], C_GRID)
    for c, [found] in zip(C_GRID, path, strict=True):
        plain = make_pipeline(StandardScaler(), LogisticRegression(C=c, tol=1e-9, max_iter=20_000))
        np.testing.assert_allclose(found, plain.fit(train, labels).predict_proba(other), atol=1e-3)


def test_row_space_is_an_orthonormal_basis_even_of_dependent_rows() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 20))
    rows[3] = rows[0] + rows[1]
    basis = row_space(rows)
    assert basis is not None
    np.testing.assert_allclose(basis.T @ basis, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(rows @ basis @ basis.T, rows, atol=1e-12)


def test_nothing_is_reduced_where_there_are_rows_enough() -> None:
    assert row_space(np.ones((5, 5))) is None


def test_standardiser_uses_the_training_rows_alone() -> None:
    standardiser = Standardiser.fit(np.array([[0.0, 7.0], [4.0, 7.0]]))
    np.testing.assert_allclose(standardiser.apply(np.array([[6.0, 9.0]])), [[2.0, 2.0]])


def test_one_grade_is_refused() -> None:
    with pytest.raises(ValueError, match="class"):
        logistic_path(np.ones((3, 2)), np.zeros(3, dtype=np.int64), [], [1.0])
