"""Adapter for the EMBED open data: a table of images, a table of findings, and images/cohort_<n>/.../<SOP>.dcm.

Source: Jeong et al., The Emory Breast Imaging Dataset (EMBED), Radiology: Artificial Intelligence 2023,
https://doi.org/10.1148/ryai.220047; README of the release, https://github.com/Emory-HITI/EMBED_Open_Data.
"""

import ast
from pathlib import Path, PurePosixPath

import pandas as pd

from pipeline.cohorts.adapters import embed_findings, embed_race
from pipeline.cohorts.adapters.cells import FARTHEST_PX, Cells, read_cells
from pipeline.cohorts.adapters.reading import Reading, breast_ids, extra_of, refuse_options, unknown, with_unknown
from pipeline.cohorts.problems import Problems
from pipeline.dicom.deidentify import known_manufacturer
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import FINDINGS, LATERALITIES

METADATA, CLINICAL = "EMBED_OpenData_metadata", "EMBED_OpenData_clinical"
COLUMNS = (
    "empi_anon", "acc_anon", "anon_dicom_path", "study_date_anon", "FinalImageType", "ImageLateralityFinal",
    "ViewPosition", "spot_mag",
)  # fmt: skip
# README, section V: the reduced tables keep the columns used most; without these, what they tell is unknown.
MAY_LACK = ("BreastImplantPresent", "Manufacturer")
DICOM_BOXES = "DCM_ROI_coords"
SOME_RELEASES_HAVE = (DICOM_BOXES, *embed_race.COLUMNS)
# README, section VII; the tables write cview where the README writes C-view. Screen captures are no mammograms.
IMAGE_TYPES = {
    "2D": None, "cview": "synthetic_2d", "C-view": "synthetic_2d", "3D": "tomosynthesis",
    "ROI_SSC": "screen capture", "ROI_SS": "screen capture",
}  # fmt: skip
# Whatever lies before cohort_<n> differs between the releases' tables; below images/ it is the same.
DICOM_PATH = r"(?:.*/)?(cohort_\d+(?:/(?!\.\.?/)[^/]+)+\.dcm)"


def read(root: Path, archive: Archive, problems: Problems) -> Reading:
    """Reads the two tables; every image row is an image, labels are those of its breast.

    Screen captures are left out, spot and magnification views, C-views and tomosynthesis carry their exclusion.
    ROI_coords are positions in the PNG copies, some of which are mirrored against the DICOM files, and the table does
    not say which: boxes are read from DCM_ROI_coords alone, where a release has that column.

    Args:
        root: Folder that holds tables/ (or the tables themselves) and images/.
        archive: Its entry in the profile.
        problems: Takes what is wrong with the cells.

    Raises:
        InputError: a table or column is missing, a row lacks its ids or path, or no exam is in both tables.
    """
    refuse_options(archive)
    metadata = _read_table(root, METADATA, COLUMNS, MAY_LACK, problems)
    clinical = _read_table(root, CLINICAL, embed_findings.KEYS, embed_findings.MAY_LACK, problems)
    images, screens = _images(metadata)
    known = _known_exams(clinical, metadata)
    findings = embed_findings.read_findings(clinical, known)
    breasts = embed_findings.merge_by_breast(findings)
    exams = embed_findings.read_exams(clinical, known)
    of_breast = {name: images["breast_id"].map(breasts[name]) for name in breasts.columns}
    of_exam = {name: images["exam_id"].map(exams[name]) for name in exams.columns}
    labelled = images.drop(columns="boxes").assign(
        age_years=of_exam["age_years"].astype("Float64"),
        implant=_implants(images["implant"], of_breast["implant"].astype("boolean")),
        density=of_exam["density"].astype("string"),
        birads=of_breast["birads"].astype("Int64"),
        **{name: of_breast[name].astype("boolean") for name in ("mass", "calcification", "malignant")},
        race=embed_race.read_race(clinical, images["patient_id"]),
        extra=extra_of({"exam": of_exam["exam"], "other_findings": of_breast["other_findings"]}),
    )
    return Reading(with_unknown(labelled), _findings(images, findings), screens)


def _read_table(
    root: Path, name: str, columns: tuple[str, ...], may_lack: tuple[str, ...], problems: Problems
) -> Cells:
    """The whole or, where there is none, the reduced table; columns that a reduced one lacks are added as empty."""
    files = [f"{folder}{name}{kind}.csv" for folder in ("tables/", "") for kind in ("", "_reduced")]
    file = next((file for file in files if (root / file).is_file()), files[0])
    table = read_cells(root, file, columns if file.endswith("_reduced.csv") else (*columns, *may_lack), problems)
    wanted = [*columns, *may_lack, *(name for name in SOME_RELEASES_HAVE if name in table.rows.columns)]
    return table._replace(rows=table.rows.reindex(columns=wanted, fill_value=""))


