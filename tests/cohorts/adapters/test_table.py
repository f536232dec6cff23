"""The plain table: every column, the user's own names, and the odd cells that real tables hold."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.cohorts.adapters.reading import Reading
from pipeline.cohorts.adapters.table import read
from pipeline.cohorts.catalog import catalog
from pipeline.cohorts.problems import Problem, Problems
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import CATALOG, FINDINGS, read_table
from tests.cohorts.adapters.rows import cells

TABLE = """\
patient_id,exam_id,exam_date_days,image_path,laterality,view,age,density,birads,mass,calcification,cancer,implant,\
vendor,years_to_cancer,years_followed,race
007,1,730,images/007/1/LCC.dcm,L,CC,50.5,B,1,0,1,False,0,"Acme, Inc",,4.5,
007,1,730,images/007/1/LMLO.dcm,L,mlo,50.5,,,1,,False,,,,4.5,White
007,2,1460,images/007/2/RCC.dcm,,CC,,,0,,,True,1,,2.25,2.5,
8,1,0,images/8/1/RML.dcm,R,ML,61,D,6,True,False,,True,Acme,,,Asian
"""


def archive(columns: dict[str, str] | None = None, extra: list[str] | None = None) -> Archive:
    """A profile's entry."""
    return Archive(
        adapter="table", root="unused", patients=None, columns=columns or {}, extra=extra or [],
        identifiers="published", fatal=[],
    )  # fmt: skip


def read_text(folder: Path, content: str, columns=None, extra=None) -> tuple[Reading, list[Problem]]:
    """Reads content as images.csv."""
    (folder / "images.csv").write_text(content)
    problems = Problems()
    return read(folder, archive(columns, extra), problems), problems.found


def test_every_column_is_read(tmp_path: Path) -> None:
    (rows, findings, others), problems = read_text(tmp_path, TABLE)
    assert set(rows.columns) == set(CATALOG.names) - {"cohort", "size_bytes"}
    assert cells(rows, "patient_id") == ["007", "007", "007", "8"]
    assert cells(rows, "exam_id") == ["007-1", "007-1", "007-2", "8-1"]
    assert cells(rows, "exam_day") == [0, 0, 730, 0]  # since the patient's first exam, whatever the csv counts from
    assert cells(rows, "breast_id") == ["007-1-L", "007-1-L", None, "8-1-R"]
    assert cells(rows, "image_id")[0] == "images-007-1-LCC"
    assert cells(rows, "path")[0] == "images/007/1/LCC.dcm"
    assert cells(rows, "laterality") == ["L", "L", None, "R"]
    assert cells(rows, "view") == ["CC", "MLO", "CC", "ML"]
    assert cells(rows, "age_years") == [50.5, 50.5, None, 61]
    assert cells(rows, "density") == ["B", None, None, "D"]
    assert cells(rows, "birads") == [1, None, 0, 6]
    assert cells(rows, "mass") == [False, True, None, True]
    assert cells(rows, "calcification") == [True, None, None, False]
    assert cells(rows, "malignant") == [False, False, True, None]
    assert cells(rows, "implant") == [False, None, True, True]
    assert cells(rows, "vendor") == ["Acme, Inc", None, None, "Acme"]
    assert cells(rows, "years_to_cancer") == [None, None, 2.25, None]
    assert cells(rows, "years_followed") == [4.5, 4.5, 2.5, None]
    assert cells(rows, "race") == ["White", "White", "White", "Asian"]  # one image of a patient tells it of all
    assert cells(rows, "source_split") == cells(rows, "exclusion") == cells(rows, "extra") == [None] * 4
    assert list(findings.columns) == FINDINGS.names
    assert findings.empty
    assert others == frozenset()
    assert problems == []


