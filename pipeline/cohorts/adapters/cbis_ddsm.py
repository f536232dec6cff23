"""Adapter for CBIS-DDSM: four tables of lesions, and the files as the NBIA Data Retriever lays them out.

Source: Lee et al., CBIS-DDSM, Scientific Data 2017, https://doi.org/10.1038/sdata.2017.177; data page
https://doi.org/10.7937/K9/TCIA.2016.7O02S9CY.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pipeline.cohorts.adapters.cbis_ddsm_files import MAMMOGRAM, largest, patient_folders, series_files
from pipeline.cohorts.adapters.cbis_ddsm_masks import lesion_boxes
from pipeline.cohorts.adapters.cells import Cells, read_cells
from pipeline.cohorts.adapters.reading import Reading, breast_ids, extra_of, refuse_options, with_unknown
from pipeline.cohorts.breasts import merge_birads, merge_findings
from pipeline.cohorts.problems import Problems
from pipeline.sections import Archive
from pipeline.tables import FINDINGS, VIEWS

IMAGE, CROP, MASK = "image file path", "cropped image file path", "ROI mask file path"
COLUMNS = (
    "patient_id", "density", "left or right breast", "image view", "abnormality id", "assessment", "pathology",
    IMAGE, CROP, MASK,
)  # fmt: skip
UIDS = r"/\d[\d.]*/\d[\d.]*"  # of study and series, which follow the PatientID in the tables' paths
EDGES = ("top_px", "left_px", "height_px", "width_px")
KINDS = ("mass", "calcification")
SIDES = {"LEFT": "L", "RIGHT": "R"}
# Data page: what describes a lesion, in upper-case words joined by hyphens; N/A where there is nothing to say.
WORDS = r"([A-Z_]+(?:-[A-Z_]+)*|N/A)"
# DDSM assesses from 0 to 5; density 0, which occurs, is none.
BIRADS = (0, 5)
DENSITIES = {"1": "A", "2": "B", "3": "C", "4": "D"}
# BENIGN_WITHOUT_CALLBACK: benign for certain without a biopsy (data page).
PATHOLOGIES = {"MALIGNANT": "malignant", "BENIGN": "benign", "BENIGN_WITHOUT_CALLBACK": "benign"}


MASS = {"mass_shape": "mass shape", "mass_margins": "mass margins"}
CALC = {"calc_type": "calc type", "calc_distribution": "calc distribution"}


class Table(NamedTuple):
    """One of the release's tables.

    Attributes:
        file: Its name.
        kind: Of its lesions.
        split: Of its images.
        prefix: How the PatientID of its images begins.
        density: Its column of that name; only the mass tables write it with an underscore.
        described: Name in `extra` -> column.
    """

    file: str
    kind: str
    split: str
    prefix: str
    density: str
    described: Mapping[str, str]


TABLES = (
    Table("mass_case_description_train_set.csv", "mass", "train", "Mass-Training_", "breast_density", MASS),
    Table("mass_case_description_test_set.csv", "mass", "test", "Mass-Test_", "breast_density", MASS),
    Table("calc_case_description_train_set.csv", "calcification", "train", "Calc-Training_", "breast density", CALC),
    Table("calc_case_description_test_set.csv", "calcification", "test", "Calc-Test_", "breast density", CALC),
)


def read(root: Path, archive: Archive, problems: Problems) -> Reading:
    """Reads the four tables and the lesion masks; an image is a mammogram's series, a patient has one exam.

    The tables of masses say nothing of calcifications, nor the reverse: what an image's own table does not treat is
    unknown. A view of both sets was published twice, under two UIDs, and is two images of one breast.

    Args:
        root: Folder that holds the tables (or csv/ with them) and, below it, the folders of the PatientIDs.
        archive: Its entry in the profile.
        problems: Takes what is wrong with the cells, and masks that give no box.

    Raises:
        InputError: a table or column is missing, or a row lacks its patient or image.
    """
    refuse_options(archive)
    folders = patient_folders(root)
    tables = [_lesions(root, table, folders, problems) for table in TABLES]
    lesions = pd.concat(tables, ignore_index=True)
    columns: list[str] = FINDINGS.names
    return Reading(_images(lesions), lesions[columns], frozenset(lesions["files"].explode().dropna()))


def _lesions(root: Path, table: Table, folders: Mapping[str, Sequence[Path]], problems: Problems) -> pd.DataFrame:
    """One row per lesion: what its image is, what the table says of it, its box, and its crop's and mask's files."""
    cells = _read_table(root, table, problems)
    series = _series(cells, table)
    image_id = series.str.partition("/")[0]
    found = {name: largest(series_files(folders, name)) for name in series.dropna().unique()}
    mammograms = [found.get(name) for name in series]
    files = _lesion_files(cells, image_id, folders)
    boxes, ended = lesion_boxes(list(zip(mammograms, files, strict=True)), table.file)
    read = zip(mammograms, boxes, ended, strict=True)
    unmarked = [image is not None and box is None and not end for image, box, end in read]
    cells.note(pd.Series(unmarked), MASK, "a mask of two levels with the proportions of its image, to take a box from")
    cells.note(pd.Series(ended), MASK, "files whose decoder neither crashes nor hangs, to take a box from")
    edges = pd.DataFrame([box or (None,) * 4 for box in boxes], columns=list(EDGES), dtype="Float64")
    rows = {
        "image_id": image_id,
        "series": series,
        "patient_id": cells.key("patient_id"),
        "laterality": cells.coded("left or right breast", SIDES),
        "view": cells.choice("image view", VIEWS),
        "path": _paths(root, cells, mammograms),
        "source_split": table.split,
        "kind": table.kind,
        "birads": cells.whole("assessment", *BIRADS),
        "pathology": cells.coded("pathology", PATHOLOGIES),
        "density": _densities(cells, series),
        **{name: _words(cells, column) for name, column in table.described.items()},
        "files": [[file.relative_to(root).as_posix() for file in each] for each in files],
    }
    return pd.DataFrame(rows).join(edges)[series.notna()]


def _read_table(root: Path, table: Table, problems: Problems) -> Cells:
    """The table, in the root or in csv/."""
    file = table.file if (root / table.file).is_file() or not (root / "csv").is_dir() else f"csv/{table.file}"
    return read_cells(root, file, (*COLUMNS, *table.described.values()), problems, {"density": table.density})


def _series(cells: Cells, table: Table) -> pd.Series:
    """`<PatientID>/<study UID>/<series UID>` of each row's image; null, and told, where it is not the row's own."""
    series = cells.key(IMAGE).str.extract(f"^({MAMMOGRAM}{UIDS})/[^/]+$", expand=False)
    side, view = cells.text("left or right breast"), cells.text("image view")
    expected = table.prefix + cells.key("patient_id") + "_" + side + "_" + view
    own = (series.str.partition("/")[0] == expected).fillna(False)
    cells.note(~own, IMAGE, "a series of the row's own patient, side and view", "row_without_image")
    return series.where(own)


def _lesion_files(cells: Cells, image_id: pd.Series, folders: Mapping[str, Sequence[Path]]) -> list[list[Path]]:
    """The files of each row's crop and mask, in whichever of the two series; a series of another lesion is told."""
    files: list[set[Path]] = [set() for _ in image_id]
    for column in (CROP, MASK):
        series = cells.text(column).str.extract(rf"^({MAMMOGRAM}_\d+{UIDS})/[^/]+$", expand=False)
        own = (series.str.partition("/")[0] == image_id + "_" + cells.text("abnormality id")).fillna(False)
        cells.note(cells.text(column).notna() & image_id.notna() & ~own, column, "a series of the row's own lesion")
        for row, name in enumerate(series.where(own)):
            files[row] |= set(series_files(folders, name)) if pd.notna(name) else set()
    return [sorted(each) for each in files]


