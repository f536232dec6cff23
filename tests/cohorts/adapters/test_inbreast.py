"""INbreast on a miniature: the sheet with its real columns and odd cells, and files with their real names."""

import plistlib
from pathlib import Path

import pandas as pd
import pytest

from pipeline.cohorts import catalog as catalog_module
from pipeline.cohorts.adapters.inbreast import read
from pipeline.cohorts.adapters.reading import Reading
from pipeline.cohorts.catalog import catalog
from pipeline.cohorts.problems import Problem, Problems
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import CATALOG, FINDINGS, read_table
from tests.cohorts.adapters.rows import cells, with_cell

ARCHIVE = Archive(
    adapter="inbreast", root="unused", patients=None, columns={}, extra=[], identifiers="published", fatal=[]
)
# "Mass " ends with a space.
COLUMNS = [
    "Patient ID", "Patient age", "Laterality", "View", "Acquisition date", "File Name", "ACR", "Bi-Rads", "Mass ",
    "Micros", "Distortion", "Asymmetry", "Findings Notes (in Portuguese)", "Other Notes", "Lesion Annotation Status",
    "Pectoral Muscle Annotation", "Other Annotations",
]  # fmt: skip
END = ["nota secreta", "", "", "", ""]
GONE = ["removed", "removed"]
ROWS = [
    [*GONE, "R", "CC", 201001.0, 10000001.0, 4.0, 1.0, "", "", "", "", *END],
    [*GONE, "R", "MLO", 201001.0, 10000002.0, 4.0, 2.0, "", "X", "", "", *END],
    [*GONE, "L", "CC", 200901.0, 10000003.0, 1.0, "4a", "X", "", "", "X", *END],
    [*GONE, "L", "MLO", 200801.0, 10000004.0, 2.0, "4c", "X", "X", "X", "", *END],
    [*GONE, "R", "MLO", 200802.0, 10000005.0, " " * 193, 1.0, "", "", " ", "", *END],
    [*GONE, "R", "FB", 200902.0, 10000006.0, 3.0, 6.0, "", "", "", "", *END],
]
TOTALS = [[""] * 17, ["", "", "", "", "", "", 28.0, 49.0, 108.0, 308.0, 3.0, 14.0, "", "", "", "", ""]]
FILES = [
    "10000001_aaaaaaaa00000001_MG_R_CC_ANON.dcm",
    "10000002_aaaaaaaa00000001_MG_R_ML_ANON.dcm",
    "10000003_bbbbbbbb00000002_MG_L_CC_ANON.dcm",
    "10000004_bbbbbbbb00000002_MG_L_ML_ANON.dcm",
    "10000005_cccccccc00000003_MG_R_ML_ANON.dcm",
    "10000006_dddddddd00000004_MG_R_FB_ANON.dcm",
]
ROIS = [
    {"Name": "Mass", "NumberOfPoints": 3, "Point_px": ["(100.25, 20.5)", "(140.0, 60.0)", "(110.0, 70.9)"]},
    {"Name": "Espiculated Region", "NumberOfPoints": 0, "Point_px": []},
    {"Name": "Calcification ", "NumberOfPoints": 1, "Point_px": ["(7.5, 9.5)"]},
    {"Name": "Assymetry", "NumberOfPoints": 0},
]


def outlines(rois: list[dict[str, object]]) -> bytes:
    """A property list as OsiriX exports it."""
    return plistlib.dumps({"Images": [{"ImageIndex": 0, "NumberOfROIs": len(rois), "ROIs": rois}]})


