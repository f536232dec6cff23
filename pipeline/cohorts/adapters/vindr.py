"""Adapter for VinDr-Mammo 1.0 as PhysioNet publishes it: three csv files and images/<study>/<image>.dicom.

Source: Nguyen et al., VinDr-Mammo, Scientific Data 2023, https://doi.org/10.13026/br2v-7517.
"""

import ast
from pathlib import Path

import pandas as pd

from pipeline.cohorts.adapters.cells import FARTHEST_PX, Cells, read_cells
from pipeline.cohorts.adapters.reading import Reading, breast_ids, refuse_options, unknown, with_unknown
from pipeline.cohorts.problems import Problems
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import LATERALITIES

BREASTS, FINDINGS, METADATA = "breast-level_annotations.csv", "finding_annotations.csv", "metadata.csv"
BREAST_COLUMNS = ("study_id", "image_id", "laterality", "view_position", "breast_birads", "breast_density", "split")
FINDING_COLUMNS = ("image_id", "finding_categories", "finding_birads", "xmin", "ymin", "xmax", "ymax")
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


def read(root: Path, archive: Archive, problems: Problems) -> Reading:
    """Reads the three tables. The release names studies, not patients: a study counts as a patient.

    Args:
        root: Folder that holds the csv files and images/.
        archive: Its entry in the profile.
        problems: Takes what is wrong with the cells.

    Raises:
        InputError: a file or column is missing, or a row has no id.
    """
    refuse_options(archive)
    breasts = read_cells(root, BREASTS, BREAST_COLUMNS, problems)
    study, image = breasts.key("study_id"), breasts.key("image_id")
    laterality = breasts.choice("laterality", LATERALITIES)
    split = breasts.matched("split", "(training|test)", "training or test")
    annotated = read_cells(root, FINDINGS, FINDING_COLUMNS, problems)
    named = annotated.key("image_id")
    annotated.note(~named.isin(image), "image_id", f"an image of {BREASTS}", "row_without_image")
    categories = _categories(annotated)
    ages, vendors = _metadata(read_cells(root, METADATA, METADATA_COLUMNS, problems), image)
    images = pd.DataFrame(
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
            "vendor": vendors,
            "mass": _seen("Mass", categories, named, image),
            "calcification": _seen("Suspicious Calcification", categories, named, image),
            "density": breasts.matched("breast_density", "DENSITY ([A-D])", "DENSITY A to DENSITY D"),
            "birads": breasts.matched("breast_birads", "BI-RADS ([1-5])", "BI-RADS 1 to BI-RADS 5").astype("Int64"),
            "source_split": split.map({"training": "train", "test": "test"}).astype(pd.StringDtype()),
        }
    )
    return Reading(with_unknown(images), _findings(annotated, categories, named.isin(image)))


def _categories(annotated: Cells) -> pd.Series:
    """The set of categories of every row, written as a Python list; empty where it is none of the release's."""
    cells = annotated.key("finding_categories").map(_parsed)
    strange = cells.map(lambda found: not found or not found <= CATEGORIES)
    annotated.note(strange, "finding_categories", "a list of the release's categories, such as ['Mass']")
    return cells.mask(strange, frozenset())


def _parsed(cell: str) -> frozenset[str]:
    """The categories of one cell; empty if it is no list."""
    try:
        parsed = ast.literal_eval(cell)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # what literal_eval's page lists
        return frozenset()
    return frozenset(map(str, parsed)) if isinstance(parsed, list) else frozenset()


def _seen(category: str, categories: pd.Series, named: pd.Series, image: pd.Series) -> pd.Series:
    """Whether a category is seen in each image; null where no row names the image, or one of its rows is illegible.

    Every image of the release has a row, `No Finding` where nothing was seen.
    """
    seen = categories.map(lambda found: category in found).groupby(named).any()
    illegible = (categories.map(len) == 0).groupby(named).any()
    return image.map(seen.astype(pd.BooleanDtype()).mask(illegible & ~seen)).astype(pd.BooleanDtype())


def _findings(annotated: Cells, categories: pd.Series, known: pd.Series) -> pd.DataFrame:
    """One row per finding and category, with its box; rows without a finding are left out."""
    left, top, right, bottom = (annotated.number(name, 0, FARTHEST_PX) for name in ("xmin", "ymin", "xmax", "ymax"))
    for name, length in (("xmax", right - left), ("ymax", bottom - top)):
        annotated.note((length <= 0).fillna(False), name, "a box with its least corner first", "contradiction")
    whole = ((right > left) & (bottom > top)).fillna(False)
    grades = annotated.matched("finding_birads", "BI-RADS ([1-5])", "BI-RADS 1 to BI-RADS 5")
    rows = pd.DataFrame(
        {
            "image_id": annotated.text("image_id"),
            "kind": categories.map(lambda found: sorted(found - {"No Finding"})),
            "birads": grades.astype("Int64"),
            "pathology": unknown(categories.index, "string"),
            "top_px": top.where(whole),
            "left_px": left.where(whole),
            "height_px": (bottom - top).where(whole),
            "width_px": (right - left).where(whole),
        }
    )
    return rows[known].explode("kind").dropna(subset="kind")


def _metadata(metadata: Cells, image: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Age in years and manufacturer of each image; null where metadata.csv does not tell.

    Ages are DICOM age strings (AS, PS3.5 section 6.2) in years; 000Y is what exporters write for unknown.

    Raises:
        InputError: no row names an image of the other tables.
    """
    named = metadata.key("SOP Instance UID")
    if not named.isin(image).any():
        raise InputError(
            f"{METADATA}: column SOP Instance UID: expected an image_id of {BREASTS}, found none; restore both files"
        )
    metadata.note(named.duplicated(), "SOP Instance UID", "one row per image", "duplicate_image")
    years = metadata.matched("Patient's Age", r"(\d{3})Y", "a DICOM age such as 053Y").astype("Float64")
    known = pd.DataFrame({"age": years.mask(years == 0), "vendor": metadata.text("Manufacturer")})
    known = known.set_index(named)[~named.duplicated().to_numpy()]
    return image.map(known["age"]).astype("Float64"), image.map(known["vendor"]).astype("string")
