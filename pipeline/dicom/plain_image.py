"""Reads PNG, TIFF, PGM and JPEG mammograms: grey values without tags; side and view come from the archive's table."""

import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.dicom.deidentify import UnusableFileError
from pipeline.dicom.frame import IDENTITY, Frame, frame_of
from pipeline.dicom.header import MAX_PIXELS, Header

SUFFIXES = (".png", ".tif", ".tiff", ".pgm", ".jpg", ".jpeg")
FORMATS = ("PNG", "TIFF", "PPM", "JPEG")
# 8-bit greys fill the 16-bit display scale (255 x 257 = 65535); 16-bit ones stay as they are.
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
    except FileNotFoundError:
        raise UnusableFileError("missing: the catalogued file is not in the archive") from None
    except Image.DecompressionBombError:
        raise UnusableFileError(f"too_large: more pixels than a mammogram has, at most {MAX_PIXELS}") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise UnusableFileError(f"not_an_image: {type(error).__name__} while reading the file's head") from None
    if rows * columns > MAX_PIXELS:
        raise UnusableFileError(f"too_large: {rows} x {columns} pixels, at most {MAX_PIXELS} are a mammogram")
    return Header(
        laterality=None, view=None, manufacturer=None, photometric=None, transfer_syntax=None, spacing_mm=None,
        aspect=1.0, rows=rows, columns=columns, frames=frames, exclusions=["multi_frame"] if frames > 1 else [],
        burned_in=False,
    )  # fmt: skip


def plain_frame(path: Path) -> Frame:
    """The grey values of one image, air dark as stored; colour images must be grey in all channels.

    Raises:
        UnusableFileError: the image cannot be decoded, is coloured, or has neither 8 nor 16 bits.
    """
    words = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if words is None:
        raise UnusableFileError("decode: the image cannot be decoded; it may be cut short")
    if words.ndim == 3:
        if (words[..., :1] != words[..., :3]).any():
            raise UnusableFileError("photometric: expected grey pixels, found colours")
        words = np.ascontiguousarray(words[..., 0])
    if words.dtype not in (np.uint8, np.uint16):
        raise UnusableFileError("depth: expected 8 or 16 bits per pixel")
    return frame_of(words, EIGHT_BITS if words.dtype == np.uint8 else IDENTITY, *words.shape)
