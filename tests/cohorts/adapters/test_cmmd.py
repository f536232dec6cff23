"""CMMD on a miniature: the clinical table with its real names, and DICOM files in the tree of the NBIA retriever."""

import os
from pathlib import Path

import pandas as pd
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian

from pipeline.cohorts import catalog as catalog_module
from pipeline.cohorts.adapters.cmmd import read
from pipeline.cohorts.adapters.reading import Reading
from pipeline.cohorts.catalog import catalog
from pipeline.cohorts.problems import Problem, Problems
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import CATALOG, FINDINGS, read_table
from tests.cohorts.adapters.rows import cells, with_cell

ARCHIVE = Archive(adapter="cmmd", root="unused", patients=None, columns={}, extra=[], identifiers="published", fatal=[])
TABLE = "CMMD_clinicaldata_revision.xlsx"
COLUMNS = ["ID1", "LeftRight", "Age", "number", "abnormality", "classification", "subtype"]
# D1-0001: one row for two photographed breasts; D2-0002: a row for each breast.
ROWS = [
    ["D1-0001", "R", 44, 2, "calcification", "Benign", None],
    ["D2-0002", "L", 61, 2, "both", "Malignant", "Luminal B"],
    ["D2-0002", "R", 61, 2, "mass", "Benign", None],
]
# The retriever's study and series folders; the dates are dummies of the collection's authors.
SERIES = {
    "D1-0001": "CMMD/D1-0001/01-02-2010-NA-NA-11111/1.000000-NA-33333",
    "D2-0002": "CMMD/D2-0002/01-02-2011-NA-NA-22222/1.000000-NA-44444",
}
VIEWS = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}
FOUR = [("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO")]


