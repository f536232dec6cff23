"""Adapter for a plain table: one row per image, in the user's own column names; the private archive's way in."""

import re
from pathlib import Path, PurePosixPath

import pandas as pd

from pipeline.cohorts.adapters.cells import OLDEST_YEARS, Cells, read_cells
from pipeline.cohorts.adapters.reading import (
    Reading,
    agreed_race,
    breast_ids,
    extra_of,
    no_findings,
    unknown,
    with_unknown,
)
from pipeline.cohorts.problems import Problems
from pipeline.dicom.deidentify import known_manufacturer
from pipeline.dicom.views import named_view
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import DENSITIES, LATERALITIES, RACES

FILES = ("images.csv", "images.parquet", "images.xlsx")
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
    "race",
)
# Longer than any cohort.
LONGEST_DAYS = 40_000
# ACR BI-RADS assessment categories.
BIRADS = (0, 6)
# A suffix begins with a letter; what follows the last dot of a UID (1.2.840.10008) is none.
SUFFIX = r"\.[A-Za-z][A-Za-z0-9]*$"
# An extra column holds categories: with more distinct values, or longer ones, it is free text or an identifier.
EXTRA_VALUES, EXTRA_CHARACTERS = 64, 40


def read(root: Path, archive: Archive, problems: Problems) -> Reading:
    """Reads images.csv (or .parquet, or .xlsx).

    Args:
        root: Folder that holds the table; image_path is relative to it.
        archive: Its entry in the profile. `columns`: canonical name -> the table's column; names left out are the
            table's own; "" says there is none. `extra`: further columns that reports may speak of.
        problems: Takes what is wrong with the cells.

    Raises:
        InputError: the table or a column is missing, a row lacks a key, a path leads out of the archive, or an extra
            column holds no categories.
    """
    table = _read_renamed(root, archive, problems)
    patient_id = table.key("patient_id")
    exam_id = patient_id + "-" + table.key("exam_id")
    _refuse_shared_exams(table, patient_id, exam_id)
    laterality = table.choice("laterality", LATERALITIES)
    path = _paths(table)
    rows = pd.DataFrame(
        {
            "patient_id": patient_id,
            "exam_id": exam_id,
            "exam_day": _exam_days(table, patient_id, exam_id),
            "breast_id": breast_ids(exam_id, laterality),
            "image_id": path.map(lambda name: re.sub(SUFFIX, "", name).replace("/", "-")),
            "laterality": laterality,
            "view": _views(table),
            "path": path,
            "age_years": table.number("age", 0, OLDEST_YEARS),
            "implant": table.boolean("implant"),
            "vendor": _vendors(table, archive),
            "mass": table.boolean("mass"),
            "calcification": table.boolean("calcification"),
            "malignant": table.boolean("cancer"),
            "density": table.choice("density", DENSITIES),
            "birads": table.whole("birads", *BIRADS),
            "years_to_cancer": table.number("years_to_cancer", 0, OLDEST_YEARS),
            "years_followed": table.number("years_followed", 0, OLDEST_YEARS),
            "race": patient_id.map(agreed_race(table, table.choice("race", RACES), patient_id)).astype("string"),
            "extra": _extra(table, archive.extra),
        }
    )
    for column in ("years_to_cancer", "years_followed"):
        rows[column] = _agreed(table, rows, column)
    illegible = table.text("years_to_cancer").notna() & rows["years_to_cancer"].isna()
    lost = rows["exam_id"].isin(rows.loc[illegible, "exam_id"])  # null would say that no cancer was seen
    rows["years_followed"] = rows["years_followed"].mask(lost)
    return Reading(with_unknown(rows), no_findings())


def _read_renamed(root: Path, archive: Archive, problems: Problems) -> Cells:
    """Reads the table; columns that the profile maps to "" are added as empty."""
    columns = archive.columns
    if strange := sorted(set(columns) - {*KEYS, *OPTIONAL}):
        raise InputError(
            f"archives: columns: {', '.join(strange)} is no canonical name; allowed: {', '.join((*KEYS, *OPTIONAL))}"
        )
    file = next((name for name in FILES if (root / name).is_file()), FILES[0])
    absent = [name for name in OPTIONAL if columns.get(name) == ""]
    named = {name: column for name, column in columns.items() if name not in absent}
    required = [*(name for name in (*KEYS, *OPTIONAL) if name not in absent), *archive.extra]
    table = read_cells(root, file, required, problems, named)
    return table._replace(rows=table.rows.assign(**{name: "" for name in absent}))


