"""Decodes the pixels of one single-frame image to stored values: a fast decoder per transfer syntax, pydicom else.

Every entry of FAST is proved bit-equal to pydicom's decoder (tests/dicom/test_decode.py); what a fast decoder refuses
goes to pydicom. A lossless JPEG whose middle is damaged is refused by neither: both fill in what they cannot read.
"""

import io
from collections.abc import Callable, Mapping
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from pipeline.dicom.codestream import END, bare_codestream, codestream_shape, wavelet_bits
from pipeline.dicom.deidentify import UnusableFileError

Stored = np.ndarray  # unsigned words of 8 or 16 bits, [height, width], as they lie in the file


def _rle(frame: bytes, dataset: Dataset) -> Stored:
    """Decodes no more bytes than the header declares; a code that holds more is an error."""
    kind = f"<u{dataset.BitsAllocated // 8}"
    declared = dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8
    words = np.frombuffer(imagecodecs.dicomrle_decode(frame, kind, out=declared), kind)
    return words.reshape(dataset.Rows, dataset.Columns)


# libjpeg-turbo 3 (`jpeg8`) reads lossless JPEG of every depth and predictor in 65 ms where lj92 (`ljpeg`) takes 106.
FAST: Mapping[str, Callable[[bytes, Dataset], Any]] = {
    RLELossless: _rle,
    JPEGLossless: lambda frame, _: imagecodecs.jpeg8_decode(frame),
    JPEGLosslessSV1: lambda frame, _: imagecodecs.jpeg8_decode(frame),
    JPEGLSLossless: lambda frame, _: imagecodecs.jpegls_decode(frame),
    JPEG2000Lossless: lambda frame, _: imagecodecs.jpeg2k_decode(frame),
    HTJ2KLossless: lambda frame, _: imagecodecs.htj2k_decode(frame),
    HTJ2KLosslessRPCL: lambda frame, _: imagecodecs.htj2k_decode(frame),
}
# Wavelet codes hold smaller copies of themselves; OpenJPEG reads them without the rest.
REDUCIBLE = (JPEG2000, JPEG2000Lossless)


def stored_values(dataset: Dataset) -> Stored:
    """Decodes the frame after checking what the header promises.

    Returns:
        Words of BitsAllocated bits, as they lie in the file: signed values are not converted, and bits outside
        BitsStored (old overlays) are not masked; pixels.py does both, by table.

    Raises:
        UnusableFileError: no pixel data, of the wrong length, not 8 or 16 bits of one sample, or not decodable.
    """
    check_pixels(dataset)
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        words = _uncompressed(dataset) if not syntax.is_compressed else _decompressed(dataset, syntax)
    except UnusableFileError:
        raise
    except Exception as error:
        raise UnusableFileError(f"decode: {type(error).__name__} while decoding the pixels") from None
    if words.shape != (dataset.Rows, dataset.Columns):
        raise UnusableFileError(f"decode: {words.shape} pixels decoded, {(dataset.Rows, dataset.Columns)} declared")
    return words


