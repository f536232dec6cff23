"""Adapter for CMMD: the clinical table of breasts, and DICOM files anywhere below a folder named after the patient.

Side and view stand in the files' tags alone. A file whose tags cannot be read keeps both null; ingest names its fault.
Source: Cai et al., Scientific Data 2023, https://doi.org/10.1038/s41597-023-02025-1;
the collection: https://doi.org/10.7937/tcia.eqde-4b16.
"""

from pathlib import Path, PurePosixPath

import pandas as pd

from pipeline.cohorts.adapters.cells import OLDEST_YEARS, Cells, read_cells
from pipeline.cohorts.adapters.reading import Reading, breast_ids, extra_of, no_findings, refuse_options, with_unknown
from pipeline.cohorts.problems import Problems
from pipeline.cohorts.tree import files_below
from pipeline.dicom.deidentify import read_allowed, silenced
from pipeline.dicom.views import laterality, view
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import LATERALITIES

FILES = ("CMMD_clinicaldata_revision.xlsx", "CMMD_clinicaldata_revision.csv")
COLUMNS = ("ID1", "LeftRight", "Age", "abnormality", "classification", "subtype")
SUFFIX = ".dcm"
# The table's abnormality says which of the two the breast has: (mass, calcification).
ABNORMALITIES = {"mass": (True, False), "calcification": (False, True), "both": (True, True)}
CLASSES = {"Benign": False, "Malignant": True}  # by biopsy, of the breast
SUBTYPES = ("Luminal A", "Luminal B", "HER2-enriched", "triple negative")


def read(root: Path, archive: Archive, problems: Problems) -> Reading:
    """Reads the table of breasts and the tags of every file. A breast without a row is unknown, not benign.

    Args:
        root: Folder that holds the table and, at any depth, the patients' folders; the NBIA Data Retriever writes
            CMMD/<ID1>/<study>/<series>/1-1.dcm.
        archive: Its entry in the profile.
        problems: Takes what is wrong with the cells, and rows of breasts that no file shows.

    Raises:
        InputError: the table or a column is missing, a row has no id or side, or no folder is named after a patient.
    """
    refuse_options(archive)
    file = next((name for name in FILES if (root / name).is_file()), FILES[0])
    table = read_cells(root, file, COLUMNS, problems)
    images = _files(root, set(table.key("ID1")))
    if images.empty:
        raise InputError(
            f"{file}: expected folders named after its ID1, such as D1-0001, with {SUFFIX} files; found none below the"
            " root; check the root and that the download is complete"
        )
    patient, breast = images["patient_id"], breast_ids(images["patient_id"], images["laterality"])
    ages, breasts = _ages(table), _breasts(table, breast)
    label = {name: breast.map(breasts[name]).astype(breasts[name].dtype) for name in breasts}
    labelled = images.assign(
        exam_id=patient,
        exam_day=0,
        breast_id=breast,
        age_years=patient.map(ages).astype("Float64"),
        mass=label["mass"],
        calcification=label["calcification"],
        malignant=label["malignant"],
        extra=extra_of({"subtype": label["subtype"]}),
    )
    return Reading(with_unknown(labelled), no_findings())


def _breasts(table: Cells, shown: pd.Series) -> pd.DataFrame:
    """Labels by breast id; rows that contradict each other are noted and unknown, as are breasts that no file shows."""
    table.key("LeftRight")
    breast = breast_ids(table.key("ID1"), table.choice("LeftRight", LATERALITIES))
    table.note(
        (~breast.isin(shown)).mask(breast.isna(), False), "LeftRight", "files of the breast", "row_without_image"
    )
    abnormality = _agreed(table, table.choice("abnormality", ABNORMALITIES), breast, "abnormality")
    malignant = table.choice("classification", CLASSES).map(CLASSES).astype(pd.BooleanDtype())
    labels = pd.DataFrame(
        {
            "mass": abnormality.map({name: mass for name, (mass, _) in ABNORMALITIES.items()}).astype("boolean"),
            "calcification": abnormality.map({name: calc for name, (_, calc) in ABNORMALITIES.items()}).astype(
                "boolean"
            ),
            "malignant": _agreed(table, malignant, breast, "classification"),
            "subtype": _agreed(table, table.choice("subtype", SUBTYPES), breast, "subtype"),
        }
    ).set_index(breast)
    return labels[~labels.index.duplicated()]


def _ages(table: Cells) -> pd.Series:
    """Age in years by patient; null where the rows of the two breasts contradict each other."""
    patient = table.key("ID1")
    ages = _agreed(table, table.number("Age", 0, OLDEST_YEARS), patient, "Age").set_axis(patient)
    return ages[~ages.index.duplicated()]


def _agreed(table: Cells, values: pd.Series, owner: pd.Series, column: str) -> pd.Series:
    """The value that all rows of an owner give; null where two rows contradict each other."""
    first = values.groupby(owner).transform("first").astype(values.dtype)
    differs = (values != first).fillna(False) & owner.notna()
    table.note(differs, column, "the same in every row of the patient or breast", "contradiction")
    return first.mask(owner.isin(owner[differs]))


def _files(root: Path, patients: set[str]) -> pd.DataFrame:
    """patient_id, image_id, path, laterality and view of every file below a folder named after a patient.

    image_id is `<ID1>-<file name without suffix>`: names are unique within a patient, who has one series. The same
    name twice is the same download twice; the catalog counts it and keeps the first.
    """
    rows = []
    for path in sorted(file.relative_to(root).as_posix() for file in files_below(root, (SUFFIX,))):
        folders = reversed(PurePosixPath(path).parts[:-1])
        if patient := next((name for name in folders if name in patients), None):
            side, position = _side_and_view(root / path)
            rows.append((patient, f"{patient}-{PurePosixPath(path).stem}", path, side, position))
    columns = ["patient_id", "image_id", "path", "laterality", "view"]
    return pd.DataFrame(rows, columns=columns).astype(pd.StringDtype())


def _side_and_view(file: Path) -> tuple[str | None, str | None]:
    """L or R, and CC, MLO or `other`; null where the tags do not tell, or cannot be read."""
    try:
        with silenced():
            dataset = read_allowed(file, pixels=False)
            return laterality(dataset), view(dataset)
    except Exception:  # whatever a broken file raises: ingest reads it again and names the fault
        return None, None
