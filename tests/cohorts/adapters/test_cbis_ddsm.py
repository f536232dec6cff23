"""The CBIS-DDSM adapter on a miniature of the collection: its tables, its folders, its files."""

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian

from pipeline.cohorts import catalog as catalog_module
from pipeline.cohorts.adapters import cbis_ddsm, cbis_ddsm_masks
from pipeline.cohorts.adapters.cbis_ddsm_files import Box, lesion_box, patient_folders
from pipeline.cohorts.adapters.reading import Reading
from pipeline.cohorts.catalog import catalog
from pipeline.cohorts.problems import Problem, Problems
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import CATALOG, FINDINGS, PROBLEMS, read_table

ARCHIVE = Archive(
    adapter="cbis_ddsm", root="unused", patients=None, columns={}, extra=[], identifiers="published", fatal=[]
)
UID = "1.3.6.1.4.1.9590.100.1.2."
FRAME = (60, 40)
BOX = (10, 20, 6, 8)  # top, left, height, width
WORDS = {"mass": ("mass shape", "mass margins"), "calc": ("calc type", "calc distribution")}
Row = dict[str, str]


def uid(name: str) -> str:
    """A UID of a name, always the same, with an end of its own."""
    return UID + str(10**9 + int.from_bytes(name.encode(), "big") % 999_999_937)


def row(kind: str, split: str, patient: str = "P_00001", side: str = "LEFT", view: str = "CC", **cells: str) -> Row:
    """One row of a table; mask and crop share a series, whose order differs between masses and calcifications."""
    number = cells.get("abnormality id", "1")
    image = f"{kind.title()}-{'Training' if split == 'train' else 'Test'}_{patient}_{side}_{view}"
    lesion = f"{image}_{number}"
    series = f"{lesion}/{uid('study' + lesion)}/{uid('series' + lesion)}"
    crop, mask = ("000000", "000001") if kind == "mass" else ("000001", "000000")
    last = "ROI mask file path" if kind == "mass" else "cropped image file path"
    known = {
        "patient_id": patient,
        "breast_density" if kind == "mass" else "breast density": "3",
        "left or right breast": side,
        "image view": view,
        "abnormality id": number,
        "abnormality type": "mass" if kind == "mass" else "calcification",
        **dict.fromkeys(WORDS[kind], "N/A"),
        "assessment": "4",
        "pathology": "BENIGN",
        "subtlety": "3",
        "image file path": f"{image}/{uid('study' + image)}/{uid('series' + image)}/000000.dcm",
        "cropped image file path": f"{series}/{crop}.dcm",
        "ROI mask file path": f"{series}/{mask}.dcm",
    }
    known[last] += "\n"  # as published: the last path of every row ends with a line break inside its quotes
    return known | cells


def write_tables(folder: Path, **rows: Sequence[Row]) -> Path:
    """The four tables, by kind_split; a table without rows of its own gets one whose files do not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("mass", "calc"):
        for split in ("train", "test"):
            given = rows.get(f"{kind}_{split}") or [row(kind, split, "P_99999", "RIGHT", "MLO")]
            file = folder / f"{kind}_case_description_{split}_set.csv"
            pd.DataFrame(given).to_csv(file, index=False, lineterminator="\r\n")
    return folder


def write_dicom(path: Path, pixels: np.ndarray) -> Path:
    """A secondary capture as the collection has them: 8 or 16 bits, uncompressed."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality, dataset.PatientOrientation = "MG", "CC"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.Rows, dataset.Columns = pixels.shape
    bits = 8 * pixels.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def film(shape: tuple[int, int] = FRAME, depth: type = np.uint16) -> np.ndarray:
    """Grey values of many levels."""
    return np.random.default_rng(0).integers(0, 250, shape).astype(depth)


def mask(shape: tuple[int, int] = FRAME, box: tuple[int, int, int, int] = BOX) -> np.ndarray:
    """Two levels, the upper one in a box with a notch."""
    pixels = np.zeros(shape, np.uint8)
    top, left, height, width = box
    pixels[top : top + height, left : left + width] = 255
    pixels[top, left] = 0
    return pixels