@pytest.mark.parametrize("name", ["images.parquet", "images.xlsx"])
def test_parquet_and_excel_are_read_as_the_csv_is(tmp_path: Path, name: str) -> None:
    expected, _ = read_text(tmp_path, TABLE)
    typed = pd.read_csv(tmp_path / "images.csv", dtype={"patient_id": str})
    (tmp_path / "images.csv").unlink()
    writer = typed.to_parquet if name.endswith(".parquet") else typed.to_excel
    writer(tmp_path / name, index=False)
    rows = read(tmp_path, archive(), Problems()).images
    for column in rows.columns:
        assert cells(rows, column) == cells(expected.images, column), column


def test_columns_are_renamed_and_declared_absent(tmp_path: Path) -> None:
    renamed = TABLE.replace("patient_id", "Person", 1).replace("calcification,", "", 1)
    content = "\n".join(_without(renamed, 10))
    (rows, _, _), _ = read_text(tmp_path, content, {"patient_id": "Person", "calcification": ""})
    assert cells(rows, "patient_id") == ["007", "007", "007", "8"]
    assert cells(rows, "calcification") == [None] * 4
    assert cells(rows, "malignant") == [False, False, True, None]


def _without(content: str, cell: int) -> list[str]:
    """The lines of a csv without one cell of each row but the first, which lacks it already."""
    header, first, *others = content.splitlines()
    kept = [",".join(cells[:cell] + cells[cell + 1 :]) for cells in (line.split(",") for line in others)]
    quoted = first.split(",")  # "Acme, Inc" lies behind the cell that goes
    return [header, ",".join(quoted[:cell] + quoted[cell + 1 :]), *kept]


