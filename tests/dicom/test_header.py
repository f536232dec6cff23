"""Laterality, view, exclusions and vocabularies of the header."""

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sr._snomed_dict import mapping
from pydicom.sr.codedict import codes

from pipeline.dicom.deidentify import UnusableFileError, known_manufacturer, pseudonym
from pipeline.dicom.header import header_flags, read_header
from pipeline.dicom.views import MODIFIER_CODES, VIEW_CODES

PIXELS = np.zeros((4, 4), np.uint16)


def code(value: str, *modifiers: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = value, "SCT"
    item.ViewModifierCodeSequence = [code(modifier) for modifier in modifiers]
    return item


def frame_side(side: str) -> list[Dataset]:
    group, anatomy = Dataset(), Dataset()
    anatomy.FrameLaterality = side
    group.FrameAnatomySequence = [anatomy]
    return [group]


def test_reads_side_view_and_geometry(mammogram):
    header = read_header(mammogram(PIXELS, ViewPosition="MLO", Manufacturer="HOLOGIC, Inc."))
    assert (header.laterality, header.view, header.manufacturer) == ("L", "MLO", "hologic")
    assert (header.rows, header.columns, header.frames, header.exclusions) == (4, 4, 1, [])
    assert header.spacing_mm == pytest.approx(0.07)
    assert header.transfer_syntax == "1.2.840.10008.1.2.1"


@pytest.mark.parametrize(("value", "view"), [("399162004", "CC"), ("R-10226", "MLO"), ("399260004", "other")])
def test_view_code_comes_before_view_position(mammogram, value, view):
    assert read_header(mammogram(PIXELS, ViewPosition="CC", ViewCodeSequence=[code(value)])).view == view


def test_sides_fall_back(mammogram):
    assert read_header(mammogram(PIXELS, ImageLaterality=None, Laterality="R")).laterality == "R"
    assert read_header(mammogram(PIXELS, ImageLaterality="B", Laterality=None)).laterality is None
    assert read_header(mammogram(PIXELS, ViewPosition=None, PatientOrientation="MLO")).view == "MLO"
    assert read_header(mammogram(PIXELS, ViewPosition=None, PatientOrientation=["A", "R"])).view is None


@pytest.mark.parametrize(
    ("attributes", "exclusion"),
    [
        ({"PresentationIntentType": "FOR PROCESSING"}, "for_processing"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2.1"}, "for_processing"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.3", "NumberOfFrames": 40}, "tomosynthesis"),
        ({"NumberOfFrames": 2}, "multi_frame"),
        ({"Modality": "US"}, "not_mammography"),
        ({"ViewCodeSequence": [code("399162004", "399163009")]}, "magnification"),
        ({"ViewCodeSequence": [code("R-10242", "R-102D7")]}, "spot_compression"),
        ({"ViewCodeSequence": [code("399162004", "399209000")]}, "implant_displaced"),
        ({"EstimatedRadiographicMagnificationFactor": "1.8"}, "magnification"),
        ({"EstimatedRadiographicMagnificationFactor": "1.05"}, None),
        ({"ViewCodeSequence": [code("399162004", "399197002")]}, None),  # rolled: the whole breast
        ({"ViewCodeSequence": [code("399162004", "442593008")]}, "partial_view"),
        ({"ViewCodeSequence": [code("127457009")]}, "specimen"),
        ({"ViewPosition": "MLOID"}, "implant_displaced"),
        ({"ViewPosition": "RMCC"}, "magnification"),
        ({"ViewPosition": "SMLO"}, "spot_compression"),
        ({"PartialView": "YES"}, "partial_view"),
        ({"PartialView": "NO"}, None),
        ({"BodyPartExamined": "BREAST SPECIMEN"}, "specimen"),
        ({"SpecimenDescriptionSequence": [Dataset()]}, "specimen"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "STEREO_PLUS"]}, "stereo"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "POSTFIRE_MINUS"]}, "biopsy"),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMO", "GENERATED_2D"]}, "synthetic_2d"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "TOMO_PROJ"]}, "tomosynthesis"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", ""]}, None),
    ],
)
def test_exclusions(mammogram, attributes, exclusion):
    assert read_header(mammogram(PIXELS, **attributes)).exclusions == ([exclusion] if exclusion else [])