def series_folder(root: Path, path: str, layout: str = "classic", number: str = "1.000000") -> Path:
    """Where the Data Retriever puts the series of a table's path."""
    patient, study, series = path.split("/")[:3]
    folders = {
        "classic": (study, series),
        "descriptive": (f"07-20-2016-DDSM-NA-{study[-5:]}", f"{number}-full mammogram images-{series[-5:]}"),
        "older": (f"08-29-2017-DDSM-{study[-5:]}", f"1-cropped images-{series[-5:]}"),
    }
    return root.joinpath(patient, *folders[layout])


def write_files(root: Path, each: Row, layout: str = "classic", **files: np.ndarray) -> Row:
    """The mammogram of a row, and the files of its lesion: crop and mask unless others are named."""
    name = "000000.dcm" if layout == "classic" else "1-1.dcm"
    write_dicom(series_folder(root, each["image file path"], layout) / name, film())
    folder = series_folder(root, each["ROI mask file path"].strip(), layout)
    for number, pixels in enumerate((files or {"crop": film((9, 11)), "mask": mask()}).values()):
        write_dicom(folder / (f"00000{number}.dcm" if layout == "classic" else f"1-{number + 1}.dcm"), pixels)
    return each


def read(root: Path) -> tuple[Reading, list[Problem]]:
    """What the adapter reads of the rows whose files were written, and what it notes."""
    problems = Problems()
    images, findings, others = cbis_ddsm.read(root, ARCHIVE, problems)
    images = images[images["patient_id"] != "P_99999"]
    return Reading(images, findings[findings["image_id"].isin(images["image_id"])], others), problems.found


def boxes(findings: pd.DataFrame) -> list[list[float | None]]:
    """Boxes as lists, null as None."""
    edges = findings[["top_px", "left_px", "height_px", "width_px"]].astype(object)
    return [[None if pd.isna(edge) else edge for edge in edges] for edges in edges.to_numpy().tolist()]


def test_every_column_of_an_ordinary_mammogram(tmp_path: Path) -> None:
    each = row("mass", "train", **{"mass shape": "IRREGULAR-ARCHITECTURAL_DISTORTION", "mass margins": "SPICULATED"})
    write_files(tmp_path / "CBIS-DDSM", each)
    reading, problems = read(write_tables(tmp_path, mass_train=[each]))
    assert set(reading.images.columns) == set(CATALOG.names) - {"cohort", "size_bytes"}
    found = reading.images.iloc[0]
    assert len(reading.images) == 1
    assert found["image_id"] == "Mass-Training_P_00001_LEFT_CC"
    assert (found["patient_id"], found["exam_id"], found["exam_day"]) == ("P_00001", "P_00001", 0)
    assert (found["breast_id"], found["laterality"], found["view"]) == ("P_00001-L", "L", "CC")
    assert found["path"] == "CBIS-DDSM/" + each["image file path"]
    assert (found["density"], found["birads"], found["source_split"]) == ("C", 4, "train")
    assert (found["mass"], found["malignant"]) == (True, False)
    assert json.loads(found["extra"]) == {
        "mass_margins": "SPICULATED", "mass_shape": "IRREGULAR-ARCHITECTURAL_DISTORTION"
    }  # fmt: skip
    unknown = ["calcification", "age_years", "implant", "vendor", "years_to_cancer", "years_followed", "exclusion"]
    assert reading.images[unknown].isna().all().all()
    assert set(reading.findings.columns) == set(FINDINGS.names)
    assert reading.findings[["image_id", "kind", "birads", "pathology"]].to_numpy().tolist() == [
        ["Mass-Training_P_00001_LEFT_CC", "mass", 4, "benign"]
    ]
    assert boxes(reading.findings) == [list(BOX)]
    assert problems == []


@pytest.mark.parametrize("place", ["", "CBIS-DDSM", "manifest-ZkhPvrLo5216730872708713142/CBIS-DDSM", "a/b/CBIS-DDSM"])
@pytest.mark.parametrize("layout", ["classic", "descriptive", "older"])
def test_files_are_found_in_every_layout_of_the_data_retriever(tmp_path: Path, place: str, layout: str) -> None:
    each = write_files(tmp_path / place, row("calc", "test"), layout)
    reading, problems = read(write_tables(tmp_path, calc_test=[each]))
    name = "000000.dcm" if layout == "classic" else "1-1.dcm"
    file = series_folder(tmp_path / place, each["image file path"], layout) / name
    assert reading.images["path"].tolist() == [file.relative_to(tmp_path).as_posix()]
    assert boxes(reading.findings) == [list(BOX)]
    assert len(reading.others) == 2
    assert problems == []


