"""The synthetic archives: bytes, DICOM validity, tables, and the trees of the three sources."""

import hashlib
from pathlib import Path

import pandas as pd
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from pipeline.cohorts.phantom import archive_shots, lesion_maps, write_archive
from pipeline.cohorts.phantom_archives import image_path, write_tables
from pipeline.cohorts.phantom_images import draw_frame
from pipeline.cohorts.phantom_look import LOOKS

SYNTAXES = {ExplicitVRLittleEndian, RLELossless, JPEGLosslessSV1, JPEG2000Lossless}
# Type 1 attributes of the Digital Mammography X-Ray Image IOD, For Presentation (PS3.3 A.27), and what ingest needs.
REQUIRED = (
    "PatientID PatientName PatientBirthDate PatientAge StudyInstanceUID SeriesInstanceUID SOPInstanceUID StudyDate "
    "Modality PresentationIntentType Manufacturer ManufacturerModelName ImageType ImageLaterality OrganExposed "
    "PatientOrientation AnatomicRegionSequence ViewCodeSequence PositionerType ImagerPixelSpacing DetectorType "
    "SamplesPerPixel PhotometricInterpretation Rows Columns PixelRepresentation RescaleIntercept RescaleSlope "
    "RescaleType PresentationLUTShape WindowCenter WindowWidth PixelIntensityRelationship LossyImageCompression "
    "PixelIntensityRelationshipSign BurnedInAnnotation InstanceNumber"
).split()
TABLE_COLUMNS = (
    "patient_id exam_id exam_date_days image_path laterality view age density birads mass calcification cancer implant "
    "vendor years_to_cancer years_followed race"
).split()
VINDR_COMMON = "laterality view_position height width breast_birads breast_density".split()
RSNA_COLUMNS = (
    "site_id patient_id image_id laterality view age cancer biopsy invasive BIRADS implant density machine_id "
    "difficult_negative_case"
).split()


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Seven patients of each archive."""
    root = tmp_path_factory.mktemp("archives")
    for adapter in LOOKS:
        write_archive(adapter, 7, 5, root / adapter, processes=1)
    return {adapter: root / adapter for adapter in LOOKS}


@pytest.fixture(scope="module")
def headers(archives: dict[str, Path]) -> dict[str, list[Dataset]]:
    return {a: [dcmread(file) for file in sorted(root.rglob("*.d*m"))] for a, root in archives.items()}


def _digests(root: Path) -> dict[str, str]:
    files = sorted(f for f in root.rglob("*") if f.is_file())
    return {f.relative_to(root).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_a_seed_decides_every_byte_whatever_the_processes(archives: dict[str, Path], tmp_path: Path) -> None:
    write_archive("rsna", 7, 5, tmp_path, processes=2)
    again = _digests(tmp_path)
    assert len(again) > 28
    assert again == _digests(archives["rsna"])
    first, other = (archive_shots("rsna", 7, seed)[0] for seed in (5, 6))
    assert first.image_id != other.image_id and (draw_frame(first) != draw_frame(other)).mean() > 0.2


def test_headers_are_valid_mammography_for_presentation(headers: dict[str, list[Dataset]]) -> None:
    for header in (h for adapter in headers.values() for h in adapter):
        missing = [k for k in REQUIRED if k not in header or header[k].is_empty]
        assert not missing
        assert header.SOPClassUID == "1.2.840.10008.5.1.4.1.1.1.2"
        assert (header.BitsAllocated, header.BitsStored, header.HighBit) == (16, 12, 11)
        assert header.ViewCodeSequence[0].CodingSchemeDesignator in ("SCT", "SRT")
        inverted = header.PhotometricInterpretation == "MONOCHROME1"
        assert header.PresentationLUTShape == ("INVERSE" if inverted else "IDENTITY")


def test_every_file_decodes_and_every_format_occurs(headers: dict[str, list[Dataset]]) -> None:
    everything = [h for adapter in headers.values() for h in adapter]
    for header in everything:
        pixels = header.pixel_array
        assert pixels.shape == (header.Rows, header.Columns)
        assert 1000 < int(pixels.max()) - int(pixels.min()) <= 4095
    assert {h.file_meta.TransferSyntaxUID for h in everything} == SYNTAXES
    assert {h.PhotometricInterpretation for h in everything} == {"MONOCHROME1", "MONOCHROME2"}
    assert {"ViewPosition" in h for h in everything} == {True, False}
    assert {"Laterality" in h for h in everything} == {True, False}
    assert len({h.SOPInstanceUID for h in everything}) == len(everything)


def test_compression_keeps_every_pixel(archives: dict[str, Path]) -> None:
    seen = set()
    for shot in archive_shots("vindr", 7, 5):
        header = dcmread(archives["vindr"] / image_path(shot))
        if header.file_meta.TransferSyntaxUID not in seen:
            seen.add(header.file_meta.TransferSyntaxUID)
            stored = header.pixel_array
            drawn = draw_frame(shot)
            assert ((4095 - stored if header.PhotometricInterpretation == "MONOCHROME1" else stored) == drawn).all()
    assert len(seen) >= 3


def test_table_archive(archives: dict[str, Path]) -> None:
    table = pd.read_csv(archives["table"] / "images.csv")
    assert list(table.columns) == TABLE_COLUMNS
    assert all((archives["table"] / path).is_file() for path in table["image_path"])
    assert len(list((archives["table"] / "images").iterdir())) == len(table)
    assert (table.groupby("exam_id").size() == 4).all()
    assert set(table["laterality"]) == {"L", "R"} and set(table["view"]) == {"CC", "MLO"}
    assert sorted(p.name for p in archives["table"].iterdir()) == ["images", "images.csv"]


def test_race_is_the_patient_s_in_the_shares_of_the_source_and_tied_to_nothing(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    root.mkdir()
    write_tables("table", archive_shots("table", 2000, 5), root)
    table = pd.read_csv(root / "images.csv")
    races = table.groupby("patient_id")["race"]
    assert (races.nunique(dropna=False) == 1).all()
    patients = table.drop_duplicates("patient_id")
    shares = patients["race"].fillna("unknown").value_counts(normalize=True)
    expected = {"White": 0.4, "Black or African American": 0.4, "Asian": 0.065, "unknown": 0.135}
    assert shares.to_dict() == pytest.approx(expected, abs=0.035)  # three standard errors of the largest share
    white = (patients["race"] == "White").astype(float)
    for name in ("age", "mass", "calcification", "cancer", "birads", "years_followed"):
        assert abs(white.corr(patients[name].astype(float))) < 0.07  # three standard errors of no correlation


def test_vindr_archive(archives: dict[str, Path]) -> None:
    root = archives["vindr"]
    breasts = pd.read_csv(root / "breast-level_annotations.csv")
    findings = pd.read_csv(root / "finding_annotations.csv")
    metadata = pd.read_csv(root / "metadata.csv")
    assert list(breasts.columns) == ["study_id", "series_id", "image_id", *VINDR_COMMON, "split"]
    assert list(findings.columns) == [
        *["image_id", "study_id", "series_id", *VINDR_COMMON, "finding_categories", "finding_birads"],
        *["xmin", "ymin", "xmax", "ymax", "split"],
    ]
    assert all((root / "images" / r.study_id / f"{r.image_id}.dicom").is_file() for r in breasts.itertuples())
    assert set(metadata["SOP Instance UID"]) == set(breasts["image_id"]) == set(findings["image_id"])
    assert set(findings["finding_categories"]) <= {"['Mass']", "['Suspicious Calcification']", "['No Finding']"}
    nothing = findings["finding_categories"] == "['No Finding']"
    assert (findings["xmin"].isna() == nothing).all() and (findings["finding_birads"].isna() == nothing).all()
    boxed = findings[~nothing]
    assert len(boxed) and (boxed["xmax"] > boxed["xmin"] + 10).all() and (boxed["ymax"] < boxed["height"]).all()
    assert (breasts.groupby("study_id")["split"].nunique() == 1).all()


def test_rsna_archive_has_views_that_are_neither_cc_nor_mlo(archives: dict[str, Path]) -> None:
    root = archives["rsna"]
    table = pd.read_csv(root / "train.csv", dtype={"patient_id": str, "image_id": str})
    assert list(table.columns) == RSNA_COLUMNS
    assert table["image_id"].is_unique
    assert all((root / "train_images" / r.patient_id / f"{r.image_id}.dcm").is_file() for r in table.itertuples())
    every = archive_shots("rsna", 120, 5)
    views = pd.Series([s.view for s in every]).value_counts()
    assert set(views.index) == {"CC", "MLO", "ML", "AT"}
    assert 0 < views["ML"] + views["AT"] <= 40


def test_the_header_agrees_with_the_table_about_side_and_view(archives: dict[str, Path]) -> None:
    table = pd.read_csv(archives["table"] / "images.csv")
    for row in table.itertuples():
        header = dcmread(archives["table"] / row.image_path, stop_before_pixels=True)
        assert header.ImageLaterality == row.laterality
        meaning = header.ViewCodeSequence[0].CodeMeaning
        assert meaning == {"CC": "cranio-caudal", "MLO": "medio-lateral oblique"}[row.view]
        assert int(header.PatientAge[:3]) == row.age and header.Manufacturer == row.vendor


def test_nothing_in_an_archive_tells_where_decoys_are(archives: dict[str, Path]) -> None:
    assert {"row", "column"} < set(lesion_maps("table", 7, 5).columns)
    for root in archives.values():
        assert {f.suffix for f in root.rglob("*") if f.is_file()} <= {".csv", ".dcm", ".dicom"}
        text = "".join(f.read_text() for f in root.glob("*.csv")).lower()
        assert "decoy" not in text and "lesion" not in text