def test_every_reason_is_told():
    item = code("399162004", "399163009", "399209000")
    dataset = Dataset()
    dataset.Rows = dataset.Columns = 4
    dataset.ViewCodeSequence, dataset.PresentationIntentType = [item], "FOR PROCESSING"
    assert read_header(dataset).exclusions == ["for_processing", "magnification", "implant_displaced"]


def test_codes_are_those_of_the_standard():
    """PS3.16 CID 4014 and 4015 as pydicom carries them, in SNOMED CT and the retired codes."""
    retired = mapping["SCT"]
    by_name = {
        "magnification": ["Magnification"],
        "spot_compression": ["SpotCompression"],
        "implant_displaced": ["ImplantDisplaced"],
        "partial_view": ["AxillaryTail", "AxillaryTissue", "Cleavage", "InfraMammaryFold", "Tangential"],
    }
    expected = {getattr(codes.cid4015, name).value: reason for reason, names in by_name.items() for name in names}
    expected |= {retired[value]: reason for value, reason in expected.items()}
    assert expected == MODIFIER_CODES
    views = {"CC": codes.cid4014.CranioCaudal, "MLO": codes.cid4014.MedioLateralObliqueProjection}
    assert {code: name for name, c in views.items() for code in (c.value, retired[c.value])} == VIEW_CODES


@pytest.mark.parametrize(
    ("position", "view"),
    [("CC", "CC"), ("RMLO", "MLO"), ("LCCRL", "CC"), ("MLOID", "MLO"), ("ML", "other"), ("XCCL", "other")],
)
def test_view_position_in_one_word(mammogram, position, view):
    assert read_header(mammogram(PIXELS, ViewPosition=position)).view == view


@pytest.mark.parametrize(
    ("attributes", "side"),
    [
        ({"ViewPosition": "RMLO"}, "R"),
        ({"ViewPosition": "MLO"}, None),
        ({"PatientOrientation": ["A", "R"]}, "L"),
        ({"PatientOrientation": ["P", "FL"]}, "R"),
        ({"PatientOrientation": ["A", "F"]}, None),
        ({"PatientOrientation": "CC"}, None),
    ],
)
def test_the_side_is_sought_everywhere(mammogram, attributes, side):
    assert read_header(mammogram(PIXELS, ImageLaterality=None, **attributes)).laterality == side


def test_frame_laterality_of_the_shared_functional_groups(mammogram):
    dataset = mammogram(PIXELS, ImageLaterality=None, SharedFunctionalGroupsSequence=frame_side("R"))
    assert read_header(dataset).laterality == "R"


def test_pixels_that_are_not_square(mammogram):
    header = read_header(mammogram(PIXELS, ImagerPixelSpacing=[0.1, 0.05]))
    assert (header.spacing_mm, header.aspect) == (pytest.approx(0.1), pytest.approx(2.0))
    ratio = read_header(mammogram(PIXELS, ImagerPixelSpacing=None, PixelAspectRatio=[3, 4]))
    assert (ratio.spacing_mm, ratio.aspect) == (None, pytest.approx(0.75))
    with pytest.raises(UnusableFileError, match="aspect"):
        read_header(mammogram(PIXELS, ImagerPixelSpacing=[0.1, 0.01]))


def test_contradictions_are_flagged(mammogram):
    header = read_header(mammogram(PIXELS, BurnedInAnnotation="YES"))
    assert header_flags(header, "R", "MLO") == ["laterality_differs", "view_differs", "burned_in"]
    assert header_flags(read_header(mammogram(PIXELS, ViewPosition="ML")), "L", "LM") == [], "neither is CC or MLO"
    assert header_flags(read_header(mammogram(PIXELS, ViewPosition="ML")), "L", "CC") == ["view_differs"]
    assert header_flags(read_header(mammogram(PIXELS, ImageLaterality=None, ViewPosition=None)), "R", "MLO") == []


