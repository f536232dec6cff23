"""Laterality, view, exclusions and vocabularies of the header."""

import numpy as np
import pytest
from pydicom import Dataset

from pipeline.dicom.deidentify import UnusableFileError, known_manufacturer, pseudonym
from pipeline.dicom.header import header_flags, read_header

PIXELS = np.zeros((4, 4), np.uint16)


def code(value: str, *modifiers: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = value, "SCT"
    item.ViewModifierCodeSequence = [code(modifier) for modifier in modifiers]
    return item


def test_reads_side_view_and_geometry(mammogram):
    header = read_header(mammogram(PIXELS, ViewPosition="MLO", Manufacturer="HOLOGIC, Inc."))
    assert (header.laterality, header.view, header.manufacturer) == ("L", "MLO", "hologic")
    assert (header.rows, header.columns, header.frames, header.exclusion) == (4, 4, 1, None)
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
        ({"ViewCodeSequence": [code("399162004", "399209000")]}, None),
        ({"EstimatedRadiographicMagnificationFactor": "1.8"}, "magnification"),
        ({"EstimatedRadiographicMagnificationFactor": "1.05"}, None),
    ],
)
def test_exclusions(mammogram, attributes, exclusion):
    assert read_header(mammogram(PIXELS, **attributes)).exclusion == exclusion


def test_contradictions_are_flagged(mammogram):
    header = read_header(mammogram(PIXELS, BurnedInAnnotation="YES"))
    assert header_flags(header, "R", "MLO") == ["laterality_differs", "view_differs", "burned_in"]
    assert header_flags(read_header(mammogram(PIXELS, ImageLaterality=None, ViewPosition=None)), "R", "MLO") == []


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