def test_a_series_is_found_by_its_uid_among_others_of_its_folder(tmp_path: Path) -> None:
    each = row("mass", "train")
    other = each["image file path"].replace(uid("seriesMass-Training_P_00001_LEFT_CC"), UID + "77777")
    write_dicom(series_folder(tmp_path, other, "descriptive", "0.000000") / "1-1.dcm", film((90, 60)))
    write_files(tmp_path, each, "descriptive")
    path = read(write_tables(tmp_path, mass_train=[each]))[0].images["path"].iloc[0]
    assert path == series_folder(Path(), each["image file path"], "descriptive").as_posix() + "/1-1.dcm"


def test_a_mammogram_s_series_with_other_files_gives_the_one_of_most_pixels(tmp_path: Path) -> None:
    each = write_files(tmp_path, row("mass", "train"))
    place = series_folder(tmp_path, each["image file path"])
    write_dicom(place / "000000.dcm", film((9, 11)))
    write_dicom(place / "000001.dcm", film())
    (place / "000002.dcm").write_bytes(b"cut short")
    reading = read(write_tables(tmp_path, mass_train=[each]))[0]
    assert reading.images["path"].iloc[0].endswith("/000001.dcm")
    assert boxes(reading.findings) == [list(BOX)]


def test_a_patient_downloaded_in_two_parts_is_found_whole(tmp_path: Path) -> None:
    each = write_files(tmp_path / "manifest-1/CBIS-DDSM", row("mass", "train"))
    folder = "Mass-Training_P_00001_LEFT_CC"
    (tmp_path / "manifest-2/CBIS-DDSM" / folder).mkdir(parents=True)
    assert len(patient_folders(tmp_path)[folder]) == 2
    path = read(write_tables(tmp_path, mass_train=[each]))[0].images["path"].iloc[0]
    assert path.startswith("manifest-1/CBIS-DDSM/")


def test_tables_may_lie_in_a_folder_csv(tmp_path: Path) -> None:
    each = write_files(tmp_path, row("mass", "train"))
    write_tables(tmp_path / "csv", mass_train=[each])
    assert len(read(tmp_path)[0].images) == 1


@pytest.mark.parametrize(
    "files",
    [
        {"crop": film((9, 11)), "mask": mask()},
        {"mask": mask(), "crop": film((9, 11))},
        {"crop": film((30, 20)), "mask": mask()},  # a crop of the mammogram's proportions
        {"crop": film((30, 20), np.uint8), "mask": mask().astype(np.uint16) * 257},  # as deep as the other usually is
        {"crop": mask((9, 11), (1, 1, 2, 2)), "mask": mask()},  # a crop of two levels
        {"crop": mask((30, 20), (1, 1, 2, 2)), "mask": mask()},  # and of the mammogram's proportions
        {"film": film((90, 60)), "mask": mask()},  # something larger that is no mask
    ],
)
def test_the_mask_is_told_by_its_content_not_by_its_order(tmp_path: Path, files: dict[str, np.ndarray]) -> None:
    each = write_files(tmp_path, row("mass", "train"), **files)
    reading, problems = read(write_tables(tmp_path, mass_train=[each]))
    assert boxes(reading.findings) == [list(BOX)]
    assert problems == []


@pytest.mark.parametrize("swapped", [False, True])
def test_mask_and_crop_may_lie_in_two_series(tmp_path: Path, swapped: bool) -> None:
    each = row("calc", "train")
    lesion = "Calc-Training_P_00001_LEFT_CC_1"
    alone = f"{lesion}/{uid('other study')}/{uid('other series')}/000000.dcm"
    each["cropped image file path"] = alone
    write_files(tmp_path, each, mask=film((9, 11)) if swapped else mask())
    write_dicom(tmp_path / alone, mask() if swapped else film((9, 11)))
    reading, problems = read(write_tables(tmp_path, calc_train=[each]))
    assert boxes(reading.findings) == [list(BOX)]
    assert reading.others == {alone, each["ROI mask file path"]}
    assert problems == []