@pytest.mark.parametrize(
    ("old", "new", "column", "values", "place", "example"),
    [
        ("50.5,B,", "50.5,E,", "density", [None, None, None, "D"],
         "density: expected one of A, B, C, D, or empty", "line 2: 'E'"),
        (",D,6,", ",D,9,", "birads", [1, None, 0, None],
         "birads: expected a whole number from 0 to 6, or empty", "line 5: '9'"),
        (",D,6,", ",D,2.5,", "birads", [1, None, 0, None],
         "birads: expected a whole number from 0 to 6, or empty", "line 5: '2.5'"),
        (",B,1,0,", ",B,1,maybe,", "mass", [None, True, None, True],
         "mass: expected 1, 0, True, False, or empty", "line 2: 'maybe'"),
        (",R,ML,", ",X,ML,", "laterality", ["L", "L", None, None],
         "laterality: expected one of L, R, or empty", "line 5: 'X'"),
        (",61,D", ",-1,D", "age_years", [50.5, 50.5, None, None],
         "age: expected a number from 0 to 120, or empty", "line 5: '-1'"),
        ("2.25,2.5", "2.25,999", "years_followed", [4.5, 4.5, None, None],
         "years_followed: expected a number from 0 to 120, or empty", "line 4: '999'"),
        ("8,1,0,images", "8,1,2020-05-17,images", "exam_day", [0, 0, 730, 0],
         "exam_date_days: expected a whole number from -40000 to 40000, or empty", "line 5: a cell of 10 characters"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_noted_and_unknown(
    tmp_path: Path, old: str, new: str, column: str, values: list[object], place: str, example: str
) -> None:
    assert old in TABLE
    (rows, _, _), problems = read_text(tmp_path, TABLE.replace(old, new, 1))
    assert cells(rows, column) == values
    assert problems == [Problem("unknown_value", f"images.csv, column {place}", 1, [example])]


def test_rows_of_an_exam_that_contradict_each_other_are_noted_and_unknown(tmp_path: Path) -> None:
    (rows, _, _), problems = read_text(tmp_path, TABLE.replace("False,,,,4.5", "False,,,,5.5", 1))
    assert cells(rows, "years_followed") == [None, None, 2.5, None]
    place = "images.csv, column years_followed: expected the value of the exam's first image"
    assert problems == [Problem("contradiction", place, 1, ["line 3: '5.5'"])]


def test_races_of_a_patient_that_contradict_each_other_are_noted_and_unknown(tmp_path: Path) -> None:
    (rows, _, _), problems = read_text(tmp_path, TABLE.replace("2.25,2.5,", "2.25,2.5,Multiple", 1))
    assert cells(rows, "race") == [None, None, None, "Asian"]
    place = "images.csv, column race: expected one race per patient"
    assert problems == [Problem("contradiction", place, 2, ["line 3", "line 4"])]


def test_a_word_outside_the_vocabulary_of_race_is_unknown_and_never_repeated(tmp_path: Path) -> None:
    (rows, _, _), problems = read_text(tmp_path, TABLE.replace(",Asian", ",Eurasian", 1))
    assert cells(rows, "race") == ["White", "White", "White", None]
    place = (
        "images.csv, column race: expected one of American Indian or Alaska Native, Asian, Black or African American,"
        " Native Hawaiian or Other Pacific Islander, White, Multiple, Other, or empty"
    )
    assert problems == [Problem("unknown_value", place, 1, ["line 5"])]


def test_an_exam_has_one_day(tmp_path: Path) -> None:
    content = TABLE.replace("007,1,730,images/007/1/LMLO", "007,1,731,images/007/1/LMLO", 1)
    (rows, _, _), problems = read_text(tmp_path, content)
    assert cells(rows, "exam_day") == [0, 0, 730, 0]  # the first image's
    place = "images.csv, column exam_date_days: expected the value of the exam's first image"
    assert problems == [Problem("contradiction", place, 1, ["line 3: '731'"])]


@pytest.mark.parametrize("cell", ["soon", "-3"])
def test_an_illegible_time_to_cancer_is_no_year_without_cancer(tmp_path: Path, cell: str) -> None:
    (rows, _, _), problems = read_text(tmp_path, TABLE.replace("2.25,2.5", f"{cell},2.5", 1))
    assert cells(rows, "years_to_cancer") == [None] * 4
    assert cells(rows, "years_followed") == [4.5, 4.5, None, None]  # null to_cancer would say: followed, none seen
    place = "images.csv, column years_to_cancer: expected a number from 0 to 120, or empty"
    assert problems == [Problem("unknown_value", place, 1, [f"line 4: '{cell}'"])]


def test_contradicting_times_to_cancer_are_no_year_without_cancer(tmp_path: Path) -> None:
    (rows, _, _), problems = read_text(tmp_path, TABLE.replace("False,,,,4.5", "False,,,3,4.5", 1))
    assert cells(rows, "years_to_cancer") == [None, None, 2.25, None]
    assert cells(rows, "years_followed") == [None, None, 2.5, None]
    assert [problem.kind for problem in problems] == ["contradiction"]


@pytest.mark.parametrize(
    ("path", "image_id"),
    [
        ("a/b/c.dcm", "a-b-c"),
        ("a\\b\\c.PNG", "a-b-c"),
        ("./a//c.dicom", "a-c"),
        ("a/1.2.840.7", "a-1.2.840.7"),  # a UID without suffix
        ("a/1.2.840.7.dcm", "a-1.2.840.7"),
        ("a/c", "a-c"),
    ],
)
def test_the_image_id_is_the_path_without_its_suffix(tmp_path: Path, path: str, image_id: str) -> None:
    (rows, _, _), _ = read_text(tmp_path, TABLE.replace("images/8/1/RML.dcm", path))
    assert cells(rows, "image_id")[3] == image_id
    assert "\\" not in str(cells(rows, "path")[3])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("8,1,0,images", ",1,0,images", "line 5, column patient_id: expected a value in every row, found an empty"),
        ("8,1,0,images", "8,1,,images", "line 5, column exam_date_days: expected a value in every row"),
        ("8,1,0,images/8/1/RML.dcm", "8,1,0,", "line 5, column image_path: expected a value in every row"),
        ("images/8/1", "../8/1", "line 5, column image_path: expected a path relative to the archive's root"),
        ("images/8/1", "/home/8", "line 5, column image_path: expected a path relative to the archive's root"),
        ("density,", "", "images.csv: column density is missing; expected patient_id"),
    ],
)  # fmt: skip
def test_structural_trouble_is_refused_by_line_and_column(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TABLE
    content = TABLE.replace(old, new, 1)
    if old == "density,":
        content = "\n".join(_without(TABLE.replace(old, new, 1), 7))
    with pytest.raises(InputError) as raised:
        read_text(tmp_path, content)
    assert message in str(raised.value)
    assert ";" in str(raised.value).rsplit("found", 1)[1]  # ends with what to do


def test_messages_name_the_csv_s_own_column(tmp_path: Path) -> None:
    content = TABLE.replace("density", "Dichte", 1).replace(",D,6", ",X,6", 1)
    _, problems = read_text(tmp_path, content, {"density": "Dichte"})
    assert problems[0].place == "images.csv, column Dichte: expected one of A, B, C, D, or empty"
    with pytest.raises(InputError, match="column Dichte is missing"):
        read_text(tmp_path, TABLE, {"density": "Dichte"})


def test_unknown_canonical_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="agee is no canonical name; allowed: patient_id"):
        read_text(tmp_path, TABLE, {"agee": "age"})


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"images\.csv: not found"):
        read(tmp_path, archive(), Problems())


