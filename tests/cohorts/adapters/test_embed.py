"""The EMBED adapter on a miniature of the release: its column names, its paths, its odd cells."""

import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline.cohorts import catalog as catalog_module
from pipeline.cohorts.adapters import embed
from pipeline.cohorts.adapters.reading import Reading
from pipeline.cohorts.catalog import catalog
from pipeline.cohorts.problems import Problem, Problems
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import CATALOG, FINDINGS, PROBLEMS, RACES, read_table

ARCHIVE = Archive(
    adapter="embed", root="unused", patients=None, columns={}, extra=[], identifiers="published", fatal=[]
)
P1, P2 = "10000865", "10000879"
E1, E2, E3 = "3629273638679348", "6992096043050201", "8162137067574239"
PREFIX = "/mnt/NAS2/mammo/anon_dicom/"
IMAGE = {
    "empi_anon": P1, "acc_anon": E1, "study_date_anon": "2013-01-07", "StudyDescription": "MG Screening Bilateral",
    "SeriesDescription": "L CC", "FinalImageType": "2D", "ImageLateralityFinal": "L", "ViewPosition": "CC",
    "spot_mag": "", "BreastImplantPresent": "NO", "Manufacturer": "HOLOGIC, Inc.", "num_roi": "0", "ROI_coords": "()",
    "match_level": "()", "SRC_DST": "[]", "png_path": "/mnt/x.png", "png_filename": "x.png",
}  # fmt: skip
FINDING = {
    "empi_anon": P1, "acc_anon": E1, "study_date_anon": "2013-01-09", "desc": "MG Screening Bilateral", "numfind": "1",
    "side": "", "asses": "N", "tissueden": "2.0", "age_at_study": "42.380063", "total_L_find": "0.0",
    "total_R_find": "0.0", "massshape": "", "massmargin": "", "massdens": "", "calcfind": "", "calcdistri": "",
    "calcnumber": "0", "implanfind": "", "bside": "", "path_severity": "", "procdate_anon": "", "GENDER_DESC": "Female",
}  # fmt: skip


def image(name: str, **cells: str) -> dict[str, str]:
    """One row of the metadata table; the file's name is the image's id."""
    row = IMAGE | cells
    patient, exam = row["empi_anon"], row["acc_anon"]
    return {"anon_dicom_path": f"{PREFIX}cohort_1/{patient}/1.2.{exam}/1.2.84/{name}.dcm"} | row


def finding(**cells: str) -> dict[str, str]:
    """One row of the clinical table."""
    return FINDING | cells


def breasts(exam: str = E1, **cells: str) -> list[dict[str, str]]:
    """A left and a right image of an exam, named L and R."""
    return [image(side, acc_anon=exam, ImageLateralityFinal=side, **cells) for side in "LR"]


def write(root: Path, images: list[dict[str, str]], findings: list[dict[str, str]], kind: str = "") -> Path:
    """Both tables in tables/, as pandas' to_csv writes them, the reduced one of the images with its index."""
    (root / "tables").mkdir(parents=True, exist_ok=True)
    pd.DataFrame(images).to_csv(root / f"tables/EMBED_OpenData_metadata{kind}.csv", index=bool(kind))
    pd.DataFrame(findings).to_csv(root / f"tables/EMBED_OpenData_clinical{kind}.csv", index=False)
    return root


def read(root: Path) -> tuple[Reading, list[Problem]]:
    problems = Problems()
    return embed.read(root, ARCHIVE, problems), problems.found


def label(
    root: Path, findings: list[dict[str, str]], column: str, images: list[dict[str, str]] | None = None
) -> dict[str, object]:
    """One column of the images by image_id, null as None."""
    rows = read(write(root, images or breasts(), findings))[0].images
    return {name: None if pd.isna(value) else value for name, value in zip(rows["image_id"], rows[column], strict=True)}