def test_a_mask_of_another_size_is_scaled_while_its_proportions_agree(tmp_path: Path) -> None:
    each = write_files(tmp_path, row("mass", "train"), mask=mask((120, 81), (20, 27, 12, 54)))
    reading, problems = read(write_tables(tmp_path, mass_train=[each]))
    assert boxes(reading.findings) == [pytest.approx([10, 27 * 40 / 81, 6, 54 * 40 / 81])]
    assert problems == []


@pytest.mark.parametrize(
    "files",
    [
        {"mask": mask((60, 42))},  # 5 % wider than the mammogram
        {"mask": film()},  # many levels: a second copy of the mammogram
        {"mask": np.zeros(FRAME, np.uint8)},
        {"crop": film((9, 11))},
        {"crop": film((30, 20))},
    ],
)
def test_a_lesion_without_a_legible_mask_has_no_box_and_is_told(tmp_path: Path, files: dict[str, np.ndarray]) -> None:
    each = write_files(tmp_path, row("mass", "train"), **files)
    reading, problems = read(write_tables(tmp_path, mass_train=[each]))
    assert boxes(reading.findings) == [[None] * 4]
    assert reading.findings["pathology"].tolist() == ["benign"]
    assert [(p.kind, p.records, p.place.split(":")[0]) for p in problems] == [
        ("unknown_value", 1, "mass_case_description_train_set.csv, column ROI mask file path")
    ]
    assert "P_00001" not in str(problems)


def test_a_mask_that_cannot_be_decoded_has_no_box(tmp_path: Path) -> None:
    each = write_files(tmp_path, row("mass", "train"), mask=mask())
    file = tmp_path / each["ROI mask file path"].strip().replace("000001", "000000")
    file.write_bytes(file.read_bytes()[:-100])
    reading, problems = read(write_tables(tmp_path, mass_train=[each]))
    assert boxes(reading.findings) == [[None] * 4]
    assert len(problems) == 1


@pytest.mark.parametrize("end", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: time.sleep(60)])
def test_a_mask_that_crashes_or_hangs_its_decoder_is_told_and_costs_its_own_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[], None]
) -> None:
    rows = [write_files(tmp_path, row("mass", "train", f"P_0000{number}")) for number in range(1, 5)]

    def read_mask(lesion: cbis_ddsm_masks.Lesion) -> Box | None:
        if "P_00002" in str(lesion[0]):
            end()
        return lesion_box(*lesion)

    monkeypatch.setattr(cbis_ddsm_masks, "_read", read_mask)
    monkeypatch.setattr(cbis_ddsm_masks, "SECONDS_PER_LESION", 4)
    reading, problems = read(write_tables(tmp_path, mass_train=rows))
    assert boxes(reading.findings) == [list(BOX), [None] * 4, list(BOX), list(BOX)]
    assert len(reading.images) == 4
    place = "mass_case_description_train_set.csv, column ROI mask file path: expected"
    assert [(p.kind, p.place, p.records) for p in problems] == [
        ("unknown_value", f"{place} files whose decoder neither crashes nor hangs, to take a box from", 1)
    ]


def test_processes_give_what_one_lesion_at_a_time_gives(tmp_path: Path) -> None:
    image = write_dicom(tmp_path / "image.dcm", film())
    masks = [write_dicom(tmp_path / f"{top}.dcm", mask(box=(top, 3, 4, 5))) for top in range(20)]
    lesions = [*((image, [file]) for file in masks), (None, masks[:1]), (image, [])]
    expected = [lesion_box(*lesion) for lesion in lesions]
    assert cbis_ddsm_masks.lesion_boxes(lesions, "masks") == (expected, [False] * len(lesions))
    assert expected[7] == (7, 3, 4, 5)
    assert expected[-2:] == [None, None]