def test_extra_columns_are_kept_as_json(tmp_path: Path) -> None:
    content = "\n".join(
        f"{line},{cell}" for line, cell in zip(TABLE.splitlines(), ["shape", "round", "", "oval", ""], strict=True)
    )
    (rows, _, _), _ = read_text(tmp_path, content, extra=["shape"])
    assert cells(rows, "extra") == ['{"shape": "round"}', None, '{"shape": "oval"}', None]
    with pytest.raises(InputError, match="column shape is missing"):
        read_text(tmp_path, TABLE, extra=["shape"])


@pytest.mark.parametrize(("text", "rows"), [("a" * 41, 1), ("case", 65)])
def test_extra_columns_that_are_no_categories_are_refused(tmp_path: Path, text: str, rows: int) -> None:
    lines = [f"{row},1,0,{row}.dcm,L,CC,,,,,,,,,,,,{text}{row}" for row in range(rows)]
    content = "\n".join([TABLE.splitlines()[0] + ",remark", *lines])
    with pytest.raises(InputError, match=r"column remark: expected categories .* free text and") as raised:
        read_text(tmp_path, content, extra=["remark"])
    assert text not in str(raised.value)


def test_the_catalog_takes_it(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    root.mkdir()
    (root / "images.csv").write_text(TABLE)
    for name in ("007/1/LCC", "007/1/LMLO", "007/2/RCC", "8/1/RML"):
        file = root / "images" / f"{name}.dcm"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"1234567")
    catalog("demo", archive(), root, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "images.parquet", CATALOG)
    assert cells(rows, "image_id") == ["images-007-1-LCC", "images-007-1-LMLO", "images-007-2-RCC", "images-8-1-RML"]
    assert cells(rows, "size_bytes") == [7] * 4
    assert cells(rows, "birads") == [1, None, 0, 6]
    assert pd.read_parquet(tmp_path / "out" / "problems.parquet").empty


def test_words_of_the_view_are_understood_or_noted(tmp_path: Path) -> None:
    content = TABLE.replace(",mlo,", ",LMLO,", 1).replace(",ML,", ",ROE JANE,", 1)
    (rows, _, _), problems = read_text(tmp_path, content)
    assert cells(rows, "view") == ["CC", "MLO", "CC", None]
    assert [(p.kind, p.records) for p in problems if "column view" in p.place] == [("unknown_value", 1)]


def test_two_patients_with_one_exam_are_refused(tmp_path: Path) -> None:
    content = TABLE.replace("8,1,0,", "007-1,2,0,", 1).replace("007,2,1460,", "007,1-2,1460,", 1)
    with pytest.raises(InputError, match=r"line 4, columns patient_id and exam_id: .*two patients with one exam"):
        read_text(tmp_path, content)
