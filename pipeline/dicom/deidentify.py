"""What may leave a DICOM file: an allow-list of attributes, fixed vocabularies for text, pseudonyms for identifiers."""

import hashlib
import hmac
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag, Tag

# The only attributes that are read into memory; every other one is skipped in the file. PS3.6 gives the tags.
ALLOWED = (
    "SOPClassUID", "Modality", "PresentationIntentType",
    "ImageLaterality", "Laterality", "ViewPosition", "PatientOrientation", "ViewCodeSequence",
    "EstimatedRadiographicMagnificationFactor", "Manufacturer", "BurnedInAnnotation",
    "PixelSpacing", "ImagerPixelSpacing",
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept",
    "VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth", "PresentationLUTShape",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData",
)  # fmt: skip
# Manufacturer (0008,0070) is free text: only these words of it leave the file, anything else becomes "other".
MANUFACTURERS = (
    "AGFA", "CARESTREAM", "FISCHER", "FUJI", "GE ", "GIOTTO", "HOLOGIC", "IMS", "KODAK", "KONICA", "LORAD",
    "PHILIPS", "PLANMED", "SECTRA", "SIEMENS",
)  # fmt: skip
PSEUDONYM_DIGITS = 16  # 64 bits: at 10 million identifiers a collision has probability 3e-6.


class UnusableFileError(Exception):
    """A file that cannot become a crop; the message is `code: detail` and holds no value read from the file's text."""


@contextmanager
def silenced() -> Iterator[None]:
    """Withholds pydicom's log and all warnings while it is open: they quote values of the file."""
    log = logging.getLogger("pydicom")
    before = log.disabled
    log.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = before


def read_allowed(path: Path) -> pydicom.FileDataset:
    """Reads the allow-listed attributes of one DICOM file; the others are never loaded.

    Raises:
        UnusableFileError: there is no such file, or it is not DICOM (PS3.10: 128 bytes, then `DICM`).
    """
    tags: list[BaseTag | int | str | tuple[int, int]] = [Tag(keyword) for keyword in ALLOWED]
    try:
        return pydicom.dcmread(path, specific_tags=tags)
    except FileNotFoundError:
        raise UnusableFileError("missing: the catalogued file is not in the archive") from None
    except InvalidDicomError:
        raise UnusableFileError("not_dicom: the file does not begin with a DICOM preamble") from None
    except Exception as error:
        raise UnusableFileError(f"unreadable: {type(error).__name__} while reading the attributes") from None


def known_manufacturer(text: str | None) -> str | None:
    """Maps the free text of Manufacturer (0008,0070) onto a fixed vocabulary.

    >>> known_manufacturer("HOLOGIC, Inc."), known_manufacturer("GE MEDICAL SYSTEMS"), known_manufacturer("Jane Roe")
    ('hologic', 'ge', 'other')
    """
    if not text or not text.strip():
        return None
    padded = f" {text.upper()} "
    return next((name.strip().lower() for name in MANUFACTURERS if f" {name}" in padded), "other")


def pseudonym(key: bytes, kind: str, identifier: str) -> str:
    """Replaces an identifier by a keyed hash that cannot be reversed, or recomputed without the key.

    Args:
        key: Secret of the site, kept outside the repository.
        kind: Namespace (`patient`, `exam`, ...), so that equal identifiers of two kinds do not meet.
        identifier: The identifier as the archive writes it.

    Returns:
        16 hexadecimal digits of HMAC-SHA256 (RFC 2104).

    Raises:
        ValueError: the key is empty, which would make the pseudonym recomputable by anybody.
    """
    if not key:
        raise ValueError("the key of the pseudonyms is empty")
    return hmac.new(key, f"{kind}\0{identifier}".encode(), hashlib.sha256).hexdigest()[:PSEUDONYM_DIGITS]