@pytest.mark.parametrize(
    ("pathologies", "malignant"),
    [
        (["MALIGNANT"], True), (["BENIGN"], False), (["BENIGN_WITHOUT_CALLBACK"], False),
        (["BENIGN", "MALIGNANT"], True), (["BENIGN", "BENIGN_WITHOUT_CALLBACK"], False), (["BENIGN", ""], None),
        (["UNSURE"], None),
    ],
)  # fmt: skip
def test_an_image_is_malignant_if_any_of_its_lesions_is(
    tmp_path: Path, pathologies: list[str], malignant: bool | None
) -> None:
    rows = [
        write_files(tmp_path, row("mass", "train", pathology=pathology, **{"abnormality id": str(number)}))
        for number, pathology in enumerate(pathologies, 1)
    ]
    reading, problems = read(write_tables(tmp_path, mass_train=rows))
    value = reading.images["malignant"].iloc[0]
    assert (None if pd.isna(value) else bool(value)) == malignant
    assert len(reading.images) == 1
    assert len(reading.findings) == len(rows)
    assert len(problems) == pathologies.count("UNSURE")


@pytest.mark.parametrize(
    ("assessments", "worst", "problems"),
    [(["2", "0"], 0, 0), (["4", "0"], 4, 0), (["3", "5"], 5, 0), (["1"], 1, 0), (["6"], None, 1), ([""], None, 0)],
)
def test_birads_is_the_assessment_of_most_concern(
    tmp_path: Path, assessments: list[str], worst: int | None, problems: int
) -> None:
    rows = [
        write_files(tmp_path, row("calc", "train", assessment=grade, **{"abnormality id": str(number)}))
        for number, grade in enumerate(assessments, 1)
    ]
    reading, found = read(write_tables(tmp_path, calc_train=rows))
    value = reading.images["birads"].iloc[0]
    assert (None if pd.isna(value) else value) == worst
    assert len(found) == problems


@pytest.mark.parametrize(("code", "grade"), [("1", "A"), ("2", "B"), ("3", "C"), ("4", "D"), ("0", None)])
def test_density_0_is_none_and_is_told(tmp_path: Path, code: str, grade: str | None) -> None:
    each = write_files(tmp_path, row("calc", "test", **{"breast density": code}))
    reading, problems = read(write_tables(tmp_path, calc_test=[each]))
    value = reading.images["density"].iloc[0]
    assert (None if pd.isna(value) else value) == grade
    assert [p.examples for p in problems] == ([] if grade else [["line 2: '0'"]])


def test_rows_of_one_image_that_differ_in_density_leave_it_unknown(tmp_path: Path) -> None:
    rows = [
        write_files(tmp_path, row("mass", "train", breast_density=code, **{"abnormality id": code})) for code in "24"
    ]
    reading, problems = read(write_tables(tmp_path, mass_train=rows))
    assert reading.images["density"].isna().all()
    assert [(p.kind, p.records) for p in problems] == [("contradiction", 2)]


def test_a_view_of_both_sets_is_two_images_of_one_breast(tmp_path: Path) -> None:
    rows = [write_files(tmp_path, row(kind, "train")) for kind in ("mass", "calc")]
    images = read(write_tables(tmp_path, mass_train=rows[:1], calc_train=rows[1:]))[0].images
    assert images["image_id"].tolist() == ["Mass-Training_P_00001_LEFT_CC", "Calc-Training_P_00001_LEFT_CC"]
    assert images["breast_id"].tolist() == ["P_00001-L"] * 2
    assert images["mass"].tolist() == [True, pd.NA]
    assert images["calcification"].tolist() == [pd.NA, True]


def test_descriptions_are_categories_and_nothing_else(tmp_path: Path) -> None:
    words = ["AMORPHOUS-PLEOMORPHIC", "LUCENT_CENTERED", "N/A", "seen by Dr. Roe"]
    rows = [
        write_files(tmp_path, row("calc", "train", **{"calc type": word, "abnormality id": str(number)}))
        for number, word in enumerate(words)
    ]
    reading, problems = read(write_tables(tmp_path, calc_train=rows))
    assert json.loads(reading.images["extra"].iloc[0]) == {"calc_type": "AMORPHOUS-PLEOMORPHIC, LUCENT_CENTERED"}
    assert [(p.kind, p.records) for p in problems] == [("unknown_value", 1)]


