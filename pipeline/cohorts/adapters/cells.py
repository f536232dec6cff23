"""Reads a dataset's table cell by cell into typed columns; a cell out of range is a problem, and unknown."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pipeline.cohorts.adapters.table_files import text_cells
from pipeline.cohorts.problems import Problems
from pipeline.errors import InputError
from pipeline.sections import ProblemKind

# What a cell may say for yes and no, lower case: 1/0 (RSNA), True/False (pandas' to_csv).
_BOOLEANS = {"1": True, "0": False, "true": True, "false": False, "1.0": True, "0.0": False}
# Outside these a cell is a typing error or a sentinel such as -1 or 999: wider than any person, cohort or detector.
OLDEST_YEARS, FARTHEST_PX = 120, 100_000
# Cells that a message repeats are short and have few digits: no date, no id, no piece of a report.
_SHOWN_CHARACTERS, _SHOWN_DIGITS = 20, 4
# Problems of ids, which no message repeats, however short they are.
_OF_IDS = ("row_without_image", "duplicate_image")
# Of a sensitive column a message names the line alone: even the length of a cell may tell its word.
_SENSITIVE = ("race",)


class Cells(NamedTuple):
    """One table as text cells.

    Attributes:
        file: Its name, for messages.
        rows: Text cells, stripped; an empty cell is "".
        names: Canonical name -> the table's column, where they differ.
        problems: Takes what is wrong.
    """

    file: str
    rows: pd.DataFrame
    names: Mapping[str, str]
    problems: Problems

    def text(self, column: str) -> pd.Series:
        """Text cells; empty ones are null."""
        cells = self.rows[self.names.get(column, column)].astype(pd.StringDtype())
        return cells.mask(cells == "")

    def key(self, column: str) -> pd.Series:
        """Text cells, none of them empty.

        Raises:
            InputError: a row has none; without its key nothing can be said of it.
        """
        cells = self.text(column)
        if cells.isna().any():
            row = int(cells.isna().to_numpy(dtype=bool).argmax())
            raise InputError(
                f"{self.file}: line {row + 2}, column {self.names.get(column, column)}: expected a value in every row,"
                f" found an empty cell ({int(cells.isna().sum())} such rows); fill it in, or take the row out"
            )
        return cells

    def choice(self, column: str, allowed: Collection[str]) -> pd.Series:
        """Text cells out of a list; empty ones are null."""
        cells = self.text(column)
        return self._known(cells, cells.isin(list(allowed)), column, f"one of {', '.join(allowed)}, or empty")

    def coded(self, column: str, meaning: Mapping[str, str | None]) -> pd.Series:
        """Text cells translated by a table of codes; empty ones, and codes that mean None, are null."""
        cells = self.text(column)
        known = self._known(cells, cells.isin(list(meaning)), column, f"one of {', '.join(meaning)}, or empty")
        return known.map(dict(meaning)).astype(pd.StringDtype())

    def number(self, column: str, low: float, high: float) -> pd.Series:
        """Numbers from low to high, inclusive; empty cells are null."""
        cells = self.text(column)
        values = pd.to_numeric(cells, errors="coerce").astype("Float64")
        inside = values.between(low, high).fillna(False)
        return self._known(values, inside, column, f"a number from {low:g} to {high:g}, or empty", cells.notna())

    def whole(self, column: str, low: int, high: int) -> pd.Series:
        """Whole numbers from low to high, inclusive; empty cells are null."""
        cells = self.text(column)
        values = pd.to_numeric(cells, errors="coerce").astype("Float64")
        inside = (values.between(low, high) & (values % 1 == 0)).fillna(False)
        expected = f"a whole number from {low} to {high}, or empty"
        return self._known(values, inside, column, expected, cells.notna()).astype("Int64")

    def boolean(self, column: str) -> pd.Series:
        """Yes and no, written 1 and 0 or True and False; empty cells are null (unknown, not negative)."""
        cells = self.text(column).str.lower()
        known = self._known(cells, cells.isin(list(_BOOLEANS)), column, "1, 0, True, False, or empty")
        return known.map(_BOOLEANS).astype(pd.BooleanDtype())

    def matched(self, column: str, pattern: str, expected: str) -> pd.Series:
        """The first group of a pattern that must fit the whole cell; empty cells are null."""
        cells = self.text(column)
        found = cells.str.extract(f"^(?:{pattern})$", expand=False)
        self.note(cells.notna() & found.isna(), column, expected)
        return found

    def note(self, wrong: pd.Series, column: str, expected: str, kind: ProblemKind = "unknown_value") -> None:
        """Adds the rows where `wrong` holds to the problems, the first ones with line and (if not sensitive) cell."""
        name = self.names.get(column, column)
        rows = wrong.fillna(True).to_numpy(dtype=bool).nonzero()[0]
        cells = self.rows[name]
        hidden = kind in _OF_IDS or not self.problems.quoting
        told = ["" if column in _SENSITIVE else f": {_shown(str(cells.iloc[row]), hidden)}" for row in rows]
        records = [f"line {row + 2}{cell}" for row, cell in zip(rows, told, strict=True)]
        self.problems.note(kind, f"{self.file}, column {name}: expected {expected}", records)

    def _known(
        self, values: pd.Series, inside: pd.Series, column: str, expected: str, given: pd.Series | None = None
    ) -> pd.Series:
        """The values that are inside, all others null; what was given and is not inside is a problem."""
        self.note((values.notna() if given is None else given) & ~inside, column, expected)
        return values.where(inside)


def _shown(cell: str, hidden: bool = False) -> str:
    """A cell as an error may repeat it.

    >>> _shown("DENSITY E"), _shown("2020-05-17"), _shown("Roe", hidden=True)
    ("'DENSITY E'", 'a cell of 10 characters', 'a cell of 3 characters')
    """
    harmless = not hidden and len(cell) <= _SHOWN_CHARACTERS and sum(map(str.isdigit, cell)) <= _SHOWN_DIGITS
    return repr(cell) if harmless else f"a cell of {len(cell)} characters"


def read_cells(
    root: Path, file: str, required: Collection[str], problems: Problems, names: Mapping[str, str] | None = None
) -> Cells:
    """Reads a csv, Parquet or Excel file as text and checks that its columns are there.

    Args:
        root: Folder of the archive.
        file: Name of the table in it: .parquet, .xlsx, or else csv, separated by commas or semicolons.
        required: Canonical names of the columns that must exist.
        problems: Takes what is wrong with the cells.
        names: Canonical name -> the file's column, where they differ.

    Raises:
        InputError: the file is missing, not a table, empty, or lacks a column.
    """
    names = names or {}
    if not (root / file).is_file():
        raise InputError(f"{file}: not found in the archive's root; check the root and that the download is complete")
    rows = text_cells(root / file)
    rows.columns = rows.columns.astype(str).str.strip()
    wanted = [names.get(column, column) for column in required]
    if missing := [column for column in wanted if column not in rows.columns]:
        raise InputError(
            f"{file}: column {', '.join(missing)} is missing; expected {', '.join(wanted)};"
            f" found {', '.join(rows.columns)}; restore it, or rename it in the profile's `columns` (adapter table)"
        )
    if rows.empty:
        raise InputError(f"{file}: expected one row per image, found no rows; restore the published file")
    return Cells(file, rows.apply(lambda cells: cells.str.strip()), names, problems)