def write_dicom(file: Path, side: str | None, view: str | None) -> None:
    """One file with the tags that the collection's files have, and none of the others."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalMammographyXRayImageStorageForPresentation, "1.2.3"
    dataset.Modality, dataset.PatientID, dataset.PatientAge = "MG", "D1-0001", "099Y"
    if side:
        dataset.ImageLaterality = side
    if view:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = VIEWS[view][0], "SCT", VIEWS[view][1]
        dataset.ViewCodeSequence = [code]
    dataset.Rows, dataset.Columns, dataset.BitsAllocated = 2, 2, 8
    dataset.add_new("PixelData", "OB", b"\0" * 4)
    file.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(file, enforce_file_format=True)


def write(root: Path, rows: list[list[object]] = ROWS) -> Path:
    """The table and four files of each of two patients."""
    for folder in SERIES.values():
        for number, (side, view) in enumerate(FOUR, 1):
            write_dicom(root / folder / f"1-{number}.dcm", side, view)
    pd.DataFrame(rows, columns=COLUMNS).to_excel(root / TABLE, index=False)
    return root


def read_rows(root: Path, rows: list[list[object]] = ROWS) -> tuple[Reading, list[Problem]]:
    """Reads the miniature with these rows of the table."""
    problems = Problems()
    return read(write(root, rows), ARCHIVE, problems), problems.found


def test_every_column_is_read(tmp_path: Path) -> None:
    (rows, findings, others), problems = read_rows(tmp_path)
    assert set(rows.columns) == set(CATALOG.names) - {"cohort", "size_bytes"}
    assert cells(rows, "image_id") == [f"{name}-1-{n}" for name in ("D1-0001", "D2-0002") for n in (1, 2, 3, 4)]
    assert cells(rows, "path")[5] == "CMMD/D2-0002/01-02-2011-NA-NA-22222/1.000000-NA-44444/1-2.dcm"
    assert cells(rows, "patient_id") == cells(rows, "exam_id") == ["D1-0001"] * 4 + ["D2-0002"] * 4
    assert cells(rows, "exam_day") == [0] * 8  # the study dates are dummies
    assert cells(rows, "laterality") == ["L", "L", "R", "R"] * 2
    assert cells(rows, "view") == ["CC", "MLO"] * 4
    assert cells(rows, "breast_id")[1:3] == ["D1-0001-L", "D1-0001-R"]
    assert cells(rows, "age_years") == [44] * 4 + [61] * 4  # the table's, also of the breast without a row
    for unknown in ("implant", "vendor", "density", "birads", "years_to_cancer", "years_followed", "source_split"):
        assert cells(rows, unknown) == [None] * 8, unknown
    assert cells(rows, "exclusion") == [None] * 8
    assert list(findings.columns) == FINDINGS.names
    assert findings.empty
    assert others == frozenset()
    assert problems == []


def test_labels_belong_to_the_breast_and_a_breast_without_a_row_has_none(tmp_path: Path) -> None:
    (rows, _, _), _ = read_rows(tmp_path)
    unlabelled = [None, None]  # D1-0001's left breast: not benign
    assert cells(rows, "malignant") == [*unlabelled, False, False, True, True, False, False]
    assert cells(rows, "calcification") == [*unlabelled, True, True, True, True, False, False]
    assert cells(rows, "mass") == [*unlabelled, False, False, True, True, True, True]
    subtype = '{"subtype": "Luminal B"}'
    assert cells(rows, "extra") == [*unlabelled, None, None, subtype, subtype, None, None]
    assert rows["mass"].dtype == rows["malignant"].dtype == "boolean"


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_csv_of_the_same_name_is_read(tmp_path: Path, separator: str) -> None:
    expected, _ = read_rows(tmp_path)
    (tmp_path / TABLE).unlink()
    pd.DataFrame(ROWS, columns=COLUMNS).to_csv(tmp_path / TABLE.replace("xlsx", "csv"), sep=separator, index=False)
    found = read(tmp_path, ARCHIVE, Problems())
    for column in CATALOG.names:
        if column in expected.images:
            assert cells(found.images, column) == cells(expected.images, column), column


@pytest.mark.parametrize(
    "tree",
    [
        "{id}/01-02-2010-NA-NA-11111/1.000000-NA-33333/1-{n}.dcm",  # without the collection's folder
        "manifest-1000000000000/CMMD/{id}/study/series/1-{n}.dcm",
        "CMMD/{id}/1.2.826.0.1.1/1.2.826.0.1.2/00000{n}.dcm",
        "{id}/{n}.DCM",
    ],
)
def test_any_tree_with_folders_named_after_patients_is_read(tmp_path: Path, tree: str) -> None:
    for number, (side, view) in enumerate(FOUR, 1):
        write_dicom(tmp_path / tree.format(id="D1-0001", n=number), side, view)
    pd.DataFrame(ROWS[:1], columns=COLUMNS).to_excel(tmp_path / TABLE, index=False)
    rows = read(tmp_path, ARCHIVE, Problems()).images
    assert cells(rows, "path") == [tree.format(id="D1-0001", n=number) for number in (1, 2, 3, 4)]
    assert cells(rows, "image_id") == [f"D1-0001-{Path(path).stem}" for path in rows["path"]]
    assert cells(rows, "malignant") == [None, None, False, False]


def test_side_and_view_come_from_the_tags_whatever_the_order_of_the_files(tmp_path: Path) -> None:
    write(tmp_path)
    write_dicom(tmp_path / SERIES["D1-0001"] / "1-1.dcm", "R", "MLO")
    rows = read(tmp_path, ARCHIVE, Problems()).images
    assert (cells(rows, "laterality")[0], cells(rows, "view")[0]) == ("R", "MLO")
    assert cells(rows, "malignant")[:4] == [False, None, False, False]


@pytest.mark.parametrize("content", [b"", b"no DICOM", b"\0" * 128 + b"DICM" + b"\xff" * 40])
def test_an_unreadable_file_does_not_stop_the_catalog(tmp_path: Path, content: bytes) -> None:
    write(tmp_path)
    (tmp_path / SERIES["D2-0002"] / "1-1.dcm").write_bytes(content)
    problems = Problems()
    rows = read(tmp_path, ARCHIVE, problems).images
    assert [cells(rows, name)[4] for name in ("laterality", "view", "breast_id", "malignant")] == [None] * 4
    assert cells(rows, "malignant")[5:] == [True, False, False]
    assert problems.found == []  # the other view still shows the breast


def test_a_file_without_tags_has_no_side_and_no_labels(tmp_path: Path) -> None:
    write(tmp_path)
    write_dicom(tmp_path / SERIES["D2-0002"] / "1-1.dcm", None, None)
    rows = read(tmp_path, ARCHIVE, Problems()).images
    assert [cells(rows, name)[4] for name in ("laterality", "view", "breast_id", "mass")] == [None] * 4


def test_a_row_and_a_file_without_a_side_are_no_pair(tmp_path: Path) -> None:
    write(tmp_path, with_cell(ROWS, COLUMNS, 1, "LeftRight", "B"))
    write_dicom(tmp_path / SERIES["D1-0001"] / "1-1.dcm", None, "CC")
    rows = read(tmp_path, ARCHIVE, Problems()).images
    assert cells(rows, "malignant") == [None, None, False, False, None, None, False, False]


def test_a_row_whose_breast_no_file_shows_is_noted(tmp_path: Path) -> None:
    rows = [*ROWS, ["D2-0003", "L", 50, 2, "mass", "Benign", None]]
    write(tmp_path, rows)
    (tmp_path / SERIES["D2-0002"] / "1-3.dcm").unlink()
    (tmp_path / SERIES["D2-0002"] / "1-4.dcm").unlink()
    problems = Problems()
    images = read(tmp_path, ARCHIVE, problems).images
    assert set(images["patient_id"]) == {"D1-0001", "D2-0002"}
    place = f"{TABLE}, column LeftRight: expected files of the breast"
    assert problems.found == [
        Problem("row_without_image", place, 2, ["line 4: a cell of 1 characters", "line 5: a cell of 1 characters"])
    ]


@pytest.mark.parametrize(
    ("row", "column", "value", "label", "values", "expected"),
    [
        (0, "Age", 444, "age_years", [None] * 4 + [61] * 4, "a number from 0 to 120, or empty"),
        (0, "abnormality", "Mass", "mass", [None] * 4 + [True] * 4, "one of mass, calcification, both, or empty"),
        (1, "classification", "malign", "malignant", [None, None, False, False, None, None, False, False],
         "one of Benign, Malignant, or empty"),
        (1, "subtype", "Luminal C", "extra", [None] * 8,
         "one of Luminal A, Luminal B, HER2-enriched, triple negative, or empty"),
        (0, "LeftRight", "B", "malignant", [None] * 4 + [True, True, False, False], "one of L, R, or empty"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_noted_and_unknown(
    tmp_path: Path, row: int, column: str, value: object, label: str, values: list[object], expected: str
) -> None:
    (rows, _, _), problems = read_rows(tmp_path, with_cell(ROWS, COLUMNS, row, column, value))
    assert cells(rows, label) == values
    place = f"{TABLE}, column {column}: expected {expected}"
    assert problems == [Problem("unknown_value", place, 1, [f"line {row + 2}: {str(value)!r}"])]


def test_empty_labels_are_unknown_and_no_problem(tmp_path: Path) -> None:
    rows = [["D1-0001", "R", None, 2, None, None, None], *ROWS[1:]]
    (images, _, _), problems = read_rows(tmp_path, rows)
    for label in ("age_years", "mass", "calcification", "malignant", "extra"):
        assert cells(images, label)[:4] == [None] * 4
    assert problems == []


def test_rows_of_a_breast_that_contradict_each_other_are_noted_and_unknown(tmp_path: Path) -> None:
    rows = [*ROWS, ["D2-0002", "L", 61, 2, "both", "Benign", "Luminal B"]]
    (images, _, _), problems = read_rows(tmp_path, rows)
    assert cells(images, "malignant")[4:] == [None, None, False, False]
    assert cells(images, "mass")[4:] == [True] * 4
    place = f"{TABLE}, column classification: expected the same in every row of the patient or breast"
    assert problems == [Problem("contradiction", place, 1, ["line 5: 'Benign'"])]


def test_two_ages_of_a_patient_are_noted_and_unknown(tmp_path: Path) -> None:
    (images, _, _), problems = read_rows(tmp_path, with_cell(ROWS, COLUMNS, 2, "Age", 62))
    assert cells(images, "age_years") == [44] * 4 + [None] * 4
    assert [(p.kind, p.examples) for p in problems] == [("contradiction", ["line 4: '62'"])]


@pytest.mark.parametrize(
    ("row", "column", "message"),
    [(1, "ID1", "line 3, column ID1: expected a value"), (2, "LeftRight", "line 4, column LeftRight: expected a val")],
)
def test_a_row_without_its_key_is_refused(tmp_path: Path, row: int, column: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_rows(tmp_path, with_cell(ROWS, COLUMNS, row, column, None))


def test_structural_trouble_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"CMMD_clinicaldata_revision\.xlsx: not found"):
        read(tmp_path, ARCHIVE, Problems())
    frame = pd.DataFrame(ROWS, columns=COLUMNS)
    frame.to_excel(tmp_path / TABLE, index=False)
    write_dicom(tmp_path / "CMMD" / "patient 1" / "1-1.dcm", "L", "CC")
    with pytest.raises(InputError, match=r"expected folders named after its ID1, .*found none below the root; check"):
        read(tmp_path, ARCHIVE, Problems())
    frame.drop(columns="classification").to_excel(tmp_path / TABLE, index=False)
    with pytest.raises(InputError, match="column classification is missing"):
        read(tmp_path, ARCHIVE, Problems())
    with pytest.raises(InputError, match="expected none for adapter cmmd"):
        read(tmp_path, ARCHIVE.model_copy(update={"columns": {"age": "Age"}}), Problems())


def test_linked_folders_are_read_and_loops_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "disk")
    root = tmp_path / "root"
    root.mkdir()
    os.symlink(tmp_path / "disk" / "CMMD", root / "CMMD")
    os.symlink(tmp_path / "disk" / TABLE, root / TABLE)
    os.symlink(tmp_path / "disk" / "CMMD", tmp_path / "disk" / "CMMD" / "D1-0001" / "up")
    rows = read(root, ARCHIVE, Problems()).images
    assert len(rows) == 8
    assert rows["path"].str.startswith("CMMD/D").all()


def test_no_date_and_no_tag_but_side_and_view_leaves_the_files(tmp_path: Path) -> None:
    (rows, _, _), _ = read_rows(tmp_path)
    told = rows.drop(columns="path").to_csv()  # the retriever's folder names hold dummy dates
    assert "2010" not in told
    assert "99" not in told


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog_module._ADAPTERS, "cmmd", read)


@pytest.mark.usefixtures("registered")
def test_the_catalog_takes_it(tmp_path: Path) -> None:
    root = write(tmp_path / "raw")
    write_dicom(root / "CMMD" / "D9-0009" / "study" / "series" / "1-1.dcm", "L", "CC")  # a patient without a row
    catalog("demo", ARCHIVE, root, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "images.parquet", CATALOG)
    assert len(rows) == 8
    assert cells(rows, "malignant") == [None, None, False, False, True, True, False, False]
    assert (rows["size_bytes"] > 100).all()
    problems = pd.read_parquet(tmp_path / "out" / "problems.parquet")
    assert problems["kind"].tolist() == ["file_without_row"]
    assert problems["examples"][0].tolist() == ["CMMD/D9-0009/study/series/1-1.dcm"]


@pytest.mark.usefixtures("registered")
def test_a_series_that_was_downloaded_twice_is_counted_once(tmp_path: Path) -> None:
    root = write(tmp_path / "raw")
    for number, (side, view) in enumerate(FOUR, 1):
        write_dicom(root / "manifest-2" / SERIES["D1-0001"] / f"1-{number}.dcm", side, view)
    catalog("demo", ARCHIVE, root, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "images.parquet", CATALOG)
    assert len(rows) == 8
    assert rows["path"].str.startswith("CMMD/").all()
    problems = pd.read_parquet(tmp_path / "out" / "problems.parquet")
    assert problems[["kind", "records"]].to_numpy().tolist() == [["duplicate_image", 4]]