def test_every_column_of_an_ordinary_image(tmp_path: Path) -> None:
    reading, problems = read(write(tmp_path, breasts(), [finding()]))
    assert set(reading.images.columns) == set(CATALOG.names) - {"cohort", "size_bytes"}
    row = reading.images.iloc[0]
    assert row["patient_id"] == P1
    assert row["exam_id"] == E1  # 16 digits, not a float
    assert row["breast_id"] == f"{E1}-L"
    assert (row["image_id"], row["laterality"], row["view"]) == ("L", "L", "CC")
    assert row["path"] == f"images/cohort_1/{P1}/1.2.{E1}/1.2.84/L.dcm"
    assert row["age_years"] == pytest.approx(42.380063)
    assert row["vendor"] == "hologic"
    assert (row["density"], row["birads"]) == ("B", 1)
    assert (row["mass"], row["calcification"], row["implant"]) == (False, False, False)
    assert json.loads(row["extra"]) == {"exam": "screening"}
    unknown = ("malignant", "race", "years_to_cancer", "years_followed", "source_split", "exclusion")
    assert reading.images[list(unknown)].isna().all().all()
    assert reading.findings.empty
    assert set(reading.findings.columns) == set(FINDINGS.names)
    assert reading.others == frozenset()
    assert problems == []


@pytest.mark.parametrize("prefix", ["/mnt/NAS2/mammo/anon_dicom/", "./images/", "images/", ""])
def test_paths_of_every_release_lead_below_images(tmp_path: Path, prefix: str) -> None:
    rows = [image("A", anon_dicom_path=f"{prefix}cohort_2/1/2/3/A.dcm")]
    assert label(tmp_path, [finding()], "path", rows) == {"A": "images/cohort_2/1/2/3/A.dcm"}


@pytest.mark.parametrize("path", ["cohort_1/../../2/B.dcm", "somewhere/B.dcm", "cohort_1/1/2/B.png"])
def test_a_path_that_is_none_of_the_release_s_is_left_out_and_told(tmp_path: Path, path: str) -> None:
    reading, problems = read(write(tmp_path, [image("A"), image("B", anon_dicom_path=path)], [finding()]))
    assert reading.images["image_id"].tolist() == ["A"]
    assert [(p.kind, p.records) for p in problems] == [("unknown_value", 1)]
    assert "anon_dicom_path" in problems[0].place


def test_image_types_and_spot_views(tmp_path: Path) -> None:
    images = [
        image("full", spot_mag="0.0"), image("cview", FinalImageType="cview"), image("Cv", FinalImageType="C-view"),
        image("tomo", FinalImageType="3D"), image("spot", spot_mag="1.0"), image("screen", FinalImageType="ROI_SSC"),
        image("capture", FinalImageType="ROI_SS"), image("odd", FinalImageType="film", spot_mag="1"),
        image("both", FinalImageType="cview", spot_mag="1"),
    ]  # fmt: skip
    reading, problems = read(write(tmp_path, images, [finding()]))
    rows = reading.images.set_index("image_id")["exclusion"]
    assert rows.dropna().to_dict() == {
        "cview": "synthetic_2d", "Cv": "synthetic_2d", "tomo": "tomosynthesis", "spot": "spot_compression",
        "odd": "spot_compression", "both": "synthetic_2d",
    }  # fmt: skip
    assert rows.index.tolist() == ["full", "cview", "Cv", "tomo", "spot", "odd", "both"]
    folder = f"images/cohort_1/{P1}/1.2.{E1}/1.2.84"
    assert reading.others == {f"{folder}/screen.dcm", f"{folder}/capture.dcm"}
    assert [p.examples for p in problems] == [["line 9: 'film'"]]


def test_exam_days_count_from_the_patient_s_first_acquisition(tmp_path: Path) -> None:
    images = [
        image("torn", acc_anon=E2, study_date_anon="2014-01-09"), image("first"),
        image("other", empi_anon=P2, acc_anon=E3, study_date_anon="2020-10-14 00:00:00"),
        image("late", acc_anon=E2, study_date_anon="2014-01-07"),
        image("none", acc_anon="5", study_date_anon="2013-02-31"),
    ]  # fmt: skip
    reading, problems = read(write(tmp_path, images, [finding(study_date_anon="1999-01-01")]))
    days = reading.images.set_index("image_id")["exam_day"].to_dict()
    assert days == {"late": 365, "first": 0, "other": 0, "torn": 365, "none": 0}
    assert [(p.kind, p.examples) for p in problems] == [
        ("unknown_value", ["line 6: a cell of 10 characters"]),
        ("contradiction", ["line 2: a cell of 10 characters"]),
    ]


@pytest.mark.parametrize(
    ("side", "expected"),
    [("L", (4, None)), ("R", (None, 4)), ("B", (4, 4)), ("", (4, 4))],
)
def test_a_finding_belongs_to_the_breast_of_its_side(
    tmp_path: Path, side: str, expected: tuple[int | None, int | None]
) -> None:
    rows = [finding(desc="MG Diagnostic Left w/CAD", side=side, asses="S")]
    assert label(tmp_path, rows, "birads") == {"L": expected[0], "R": expected[1]}


