"""Reads PNG, TIFF, PGM and JPEG mammograms: grey values without tags; side and view come from the archive's table."""

import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.dicom.deidentify import UnusableFileError
from pipeline.dicom.frame import IDENTITY, Frame, frame_of
from pipeline.dicom.header import MAX_PIXELS, Header
from pipeline.dicom.pixels import WHITE

SUFFIXES = (".png", ".tif", ".tiff", ".pgm", ".jpg", ".jpeg")
FORMATS = ("PNG", "TIFF", "PPM", "JPEG")
# 8-bit greys fill the 16-bit display scale (255 x 257 = 65535); 16-bit ones stay as they are.
PHOTOMETRIC_TAG, WHITE_IS_ZERO = 262, 0  # TIFF 6.0, PhotometricInterpretation; film digitisers write it
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"  # ITU-T T.81, SOI and EOI
EIGHT_BITS = (np.arange(256, dtype=np.uint32) * 257).astype(np.uint16)


def is_plain(path: Path) -> bool:
    """Whether a file's name says it is no DICOM."""
    return path.suffix.lower() in SUFFIXES


def plain_header(path: Path) -> Header:
    """What a file without tags tells: its size.

    Raises:
        UnusableFileError: there is no such file, it is no image of these formats, or larger than any mammogram.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            columns, rows = image.size
            frames = getattr(image, "n_frames", 1)
            inverse = getattr(image, "tag_v2", {}).get(PHOTOMETRIC_TAG) == WHITE_IS_ZERO
    except FileNotFoundError:
        raise UnusableFileError("missing: the catalogued file is not in the archive") from None
    except Image.DecompressionBombError:
        raise UnusableFileError(f"too_large: more pixels than a mammogram has, at most {MAX_PIXELS}") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise UnusableFileError(f"not_an_image: {type(error).__name__} while reading the file's head") from None
    if rows * columns > MAX_PIXELS:
        raise UnusableFileError(f"too_large: {rows} x {columns} pixels, at most {MAX_PIXELS} are a mammogram")
    return Header(
        laterality=None, view=None, manufacturer=None, photometric="MONOCHROME1" if inverse else None,
        transfer_syntax=None, spacing_mm=None, aspect=1.0, rows=rows, columns=columns, frames=frames,
        exclusions=["multi_frame"] if frames > 1 else [], burned_in=False,
    )  # fmt: skip


def plain_frame(path: Path, inverse: bool) -> Frame:
    """The grey values of one image; colour images must be grey in all channels.

    The file is read here and decoded from memory: OpenCV's complaints name the path that it is given.

    Args:
        path: The file.
        inverse: Whether zero is white.

    Raises:
        UnusableFileError: the image cannot be decoded, is cut short or coloured, or has neither 8 nor 16 bits.
    """
    content = path.read_bytes()
    if content.startswith(JPEG_START) and not content.rstrip(b"\0").endswith(JPEG_END):
        raise UnusableFileError("decode: the image is cut short")
    encoded = np.frombuffer(content, np.uint8)
    words = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION) if len(encoded) else None
    if words is None:
        raise UnusableFileError("decode: the image cannot be decoded; it may be cut short")
    if words.ndim == 3:
        if (words[..., :1] != words[..., :3]).any():
            raise UnusableFileError("photometric: expected grey pixels, found colours")
        words = np.ascontiguousarray(words[..., 0])
    if words.dtype not in (np.uint8, np.uint16):
        raise UnusableFileError("depth: expected 8 or 16 bits per pixel")
    values = EIGHT_BITS if words.dtype == np.uint8 else IDENTITY
    return frame_of(words, np.uint16(WHITE) - values if inverse else values, *words.shape)
