"""Each adapter on a miniature of its dataset, with the odd cells that real tables hold."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.cohorts.adapters import rsna, table, vindr
from pipeline.errors import InputError
from pipeline.tables import CATALOG

COLUMNS = set(CATALOG.names) - {"cohort", "size_bytes"}

TABLE = """\
patient_id,exam_id,exam_date_days,image_path,laterality,view,age,density,birads,mass,calcification,cancer,implant,\
vendor,years_to_cancer,years_followed
007,1,730,images/007/1/LCC.dcm,L,CC,50.5,B,1,0,1,False,0,"Acme, Inc",,4.5
007,1,730,images/007/1/LMLO.dcm,L,mlo,50.5,,,1,,False,,,,4.5
007,2,1460,images/007/2/RCC.dcm,,CC,,,0,,,True,1,,2.25,2.5
8,1,0,images/8/1/RML.dcm,R,ML,61,D,6,True,False,,True,Acme,,
"""
BREASTS = """\
study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,breast_density,split
s1,x1,i1,L,CC,3518,2800,BI-RADS 4,DENSITY C,training
s1,x1,i2,L,MLO,3518,2800,BI-RADS 4,DENSITY C,training
s2,x2,i3,R,CC,3518,2800,BI-RADS 1,DENSITY A,test
s2,x2,i4,R,MLO,3518,2800,BI-RADS 1,DENSITY A,test
"""
FINDINGS = """\
study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,breast_density,finding_categories,\
finding_birads,xmin,ymin,xmax,ymax,split
s1,x1,i1,L,CC,3518,2800,BI-RADS 4,DENSITY C,['Mass'],BI-RADS 4,1,2,3,4,training
s1,x1,i1,L,CC,3518,2800,BI-RADS 4,DENSITY C,"['Suspicious Calcification', 'Skin Thickening']",BI-RADS 4,1,2,3,4,training
s1,x1,i2,L,MLO,3518,2800,BI-RADS 4,DENSITY C,['Focal Asymmetry'],BI-RADS 3,1,2,3,4,training
s2,x2,i3,R,CC,3518,2800,BI-RADS 1,DENSITY A,['No Finding'],,,,,,test
"""
METADATA = """\
Series Instance UID,SOP Instance UID,Patient's Age,Manufacturer,Manufacturer's Model Name
x1,i1,053Y,SIEMENS,Mammomat Inspiration
x1,i2,,IMS s.r.l.,GIOTTO
x2,i3,000Y,,
"""
RSNA = """\
site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,density,machine_id,\
difficult_negative_case
2,10006,462822612,L,CC,61.0,0,0,0,,0,,29,False
1,10011,220375232,R,AT,,1,1,0,0.0,0,C,21,False
1,10011,541722628,R,MLO,55.0,1,1,1,2.0,1,C,21,True
"""


def write(folder: Path, **files: str) -> Path:
    """Writes files by their name, with `.csv` added and `__` for `-`."""
    for name, content in files.items():
        (folder / f"{name.replace('__', '-')}.csv").write_text(content)
    return folder


def write_vindr(folder: Path, breasts: str = BREASTS, findings: str = FINDINGS, metadata: str = METADATA) -> Path:
    return write(
        folder, **{"breast__level_annotations": breasts, "finding_annotations": findings, "metadata": metadata}
    )


def cells(rows: pd.DataFrame, column: str) -> list[object]:
    """A column as a list, null as None."""
    return [None if pd.isna(value) else value for value in rows[column]]


def test_table_reads_every_column(tmp_path: Path) -> None:
    rows = table.read(write(tmp_path, images=TABLE), {})
    assert set(rows.columns) == COLUMNS
    assert cells(rows, "patient_id") == ["007", "007", "007", "8"]
    assert cells(rows, "exam_id") == ["007-1", "007-1", "007-2", "8-1"]
    assert cells(rows, "exam_day") == [0, 0, 730, 0]  # since the patient's first exam, whatever the csv counts from
    assert cells(rows, "breast_id") == ["007-1-L", "007-1-L", None, "8-1-R"]
    assert cells(rows, "image_id")[0] == "images-007-1-LCC"
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
    assert cells(rows, "source_split") == [None] * 4


def test_table_renames_columns_and_takes_none_for_unknown(tmp_path: Path) -> None:
    renamed = TABLE.replace("patient_id", "Person", 1).replace("calcification,", "", 1)
    rows = table.read(
        write(tmp_path, images="\n".join(_without(renamed, 10))), {"patient_id": "Person", "calcification": ""}
    )
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
    ("old", "new", "message"),
    [
        ("50.5,B,", "50.5,E,", "images.csv: line 2, column density: expected one of A, B, C, D, or empty; found 'E'"),
        (",D,6,", ",D,9,", "line 5, column birads: expected a number from 0 to 6, or empty; found '9'"),
        (",D,6,", ",D,2.5,", "line 5, column birads: expected a whole number"),
        (",B,1,0,", ",B,1,maybe,", "line 2, column mass: expected 1, 0, True, False, or empty; found 'maybe'"),
        ("8,1,0,images", ",1,0,images", "line 5, column patient_id: expected a value in every row; found ''"),
        ("8,1,0,images", "8,1,,images", "line 5, column exam_date_days: expected a value"),
        (",R,ML,", ",X,ML,", "line 5, column laterality: expected one of L, R"),
        (",61,D", ",-1,D", "line 5, column age: expected a number from 0 to 120, or empty; found '-1'"),
        ("images/8/1", "../8/1", "line 5, column image_path: expected a path relative to the archive's root"),
        ("2.25,2.5", "soon,2.5", "line 4, column years_to_cancer: expected a number from 0 to 120, or empty"),
        ("False,,,,4.5", "False,,,,5.5", "line 3, column years_followed: expected the value of the exam's first"),
        ("007,1,730,images/007/1/LMLO", "007,1,731,images/007/1/LMLO", "line 3, column exam_date_days: expected the"),
        ("8,1,0,images", "8,1,2020-05-17,images", "column exam_date_days: expected a number from -40000 to 40000, or"),
        ("density,", "", "images.csv: column density is missing; expected patient_id"),
    ],
)
def test_table_refuses_by_line_and_column(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TABLE
    with pytest.raises(InputError) as raised:
        table.read(write(tmp_path, images=TABLE.replace(old, new, 1)), {})
    assert message in str(raised.value)
    assert ";" in str(raised.value).rsplit("found", 1)[1]  # ends with what to do
    assert "2020" not in str(raised.value)  # no dates in errors


def test_table_names_the_csv_s_own_column(tmp_path: Path) -> None:
    content = TABLE.replace("density", "Dichte", 1).replace(",D,6", ",X,6", 1)
    with pytest.raises(InputError, match="column Dichte: expected one of A, B, C, D"):
        table.read(write(tmp_path, images=content), {"density": "Dichte"})
    with pytest.raises(InputError, match="column Dichte is missing"):
        table.read(write(tmp_path, images=TABLE), {"density": "Dichte"})


def test_table_refuses_unknown_canonical_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="agee is no canonical name; allowed: patient_id"):
        table.read(write(tmp_path, images=TABLE), {"agee": "age"})


@pytest.mark.parametrize("content", ["", "\n\n", "a,b\n1,2,3,4\n1\n", "\x89PNG\x00\xff"])
def test_what_is_no_table_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "images.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"images\.csv: "):
        table.read(tmp_path, {})


def test_missing_and_empty_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"images\.csv: not found"):
        table.read(tmp_path, {})
    with pytest.raises(InputError, match="found no rows"):
        table.read(write(tmp_path, images=TABLE.splitlines()[0] + "\n"), {})


def test_vindr_reads_the_three_tables(tmp_path: Path) -> None:
    rows = vindr.read(write_vindr(tmp_path), {})
    assert set(rows.columns) == COLUMNS
    assert cells(rows, "patient_id") == cells(rows, "exam_id") == ["s1", "s1", "s2", "s2"]
    assert cells(rows, "breast_id") == ["s1-L", "s1-L", "s2-R", "s2-R"]
    assert cells(rows, "path")[2] == "images/s2/i3.dicom"
    assert cells(rows, "view") == ["CC", "MLO", "CC", "MLO"]
    assert cells(rows, "mass") == [True, False, False, None]  # no row names i4: unknown, not negative
    assert cells(rows, "calcification") == [True, False, False, None]
    assert cells(rows, "malignant") == cells(rows, "implant") == cells(rows, "years_followed") == [None] * 4
    assert cells(rows, "density") == ["C", "C", "A", "A"]
    assert cells(rows, "birads") == [4, 4, 1, 1]
    assert cells(rows, "age_years") == [53, None, None, None]  # 000Y: unknown
    assert cells(rows, "vendor") == ["SIEMENS", "IMS s.r.l.", None, None]
    assert cells(rows, "source_split") == ["train", "train", "test", "test"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"breasts": BREASTS.replace("DENSITY A", "DENSITY E", 1)},
            "line 4, column breast_density: expected DENSITY A",
        ),
        ({"breasts": BREASTS.replace("BI-RADS 1", "BI-RADS 9", 1)}, "line 4, column breast_birads: expected BI-RADS 1"),
        ({"breasts": BREASTS.replace("training", "train", 1)}, "line 2, column split: expected training or test"),
        ({"findings": FINDINGS.replace("'Mass'", "'Masse'", 1)}, "line 2, column finding_categories: expected a list"),
        ({"findings": FINDINGS.replace("['Mass']", "Mass", 1)}, "line 2, column finding_categories: expected a list"),
        ({"findings": FINDINGS.replace("x2,i3", "x2,i9", 1)}, "line 5, column image_id: expected an image of breast-"),
        ({"metadata": METADATA.replace("053Y", "53", 1)}, "line 2, column Patient's Age: expected a DICOM age"),
        ({"metadata": METADATA.replace("x2,i3", "x2,i1", 1)}, "line 4, column SOP Instance UID: expected one row per"),
        (
            {"metadata": METADATA.replace(",i", ",1.2.826.")},
            "line 2, column SOP Instance UID: expected an image_id of br",
        ),
        ({"metadata": METADATA.replace("Patient's Age", "Age", 1)}, "metadata.csv: column Patient's Age is missing"),
    ],
)
def test_vindr_refuses(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as raised:
        vindr.read(write_vindr(tmp_path, **changed), {})
    assert message in str(raised.value)


def test_vindr_needs_all_three_tables(tmp_path: Path) -> None:
    write_vindr(tmp_path)
    (tmp_path / "metadata.csv").unlink()
    with pytest.raises(InputError, match=r"metadata\.csv: not found"):
        vindr.read(tmp_path, {})


def test_rsna_reads_train_csv(tmp_path: Path) -> None:
    rows = rsna.read(write(tmp_path, train=RSNA), {})
    assert set(rows.columns) == COLUMNS
    assert cells(rows, "patient_id") == cells(rows, "exam_id") == ["10006", "10011", "10011"]
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


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "2.0,1,C",
            "4.0,1,C",
            "train.csv: line 4, column BIRADS: expected a number from 0 to 2, or empty; found '4.0'",
        ),
        ("0.0,0,C", "0.0,0,E", "line 3, column density"),
        ("61.0,0", "61.0,-1", "line 2, column cancer: expected 1, 0, True, False, or empty; found '-1'"),
        ("machine_id", "machine", "column machine_id is missing"),
    ],
)
def test_rsna_refuses(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        rsna.read(write(tmp_path, train=RSNA.replace(old, new, 1)), {})
    assert message in str(raised.value)


@pytest.mark.parametrize("adapter", [vindr, rsna])
def test_fixed_layouts_take_no_column_names(tmp_path: Path, adapter) -> None:
    with pytest.raises(InputError, match=r"expected \{\} for adapter (vindr|rsna)"):
        adapter.read(tmp_path, {"age": "Alter"})