def test_the_breast_that_a_bilateral_exam_does_not_name_is_negative(tmp_path: Path) -> None:
    rows = [finding(side="L", asses="A", massshape="X", desc="MG Screen Bilat w/Tomo/CAD Stnd Protocol")]
    for column, expected in {"birads": [0, 1], "mass": [True, False], "calcification": [False, False]}.items():
        assert list(label(tmp_path, rows, column).values()) == expected
    assert label(tmp_path, rows, "malignant") == {"L": None, "R": None}


@pytest.mark.parametrize("desc", ["MG Diagnostic Left w/CAD", ""])
def test_an_exam_not_called_bilateral_implies_nothing_of_the_other_breast(tmp_path: Path, desc: str) -> None:
    rows = [finding(side="L", asses="A", massshape="X", desc=desc)]
    assert label(tmp_path, rows, "birads") == {"L": 0, "R": None}
    assert label(tmp_path, rows, "mass") == {"L": True, "R": None}


def test_an_illegible_side_leaves_both_breasts_unknown(tmp_path: Path) -> None:
    rows = [finding(side="Q", asses="A", massshape="X"), finding(side="L", asses="N", numfind="2")]
    for column in ("birads", "mass", "malignant"):
        assert label(tmp_path, rows, column) == {"L": None, "R": None}
    assert label(tmp_path, rows, "density") == {"L": "B", "R": "B"}
    assert read(tmp_path)[1][0].examples == ["line 2: 'Q'"]


@pytest.mark.parametrize(
    ("grades", "worst"),
    [("NB", 2), ("PA", 0), ("AS", 4), ("NX", 1), ("X", None), ("SMK", 6), ("MS", 5), ("Z", None)],
)
def test_birads_is_the_one_of_most_concern(tmp_path: Path, grades: str, worst: int | None) -> None:
    rows = [finding(desc="MG Diagnostic Left w/CAD", side="L", asses=grade) for grade in grades]
    assert label(tmp_path, rows, "birads")["L"] == worst


@pytest.mark.parametrize(
    ("code", "grade", "problems"),
    [("1", "A", 0), ("2.0", "B", 0), ("3", "C", 0), ("4.0", "D", 0), ("5.0", None, 0), ("", None, 0), ("7", None, 1)],
)
def test_density_5_is_a_male_breast_and_no_density(tmp_path: Path, code: str, grade: str | None, problems: int) -> None:
    assert label(tmp_path, [finding(tissueden=code)], "density") == {"L": grade, "R": grade}
    assert len(read(tmp_path)[1]) == problems


def test_densities_of_one_exam_that_differ_count_as_unknown(tmp_path: Path) -> None:
    rows = [finding(tissueden="2.0"), finding(tissueden="3.0", side="L")]
    assert label(tmp_path, rows, "density") == {"L": None, "R": None}
    assert [(p.kind, p.records) for p in read(tmp_path)[1]] == [("contradiction", 2)]


@pytest.mark.parametrize("column", ["RACE_DESC", "ETHNICITY_DESC"])  # the README's name, the notebooks' name
@pytest.mark.parametrize(
    ("word", "race"),
    [
        ("Caucasian or White", "White"), ("African American  or Black", "Black or African American"),
        ("African American or Black", "Black or African American"), ("Asian", "Asian"), ("Multiple", "Multiple"),
        ("American Indian or Alaskan Native", "American Indian or Alaska Native"),
        ("Native Hawaiian or Other Pacific Islander", "Native Hawaiian or Other Pacific Islander"),
        ("Unknown, Unavailable or Unreported", None), ("Not Recorded", None), ("Patient Declines", None), ("", None),
    ],
)  # fmt: skip
def test_race_by_the_words_of_the_release(tmp_path: Path, column: str, word: str, race: str | None) -> None:
    assert label(tmp_path, [finding(**{column: word}, ETHNIC_GROUP_DESC="Hispanic or Latino")], "race") == {
        "L": race, "R": race
    }  # fmt: skip
    assert race is None or race in RACES
    assert read(tmp_path)[1] == []


