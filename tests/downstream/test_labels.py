"""Labels as ordered grades, by hand."""

import pandas as pd
import pytest

from pipeline.downstream.labels import as_grades


@pytest.mark.parametrize(
    ("label", "values", "grades"),
    [
        ("mass", pd.array([True, False, None], "boolean"), [1, 0, None]),
        ("density", pd.array(["D", None, "A"], "string"), [3, None, 0]),
        # 0, "incomplete", is no grade: it does not say less than 1
        ("birads", pd.array([0, 1, 5, 6, None], "Int8"), [None, 1, 5, 6, None]),
    ],
)
def test_an_unknown_value_has_no_grade(label: str, values: pd.api.extensions.ExtensionArray, grades: list[int]) -> None:
    expected = pd.Series(pd.array(grades, "Float64"))
    pd.testing.assert_series_equal(as_grades(pd.Series(values), label), expected)
