"""Turns the stored values of one file into display values: modality LUT, VOI LUT, MONOCHROME1 undone, 16 bits."""

import numpy as np
from jaxtyping import UInt16
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from pipeline.dicom.deidentify import UnusableFileError

WHITE = 65535  # the display scale: 0 is black (air), 65535 white (dense tissue)


def display_values(dataset: Dataset) -> UInt16[np.ndarray, "height width"]:
    """Decodes one single-frame image and maps it to the 16-bit display scale.

    Stored values pass the modality LUT (PS3.3 C.11.1), then the first VOI LUT or window (C.11.2; a VOI LUT comes
    before a window), and the range those steps can produce, a property of the header and not of the pixels, is
    mapped linearly onto 0..65535: the VOI LUT's or the window's output range, or without them the range of
    BitsStored after the modality step. MONOCHROME1, or a Presentation LUT Shape INVERSE (C.11.6), is then undone.

    Raises:
        UnusableFileError: no pixel data, of the wrong length, not 8 or 16 bits of one sample, or not decodable.
    """
    pixels = _stored_values(dataset)
    try:
        table = _grey_table(dataset, pixels.dtype)
    except Exception as error:
        raise UnusableFileError(f"grey_values: {type(error).__name__} while applying the modality or VOI LUT") from None
    unsigned = np.dtype(f"u{pixels.dtype.itemsize}")
    return np.asarray(table[pixels.view(unsigned)])


def _stored_values(dataset: Dataset) -> np.ndarray:
    """Decodes with pydicom (the reference decoder of this project), after checking what the header promises."""
    if "PixelData" not in dataset or not dataset.PixelData:
        raise UnusableFileError("no_pixels: there is no pixel data; the file is cut short or holds no image")
    if dataset.get("SamplesPerPixel", 1) != 1 or dataset.PhotometricInterpretation not in (
        "MONOCHROME1",
        "MONOCHROME2",
    ):
        raise UnusableFileError("photometric: expected one MONOCHROME1 or MONOCHROME2 sample per pixel")
    if dataset.get("BitsAllocated") not in (8, 16):
        raise UnusableFileError("depth: expected 8 or 16 bits allocated per pixel")
    _check_length(dataset)
    try:
        pixels = np.asarray(dataset.pixel_array)
    except Exception as error:
        raise UnusableFileError(f"decode: {type(error).__name__} while decoding the pixels") from None
    if pixels.shape != (dataset.Rows, dataset.Columns):
        raise UnusableFileError(f"decode: {pixels.shape} pixels decoded, {(dataset.Rows, dataset.Columns)} declared")
    return pixels


def _check_length(dataset: Dataset) -> None:
    """Uncompressed pixel data must fill the frame exactly, but for a byte of padding (PS3.5 8.1.1)."""
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return
    expected = dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8
    if len(dataset.PixelData) != expected + expected % 2:
        raise UnusableFileError(f"pixel_length: {len(dataset.PixelData)} bytes of pixels, {expected} expected")


def _grey_table(dataset: Dataset, stored: np.dtype) -> UInt16[np.ndarray, " values"]:
    """The display value of every value that can be stored, so that pydicom's LUTs run on 65536 numbers, not a frame.

    Returns:
        Display values, indexed by the bits of the stored value read as an unsigned integer.
    """
    values = np.arange(2 ** (8 * stored.itemsize), dtype=f"u{stored.itemsize}").view(stored)
    if not dataset.get("VOILUTFunction"):
        dataset.pop("VOILUTFunction", None)  # type 3: empty means absent, and pydicom refuses an empty one
    low, high = _output_range(dataset)
    if _has_lut(dataset, "VOILUTSequence") and dataset.VOILUTSequence[0].LUTDescriptor[2] == 8:
        dataset.VOILUTSequence[0].LUTDescriptor[2] = (
            16  # pydicom 3.0 keeps indices in the LUT's depth: they wrap at 256
        )
    grey = apply_voi_lut(apply_modality_lut(values, dataset), dataset, index=0).astype(np.float64)
    share = np.clip((grey - low) / (high - low), 0, 1)
    if dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        share = 1 - share
    return np.asarray(np.rint(share * WHITE), dtype=np.uint16)


def _output_range(dataset: Dataset) -> tuple[float, float]:
    """The display value of black and of white after modality and VOI LUT, before MONOCHROME1 is undone.

    With a negative RescaleSlope a window's black is the greater number (PS3.3 C.11.2.1.2 takes the output range from
    the rescaled BitsStored range, and so does pydicom), while rescaled values without a window keep their order.
    """
    if _has_lut(dataset, "VOILUTSequence"):
        return 0.0, float(2 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1)
    if dataset.get("ModalityLUTSequence"):
        return 0.0, float(2 ** dataset.ModalityLUTSequence[0].LUTDescriptor[2] - 1)
    bits = dataset.BitsStored
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dataset.PixelRepresentation else (0, 2**bits - 1)
    if "RescaleSlope" in dataset and "RescaleIntercept" in dataset:
        low, high = (float(end * dataset.RescaleSlope + dataset.RescaleIntercept) for end in (low, high))
    windowed = None not in (dataset.get("WindowCenter"), dataset.get("WindowWidth"))
    return (float(low), float(high)) if windowed else (float(min(low, high)), float(max(low, high)))


def _has_lut(dataset: Dataset, keyword: str) -> bool:
    """Whether a LUT sequence holds a first item with its data."""
    sequence = dataset.get(keyword)
    return bool(sequence) and None not in (sequence[0].get("LUTDescriptor"), sequence[0].get("LUTData"))