def _refuse_shared_exams(table: Cells, patient_id: pd.Series, exam_id: pd.Series) -> None:
    """Raises an InputError if ids of two patients join to one exam: their breasts would be merged."""
    shared = patient_id.groupby(exam_id).transform("nunique") > 1
    if shared.any():
        raise InputError(
            f"{table.file}: line {int(shared.to_numpy(dtype=bool).argmax()) + 2}, columns patient_id and exam_id:"
            " expected ids that stay apart when they are joined by a hyphen; found two patients with one exam"
            f" ({int(shared.sum())} such rows); take the hyphens out of one of the two"
        )


def _views(table: Cells) -> pd.Series:
    """CC, MLO or the name of another view; anything else is noted, and left to the file's tags."""
    words = table.text("view").str.upper()
    views = words.map(lambda word: named_view(word) if pd.notna(word) else pd.NA).astype(pd.StringDtype())
    table.note(words.notna() & views.isna(), "view", "CC, MLO or the name of another view, or empty")
    return views


def _vendors(table: Cells, archive: Archive) -> pd.Series:
    """The machines as the table writes them; of a private archive, whose cells may hold anything, known makers only."""
    cells = table.text("vendor")
    if archive.identifiers == "published":
        return cells
    return cells.map(lambda name: known_manufacturer(name) if pd.notna(name) else pd.NA).astype(pd.StringDtype())


def _paths(table: Cells) -> pd.Series:
    """Relative paths with forward slashes, inside the archive."""
    path = table.key("image_path").str.replace("\\", "/", regex=False)
    outside = path.map(lambda name: name.startswith("/") or ".." in PurePosixPath(name).parts)
    if outside.any():
        raise InputError(
            f"{table.file}: line {int(outside.to_numpy(dtype=bool).argmax()) + 2}, column image_path: expected a path"
            f" relative to the archive's root, inside it; found another ({int(outside.sum())} such rows); write it so"
        )
    return path.map(lambda name: str(PurePosixPath(name))).astype(pd.StringDtype())


def _exam_days(table: Cells, patient_id: pd.Series, exam_id: pd.Series) -> pd.Series:
    """Days since the patient's first exam, whatever day the table counts from; of an exam, its first image's.

    An illegible day is noted, and counts as the patient's first.
    """
    table.key("exam_date_days")
    day = table.whole("exam_date_days", -LONGEST_DAYS, LONGEST_DAYS)
    first = day.groupby(exam_id).transform("first")
    differs = (day != first).fillna(False)
    table.note(differs, "exam_date_days", "the value of the exam's first image", "contradiction")
    return (first - first.groupby(patient_id).transform("min")).fillna(0)


def _agreed(table: Cells, rows: pd.DataFrame, column: str) -> pd.Series:
    """Follow-up belongs to the exam: where its images contradict each other, it counts as unknown."""
    exam, value = rows["exam_id"], rows[column]
    first = rows.drop_duplicates("exam_id").set_index("exam_id")[column].reindex(exam).set_axis(rows.index)
    differs = ~((value == first).fillna(False) | (value.isna() & first.isna()))
    table.note(differs, column, "the value of the exam's first image", "contradiction")
    return value.mask(exam.isin(exam[differs]))


def _extra(table: Cells, names: list[str]) -> pd.Series:
    """The extra annotations; a column that does not hold categories is refused, since it would leave the archive."""
    columns = {name: table.text(name) for name in names}
    for name, cells in columns.items():
        longest = int(cells.str.len().max()) if cells.notna().any() else 0
        if cells.nunique() > EXTRA_VALUES or longest > EXTRA_CHARACTERS:
            raise InputError(
                f"{table.file}: column {name}: expected categories (at most {EXTRA_VALUES} values of at most"
                f" {EXTRA_CHARACTERS} characters), found {cells.nunique()} values of up to {longest}; free text and"
                " identifiers may not leave the archive: take it out of archives.<cohort>.extra, or recode it"
            )
    return extra_of(columns) if columns else unknown(table.rows.index, "string")
