"""Adapter for VinDr-Mammo 1.0 as PhysioNet publishes it: three csv files and images/<study>/<image>.dicom.

Source: Nguyen et al., VinDr-Mammo, Scientific Data 2023, https://doi.org/10.13026/br2v-7517.
"""

import ast
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.cohorts.adapters.csv_cells import Csv, breast_ids, read_csv, refuse_columns, unknown
from pipeline.tables import LATERALITIES

BREASTS, FINDINGS, METADATA = "breast-level_annotations.csv", "finding_annotations.csv", "metadata.csv"
BREAST_COLUMNS = ("study_id", "image_id", "laterality", "view_position", "breast_birads", "breast_density", "split")
FINDING_COLUMNS = ("image_id", "finding_categories")
METADATA_COLUMNS = ("SOP Instance UID", "Patient's Age", "Manufacturer")
# finding_categories of the release, Table 3 of the paper.
CATEGORIES = frozenset(
    {
        "Mass",
        "Suspicious Calcification",
        "Asymmetry",
        "Focal Asymmetry",
        "Global Asymmetry",
        "Architectural Distortion",
        "Skin Thickening",
        "Skin Retraction",
        "Nipple Retraction",
        "Suspicious Lymph Node",
        "No Finding",
    }
)


def read(root: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Reads the three tables. The release names studies, not patients: a study counts as a patient.

    Args:
        root: Folder that holds the csv files and images/.
        columns: Must be empty.

    Returns:
        The columns of tables.CATALOG but cohort and size_bytes, one row per image.

    Raises:
        InputError: a file or column is missing, or a cell is out of range.
    """
    refuse_columns(columns, "vindr")
    breasts = read_csv(root, BREASTS, BREAST_COLUMNS)
    study, image = breasts.key("study_id"), breasts.key("image_id")
    laterality = breasts.choice("laterality", LATERALITIES)
    split = breasts.matched("split", "(training|test)", "training or test")
    mass, calcification = _findings(read_csv(root, FINDINGS, FINDING_COLUMNS), image)
    ages, vendors = _metadata(read_csv(root, METADATA, METADATA_COLUMNS), image)
    index = breasts.rows.index
    return pd.DataFrame(
        {
            "patient_id": study,
            "exam_id": study,
            "exam_day": 0,
            "breast_id": breast_ids(study, laterality),
            "image_id": image,
            "laterality": laterality,
            "view": breasts.text("view_position").str.upper(),
            "path": "images/" + study + "/" + image + ".dicom",
            "age_years": ages,
            "implant": unknown(index, "boolean"),
            "vendor": vendors,
            "mass": mass,
            "calcification": calcification,
            "malignant": unknown(index, "boolean"),
            "density": breasts.matched("breast_density", "DENSITY ([A-D])", "DENSITY A to DENSITY D"),
            "birads": breasts.matched("breast_birads", "BI-RADS ([1-5])", "BI-RADS 1 to BI-RADS 5").astype("Int64"),
            "years_to_cancer": unknown(index, "Float64"),
            "years_followed": unknown(index, "Float64"),
            "source_split": split.map({"training": "train", "test": "test"}).astype(pd.StringDtype()),
        }
    )


def _findings(findings: Csv, image: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Mass and suspicious calcification in each image; null where no row names the image.

    Every image of the release has a row, `No Finding` where nothing was seen.
    """
    named = findings.key("image_id")
    findings.refuse(~named.isin(image), "image_id", f"an image of {BREASTS}", "restore both published files")
    categories = findings.key("finding_categories").map(_categories)
    findings.refuse(
        categories.map(lambda found: not found or not found <= CATEGORIES),
        "finding_categories",
        "a list of the release's categories, such as ['Mass']",
        "restore the published file",
    )

    def has(category: str) -> pd.Series:
        seen = categories.map(lambda found: category in found).groupby(named).any()
        return image.map(seen).astype(pd.BooleanDtype())

    return has("Mass"), has("Suspicious Calcification")


def _categories(cell: str) -> frozenset[str]:
    """The categories of one cell, written as a Python list; empty if it is none."""
    try:
        parsed = ast.literal_eval(cell)
    except (ValueError, SyntaxError):
        return frozenset()
    return frozenset(map(str, parsed)) if isinstance(parsed, list) else frozenset()


def _metadata(metadata: Csv, image: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Age in years and manufacturer of each image; null where metadata.csv does not tell.

    Ages are DICOM age strings (AS, PS3.5 section 6.2) in years; 000Y is what exporters write for unknown.
    """
    named = metadata.key("SOP Instance UID")
    foreign = ~named.isin(image)
    if foreign.all():
        metadata.refuse(foreign, "SOP Instance UID", f"an image_id of {BREASTS}", "restore both published files")
    metadata.refuse(named.duplicated(), "SOP Instance UID", "one row per image", "restore the published file")
    years = metadata.matched("Patient's Age", r"(\d{3})Y", "a DICOM age such as 053Y").astype("Float64")
    ages, vendors = years.mask(years == 0), metadata.text("Manufacturer")
    return image.map(ages.set_axis(named)).astype("Float64"), image.map(vendors.set_axis(named)).astype("string")
