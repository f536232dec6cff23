"""RSNA's train.csv on a miniature, with the odd cells that the real one holds."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.cohorts.adapters.reading import Reading
from pipeline.cohorts.adapters.rsna import read
from pipeline.cohorts.catalog import catalog
from pipeline.cohorts.problems import Problem, Problems
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import CATALOG, FINDINGS, read_table
from tests.cohorts.adapters.rows import cells

ARCHIVE = Archive(adapter="rsna", root="unused", patients=None, columns={}, extra=[], identifiers="published", fatal=[])
RSNA = """\
site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,density,machine_id,\
difficult_negative_case
2,10006,462822612,L,CC,61.0,0,0,0,,0,,29,False
1,10011,220375232,R,AT,,1,1,0,0.0,0,C,21,False
1,10011,541722628,R,MLO,55.0,1,1,1,2.0,1,C,21,True
"""


def read_text(folder: Path, content: str) -> tuple[Reading, list[Problem]]:
    """Reads content as train.csv."""
    (folder / "train.csv").write_text(content)
    problems = Problems()
    return read(folder, ARCHIVE, problems), problems.found


def test_every_column_is_read(tmp_path: Path) -> None:
    (rows, findings, others), problems = read_text(tmp_path, RSNA)
    assert set(rows.columns) == set(CATALOG.names) - {"cohort", "size_bytes"}
    assert cells(rows, "patient_id") == cells(rows, "exam_id") == ["10006", "10011", "10011"]
    assert cells(rows, "exam_day") == [0] * 3
    assert cells(rows, "breast_id") == ["10006-L", "10011-R", "10011-R"]
    assert cells(rows, "image_id") == ["462822612", "220375232", "541722628"]
    assert cells(rows, "path")[1] == "train_images/10011/220375232.dcm"
    assert cells(rows, "view") == ["CC", "AT", "MLO"]
    assert cells(rows, "age_years") == [61, None, 55]
    assert cells(rows, "malignant") == [False, True, True]
    assert cells(rows, "birads") == [None, 0, 2]
    assert cells(rows, "density") == [None, "C", "C"]
    assert cells(rows, "implant") == [False, False, True]
    assert cells(rows, "vendor") == ["machine 29", "machine 21", "machine 21"]
    assert cells(rows, "mass") == cells(rows, "calcification") == cells(rows, "source_split") == [None] * 3
    assert cells(rows, "years_to_cancer") == cells(rows, "years_followed") == cells(rows, "exclusion") == [None] * 3
    assert cells(rows, "extra")[2] == '{"biopsy": "1", "invasive": "1", "site_id": "1"}'
    assert list(findings.columns) == FINDINGS.names
    assert findings.empty
    assert others == frozenset()
    assert problems == []


@pytest.mark.parametrize(
    ("old", "new", "column", "values", "place", "example"),
    [
        ("2.0,1,C", "4.0,1,C", "birads", [None, 0, None],
         "BIRADS: expected a whole number from 0 to 2, or empty", "line 4: '4.0'"),
        ("0.0,0,C", "0.0,0,E", "density", [None, None, "C"],
         "density: expected one of A, B, C, D, or empty", "line 3: 'E'"),
        ("61.0,0", "61.0,-1", "malignant", [None, True, True],
         "cancer: expected 1, 0, True, False, or empty", "line 2: '-1'"),
        ("L,CC,61.0", "L,CC,610", "age_years", [None, None, 55],
         "age: expected a number from 0 to 120, or empty", "line 2: '610'"),
        (",L,CC", ",B,CC", "breast_id", [None, "10011-R", "10011-R"],
         "laterality: expected one of L, R, or empty", "line 2: 'B'"),
        (",,0,,29", ",,7,,29", "implant", [None, False, True],
         "implant: expected 1, 0, True, False, or empty", "line 2: '7'"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_noted_and_unknown(
    tmp_path: Path, old: str, new: str, column: str, values: list[object], place: str, example: str
) -> None:
    assert old in RSNA
    (rows, _, _), problems = read_text(tmp_path, RSNA.replace(old, new, 1))
    assert cells(rows, column) == values
    assert problems == [Problem("unknown_value", f"train.csv, column {place}", 1, [example])]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("machine_id", "machine", r"train\.csv: column machine_id is missing"),
        ("2,10006,", "2,,", r"train\.csv: line 2, column patient_id: expected a value in every row"),
        (",541722628,", ",,", r"train\.csv: line 4, column image_id: expected a value in every row"),
    ],
)
def test_structural_trouble_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_text(tmp_path, RSNA.replace(old, new, 1))


def test_a_missing_table_and_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.csv: not found"):
        read(tmp_path, ARCHIVE, Problems())
    with pytest.raises(InputError, match="expected none for adapter rsna"):
        read(tmp_path, ARCHIVE.model_copy(update={"columns": {"age": "Alter"}}), Problems())


def test_the_catalog_takes_it(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    for name in ("10006/462822612", "10011/220375232", "10011/541722628"):
        (root / "train_images" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "train_images" / f"{name}.dcm").write_bytes(b"123")
    (root / "train.csv").write_text(RSNA)
    catalog("demo", ARCHIVE, root, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "images.parquet", CATALOG)
    assert cells(rows, "image_id") == ["220375232", "462822612", "541722628"]
    assert cells(rows, "malignant") == [True, False, True]
    assert pd.read_parquet(tmp_path / "out" / "problems.parquet").empty