def test_race_belongs_to_the_patient_and_is_unknown_where_her_rows_differ(tmp_path: Path) -> None:
    images = [*breasts(), image("later", acc_anon=E2), image("other", empi_anon=P2, acc_anon=E3)]
    told = [finding(RACE_DESC="Asian"), finding(acc_anon=E2, RACE_DESC="Not Recorded")]
    other = finding(empi_anon=P2, acc_anon=E3, RACE_DESC="Martian")
    races = label(tmp_path, [*told, other], "race", images)
    assert races == {"L": "Asian", "R": "Asian", "later": "Asian", "other": None}
    assert [(p.kind, p.examples) for p in read(tmp_path)[1]] == [("unknown_value", ["line 4"])]
    told[1]["RACE_DESC"] = "Multiple"
    races = label(tmp_path, [*told, other], "race", images)
    assert set(races.values()) == {None}
    assert [(p.kind, p.examples) for p in read(tmp_path)[1]][-1] == ("contradiction", ["line 2", "line 3"])


@pytest.mark.parametrize(
    ("severities", "malignant"),
    [
        (["0.0"], True), (["1.0"], True), (["2.0"], False), (["5"], False), (["4.0", "0.0"], True), ([""], None),
        (["4.0", ""], False), (["6.0"], None), (["6.0", "4.0"], None), (["6.0", "0.0"], True), (["9"], None),
    ],
)  # fmt: skip
def test_malignant_is_told_by_pathology_alone(tmp_path: Path, severities: list[str], malignant: bool | None) -> None:
    rows = [
        finding(
            desc="MG Diagnostic Bilateral", side="L", asses="K", path_severity=severity, bside="L" if severity else ""
        )
        for severity in severities
    ]
    assert label(tmp_path, rows, "malignant") == {"L": malignant, "R": None}


@pytest.mark.parametrize(
    ("side", "bside", "expected"),
    [
        ("L", "", (True, None)), ("L", "L", (True, None)), ("L", "B", (True, None)), ("B", "L", (True, None)),
        ("B", "R", (None, True)), ("B", "B", (True, True)), ("", "R", (None, True)), ("", "B", (True, True)),
        ("B", "", (None, None)), ("", "", (None, None)), ("L", "R", (None, None)),
    ],
)  # fmt: skip
def test_pathology_belongs_to_the_breast_that_was_biopsied(
    tmp_path: Path, side: str, bside: str, expected: tuple[bool | None, bool | None]
) -> None:
    rows = [finding(desc="MG Diagnostic Bilateral", side=side, asses="S", path_severity="0.0", bside=bside)]
    assert label(tmp_path, rows, "malignant") == {"L": expected[0], "R": expected[1]}
    told = [(p.kind, p.records) for p in read(tmp_path)[1]]
    assert told == ([("contradiction", 1)] if (side, bside) == ("L", "R") else [])


def test_a_cancer_of_unclear_side_leaves_no_breast_of_the_exam_benign(tmp_path: Path) -> None:
    benign = finding(desc="MG Diagnostic Bilateral", side="R", asses="S", path_severity="4.0", bside="R")
    unclear = finding(desc="MG Diagnostic Bilateral", side="L", asses="M", path_severity="0.0", bside="R")
    assert label(tmp_path, [benign], "malignant") == {"L": None, "R": False}
    assert label(tmp_path, [benign, unclear], "malignant") == {"L": None, "R": None}
    clear = unclear | {"side": "B"}  # a finding of both breasts, of which the right one was biopsied
    assert label(tmp_path, [benign, clear], "malignant") == {"L": None, "R": True}
    assert label(tmp_path, [benign, clear | {"path_severity": "5.0"}], "malignant") == {"L": None, "R": False}


def test_a_negative_screening_with_a_biopsy_was_addended_and_its_grade_is_unknown(tmp_path: Path) -> None:
    addended = finding(side="L", asses="B", path_severity="4.0", bside="L")
    assert label(tmp_path, [addended, finding(side="L")], "birads") == {"L": None, "R": 1}
    assert [(p.kind, p.records) for p in read(tmp_path)[1]] == [("contradiction", 1)]
    assert label(tmp_path, [addended, finding(side="L", asses="A")], "birads") == {"L": 0, "R": 1}
    diagnostic = addended | {"desc": "MG Diagnostic Left w/CAD"}
    assert label(tmp_path, [diagnostic], "birads") == {"L": 2, "R": None}
    assert label(tmp_path, [addended | {"side": "", "asses": "N"}], "birads") == {"L": None, "R": 1}


