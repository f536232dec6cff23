"""Adapter for a plain table: images.csv with one row per image, in the user's own column names."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pandas as pd

from pipeline.cohorts.adapters.csv_cells import Csv, breast_ids, read_csv, unknown
from pipeline.errors import InputError
from pipeline.tables import DENSITIES, LATERALITIES

FILE = "images.csv"
# Columns that every archive must have.
KEYS = ("patient_id", "exam_id", "exam_date_days", "image_path", "laterality", "view")
# Columns that an archive may lack: `columns: {<name>: ""}` of the profile says so, and they are unknown.
OPTIONAL = (
    "age",
    "density",
    "birads",
    "mass",
    "calcification",
    "cancer",
    "implant",
    "vendor",
    "years_to_cancer",
    "years_followed",
)
# Wide enough for any person and any cohort; outside it, the cell is a typing error or a sentinel such as -1 or 999.
OLDEST_YEARS = 120
LONGEST_DAYS = 40_000
# ACR BI-RADS assessment categories.
BIRADS = (0, 6)


def read(root: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Reads images.csv.

    Args:
        root: Folder that holds images.csv; image_path is relative to it.
        columns: Canonical name -> the csv's column; names left out are the csv's own; "" says there is none.

    Returns:
        The columns of tables.CATALOG but cohort and size_bytes, one row per image.

    Raises:
        InputError: a column is missing, a cell is out of range, or rows of one exam disagree.
    """
    table = _read_renamed(root, columns)
    patient_id = table.key("patient_id")
    exam_id = patient_id + "-" + table.key("exam_id")
    laterality = table.choice("laterality", LATERALITIES)
    path = _paths(table)
    rows = pd.DataFrame(
        {
            "patient_id": patient_id,
            "exam_id": exam_id,
            "exam_day": _exam_days(table, patient_id),
            "breast_id": breast_ids(exam_id, laterality),
            "image_id": path.map(lambda name: str(PurePosixPath(name).with_suffix("")).replace("/", "-")),
            "laterality": laterality,
            "view": table.text("view").str.upper(),
            "path": path,
            "age_years": table.number("age", 0, OLDEST_YEARS),
            "implant": table.boolean("implant"),
            "vendor": table.text("vendor"),
            "mass": table.boolean("mass"),
            "calcification": table.boolean("calcification"),
            "malignant": table.boolean("cancer"),
            "density": table.choice("density", DENSITIES),
            "birads": table.whole("birads", *BIRADS),
            "years_to_cancer": table.number("years_to_cancer", 0, OLDEST_YEARS),
            "years_followed": table.number("years_followed", 0, OLDEST_YEARS),
            "source_split": unknown(table.rows.index, "string"),
        }
    )
    for column, source in {
        "exam_day": "exam_date_days",
        "years_to_cancer": "years_to_cancer",
        "years_followed": "years_followed",
    }.items():
        _refuse_disagreement(table, rows, column, source)
    return rows


def _read_renamed(root: Path, columns: Mapping[str, str]) -> Csv:
    """Reads the csv; columns that the profile maps to "" are added as empty."""
    if strange := sorted(set(columns) - {*KEYS, *OPTIONAL}):
        raise InputError(
            f"archives: columns: {', '.join(strange)} is no canonical name; allowed: {', '.join((*KEYS, *OPTIONAL))}"
        )
    absent = [name for name in OPTIONAL if columns.get(name) == ""]
    named = {name: column for name, column in columns.items() if name not in absent}
    table = read_csv(root, FILE, [name for name in (*KEYS, *OPTIONAL) if name not in absent], named)
    return table._replace(rows=table.rows.assign(**{name: "" for name in absent}))


def _paths(table: Csv) -> pd.Series:
    """Relative paths with forward slashes, inside the archive."""
    path = table.key("image_path").str.replace("\\", "/", regex=False)
    outside = path.map(lambda name: name.startswith("/") or ".." in PurePosixPath(name).parts)
    table.refuse(outside, "image_path", "a path relative to the archive's root, inside it", "write it so")
    return path.map(lambda name: str(PurePosixPath(name))).astype(pd.StringDtype())


def _exam_days(table: Csv, patient_id: pd.Series) -> pd.Series:
    """Days since the patient's first exam, whatever day the csv counts from."""
    table.key("exam_date_days")
    day = table.whole("exam_date_days", -LONGEST_DAYS, LONGEST_DAYS)
    return day - day.groupby(patient_id).transform("min")


def _refuse_disagreement(table: Csv, rows: pd.DataFrame, column: str, source: str) -> None:
    """Dates and follow-up belong to the exam: its images must tell the same."""
    first = rows.drop_duplicates("exam_id").set_index("exam_id")[column].reindex(rows["exam_id"]).set_axis(rows.index)
    same = (rows[column] == first).fillna(False) | (rows[column].isna() & first.isna())
    table.refuse(~same, source, "the value of the exam's first image", "give all images of an exam the same value")
