"""Reads a dataset's csv file cell by cell into typed columns; whatever is out of range is refused by file and line."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pipeline.errors import InputError

# What a cell may say for yes and no, lower case: 1/0 (RSNA), True/False (pandas' to_csv).
_BOOLEANS = {"1": True, "0": False, "true": True, "false": False, "1.0": True, "0.0": False}
# Cells that an error repeats are short and have few digits: no date, no id, no piece of a report.
_SHOWN_CHARACTERS, _SHOWN_DIGITS = 20, 4


class Csv(NamedTuple):
    """One csv file as text cells.

    Attributes:
        file: Its name, for messages.
        rows: Text cells, stripped; an empty cell is "".
        names: Canonical name -> the file's column, where they differ.
    """

    file: str
    rows: pd.DataFrame
    names: Mapping[str, str]

    def text(self, column: str) -> pd.Series:
        """Text cells; empty ones are null."""
        cells = self.rows[self.names.get(column, column)].astype(pd.StringDtype())
        return cells.mask(cells == "")

    def key(self, column: str) -> pd.Series:
        """Text cells, none of them empty."""
        cells = self.text(column)
        self.refuse(cells.isna(), column, "a value in every row")
        return cells

    def choice(self, column: str, allowed: Collection[str]) -> pd.Series:
        """Text cells out of a list; empty ones are null."""
        cells = self.text(column)
        self.refuse(cells.notna() & ~cells.isin(list(allowed)), column, f"one of {', '.join(allowed)}, or empty")
        return cells

    def number(self, column: str, low: float, high: float) -> pd.Series:
        """Numbers from low to high, inclusive; empty cells are null."""
        cells = self.text(column)
        values = pd.to_numeric(cells, errors="coerce").astype("Float64")
        outside = cells.notna() & ~values.between(low, high).fillna(False)
        self.refuse(outside, column, f"a number from {low:g} to {high:g}, or empty")
        return values

    def whole(self, column: str, low: int, high: int) -> pd.Series:
        """Whole numbers from low to high, inclusive; empty cells are null."""
        values = self.number(column, low, high)
        self.refuse(
            values.notna() & (values % 1 != 0).fillna(False), column, f"a whole number from {low} to {high}, or empty"
        )
        return values.astype("Int64")

    def boolean(self, column: str) -> pd.Series:
        """Yes and no, written 1 and 0 or True and False; empty cells are null (unknown, not negative)."""
        cells = self.text(column).str.lower()
        self.refuse(cells.notna() & ~cells.isin(list(_BOOLEANS)), column, "1, 0, True, False, or empty")
        return cells.map(_BOOLEANS).astype(pd.BooleanDtype())

    def matched(self, column: str, pattern: str, expected: str) -> pd.Series:
        """The first group of a pattern that must fit the whole cell; empty cells are null."""
        cells = self.text(column)
        found = cells.str.extract(f"^(?:{pattern})$", expand=False)
        self.refuse(cells.notna() & found.isna(), column, expected)
        return found

    def refuse(self, wrong: pd.Series, column: str, expected: str, cure: str = "correct the cell, or empty it") -> None:
        """Raises an InputError that names the first row where `wrong` holds."""
        if not wrong.any():
            return
        row, name = int(wrong.to_numpy(dtype=bool).argmax()), self.names.get(column, column)
        found = _shown(str(self.rows[name].iloc[row]))
        raise InputError(
            f"{self.file}: line {row + 2}, column {name}: expected {expected}; found {found}"
            f" ({int(wrong.sum())} such rows); {cure}"
        )


def _shown(cell: str) -> str:
    """A cell as an error may repeat it.

    >>> _shown("DENSITY E"), _shown("2020-05-17")
    ("'DENSITY E'", 'a cell of 10 characters')
    """
    harmless = len(cell) <= _SHOWN_CHARACTERS and sum(map(str.isdigit, cell)) <= _SHOWN_DIGITS
    return repr(cell) if harmless else f"a cell of {len(cell)} characters"


def read_csv(root: Path, file: str, required: Collection[str], names: Mapping[str, str] | None = None) -> Csv:
    """Reads a csv file as text and checks that its columns are there.

    Args:
        root: Folder of the archive.
        file: Name of the csv file in it.
        required: Canonical names of the columns that must exist.
        names: Canonical name -> the file's column, where they differ.

    Raises:
        InputError: the file is missing, not a csv table, empty, or lacks a column.
    """
    names = names or {}
    if not (root / file).is_file():
        raise InputError(f"{file}: not found in the archive's root; check the root and that the download is complete")
    try:
        rows = pd.read_csv(root / file, dtype=str, keep_default_na=False, na_filter=False, skipinitialspace=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not a csv table ({type(error).__name__}); restore the published file") from error
    rows.columns = rows.columns.str.strip()
    wanted = [names.get(column, column) for column in required]
    if missing := [column for column in wanted if column not in rows.columns]:
        raise InputError(
            f"{file}: column {', '.join(missing)} is missing; expected {', '.join(wanted)};"
            f" found {', '.join(rows.columns)}; restore it, or rename it in the profile's `columns` (adapter table)"
        )
    if rows.empty:
        raise InputError(f"{file}: expected one row per image, found no rows; restore the published file")
    return Csv(file, rows.apply(lambda cells: cells.str.strip()), names)


def refuse_columns(columns: Mapping[str, str], adapter: str) -> None:
    """Raises an InputError if a profile renames columns of a dataset whose layout is fixed."""
    if columns:
        raise InputError(
            f"archives: columns: expected {{}} for adapter {adapter}, whose tables are fixed by its owners;"
            f" found {', '.join(sorted(columns))}; empty it, or use adapter table"
        )


def unknown(index: pd.Index, dtype: str) -> pd.Series:
    """A column of nulls, for what a dataset does not tell."""
    return pd.Series(pd.NA, index=index, dtype=dtype)


def breast_ids(exam_id: pd.Series, laterality: pd.Series) -> pd.Series:
    """`<exam>-<L or R>`; null where the side is unknown."""
    return exam_id + "-" + laterality