@pytest.mark.parametrize(
    ("cells", "mass", "calcification"),
    [
        ({"massshape": "G"}, True, False), ({"massshape": "D"}, True, False), ({"massmargin": "S"}, True, False),
        ({"massdens": "="}, True, False), ({"massdens": "0"}, False, False), ({"massshape": "S"}, False, False),
        ({"massshape": "A"}, False, False), ({"massshape": "T", "massmargin": "I"}, True, False),
        ({"massshape": "N", "massmargin": "D"}, False, False), ({"massshape": "Y"}, False, False),
        ({"calcfind": "9"}, False, True), ({"calcdistri": "G"}, False, True), ({"calcnumber": "3"}, False, True),
        ({"massshape": "O", "calcfind": "V"}, True, True), ({}, None, None), ({"asses": "N"}, False, False),
        ({"asses": "B"}, None, None), ({"asses": "X"}, None, None), ({"massshape": "?"}, None, False),
        ({"massshape": "?", "massmargin": "S"}, True, False), ({"calcnumber": "many"}, None, None),
        ({"massshape": "O", "calcnumber": "many"}, True, None),
    ],
)  # fmt: skip
def test_masses_and_calcifications_by_their_codes(
    tmp_path: Path, cells: dict[str, str], mass: bool | None, calcification: bool | None
) -> None:
    rows = [finding(**{"desc": "MG Diagnostic Left w/CAD", "side": "L", "asses": "A"} | cells)]
    assert label(tmp_path, rows, "mass") == {"L": mass, "R": None}
    assert label(tmp_path, rows, "calcification") == {"L": calcification, "R": None}


def test_labels_of_a_breast_are_the_union_of_its_findings(tmp_path: Path) -> None:
    rows = [finding(side="L", asses="A", massshape="S"), finding(side="L", asses="A", massshape="O")]
    assert label(tmp_path, rows, "mass")["L"]
    rows[1]["massshape"] = ""  # recalled for something that the row does not describe
    assert label(tmp_path, rows, "mass")["L"] is None
    assert label(tmp_path, rows, "extra")["L"] == '{"exam": "screening", "other_findings": "asymmetry"}'


@pytest.mark.parametrize(
    ("tag", "described", "expected"),
    [
        ("YES", "", (True, True)), ("NO", "", (False, False)), ("", "", (None, None)), ("NO", "N", (True, False)),
        ("", "1.0", (True, None)), ("", "0", (None, None)), ("maybe", "", (None, None)),
    ],
)  # fmt: skip
def test_implants_by_tag_or_finding(
    tmp_path: Path, tag: str, described: str, expected: tuple[bool | None, bool | None]
) -> None:
    rows = [finding(side="L", asses="B", implanfind=described)]
    assert label(tmp_path, rows, "implant", breasts(BreastImplantPresent=tag)) == {"L": expected[0], "R": expected[1]}


def test_findings_of_a_breast_are_listed_for_each_of_its_images(tmp_path: Path) -> None:
    rows = [
        finding(side="L", asses="S", massshape="X", calcfind="A", path_severity="1.0", bside="L"),
        finding(side="L", asses="B", massshape="Y", path_severity="4.0", bside="L"),
    ]
    images = [image("LCC"), image("LMLO", ViewPosition="MLO"), image("RCC", ImageLateralityFinal="R")]
    found = read(write(tmp_path, images, rows))[0].findings
    listed = found[["image_id", "kind", "birads", "pathology"]].sort_values(["image_id", "kind"])
    of_breast = [("calcification", 4, "malignant"), ("lymph node", 2, "benign"), ("mass", 4, "malignant")]
    assert listed.to_numpy().tolist() == [[name, *each] for name in ("LCC", "LMLO") for each in of_breast]
    assert found[["top_px", "left_px", "height_px", "width_px"]].isna().all().all()


def test_boxes_are_read_from_the_column_of_the_dicom_orientation_alone(tmp_path: Path) -> None:
    png = image("A", ROI_coords="((10, 20, 30, 45),)", num_roi="1")
    assert read(write(tmp_path, [png], [finding()]))[0].findings.empty
    images = [
        png | {"DCM_ROI_coords": "((10, 20, 30, 45), (1, 2, 3, 5.5))"},
        image("B") | {"DCM_ROI_coords": "()"}, image("C") | {"DCM_ROI_coords": "[[30, 20, 10, 45]]"},
        image("D") | {"DCM_ROI_coords": "[[7, 8, 9, 10]]"}, image("E") | {"DCM_ROI_coords": ""},
    ]  # fmt: skip
    reading, problems = read(write(tmp_path, images, [finding()]))
    boxes = reading.findings[["image_id", "kind", "top_px", "left_px", "height_px", "width_px"]]
    assert boxes.to_numpy().tolist() == [
        ["A", "ROI", 10, 20, 20, 25], ["A", "ROI", 1, 2, 2, 3.5], ["D", "ROI", 7, 8, 2, 2],
    ]  # fmt: skip
    assert [(p.kind, p.examples) for p in problems] == [("unknown_value", ["line 4: a cell of 18 characters"])]


