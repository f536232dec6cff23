"""Reads a csv, Parquet or Excel file as text cells, nothing interpreted."""

import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from python_calamine import CalamineError

from pipeline.errors import InputError

# Codes of the tables: utf-8, with or without a byte order mark; latin-1 takes whatever is left (EMBED's legends).
_ENCODINGS = ("utf-8-sig", "latin-1")


def text_cells(path: Path) -> pd.DataFrame:
    """The table as text, nothing interpreted; null is "".

    Args:
        path: .parquet, .xls or .xlsx; anything else is read as csv, separated by commas or semicolons.

    Raises:
        InputError: the file is no table.
    """
    try:
        if path.suffix == ".parquet":
            return _as_text(pq.read_table(path).to_pandas(types_mapper=pd.ArrowDtype))
        if path.suffix in (".xlsx", ".xls"):
            return _as_text(pd.read_excel(path, dtype=str, keep_default_na=False, na_filter=False, engine="calamine"))
        return _csv_cells(path)
    except (ValueError, OSError, pa.ArrowException, CalamineError, zipfile.BadZipFile) as error:
        raise InputError(f"{path.name}: not a table ({type(error).__name__}); restore the published file") from error


def _csv_cells(path: Path) -> pd.DataFrame:
    """A csv as text; the separator is the one that the header line has more of."""
    for encoding in _ENCODINGS:
        try:
            with path.open(encoding=encoding, newline="") as stream:
                header = stream.readline()
            separator = ";" if header.count(";") > header.count(",") else ","
            rows = pd.read_csv(
                path,
                sep=separator,
                dtype=str,
                keep_default_na=False,
                na_filter=False,
                skipinitialspace=True,
                encoding=encoding,
            )
        except UnicodeDecodeError:
            continue
        if not isinstance(rows.index, pd.RangeIndex):  # pandas takes the first cells for row names: all columns shift
            raise ValueError("rows have more cells than the header")
        return rows
    raise ValueError("no known encoding")


def _as_text(rows: pd.DataFrame) -> pd.DataFrame:
    """Every cell as text, null as ""."""
    return rows.astype(object).where(rows.notna(), "").astype(str)
