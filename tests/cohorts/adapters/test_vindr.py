"""VinDr-Mammo's three tables on a miniature, with the odd cells that the real ones hold."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.cohorts.adapters.reading import Reading
from pipeline.cohorts.adapters.vindr import read
from pipeline.cohorts.catalog import catalog
from pipeline.cohorts.problems import Problem, Problems
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import CATALOG, FINDINGS, read_table
from tests.cohorts.adapters.rows import cells

ARCHIVE = Archive(
    adapter="vindr", root="unused", patients=None, columns={}, extra=[], identifiers="published", fatal=[]
)
BREASTS = """\
study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,breast_density,split
s1,x1,i1,L,CC,3518,2800,BI-RADS 4,DENSITY C,training
s1,x1,i2,L,MLO,3518,2800,BI-RADS 4,DENSITY C,training
s2,x2,i3,R,CC,3518,2800,BI-RADS 1,DENSITY A,test
s2,x2,i4,R,MLO,3518,2800,BI-RADS 1,DENSITY A,test
"""
MARKED = """\
study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,breast_density,finding_categories,\
finding_birads,xmin,ymin,xmax,ymax,split
s1,x1,i1,L,CC,3518,2800,BI-RADS 4,DENSITY C,['Mass'],BI-RADS 4,10.5,20,110.5,220.25,training
s1,x1,i1,L,CC,3518,2800,BI-RADS 4,DENSITY C,"['Suspicious Calcification', 'Skin Thickening']",,1,2,3,4,training
s1,x1,i2,L,MLO,3518,2800,BI-RADS 4,DENSITY C,['Focal Asymmetry'],BI-RADS 3,1,2,9000,4,training
s2,x2,i3,R,CC,3518,2800,BI-RADS 1,DENSITY A,['No Finding'],,,,,,test
"""
METADATA = """\
Series Instance UID,SOP Instance UID,Patient's Age,Manufacturer,Manufacturer's Model Name
x1,i1,053Y,SIEMENS,Mammomat Inspiration
x1,i2,,IMS s.r.l.,GIOTTO
x2,i3,000Y,,
"""


def write(root: Path, breasts: str = BREASTS, marked: str = MARKED, metadata: str = METADATA) -> Path:
    """The three tables of the release."""
    (root / "breast-level_annotations.csv").write_text(breasts)
    (root / "finding_annotations.csv").write_text(marked)
    (root / "metadata.csv").write_text(metadata)
    return root


def read_text(root: Path, **tables: str) -> tuple[Reading, list[Problem]]:
    """Reads the three tables, some of them changed."""
    problems = Problems()
    return read(write(root, **tables), ARCHIVE, problems), problems.found


def test_every_column_is_read(tmp_path: Path) -> None:
    (rows, _, others), problems = read_text(tmp_path)
    assert set(rows.columns) == set(CATALOG.names) - {"cohort", "size_bytes"}
    assert cells(rows, "patient_id") == cells(rows, "exam_id") == ["s1", "s1", "s2", "s2"]
    assert cells(rows, "exam_day") == [0] * 4
    assert cells(rows, "breast_id") == ["s1-L", "s1-L", "s2-R", "s2-R"]
    assert cells(rows, "path")[2] == "images/s2/i3.dicom"
    assert cells(rows, "view") == ["CC", "MLO", "CC", "MLO"]
    assert cells(rows, "mass") == [True, False, False, None]  # no row names i4: unknown, not negative
    assert cells(rows, "calcification") == [True, False, False, None]
    assert cells(rows, "malignant") == cells(rows, "implant") == cells(rows, "years_followed") == [None] * 4
    assert cells(rows, "years_to_cancer") == cells(rows, "exclusion") == cells(rows, "extra") == [None] * 4
    assert cells(rows, "density") == ["C", "C", "A", "A"]
    assert cells(rows, "birads") == [4, 4, 1, 1]
    assert cells(rows, "age_years") == [53, None, None, None]  # 000Y: unknown
    assert cells(rows, "vendor") == ["SIEMENS", "IMS s.r.l.", None, None]
    assert cells(rows, "source_split") == ["train", "train", "test", "test"]
    assert others == frozenset()
    assert problems == []


def test_findings_have_a_row_per_category_and_their_box(tmp_path: Path) -> None:
    (_, findings, _), _ = read_text(tmp_path)
    assert list(findings.columns) == FINDINGS.names
    rows = [[None if pd.isna(cell) else cell for cell in row] for row in findings.itertuples(index=False)]
    assert rows == [
        ["i1", "Mass", 4, None, 20, 10.5, 200.25, 100],
        ["i1", "Skin Thickening", None, None, 2, 1, 2, 2],
        ["i1", "Suspicious Calcification", None, None, 2, 1, 2, 2],
        ["i2", "Focal Asymmetry", 3, None, 2, 1, 2, 8999],  # some boxes of the release exceed the image: as published
    ]


@pytest.mark.parametrize(
    ("changed", "column", "values", "place", "example"),
    [
        ({"breasts": BREASTS.replace("DENSITY A", "DENSITY E", 1)}, "density", ["C", "C", None, "A"],
         "breast-level_annotations.csv, column breast_density: expected DENSITY A to DENSITY D", "line 4: 'DENSITY E'"),
        ({"breasts": BREASTS.replace("BI-RADS 1", "BI-RADS 9", 1)}, "birads", [4, 4, None, 1],
         "breast-level_annotations.csv, column breast_birads: expected BI-RADS 1 to BI-RADS 5", "line 4: 'BI-RADS 9'"),
        ({"breasts": BREASTS.replace("training", "train", 1)}, "source_split", [None, "train", "test", "test"],
         "breast-level_annotations.csv, column split: expected training or test", "line 2: 'train'"),
        ({"breasts": BREASTS.replace(",L,CC", ",B,CC", 1)}, "breast_id", [None, "s1-L", "s2-R", "s2-R"],
         "breast-level_annotations.csv, column laterality: expected one of L, R, or empty", "line 2: 'B'"),
        ({"metadata": METADATA.replace("053Y", "53", 1)}, "age_years", [None] * 4,
         "metadata.csv, column Patient's Age: expected a DICOM age such as 053Y", "line 2: '53'"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_noted_and_unknown(
    tmp_path: Path, changed: dict[str, str], column: str, values: list[object], place: str, example: str
) -> None:
    (rows, _, _), problems = read_text(tmp_path, **changed)
    assert cells(rows, column) == values
    assert problems == [Problem("unknown_value", place, 1, [example])]


@pytest.mark.parametrize("cell", ["['Masse']", "Mass", "[]", "{[1]}", "[" * 300])
def test_illegible_categories_are_noted_and_make_a_negative_image_unknown(tmp_path: Path, cell: str) -> None:
    (rows, findings, _), problems = read_text(tmp_path, marked=MARKED.replace("['Mass']", cell, 1))
    assert cells(rows, "mass") == [None, False, False, None]  # the illegible row of i1 may have been the mass
    assert cells(rows, "calcification") == [True, False, False, None]
    assert cells(findings, "kind") == ["Skin Thickening", "Suspicious Calcification", "Focal Asymmetry"]
    place = "finding_annotations.csv, column finding_categories: expected a list of the release's categories, such as"
    assert [(p.kind, p.place, p.records) for p in problems] == [("unknown_value", f"{place} ['Mass']", 1)]
    assert problems[0].examples[0].startswith("line 2: ")


def test_if_no_row_is_legible_nothing_is_known(tmp_path: Path) -> None:
    header = MARKED.splitlines()[0]
    row = "s1,x1,i1,L,CC,3518,2800,BI-RADS 4,DENSITY C,?,BI-RADS 4,1,2,3,4,training"
    (rows, findings, _), _ = read_text(tmp_path, marked=f"{header}\n{row}\n")
    assert cells(rows, "mass") == cells(rows, "calcification") == [None] * 4
    assert findings.empty


def test_a_finding_of_an_unknown_image_is_left_out_and_noted(tmp_path: Path) -> None:
    (rows, findings, _), problems = read_text(tmp_path, marked=MARKED.replace("x1,i2", "x1,i9", 1))
    assert cells(rows, "mass") == [True, None, False, None]
    assert cells(findings, "image_id") == ["i1", "i1", "i1"]
    place = "finding_annotations.csv, column image_id: expected an image of breast-level_annotations.csv"
    assert problems == [Problem("row_without_image", place, 1, ["line 4: a cell of 2 characters"])]


@pytest.mark.parametrize(
    ("old", "new", "kind", "column"),
    [
        ("10.5,20,110.5,220.25", "10.5,20,,220.25", None, None),
        ("10.5,20,110.5,220.25", "10.5,wide,110.5,220.25", "unknown_value", "ymin"),
        ("10.5,20,110.5,220.25", "110.5,20,10.5,220.25", "contradiction", "xmax"),
        ("10.5,20,110.5,220.25", "10.5,20,110.5,20", "contradiction", "ymax"),
    ],
)
def test_a_box_is_whole_or_none(tmp_path: Path, old: str, new: str, kind: str | None, column: str | None) -> None:
    (_, findings, _), problems = read_text(tmp_path, marked=MARKED.replace(old, new, 1))
    mass = findings[findings["kind"] == "Mass"]
    boxes = mass[["top_px", "left_px", "height_px", "width_px"]].isna().to_numpy()
    assert boxes.tolist() == [[True] * 4]
    assert cells(mass, "birads") == [4]
    assert [(p.kind, p.place.split(": expected")[0], p.records) for p in problems] == (
        [(kind, f"finding_annotations.csv, column {column}", 1)] if kind else []
    )


def test_an_image_that_metadata_names_twice_is_noted(tmp_path: Path) -> None:
    (rows, _, _), problems = read_text(tmp_path, metadata=METADATA + "x1,i1,060Y,Acme,\n")
    assert cells(rows, "age_years") == [53, None, None, None]  # the first row's
    place = "metadata.csv, column SOP Instance UID: expected one row per image"
    assert problems == [Problem("duplicate_image", place, 1, ["line 5: a cell of 2 characters"])]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"metadata": METADATA.replace(",i", ",1.2.826.")},
         r"metadata\.csv: column SOP Instance UID: expected an image_id of breast-level_annotations\.csv, found none"),
        ({"metadata": METADATA.replace("Patient's Age", "Age", 1)},
         r"metadata\.csv: column Patient's Age is missing"),
        ({"marked": MARKED.replace(",xmin", ",x", 1)}, r"finding_annotations\.csv: column xmin is missing"),
        ({"breasts": BREASTS.replace("s1,x1", ",x1", 1)},
         r"breast-level_annotations\.csv: line 2, column study_id: expected a value"),
        ({"marked": MARKED.replace("x1,i2", "x1,", 1)}, r"finding_annotations\.csv: line 4, column image_id: expected"),
    ],
)  # fmt: skip
def test_structural_trouble_is_refused(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_text(tmp_path, **changed)


@pytest.mark.parametrize("name", ["breast-level_annotations.csv", "finding_annotations.csv", "metadata.csv"])
def test_all_three_tables_are_needed(tmp_path: Path, name: str) -> None:
    (write(tmp_path) / name).unlink()
    with pytest.raises(InputError, match=f"^{name}: not found"):
        read(tmp_path, ARCHIVE, Problems())


def test_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected none for adapter vindr"):
        read(tmp_path, ARCHIVE.model_copy(update={"extra": ["age"]}), Problems())


def test_the_catalog_takes_it(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    for name in ("s1/i1", "s1/i2", "s2/i3"):
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / f"{name}.dicom").write_bytes(b"123")
    catalog("demo", ARCHIVE, write(root), tmp_path / "out")
    rows = read_table(tmp_path / "out" / "images.parquet", CATALOG)
    assert cells(rows, "image_id") == ["i1", "i2", "i3"]
    findings = read_table(tmp_path / "out" / "findings.parquet", FINDINGS)
    assert cells(findings, "kind") == ["Mass", "Skin Thickening", "Suspicious Calcification", "Focal Asymmetry"]
    assert cells(findings, "width_px") == [100, 2, 2, 8999]
    problems = pd.read_parquet(tmp_path / "out" / "problems.parquet")
    assert problems["kind"].tolist() == ["row_without_file"]  # i4