def test_an_exam_without_a_clinical_row_is_unknown_and_one_without_images_is_told(tmp_path: Path) -> None:
    rows = [finding(), finding(acc_anon=E2, asses="M"), finding(empi_anon=P2, asses="M")]
    images = [*breasts(), image("lone", acc_anon=E3)]
    reading, problems = read(write(tmp_path, images, rows))
    assert reading.images["birads"].tolist() == [1, 1, pd.NA]
    assert [(p.kind, p.examples) for p in problems] == [
        ("row_without_image", ["line 3: a cell of 16 characters", "line 4: a cell of 16 characters"])
    ]


def test_tables_of_two_releases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected exams of tables/EMBED_OpenData_metadata\.csv, found none of them;"):
        read(write(tmp_path, breasts(), [finding(acc_anon="3.629273638679348e15")]))


def test_reduced_tables_may_lack_columns_and_yield_to_whole_ones(tmp_path: Path) -> None:
    images = [{name: row[name] for name in row if name not in embed.MAY_LACK} for row in breasts()]
    rows = [finding(asses="A")]
    del rows[0]["path_severity"]
    reading, problems = read(write(tmp_path, images, rows, "_reduced"))
    assert reading.images["birads"].tolist() == [0, 0]
    assert reading.images[["vendor", "implant", "malignant"]].isna().all().all()
    assert problems == []
    assert read(write(tmp_path, breasts(), [finding(asses="S")]))[0].images["birads"].tolist() == [4, 4]


def test_a_whole_table_that_lacks_a_column_is_refused(tmp_path: Path) -> None:
    rows = [finding()]
    del rows[0]["path_severity"]
    with pytest.raises(InputError, match=r"clinical\.csv: column path_severity is missing"):
        read(write(tmp_path, breasts(), rows))


def test_tables_may_lie_in_the_root(tmp_path: Path) -> None:
    write(tmp_path, breasts(), [finding()])
    for file in sorted((tmp_path / "tables").iterdir()):
        file.rename(tmp_path / file.name)
    assert len(read(tmp_path)[0].images) == 2


def test_missing_tables_and_empty_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tables/EMBED_OpenData_metadata\.csv: not found"):
        read(tmp_path)
    with pytest.raises(InputError, match="line 3, column acc_anon: expected a value in every row"):
        read(write(tmp_path, [image("A"), image("B", acc_anon="")], [finding()]))


def test_options_are_refused(tmp_path: Path) -> None:
    write(tmp_path, breasts(), [finding()])
    with pytest.raises(InputError, match="adapter embed, whose tables are fixed"):
        embed.read(tmp_path, ARCHIVE.model_copy(update={"columns": {"age": "x"}}), Problems())


def test_the_catalog_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog_module._ADAPTERS, "embed", embed.read)
    images = [*breasts(), image("gone"), image("screen", FinalImageType="ROI_SSC")]
    images[0]["DCM_ROI_coords"] = "((10, 20, 30, 45),)"
    root = write(tmp_path / "raw", images, [finding(side="L", asses="A", massshape="X")])
    folder = root / f"images/cohort_1/{P1}/1.2.{E1}/1.2.84"
    folder.mkdir(parents=True)
    for name in ("L", "R", "screen", "stranger"):
        (folder / f"{name}.dcm").write_bytes(b"x")
    catalog("embed", ARCHIVE, root, tmp_path / "out")
    rows = read_table(tmp_path / "out/images.parquet", CATALOG)
    assert rows[["image_id", "size_bytes"]].to_numpy().tolist() == [["L", 1], ["R", 1]]
    assert rows["mass"].tolist() == [True, False]
    found = read_table(tmp_path / "out/findings.parquet", FINDINGS)
    assert found[["image_id", "kind"]].to_numpy().tolist() == [["L", "ROI"], ["L", "mass"]]
    problems = read_table(tmp_path / "out/problems.parquet", PROBLEMS)
    assert problems[["kind", "records"]].to_numpy().tolist() == [["file_without_row", 1], ["row_without_file", 1]]