@pytest.mark.parametrize(
    ("attributes", "read", "flag"),
    [
        ({"SharedFunctionalGroupsSequence": frame_side("R")}, ("L", "CC"), "laterality_within_file"),
        ({"SharedFunctionalGroupsSequence": frame_side("L")}, ("L", "CC"), None),
        ({"Laterality": "R"}, ("L", "CC"), "laterality_within_file"),
        ({"ViewPosition": "RCC"}, ("L", "CC"), "laterality_within_file"),
        ({"PatientOrientation": ["P", "L"]}, ("L", "CC"), "laterality_within_file"),
        ({"PatientOrientation": ["A", "R"], "Laterality": "L"}, ("L", "CC"), None),
        ({"Laterality": "B"}, ("L", "CC"), None),  # both breasts: names no side
        ({"PatientOrientation": ["P", "F"]}, ("L", "CC"), None),
        ({"ViewCodeSequence": [code("399368009")]}, ("L", "MLO"), "view_within_file"),
        ({"ViewCodeSequence": [code("399162004")]}, ("L", "CC"), None),
        ({"ViewCodeSequence": [code("399260004")]}, ("L", "other"), "view_within_file"),  # medio-lateral
        ({"ViewCodeSequence": [code("399162004")], "ViewPosition": "ML"}, ("L", "CC"), "view_within_file"),
        ({"ViewCodeSequence": [code("399260004")], "ViewPosition": "ML"}, ("L", "other"), None),
        ({"PatientOrientation": "MLO"}, ("L", "CC"), "view_within_file"),
        ({"ViewCodeSequence": [code("399368009", "399011000")], "ViewPosition": "AT"}, ("L", "MLO"), None),
        ({"ViewCodeSequence": [code("399161006")]}, ("L", "other"), None),  # cleavage, coded as if it were a view
        ({"ViewCodeSequence": [code("399368009")], "ViewPosition": "JANE"}, ("L", "MLO"), None),
        ({"ViewCodeSequence": [code("399368009")], "ViewPosition": "JANE", "PatientOrientation": "CC"}, ("L", "MLO"),
         "view_within_file"),
    ],
)  # fmt: skip
def test_two_places_of_a_file_that_contradict_each_other_are_flagged_and_the_first_wins(
    mammogram, attributes, read, flag
):
    header = read_header(mammogram(PIXELS, **attributes))
    assert (header.laterality, header.view) == read
    assert header_flags(header, *read) == ([flag] if flag else [])


def test_every_contradiction_of_a_file_is_told(mammogram):
    header = read_header(mammogram(PIXELS, ViewCodeSequence=[code("399368009")], Laterality="R"))
    flags = ["laterality_differs", "view_differs", "laterality_within_file", "view_within_file"]
    assert header_flags(header, "R", "CC") == flags


def test_absurd_sizes_are_refused(mammogram):
    with pytest.raises(UnusableFileError, match="too_large: 65535 x 65535"):
        read_header(mammogram(PIXELS, Rows=65535, Columns=65535))
    with pytest.raises(UnusableFileError, match="no_pixels"):
        read_header(mammogram(PIXELS, Rows=0))


def test_text_is_reduced_to_vocabularies(mammogram):
    header = read_header(mammogram(PIXELS, Manufacturer="Jane Roe", ViewPosition="JANE", ImageLaterality="J"))
    assert (header.manufacturer, header.view, header.laterality) == ("other", "other", None)
    assert read_header(mammogram(PIXELS, PhotometricInterpretation="JANE")).photometric == "other"
    assert known_manufacturer(" ") is None and known_manufacturer("IMAGES OF GENEVA") == "other"


def test_pseudonyms():
    # RFC 2104 with SHA-256; computed with `printf 'patient\\0a' | openssl dgst -sha256 -hmac key`.
    assert pseudonym(b"key", "patient", "a") == "2402dfa7eb153f5d"
    assert pseudonym(b"key", "exam", "a") != pseudonym(b"key", "patient", "a") != pseudonym(b"other", "patient", "a")
    with pytest.raises(ValueError, match="empty"):
        pseudonym(b"", "patient", "a")
