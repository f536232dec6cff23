"""Display values against tables computed by hand, and every transfer syntax against the uncompressed file."""

import io

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.pixels import apply_voi_lut
from pydicom.uid import HTJ2KLossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from pipeline.dicom.deidentify import UnusableFileError
from pipeline.dicom.pixels import display_values, grey_table

STORED = np.array([[0, 1000, 2047], [2048, 3000, 4095]], np.uint16)


def shown(dataset: Dataset) -> np.ndarray:
    """Through a file, as in use."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return display_values(pydicom.dcmread(buffer))


def lut(first: int, entries: list[int], bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return item


def scaled(values: list[float], low: float, high: float) -> np.ndarray:
    return np.rint((np.array(values, float).reshape(2, 3) - low) / (high - low) * 65535)


def test_without_window_the_stored_range_is_the_display_range(mammogram):
    assert (shown(mammogram(STORED)) == scaled([0, 1000, 2047, 2048, 3000, 4095], 0, 4095)).all()


def test_sixteen_bits_without_window_stay_as_they_are(mammogram):
    stored = np.arange(6, dtype=np.uint16).reshape(2, 3) * 13107
    assert (shown(mammogram(stored, BitsStored=16, HighBit=15)) == stored).all()


def test_monochrome1_is_undone(mammogram):
    inverted = shown(mammogram(STORED, PhotometricInterpretation="MONOCHROME1"))
    assert (inverted == 65535 - scaled([0, 1000, 2047, 2048, 3000, 4095], 0, 4095)).all()


def test_monochrome1_with_inverse_presentation_is_undone_once(mammogram):
    one = shown(mammogram(STORED, PhotometricInterpretation="MONOCHROME1"))
    both = shown(mammogram(STORED, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE"))
    assert (one == both).all()


def test_linear_window_after_rescale(mammogram):
    # Rescaled: 10 + 2 x stored. Window centre 4010, width 2001 (PS3.3 C.11.2.1.2.1): black up to 3009.5, white above
    # 5009.5, between ((v - 4009.5) / 2000 + 0.5); output range 10..8200.
    dataset = mammogram(STORED, RescaleSlope="2", RescaleIntercept="10", WindowCenter="4010", WindowWidth="2001")
    expected = [0, 0, ((4104 - 4009.5) / 2000 + 0.5), ((4106 - 4009.5) / 2000 + 0.5), 1, 1]
    assert (shown(dataset) == np.rint(np.array(expected).reshape(2, 3) * 65535)).all()


def test_first_of_two_windows(mammogram):
    one = mammogram(STORED, WindowCenter="2000", WindowWidth="1000")
    two = mammogram(STORED, WindowCenter=["2000", "100"], WindowWidth=["1000", "50"])
    assert (shown(one) == shown(two)).all()


def test_sigmoid_window(mammogram):
    # PS3.3 C.11.2.1.3.1: 1 / (1 + exp(-4 (v - c) / w)).
    dataset = mammogram(STORED, WindowCenter="2000", WindowWidth="1000", VOILUTFunction="SIGMOID")
    expected = 65535 / (1 + np.exp(-4 * (STORED.astype(float) - 2000) / 1000))
    assert np.abs(shown(dataset) - expected).max() <= 0.5


def test_linear_exact_window_and_empty_function(mammogram):
    exact = mammogram(STORED, WindowCenter="2000", WindowWidth="2000", VOILUTFunction="LINEAR_EXACT")
    assert (shown(exact) == np.rint(np.clip((STORED - 1000.0) / 2000, 0, 1) * 65535)).all()
    window = {"WindowCenter": "2000", "WindowWidth": "2000"}
    assert (shown(mammogram(STORED, VOILUTFunction="", **window)) == shown(mammogram(STORED, **window))).all()


def test_signed_values(mammogram):
    stored = np.array([[-2048, -1000, 0], [1, 1000, 2047]], np.int16)
    assert (shown(mammogram(stored, PixelRepresentation=1)) == scaled(stored.ravel().tolist(), -2048, 2047)).all()


def test_negative_slope_reverses_with_and_without_window(mammogram):
    rescale = {"RescaleSlope": "-1", "RescaleIntercept": "4095"}
    assert (shown(mammogram(STORED, **rescale)) == scaled([4095, 3095, 2048, 2047, 1095, 0], 0, 4095)).all()
    windowed = shown(mammogram(STORED, WindowCenter="2048", WindowWidth="4096", **rescale))
    assert windowed[0, 0] == 65535 and windowed[1, 2] == 0 and windowed[0, 1] > windowed[1, 1]


def test_voi_lut_comes_before_the_window(mammogram):
    entries = [0, 1023, 100, 200]
    dataset = mammogram(STORED, VOILUTSequence=[lut(2046, entries, 10)], WindowCenter="1000", WindowWidth="10")
    assert (shown(dataset) == scaled([0, 0, 1023, 100, 200, 200], 0, 1023)).all()


def test_eight_bit_voi_lut_with_many_entries(mammogram):
    ramp = (np.arange(4096) // 16).tolist()
    assert (shown(mammogram(STORED, VOILUTSequence=[lut(0, ramp, 8)])) == np.rint(STORED // 16 / 255 * 65535)).all()


def test_modality_lut(mammogram):
    table = lut(0, (4095 - np.arange(4096)).tolist(), 16)
    table.ModalityLUTType = "US"
    assert (shown(mammogram(STORED, ModalityLUTSequence=[table])) == 4095 - STORED).all()


def test_overlay_bits_above_the_stored_ones_are_ignored(mammogram):
    assert (shown(mammogram(STORED | 0xF000)) == shown(mammogram(STORED))).all()


def test_high_bit_shifts_the_value(mammogram):
    high = mammogram((STORED << 4) | 0xF, BitsStored=12, HighBit=15)
    assert (shown(high) == shown(mammogram(STORED))).all()


def test_signed_values_of_twelve_bits_take_their_sign_from_the_stored_bits(mammogram):
    words = np.array([[0x800, 0xFFF, 0x000], [0x001, 0x7FF, 0xC18]], np.uint16)  # -2048, -1, 0, 1, 2047, -1000
    assert (shown(mammogram(words, PixelRepresentation=1)) == scaled([-2048, -1, 0, 1, 2047, -1000], -2048, 2047)).all()


def test_padding_becomes_black_also_when_inverted(mammogram):
    padded = mammogram(STORED, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0)
    assert shown(padded).ravel().tolist() == [0, *shown(mammogram(STORED, PhotometricInterpretation="MONOCHROME1"))
                                              .ravel()[1:].tolist()]  # fmt: skip
    ranged = mammogram(STORED, PixelPaddingValue=4095, PixelPaddingRangeLimit=3000)
    assert shown(ranged).ravel().tolist()[-2:] == [0, 0] and shown(ranged)[0, 2] > 0


def test_which_voi_transformation_is_recorded(mammogram):
    assert grey_table(mammogram(STORED)).voi == "none"
    assert grey_table(mammogram(STORED, WindowCenter="2000", WindowWidth="1000")).voi == "LINEAR window 1 of 1"
    three = {"WindowCenter": ["2000", "1", "2"], "WindowWidth": ["1000", "1", "1"], "VOILUTFunction": "SIGMOID"}
    assert grey_table(mammogram(STORED, **three)).voi == "SIGMOID window 1 of 3"
    both = mammogram(STORED, VOILUTSequence=[lut(0, [0, 1], 12), lut(0, [0, 1], 12)], **three)
    assert grey_table(both).voi == "lut 1 of 2"


@pytest.mark.parametrize(
    "attributes",
    [
        {"WindowCenter": ["1500", "9"], "WindowWidth": ["900", "9"]},
        {"WindowCenter": "1500", "WindowWidth": "900", "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": "1500", "WindowWidth": "900", "VOILUTFunction": "SIGMOID"},
        {"VOILUTSequence": [lut(500, list(range(0, 4096, 4)), 12)]},
        {"VOILUTSequence": [lut(0, (np.arange(4096) ** 2 // 4096).tolist(), 12)]},
    ],
)
def test_voi_equals_pydicoms_up_to_the_scale(mammogram, attributes):
    stored = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    expected = apply_voi_lut(stored, mammogram(stored, **attributes), index=0).astype(float)
    grey = shown(mammogram(stored, **attributes))
    assert np.abs(grey - np.rint(expected / 4095 * 65535)).max() <= 1


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLosslessSV1, JPEG2000Lossless, HTJ2KLossless, JPEGLSLossless])
def test_transfer_syntaxes_decode_alike(mammogram, breast, syntax):
    stored = breast()
    assert (shown(mammogram(stored, syntax)) == shown(mammogram(stored))).all()


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"PhotometricInterpretation": "RGB"}, "photometric"),
        ({"SamplesPerPixel": 3}, "photometric"),
        ({"BitsAllocated": 32}, "depth"),
        ({"PixelData": None}, "no_pixels"),
        ({"PixelData": b"\0" * 10}, "pixel_length"),
        ({"PixelData": b"\0" * 14}, "pixel_length"),
        ({"WindowCenter": "100", "WindowWidth": "0"}, "grey_values"),
        ({"BitsStored": 0}, "depth"),
        ({"BitsStored": 17}, "depth"),
        ({"HighBit": 3}, "depth"),
    ],
)
def test_unusable_pixels_are_named(mammogram, attributes, code):
    with pytest.raises(UnusableFileError, match=f"^{code}: "):
        shown(mammogram(STORED, **attributes))