def _paths(root: Path, cells: Cells, mammograms: Sequence[Path | None]) -> pd.Series:
    """Where each image is, or where the Data Retriever would put it if it is absent."""
    published = "CBIS-DDSM/" + cells.text(IMAGE)
    found = [image.relative_to(root).as_posix() if image else None for image in mammograms]
    return pd.Series(found, index=cells.rows.index, dtype="string").fillna(published)


def _densities(cells: Cells, series: pd.Series) -> pd.Series:
    """Density of each row's breast; null where the rows of an image contradict each other."""
    density = cells.coded("density", DENSITIES)
    differs = density.groupby(series).transform("nunique").fillna(0) > 1
    cells.note(differs, "density", "one density per image", "contradiction")
    return density.mask(differs)


def _words(cells: Cells, column: str) -> pd.Series:
    """What a column of descriptions says; null where it has nothing to say."""
    words = cells.matched(column, WORDS, "words in upper case")
    return words.mask(words.isin(["N/A", "NA"]))


def _images(lesions: pd.DataFrame) -> pd.DataFrame:
    """One row per mammogram, with what its lesions say together.

    malignant: yes if any lesion is. birads: the assessment of most concern. mass, calcification: seen, or unknown.
    """
    key = lesions["series"]
    rows = lesions.groupby(key, sort=False).first()
    malignant = lesions["pathology"].map({"malignant": True, "benign": False}).astype("boolean")
    words = {name: lesions[name].groupby(key).agg(_joined).reindex(rows.index) for name in (*MASS, *CALC)}
    images = rows[["patient_id", "image_id", "laterality", "view", "path", "density", "source_split"]].assign(
        exam_id=rows["patient_id"],
        exam_day=0,
        breast_id=breast_ids(rows["patient_id"], rows["laterality"]),
        birads=merge_birads(lesions["birads"], key),
        malignant=merge_findings(malignant, key),
        **{name: (rows["kind"] == name).astype("boolean").where(rows["kind"] == name) for name in KINDS},
        extra=extra_of(words),
    )
    return with_unknown(images.reset_index(drop=True))


def _joined(words: pd.Series) -> str | None:
    """Distinct descriptions of one image's lesions as one text; None where there are none."""
    return ", ".join(sorted(set(words.dropna()))) or None