def write(root: Path, rows: list[list[object]] = ROWS, files: list[str] = FILES, folder: str = "AllDICOMs") -> Path:
    """The release with this sheet and these files."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name in files:
        (root / folder / name).write_bytes(b"1234")
    (root / "AllXML").mkdir(exist_ok=True)
    (root / "AllXML" / "10000003.xml").write_bytes(outlines(ROIS))
    pd.DataFrame([*rows, *TOTALS], columns=COLUMNS).to_excel(root / "INbreast.xlsx", index=False)
    return root


def read_rows(root: Path, rows: list[list[object]] = ROWS, **options) -> tuple[Reading, list[Problem]]:
    """Reads the miniature."""
    problems = Problems()
    return read(write(root, rows, **options), ARCHIVE, problems), problems.found


def test_every_column_is_read_and_the_totals_are_not(tmp_path: Path) -> None:
    (rows, _, others), problems = read_rows(tmp_path)
    assert set(rows.columns) == set(CATALOG.names) - {"cohort", "size_bytes"}
    assert cells(rows, "image_id") == ["10000001", "10000002", "10000003", "10000004", "10000005", "10000006"]
    assert cells(rows, "path") == [f"AllDICOMs/{name}" for name in FILES]
    assert cells(rows, "laterality") == ["R", "R", "L", "L", "R", "R"]
    assert cells(rows, "view") == ["CC", "MLO", "CC", "MLO", "MLO", "FB"]  # file names: CC, ML, CC, ML, ML, FB
    assert cells(rows, "density") == ["D", "D", "A", "B", None, "C"]  # 193 spaces are no density
    assert cells(rows, "birads") == [1, 2, 4, 4, 1, 6]
    assert cells(rows, "mass") == [False, False, True, True, False, False]
    assert cells(rows, "calcification") == [False, True, False, True, False, False]
    assert cells(rows, "vendor") == ["SIEMENS"] * 6
    for unknown in ("malignant", "age_years", "implant", "years_to_cancer", "years_followed", "source_split"):
        assert cells(rows, unknown) == [None] * 6, unknown
    assert cells(rows, "exclusion") == [None] * 6
    assert cells(rows, "extra") == [
        '{"asymmetry": "no", "distortion": "no"}',
        '{"asymmetry": "no", "distortion": "no"}',
        '{"asymmetry": "yes", "birads_subdivision": "4a", "distortion": "no"}',
        '{"asymmetry": "no", "birads_subdivision": "4c", "distortion": "yes"}',
        '{"asymmetry": "no", "distortion": "no"}',
        '{"asymmetry": "no", "distortion": "no"}',
    ]
    assert others == frozenset()
    assert problems == []


def test_patients_are_told_by_the_hash_and_exams_by_the_month(tmp_path: Path) -> None:
    (rows, _, _), _ = read_rows(tmp_path)
    first, second, third, fourth = (FILES[index].split("_")[1] for index in (0, 2, 4, 5))
    assert cells(rows, "patient_id") == [first, first, second, second, third, fourth]
    # 10000004 is of January 2008, 10000003 of January 2009.
    assert cells(rows, "exam_day") == [0, 0, 366, 0, 0, 0]
    assert cells(rows, "exam_id") == [
        f"{first}-1", f"{first}-1", f"{second}-2", f"{second}-1", f"{third}-1", f"{fourth}-1",
    ]  # fmt: skip
    assert cells(rows, "breast_id")[:3] == [f"{first}-1-R", f"{first}-1-R", f"{second}-2-L"]


def test_no_month_and_no_note_leaves_the_sheet(tmp_path: Path) -> None:
    (rows, findings, _), _ = read_rows(tmp_path)
    for secret in ("2010", "2009", "2008", "secreta", "removed"):
        assert secret not in rows.to_csv() + findings.to_csv()


def test_the_csv_edition_has_no_findings_and_they_are_unknown(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "INbreast.xlsx").unlink()
    lines = [";".join(COLUMNS[:8])] + [
        ";".join(str(cell).removesuffix(".0") for cell in row[:8]) for row in ROWS
    ]  # the csv edition's numbers are whole
    (tmp_path / "INbreast.csv").write_bytes("\r\n".join([*lines, ""]).encode())
    problems = Problems()
    rows = read(tmp_path, ARCHIVE, problems).images
    assert cells(rows, "image_id")[0] == "10000001"
    assert cells(rows, "birads") == [1, 2, 4, 4, 1, 6]
    assert cells(rows, "density") == ["D", "D", "A", "B", None, "C"]
    assert cells(rows, "exam_day") == [0, 0, 366, 0, 0, 0]
    assert cells(rows, "mass") == cells(rows, "calcification") == [None] * 6
    assert cells(rows, "extra")[2] == '{"birads_subdivision": "4a"}'
    assert problems.found == []


def test_numbers_written_with_a_point_are_the_same_numbers(tmp_path: Path) -> None:
    expected, _ = read_rows(tmp_path)
    (tmp_path / "INbreast.xlsx").unlink()
    frame = pd.DataFrame(ROWS, columns=COLUMNS).astype(str)
    frame.to_csv(tmp_path / "INbreast.csv", index=False)
    assert frame["File Name"][0] == "10000001.0"
    problems = Problems()
    found = read(tmp_path, ARCHIVE, problems).images
    for column in expected.images:
        assert cells(found, column) == cells(expected.images, column), column
    assert problems.found == []


def test_of_both_editions_the_one_with_findings_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "INbreast.csv").write_text(";".join(COLUMNS[:8]) + "\n")
    assert len(read(tmp_path, ARCHIVE, Problems()).images) == 6
    (tmp_path / "INbreast.xlsx").rename(tmp_path / "INbreast.xls")
    assert len(read(tmp_path, ARCHIVE, Problems()).images) == 6


def test_the_root_may_hold_the_release_s_folder(tmp_path: Path) -> None:
    write(tmp_path / "INbreast Release 1.0")
    reading = read(tmp_path, ARCHIVE, Problems())
    assert cells(reading.images, "path")[0] == f"INbreast Release 1.0/AllDICOMs/{FILES[0]}"
    assert len(reading.findings) == 4


def test_findings_are_the_outlines_as_published(tmp_path: Path) -> None:
    (_, findings, _), problems = read_rows(tmp_path)
    assert list(findings.columns) == FINDINGS.names
    rows = [[None if pd.isna(cell) else cell for cell in row] for row in findings.itertuples(index=False)]
    assert rows == [
        ["10000003", "Mass", None, None, 20, 100, 51, 41],  # rows 20 to 70, columns 100 to 140
        ["10000003", "Espiculated Region", None, None, None, None, None, None],
        ["10000003", "Calcification", None, None, 9, 7, 1, 1],  # one point is in one pixel
        ["10000003", "Assymetry", None, None, None, None, None, None],
    ]
    assert problems == []


BOMB = b"""<?xml version="1.0"?><!DOCTYPE plist [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<plist version="1.0"><dict><key>Images</key><array><dict><key>ROIs</key><array><dict><key>Name</key>
<string>&b;</string></dict></array></dict></array></dict></plist>"""
BROKEN = {
    "empty": b"",
    "cut short": outlines(ROIS)[:-40],
    "no property list": b"<html></html>",
    "binary": plistlib.dumps({"Images": [{"ROIs": []}]}, fmt=plistlib.FMT_BINARY),
    "entities": BOMB,
    "no images": plistlib.dumps({"Image": []}),
    "a list": plistlib.dumps(["Images"]),
    "no outlines": plistlib.dumps({"Images": [{}]}),
    "no name": outlines([{"Point_px": ["(1, 2)"]}]),
    "a date for a name": outlines([{"Name": pd.Timestamp("2010-01-01").to_pydatetime()}]),
    "free text for a name": outlines([{"Name": "x" * 41}]),
    "words for points": outlines([ROIS[0], {"Name": "Mass", "Point_px": ["(left, right)"]}]),
    "three coordinates": outlines([{"Name": "Mass", "Point_px": ["(1, 2)", "(1, 2, 3)"]}]),
    "no number": outlines([{"Name": "Mass", "Point_px": ["(nan, 2)"]}]),
    "far away": outlines([{"Name": "Mass", "Point_px": ["(1, 1e300)"]}]),
    "numbers for points": outlines([{"Name": "Mass", "Point_px": [1, 2]}]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_of_outlines_is_noted_and_costs_no_other(tmp_path: Path, case: str) -> None:
    write(tmp_path)
    (tmp_path / "AllXML" / "10000004.xml").write_bytes(BROKEN[case])
    problems = Problems()
    findings = read(tmp_path, ARCHIVE, problems).findings
    assert cells(findings, "image_id") == ["10000003"] * 4
    place = "AllXML: expected a property list of outlines in pixels, (x, y)"
    assert problems.found == [Problem("unknown_value", place, 1, ["the image of line 5"])]


def test_a_huge_file_of_outlines_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    with (tmp_path / "AllXML" / "10000004.xml").open("wb") as stream:
        stream.truncate(16_000_001)
    loaded: list[str] = []
    load = plistlib.load
    monkeypatch.setattr(plistlib, "load", lambda stream, **how: loaded.append(stream.name) or load(stream, **how))
    problems = Problems()
    read(tmp_path, ARCHIVE, problems)
    assert [Path(name).name for name in loaded] == ["10000003.xml"]
    assert problems.found[0].examples == ["the image of line 5"]


@pytest.mark.parametrize(
    ("row", "column", "value", "label", "values", "expected", "example"),
    [
        (0, "ACR", 5, "density", [None, "D", "A", "B", None, "C"], "1 to 4", "line 2: '5'"),
        (1, "Bi-Rads", "2a", "birads", [1, None, 4, 4, 1, 6], "1 to 6, 4a, 4b or 4c", "line 3: '2a'"),
        (1, "Bi-Rads", 0, "birads", [1, None, 4, 4, 1, 6], "1 to 6, 4a, 4b or 4c", "line 3: '0'"),
        (0, "Mass ", "?", "mass", [None, False, True, True, False, False], "one of X, or empty", "line 2: '?'"),
        (0, "Laterality", "B", "laterality", ["R", "R", "L", "L", "R", "R"], "one of L, R, or empty", "line 2: 'B'"),
        (0, "View", "XCCL", "view", ["CC", "MLO", "CC", "MLO", "MLO", "FB"],
         "one of CC, MLO, ML, FB, or empty", "line 2: 'XCCL'"),
        (2, "Acquisition date", "200913", "exam_day", [0] * 6, "year and month, YYYYMM",
         "line 4: a cell of 6 characters"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_noted_and_unknown(
    tmp_path: Path, row: int, column: str, value: object, label: str, values: list[object], expected: str, example: str
) -> None:
    (rows, _, _), problems = read_rows(tmp_path, with_cell(ROWS, COLUMNS, row, column, value))
    assert cells(rows, label) == values  # a side or view that only the file's name tells is the name's
    place = f"INbreast.xlsx, column {column.strip()}: expected {expected}"
    assert problems == [Problem("unknown_value", place, 1, [example])]


@pytest.mark.parametrize(
    ("column", "value", "label"), [("Laterality", "L", "laterality"), ("View", "MLO", "view"), ("View", "FB", "view")]
)
def test_a_sheet_that_contradicts_the_file_s_name_is_noted(tmp_path: Path, column: str, value: str, label: str) -> None:
    (rows, _, _), problems = read_rows(tmp_path, with_cell(ROWS, COLUMNS, 0, column, value))
    assert cells(rows, label)[0] is None
    assert cells(rows, label)[1] is not None
    place = f"INbreast.xlsx, column {column}: expected what the file's name says"
    assert problems == [Problem("contradiction", place, 1, [f"line 2: '{value}'"])]


@pytest.mark.parametrize(
    ("files", "folder"),
    [
        ([name.replace(".dcm", ".png") for name in FILES], "AllPNGs"),
        ([name.replace(".dcm", ".JPG") for name in FILES], "."),
        ([name.partition("_MG")[0] + ".png" for name in FILES], "images"),
    ],
)
def test_copies_in_other_formats_keep_the_patients(tmp_path: Path, files: list[str], folder: str) -> None:
    (rows, _, _), problems = read_rows(tmp_path, files=files, folder=folder)
    assert cells(rows, "path") == [str(Path(folder, name)) for name in files]
    assert cells(rows, "patient_id")[:3] == ["aaaaaaaa00000001", "aaaaaaaa00000001", "bbbbbbbb00000002"]
    assert cells(rows, "view") == ["CC", "MLO", "CC", "MLO", "MLO", "FB"]
    assert problems == []


PLAIN = [name.partition("_")[0] + ".png" for name in FILES]


@pytest.mark.parametrize("patients", [["removed"] * 6, [""] * 6, ["anonymous"] * 6, ["p1", "p1", "p2", "p2", "p3", ""]])
def test_images_that_no_patient_is_known_of_are_refused(tmp_path: Path, patients: list[str]) -> None:
    rows = [[patient, *row[1:]] for patient, row in zip(patients, ROWS, strict=True)]
    with pytest.raises(InputError, match="which cannot be split by patient; restore the published names, or fill in"):
        read_rows(tmp_path, rows, files=PLAIN, folder="images")


def test_the_sheet_s_patients_count_where_the_files_have_no_hash(tmp_path: Path) -> None:
    patients = ["p1", "p1", "p2", "p2", "p3", "p4"]
    rows = [[patient, *row[1:]] for patient, row in zip(patients, ROWS, strict=True)]
    for files, folder in ((PLAIN, "images"), ([*PLAIN[:3], *FILES[3:]], "mixed")):
        root = tmp_path / folder
        (read_images, _, _), _ = read_rows(root, rows, files=files, folder=folder)
        assert cells(read_images, "patient_id") == patients  # one woman never has two ids
    (read_images, _, _), _ = read_rows(tmp_path / "dicom", rows)
    assert cells(read_images, "patient_id")[0] == "aaaaaaaa00000001"


def test_a_row_without_a_file_is_a_patient_of_its_own_and_its_path_does_not_exist(tmp_path: Path) -> None:
    (rows, _, _), _ = read_rows(tmp_path, files=FILES[1:])
    assert [cells(rows, name)[0] for name in ("patient_id", "exam_id", "path")] == [
        "10000001", "10000001-1", "AllDICOMs/10000001.dcm",
    ]  # fmt: skip


def test_some_files_without_a_hash_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found 1 images with neither"):
        read_rows(tmp_path, files=[PLAIN[0], *FILES[1:]])


def test_of_two_copies_the_one_with_the_hash_is_taken(tmp_path: Path) -> None:
    write(tmp_path, files=[name.replace(".dcm", ".png") for name in FILES], folder="B")
    for folder in ("A", "C"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / PLAIN[0]).write_bytes(b"1")
    rows = read(tmp_path, ARCHIVE, Problems()).images
    assert cells(rows, "path")[0] == f"B/{FILES[0].replace('.dcm', '.png')}"


def test_masks_and_thumbnails_are_no_mammograms(tmp_path: Path) -> None:
    write(tmp_path)
    for name in ("10000001_mask.png", "10000001 (1).png", "10000001_1.png"):
        (tmp_path / "AllDICOMs" / name).write_bytes(b"1")
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "10000001.png").write_bytes(b"1")  # a copy without a hash, in a folder that sorts first
    rows = read(tmp_path, ARCHIVE, Problems()).images
    assert cells(rows, "path")[0] == f"AllDICOMs/{FILES[0]}"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (with_cell(ROWS, COLUMNS, 2, "File Name", ""), "line 4, column File Name: expected a value in every row"),
        ([[*row[:5], "", *row[6:]] for row in ROWS], "line 2, column File Name: expected a value in every row"),
    ],
)
def test_a_row_without_its_key_is_refused(tmp_path: Path, rows: list[list[object]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_rows(tmp_path, rows)


def test_structural_trouble_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"INbreast\.xls: not found"):
        read(tmp_path, ARCHIVE, Problems())
    frame = pd.DataFrame(ROWS, columns=COLUMNS)
    for column in ("Micros", "Bi-Rads"):
        frame.drop(columns=column).to_excel(tmp_path / "INbreast.xlsx", index=False)
        with pytest.raises(InputError, match=f"column {column} is missing"):
            read(tmp_path, ARCHIVE, Problems())
    with pytest.raises(InputError, match="expected none for adapter inbreast"):
        read(tmp_path, ARCHIVE.model_copy(update={"extra": ["ACR"]}), Problems())


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog_module._ADAPTERS, "inbreast", read)


@pytest.mark.usefixtures("registered")
def test_the_catalog_takes_it(tmp_path: Path) -> None:
    root = write(tmp_path / "raw", [*ROWS, ROWS[2]], FILES[1:])
    (root / "AllDICOMs" / "99999999_aaaaaaaa00000001_MG_R_CC_ANON.dcm").write_bytes(b"1")
    catalog("demo", ARCHIVE, root, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "images.parquet", CATALOG)
    assert cells(rows, "image_id") == ["10000002", "10000003", "10000004", "10000005", "10000006"]
    assert cells(rows, "birads") == [2, 4, 4, 1, 6]
    assert cells(rows, "exam_day") == [0, 366, 0, 0, 0]
    findings = read_table(tmp_path / "out" / "findings.parquet", FINDINGS)
    assert cells(findings, "kind") == ["Assymetry", "Calcification", "Espiculated Region", "Mass"]
    assert cells(findings, "height_px") == [None, 1, None, 51]
    problems = pd.read_parquet(tmp_path / "out" / "problems.parquet")
    assert problems[["kind", "records"]].to_numpy().tolist() == [
        ["file_without_row", 1], ["row_without_file", 1], ["duplicate_image", 1],
    ]  # fmt: skip


@pytest.mark.usefixtures("registered")
def test_a_release_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none of the 6 files .*AllDICOMs/10000001\.dcm.*check that the root"):
        catalog("demo", ARCHIVE, write(tmp_path / "raw", files=[]), tmp_path / "out")
