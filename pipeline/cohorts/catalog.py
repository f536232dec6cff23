"""Reads one archive with its dataset's adapter and writes the canonical table of its images."""

import sys
from pathlib import Path

import pandas as pd

from pipeline.cohorts.adapters import rsna, table, vindr
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import CATALOG, write_table

_ADAPTERS = {"table": table.read, "vindr": vindr.read, "rsna": rsna.read}
_SHOWN = 3


def catalog(cohort: str, archive: Archive, root: Path, out: Path) -> None:
    """Writes out/images.parquet (tables.CATALOG), sorted by image_id.

    Args:
        cohort: Name of the cohort.
        archive: Which adapter reads it, and how its columns are called.
        root: The archive's folder.
        out: Folder to write.

    Raises:
        InputError: the root is empty, a table is missing or wrong, an image is named twice, or no file exists.
    """
    if not root.is_dir() or not any(root.iterdir()):
        raise InputError(f"archives.{cohort}.root: expected a folder with the dataset, found nothing; check the path")
    rows = _ADAPTERS[archive.adapter](root, archive.columns)
    if (twice := rows["image_id"].duplicated()).any():
        named = rows["image_id"][twice].iloc[0]
        raise InputError(
            f"{cohort}: image {named}: expected one row per image, found {(rows['image_id'] == named).sum()}"
            f" ({int(twice.sum())} rows repeat an image); keep one row of each"
        )
    rows = _existing(rows.assign(cohort=cohort), root, cohort).sort_values("image_id")
    write_table(rows, out / "images.parquet", CATALOG)


def _existing(rows: pd.DataFrame, root: Path, cohort: str) -> pd.DataFrame:
    """Adds size_bytes and leaves out rows without a file, saying how many on stderr."""
    sizes = pd.Series([_size(root / path) for path in rows["path"]], index=rows.index, dtype="Int64")
    missing = rows.loc[sizes.isna(), "path"]
    examples = ", ".join(missing.head(_SHOWN))
    if len(missing) == len(rows):
        raise InputError(
            f"{cohort}: none of the {len(rows)} files that the table names exists under the root; expected for"
            f" example {examples}; check that the root is right and the download complete"
        )
    if len(missing):
        print(f"{cohort}: {len(missing)} of {len(rows)} files are missing, left out: {examples}", file=sys.stderr)
    return rows.assign(size_bytes=sizes)[sizes.notna()]


def _size(file: Path) -> int | None:
    """Size in bytes, or None where there is no file."""
    try:
        return file.stat().st_size if file.is_file() else None
    except OSError:
        return None
