"""What may leave a DICOM file: an allow-list of attributes, fixed vocabularies for text, pseudonyms for identifiers."""

import hashlib
import hmac
import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

# The only attributes that are read into memory; every other one is skipped in the file. PS3.6 gives the tags.
ALLOWED = (
    "SOPClassUID", "Modality", "PresentationIntentType", "ImageType",
    "ImageLaterality", "Laterality", "SharedFunctionalGroupsSequence", "ViewPosition", "PatientOrientation",
    "ViewCodeSequence", "PartialView", "BodyPartExamined", "SpecimenDescriptionSequence",
    "EstimatedRadiographicMagnificationFactor", "Manufacturer", "BurnedInAnnotation",
    "PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio",
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelPaddingValue", "PixelPaddingRangeLimit",
    "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept",
    "VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth", "PresentationLUTShape",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData",
)  # fmt: skip
ALLOWED_TAGS: list[BaseTag | int | str | tuple[int, int]] = [Tag(keyword) for keyword in ALLOWED]
# Manufacturer (0008,0070) is free text: only these words of it leave the file, anything else becomes "other".
MANUFACTURERS = (
    "AGFA", "CARESTREAM", "FISCHER", "FUJI", "GE ", "GIOTTO", "HOLOGIC", "IMS", "KODAK", "KONICA", "LORAD",
    "PHILIPS", "PLANMED", "SECTRA", "SIEMENS",
)  # fmt: skip
# PS3.10 7.1: 128 bytes, `DICM`, then the group length as an element of 12 bytes.
PREAMBLE_BYTES, GROUP_LENGTH_BYTES, META_BYTES = 132, 12, 2048
MAX_INFLATED_BYTES = 160_000_000  # 64 million pixels of 16 bits, and a header
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


def read_allowed(path: Path, pixels: bool = True) -> pydicom.Dataset:
    """Reads the allow-listed attributes of one DICOM file; the others are never loaded.

    Args:
        path: The file.
        pixels: Whether to read the pixel data, which is nearly all of the file.

    Raises:
        UnusableFileError: there is no such file, or it is not DICOM (PS3.10: 128 bytes, then `DICM`).
    """
    try:
        if _is_deflated(path):
            return _read_deflated(path)
        return pydicom.dcmread(path, specific_tags=ALLOWED_TAGS, stop_before_pixels=not pixels)
    except UnusableFileError:
        raise
    except FileNotFoundError:
        raise UnusableFileError("missing: the catalogued file is not in the archive") from None
    except InvalidDicomError:
        raise UnusableFileError("not_dicom: the file does not begin with a DICOM preamble") from None
    except Exception as error:
        raise UnusableFileError(f"unreadable: {type(error).__name__} while reading the attributes") from None


def _is_deflated(path: Path) -> bool:
    """Whether the file meta information names the deflated transfer syntax (PS3.5 A.5)."""
    with path.open("rb") as stream:
        return DeflatedExplicitVRLittleEndian.encode() in stream.read(META_BYTES)


def _read_deflated(path: Path) -> pydicom.Dataset:
    """Inflates no more than a mammogram can hold, and reads the allow-listed attributes of that."""
    meta = read_file_meta_info(path)
    with path.open("rb") as stream:
        stream.seek(PREAMBLE_BYTES + GROUP_LENGTH_BYTES + meta.FileMetaInformationGroupLength)
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflated = inflater.decompress(stream.read(), MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise UnusableFileError(f"too_large: the file inflates to more than {MAX_INFLATED_BYTES} bytes")
    dataset = read_dataset(BytesIO(inflated), is_implicit_VR=False, is_little_endian=True, specific_tags=ALLOWED_TAGS)
    dataset.file_meta = meta
    return dataset


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
