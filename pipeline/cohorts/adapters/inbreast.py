"""Adapter for INbreast: the sheet of images, AllDICOMs/<File Name>_<patient>_MG_<L|R>_<CC|ML>_ANON.dcm, and AllXML.

Source: Moreira et al., Academic Radiology 2012, https://doi.org/10.1016/j.acra.2011.09.014.
"""

import re
from pathlib import Path

import pandas as pd

from pipeline.cohorts.adapters.cells import Cells, read_cells
from pipeline.cohorts.adapters.inbreast_outlines import read_outlines
from pipeline.cohorts.adapters.reading import Reading, breast_ids, extra_of, refuse_options, unknown, with_unknown
from pipeline.cohorts.problems import Problems
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import DENSITIES, LATERALITIES

RELEASE = "INbreast Release 1.0"
FILES = ("INbreast.xls", "INbreast.xlsx", "INbreast.csv")
COLUMNS = ("Patient ID", "Laterality", "View", "Acquisition date", "File Name", "ACR", "Bi-Rads")
# X where seen in the image; the csv edition lacks these columns.
SEEN = ("Mass", "Micros", "Distortion", "Asymmetry")
# File names write ML for MLO; FB is the view of one image.
VIEWS = {"CC": "CC", "MLO": "MLO", "ML": "MLO", "FB": "FB"}
SUFFIXES = (".dcm", ".png", ".jpg", ".jpeg")
# <File Name>, alone or followed by the patient's hash, the side and the view.
NAMED = r"(?P<name>\d+)(?:_(?P<patient>[0-9a-f]{16})(?:_MG_(?P<side>[LR])_(?P<view>[A-Z]+)(?:_.*)?)?)?"
VENDOR = "SIEMENS"  # of all images: MammoNovation (the paper, Materials and Methods)


def read(root: Path, archive: Archive, problems: Problems) -> Reading:
    """Reads the sheet, the names of the files, and the outlines of the findings.

    Args:
        root: The release's folder, or the one that holds it.
        archive: Its entry in the profile.
        problems: Takes what is wrong with the cells and the outlines.

    Raises:
        InputError: the sheet or a column is missing, a row has no file name, or nothing tells the patients apart.
    """
    refuse_options(archive)
    release = root / RELEASE if (root / RELEASE).is_dir() else root
    table = _sheet(release, problems)
    image = _file_names(table)
    path = image.map(_paths(root, release)).astype(pd.StringDtype())
    told = path.map(lambda file: Path(file).stem, na_action="ignore").astype("string").str.extract(f"^{NAMED}$")
    patient = _patients(table, told["patient"], path.notna())
    day = _exam_days(table, patient)
    exam = patient + "-" + day.groupby(patient).rank("dense").astype("Int64").astype("string")
    side = _unanimous(table, "Laterality", table.choice("Laterality", LATERALITIES), told["side"])
    labels = _labels(table)
    images = labels.assign(
        patient_id=patient,
        exam_id=exam,
        exam_day=day,
        breast_id=breast_ids(exam, side),
        image_id=image,
        laterality=side,
        view=_unanimous(table, "View", table.coded("View", VIEWS), told["view"].map(VIEWS).astype("string")),
        path=path.fillna("AllDICOMs/" + image + ".dcm"),  # no such file: the catalog counts it
        vendor=VENDOR,
    )
    return Reading(with_unknown(images), read_outlines(release, image, problems))


def _sheet(release: Path, problems: Problems) -> Cells:
    """The rows of images; what lies below the last file name (a blank row, totals) is left out."""
    file = next((name for name in FILES if (release / name).is_file()), FILES[0])
    table = read_cells(release, file, COLUMNS if file.endswith(".csv") else (*COLUMNS, *SEEN), problems)
    named = table.rows["File Name"].ne("").to_numpy().nonzero()[0]
    return table._replace(rows=table.rows[: named[-1] + 1]) if len(named) else table


def _file_names(table: Cells) -> pd.Series:
    """The key of every image; numbers in the sheet, so that some editions write 22678622.0."""
    return table.key("File Name").str.removesuffix(".0")


def _paths(root: Path, release: Path) -> dict[str, str]:
    """Path relative to root by file name, in the release or a folder of it; DICOM first, then names with a hash."""
    found = [file for pattern in ("*.*", "*/*.*") for file in release.glob(pattern) if file.suffix.lower() in SUFFIXES]
    paths: dict[str, str] = {}
    for file in sorted(found, key=lambda file: (file.suffix.lower() != ".dcm", "_" not in file.stem, file)):
        if match := re.fullmatch(NAMED, file.stem):
            paths.setdefault(match["name"], file.relative_to(root).as_posix())
    return paths


def _patients(table: Cells, hashes: pd.Series, exists: pd.Series) -> pd.Series:
    """The hash in each file's name, else the sheet's Patient ID; rows without a file are patients of their own.

    Raises:
        InputError: neither tells the patients apart; images of one woman could land in training and test.
    """
    column = table.text("Patient ID")
    sheet = column.mask(column.str.lower() == "removed")
    patient = hashes if hashes[exists].notna().all() or sheet.nunique() < 2 else sheet
    if nameless := int((patient.isna() & exists).sum()):
        raise InputError(
            f"{table.file}: expected files named <File Name>_<patient's hash>_MG_<L or R>_<view>_ANON, or a Patient ID"
            f" in every row; found {nameless} images with neither, which cannot be split by patient; restore the"
            " published names, or fill in Patient ID"
        )
    return patient.fillna(_file_names(table))


def _exam_days(table: Cells, patient: pd.Series) -> pd.Series:
    """Days from the first of the patient's first month to the first of the exam's; an unknown month counts as first."""
    month = table.matched("Acquisition date", r"((?:19|20)\d\d(?:0[1-9]|1[0-2]))(?:\.0)?", "year and month, YYYYMM")
    first_of_month = pd.to_datetime(month, format="%Y%m")
    days = first_of_month - first_of_month.groupby(patient).transform("min")
    return days.dt.days.astype("Int64").fillna(0)


def _unanimous(table: Cells, column: str, sheet: pd.Series, name: pd.Series) -> pd.Series:
    """What the sheet or the file's name says; null where they contradict each other."""
    differs = (sheet != name).fillna(False)
    table.note(differs, column, "what the file's name says", "contradiction")
    return sheet.fillna(name).mask(differs)


def _labels(table: Cells) -> pd.DataFrame:
    """What a row of the sheet tells of its image, but for keys and place."""
    grade = table.matched("Bi-Rads", r"([1-6]|4[abc])(?:\.0)?", "1 to 6, 4a, 4b or 4c")
    density = table.matched("ACR", r"([1-4])(?:\.0)?", "1 to 4")
    mass, calcification, distortion, asymmetry = (_seen(table, column) for column in SEEN)
    finer = {
        "asymmetry": asymmetry.map({True: "yes", False: "no"}),
        "birads_subdivision": grade.where(grade.str.len() == 2),
        "distortion": distortion.map({True: "yes", False: "no"}),
    }
    return pd.DataFrame(
        {
            "mass": mass,
            "calcification": calcification,
            "density": density.map(dict(zip("1234", DENSITIES, strict=True))),
            "birads": grade.str[0].astype("Int64"),
            "extra": extra_of(finer),
        }
    )


def _seen(table: Cells, column: str) -> pd.Series:
    """X is yes, blank is no; unknown in an edition without the column."""
    if column not in table.rows:
        return unknown(table.rows.index, "boolean")
    marked = table.choice(column, ("X",)).notna().astype("boolean")
    return marked.mask(table.text(column).notna() & ~marked)