@pytest.mark.parametrize(
    "cells",
    [{"left or right breast": "RIGHT"}, {"image view": "MLO"}, {"patient_id": "P_00002"}, {"image view": ""},
     {"image file path": "Mass-Training_P_00001_LEFT_CC/../secret/000000.dcm"},
     {"image file path": "Calc-Training_P_00001_LEFT_CC/1.2/1.3/000000.dcm"}],
)  # fmt: skip
def test_a_row_whose_image_is_another_s_is_left_out_and_told(tmp_path: Path, cells: dict[str, str]) -> None:
    good = write_files(tmp_path, row("mass", "train", "P_00003"))
    bad = write_files(tmp_path, row("mass", "train"))
    reading, problems = read(write_tables(tmp_path, mass_train=[good, bad | cells]))
    assert reading.images["patient_id"].tolist() == ["P_00003"]
    assert [(p.kind, p.records) for p in problems if p.kind == "row_without_image"] == [("row_without_image", 1)]


def test_a_mask_of_another_lesion_is_not_taken(tmp_path: Path) -> None:
    first, second = (row("mass", "train", **{"abnormality id": number}) for number in "12")
    write_files(tmp_path, second)
    stolen = second["ROI mask file path"]
    write_files(tmp_path, first)
    rows = [first | {"ROI mask file path": stolen, "cropped image file path": ""}, second]
    reading, problems = read(write_tables(tmp_path, mass_train=rows))
    assert boxes(reading.findings) == [[None] * 4, list(BOX)]
    assert [p.examples[0].split(":")[0] for p in problems] == ["line 2", "line 2"]


def test_only_files_of_named_series_are_accounted_for(tmp_path: Path) -> None:
    each = write_files(tmp_path, row("mass", "train"))
    write_dicom(tmp_path / "Mass-Training_P_00001_LEFT_CC_2/1.2/1.3/000000.dcm", mask())
    series = each["ROI mask file path"].rpartition("/")[0]
    others = read(write_tables(tmp_path, mass_train=[each]))[0].others
    assert others == {f"{series}/000000.dcm", f"{series}/000001.dcm"}


def test_missing_tables_and_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mass_case_description_train_set\.csv: not found"):
        read(tmp_path)
    with pytest.raises(InputError, match="column patient_id: expected a value in every row"):
        read(write_tables(tmp_path, mass_test=[row("mass", "test") | {"patient_id": ""}]))
    renamed = row("calc", "test")
    renamed["breast_density"] = renamed.pop("breast density")
    with pytest.raises(InputError, match=r"calc_case_description_test_set\.csv: column breast density is missing"):
        read(write_tables(tmp_path, calc_test=[renamed]))


def test_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="adapter cbis_ddsm, whose tables are fixed"):
        cbis_ddsm.read(tmp_path, ARCHIVE.model_copy(update={"extra": ["subtlety"]}), Problems())


def test_the_catalog_takes_it_and_moves_torn_patients_to_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog_module._ADAPTERS, "cbis_ddsm", cbis_ddsm.read)
    root = tmp_path / "raw"
    rows = [write_files(root / "CBIS-DDSM", row(*place)) for place in (("mass", "train"), ("calc", "test"))]
    lone = write_files(root / "CBIS-DDSM", row("mass", "train", "P_00002"), "descriptive")
    absent = row("mass", "train", "P_00004")
    write_tables(root, mass_train=[rows[0], lone, absent], calc_test=rows[1:])
    catalog("cbis_ddsm", ARCHIVE, root, tmp_path / "out")
    images = read_table(tmp_path / "out/images.parquet", CATALOG)
    assert images[["image_id", "source_split"]].to_numpy().tolist() == [
        ["Calc-Test_P_00001_LEFT_CC", "test"],
        ["Mass-Training_P_00001_LEFT_CC", "test"],
        ["Mass-Training_P_00002_LEFT_CC", "train"],
    ]
    assert boxes(read_table(tmp_path / "out/findings.parquet", FINDINGS)) == [list(BOX)] * 3
    problems = read_table(tmp_path / "out/problems.parquet", PROBLEMS)
    # P_00004, and the rows that stand for the two other tables
    assert problems[["kind", "records"]].to_numpy().tolist() == [["row_without_file", 3], ["patient_in_two_splits", 1]]