def reduced_values(dataset: Dataset, halvings: int) -> Stored | None:
    """A smaller copy of the frame, each side halved `halvings` times, or None where the file holds none.

    The copy is the low-pass band of the wavelet code. On real films it differs from the mean over the same pixels by
    at most 0.7 % of the grey range on average, by less than 2 % (halved once) or 3 % (twice) for 99 % of the pixels
    (tests/dicom/test_decode.py): most of it is the band's shift by half a pixel. Pillow cannot halve a side twice that
    leaves a remainder of 1 when divided by 4.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    check_pixels(dataset)
    if syntax not in REDUCIBLE or dataset.PixelRepresentation:
        return None
    code = _frame(dataset, syntax)
    bits = wavelet_bits(code)
    if bits is None:
        return None
    try:
        with Image.open(io.BytesIO(code), formats=("JPEG2000",)) as image:
            setattr(image, "reduce", halvings)  # noqa: B010 - a property of this format, a method of the others
            image.load()
            words = np.asarray(image)
    except Exception:
        return None  # the full decode tells what is wrong
    # Pillow stretches 9 to 15 bits to 16.
    return words >> (16 - bits) if words.dtype == np.uint16 else words.astype(np.uint8)


def check_pixels(dataset: Dataset) -> None:
    """Refuses what is no single grey image of 8 or 16 bits, before anything is decoded."""
    if "PixelData" not in dataset or not dataset.PixelData:
        raise UnusableFileError("no_pixels: there is no pixel data; the file is cut short or holds no image")
    if dataset.get("SamplesPerPixel", 1) != 1 or dataset.get("PhotometricInterpretation") not in (
        "MONOCHROME1",
        "MONOCHROME2",
    ):
        raise UnusableFileError("photometric: expected one MONOCHROME1 or MONOCHROME2 sample per pixel")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise UnusableFileError("multi_frame: expected one frame; leave such images out (ingest.exclude)")
    if dataset.get("BitsAllocated") not in (8, 16):
        raise UnusableFileError("depth: expected 8 or 16 bits allocated per pixel")
    bits, high = dataset.get("BitsStored"), dataset.get("HighBit")
    if not (isinstance(bits, int) and 1 <= bits <= dataset.BitsAllocated):
        raise UnusableFileError("depth: expected BitsStored between 1 and BitsAllocated")
    if not (isinstance(high, int) and bits - 1 <= high < dataset.BitsAllocated):
        raise UnusableFileError("depth: expected HighBit between BitsStored - 1 and BitsAllocated - 1")


def _uncompressed(dataset: Dataset) -> Stored:
    """Uncompressed pixel data must fill the frame exactly, but for a byte of padding (PS3.5 8.1.1)."""
    expected = dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8
    if len(dataset.PixelData) != expected + expected % 2:
        raise UnusableFileError(f"pixel_length: {len(dataset.PixelData)} bytes of pixels, {expected} expected")
    big = dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    if big and dataset.BitsAllocated == 8:  # in OW they lie swapped: left to pydicom
        return _reference(dataset)
    order = ">" if big else "<"
    words = np.frombuffer(dataset.PixelData, f"{order}u{dataset.BitsAllocated // 8}", dataset.Rows * dataset.Columns)
    return words.astype(words.dtype.newbyteorder("="), copy=False).reshape(dataset.Rows, dataset.Columns)


def _decompressed(dataset: Dataset, syntax: str) -> Stored:
    """By the fast decoder of the syntax, by pydicom where there is none or it fails."""
    frame = _frame(dataset, syntax)
    if syntax in FAST and not dataset.PixelRepresentation:
        try:
            words = np.asarray(FAST[syntax](frame, dataset))
            if words.dtype == np.dtype(f"u{dataset.BitsAllocated // 8}"):
                return words
        except Exception:
            if syntax == RLELossless:  # pydicom's decoder does not stop at the declared size
                raise
    return _reference(dataset)


def _reference(dataset: Dataset) -> Stored:
    """By pydicom."""
    pixels = np.asarray(dataset.pixel_array)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False).view(f"u{pixels.dtype.itemsize}")


def _frame(dataset: Dataset, syntax: str) -> bytes:
    """The one frame's code, after its size, where it names one, was compared with the header's."""
    frame: bytes = get_frame(dataset.PixelData, 0, number_of_frames=1)
    if syntax == RLELossless:
        return frame
    frame = bare_codestream(frame)
    if not frame.rstrip(b"\0").endswith(END):
        raise UnusableFileError("decode: the code is cut short: it does not end with its end marker")
    shape = codestream_shape(frame)
    if shape is not None and shape != (dataset.Rows, dataset.Columns):
        raise UnusableFileError(f"decode: the code holds {shape} pixels, {(dataset.Rows, dataset.Columns)} declared")
    return frame
