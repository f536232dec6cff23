"""What the tests of the adapters do with rows alike."""

import pandas as pd


def cells(rows: pd.DataFrame, column: str) -> list[object]:
    """A column as a list, null as None."""
    return [None if pd.isna(value) else value for value in rows[column]]


def with_cell(rows: list[list[object]], columns: list[str], row: int, column: str, value: object) -> list[list[object]]:
    """The rows of a table with one other cell."""
    copied = [list(each) for each in rows]
    copied[row][columns.index(column)] = value
    return copied