def _images(metadata: Cells) -> tuple[pd.DataFrame, frozenset[str]]:
    """One row per image that is no screen capture, its breast's labels still missing; the paths of screen captures."""
    patient, exam = metadata.key("empi_anon"), metadata.key("acc_anon")
    metadata.key("anon_dicom_path")
    path = metadata.matched("anon_dicom_path", DICOM_PATH, "a path such as cohort_1/<patient>/.../<SOP>.dcm")
    laterality = metadata.choice("ImageLateralityFinal", LATERALITIES)
    kind = metadata.coded("FinalImageType", IMAGE_TYPES)
    spot = metadata.boolean("spot_mag").fillna(False)
    rows = pd.DataFrame(
        {
            "patient_id": patient,
            "exam_id": exam,
            "exam_day": _exam_days(metadata, patient, exam),
            "breast_id": breast_ids(exam, laterality),
            "image_id": path.map(lambda name: PurePosixPath(name).stem, na_action="ignore"),
            "laterality": laterality,
            "view": metadata.text("ViewPosition").str.upper(),
            "path": "images/" + path,
            "implant": metadata.coded("BreastImplantPresent", {"YES": "1", "NO": "0"}).map({"1": True, "0": False}),
            "vendor": metadata.text("Manufacturer").map(known_manufacturer, na_action="ignore"),
            "exclusion": kind.mask(kind.isna() & spot, "spot_compression"),
            "boxes": _boxes(metadata),
        }
    )
    screen = (kind == "screen capture").fillna(False)
    located = path.notna()
    return rows[located & ~screen], frozenset(rows.loc[located & screen, "path"])


def _exam_days(metadata: Cells, patient: pd.Series, exam: pd.Series) -> pd.Series:
    """Days since the patient's first exam, by the day of acquisition; an exam whose day is unknown counts as the first.

    The clinical table's study_date_anon is the day of signature (README, section VI) and is not read.
    """
    expected = "a day such as YYYY-MM-DD"
    days = metadata.matched("study_date_anon", r"(\d{4}-\d{2}-\d{2})(?: 00:00:00)?", expected)
    date = pd.to_datetime(days, format="%Y-%m-%d", errors="coerce")
    metadata.note(days.notna() & date.isna(), "study_date_anon", expected)
    first = date.groupby(exam).transform("min")
    torn = date.notna() & (date != first)
    metadata.note(torn, "study_date_anon", "one day per exam (the first one counts)", "contradiction")
    return (first - first.groupby(patient).transform("min")).dt.days.fillna(0).astype("Int64")


def _known_exams(clinical: Cells, metadata: Cells) -> pd.Series:
    """Which rows of the clinical table belong to an exam with images.

    Raises:
        InputError: none does.
    """
    patient, exam = clinical.key("empi_anon"), clinical.key("acc_anon")
    known = (patient + " " + exam).isin(metadata.text("empi_anon") + " " + metadata.text("acc_anon"))
    if not known.any():
        raise InputError(
            f"{clinical.file}: columns empi_anon, acc_anon: expected exams of {metadata.file}, found none of them;"
            " restore both files of one release"
        )
    clinical.note(~known, "acc_anon", f"an exam of {metadata.file}", "row_without_image")
    return known


def _implants(tagged: pd.Series, described: pd.Series) -> pd.Series:
    """Yes if the tag or a finding says so, no if the tag does and no finding contradicts it, else unknown."""
    return tagged.astype("boolean").mask(described.fillna(False).astype(bool), True)


def _boxes(metadata: Cells) -> pd.Series:
    """ROI boxes (top, left, bottom, right) of each image in the pixels of its DICOM file; null where there are none."""
    if DICOM_BOXES not in metadata.rows.columns:
        return unknown(metadata.rows.index, "object")
    cells = metadata.text(DICOM_BOXES)
    boxes = cells.map(_parsed_boxes, na_action="ignore").astype(object)
    metadata.note(cells.notna() & boxes.isna(), DICOM_BOXES, "a list of boxes [ymin, xmin, ymax, xmax]")
    return boxes


def _parsed_boxes(cell: str) -> list[tuple[float, ...]] | None:
    """The boxes of one cell, lists or tuples of four numbers; None if it is anything else.

    >>> _parsed_boxes("((10, 20, 30, 45),)"), _parsed_boxes("()"), _parsed_boxes("[[10, 20]]")
    ([(10.0, 20.0, 30.0, 45.0)], [], None)
    """
    try:
        boxes = [tuple(float(number) for number in box) for box in ast.literal_eval(cell)]
    except (ValueError, SyntaxError, TypeError):
        return None
    inside = all(
        len(box) == 4 and 0 <= box[0] < box[2] <= FARTHEST_PX and 0 <= box[1] < box[3] <= FARTHEST_PX for box in boxes
    )
    return boxes if inside else None


def _findings(images: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """One row per described finding and image of its breast, without a box; one per ROI, which is nothing but a box.

    README, section VIII joins each finding to every file of its breast; no table says which ROI is which finding.
    """
    each = findings.rename(columns={"kinds": "kind"}).explode("kind").dropna(subset="kind")
    described = images[["image_id", "breast_id"]].merge(each, on="breast_id")
    described["pathology"] = described["malignant"].map({True: "malignant", False: "benign"})
    marked = images[["image_id", "boxes"]].explode("boxes").dropna(subset="boxes")
    edges = pd.DataFrame(marked["boxes"].tolist(), index=marked.index, columns=["top", "left", "bottom", "right"])
    marked = marked.assign(
        kind="ROI",
        top_px=edges["top"],
        left_px=edges["left"],
        height_px=edges["bottom"] - edges["top"],
        width_px=edges["right"] - edges["left"],
    )
    columns: list[str] = FINDINGS.names
    return pd.concat([rows.reindex(columns=columns) for rows in (described, marked)], ignore_index=True)
