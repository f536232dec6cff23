"""Reads the attributes of one mammogram that the pipeline uses, and says which images it must leave out."""

from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID

from pipeline.dicom.deidentify import ALLOWED, UnusableFileError, known_manufacturer

# Film of 24 x 30 cm sampled at 42 um (the finest digitiser of DDSM) has 41 million pixels; more is a broken header.
MAX_PIXELS = 64_000_000
# PS3.4 B.5: storage SOP classes that are never a two-dimensional image for presentation.
FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"
# PS3.16 CID 4014 (views), in SNOMED CT and in the retired SNOMED-RT codes that older devices write.
VIEW_CODES = {"399162004": "CC", "R-10242": "CC", "399368009": "MLO", "R-10226": "MLO"}
# PS3.16 CID 4015 (view modifiers) that show a part of the breast only.
PARTIAL_CODES = {
    "399163009": "magnification", "R-102D6": "magnification",
    "399055006": "spot_compression", "R-102D7": "spot_compression",
    "399011000": "axillary_tail", "R-102D1": "axillary_tail",
    "399161006": "cleavage", "R-102D2": "cleavage",
    "399110001": "tangential", "R-102C2": "tangential",
}  # fmt: skip
# Contact mammography magnifies by less than 1.1; magnification views begin at 1.4 (21 CFR 900.12(b)(6)).
MAGNIFIED = 1.4
PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True)
class Header:
    """What one file's tags say; None where they say nothing. Text is of fixed vocabularies only.

    Attributes:
        laterality: L or R.
        view: CC, MLO or `other`.
        manufacturer: Lower-case vendor name, or `other`.
        photometric: MONOCHROME1, MONOCHROME2 or `other`.
        transfer_syntax: UID of a standard transfer syntax, or `other`.
        spacing_mm: Distance of two rows of the frame: PixelSpacing, else ImagerPixelSpacing.
        rows: Height of the frame in pixels.
        columns: Width of the frame in pixels.
        frames: Number of frames.
        exclusion: Why the image is left out, or None: a code.
        burned_in: Whether the file declares text in its pixels (0028,0301).
    """

    laterality: str | None
    view: str | None
    manufacturer: str | None
    photometric: str | None
    transfer_syntax: str | None
    spacing_mm: float | None
    rows: int
    columns: int
    frames: int
    exclusion: str | None
    burned_in: bool


def read_header(dataset: Dataset) -> Header:
    """Reads the header of one file.

    Raises:
        UnusableFileError: Rows or Columns is absent or not positive, or the frame is larger than any mammogram.
    """
    rows, columns = int(_value(dataset, "Rows") or 0), int(_value(dataset, "Columns") or 0)
    if rows <= 0 or columns <= 0:
        raise UnusableFileError("no_pixels: Rows or Columns is absent or zero; the file is cut short or holds no image")
    if rows * columns > MAX_PIXELS:
        raise UnusableFileError(f"too_large: {rows} x {columns} pixels, at most {MAX_PIXELS} are a mammogram")
    return Header(
        laterality=_laterality(dataset),
        view=_view(dataset),
        manufacturer=known_manufacturer(_text(dataset, "Manufacturer")),
        photometric=_known(_text(dataset, "PhotometricInterpretation"), PHOTOMETRIC),
        transfer_syntax=_transfer_syntax(dataset),
        spacing_mm=_spacing(dataset),
        rows=rows,
        columns=columns,
        frames=int(_value(dataset, "NumberOfFrames") or 1),
        exclusion=_exclusion(dataset),
        burned_in=_text(dataset, "BurnedInAnnotation") == "YES",
    )


def header_flags(header: Header, laterality: str, view: str) -> list[str]:
    """Names what deserves a look: tags that contradict the catalog (the catalog wins), text in the pixels."""
    flags = []
    if header.laterality not in (None, laterality):
        flags.append("laterality_differs")
    if header.view not in (None, view):
        flags.append("view_differs")
    if header.burned_in:
        flags.append("burned_in")
    return flags


def _value(dataset: Dataset, keyword: str) -> Any:
    """An allow-listed attribute, None where absent or empty."""
    if keyword not in ALLOWED:
        raise ValueError(f"{keyword} is not on the allow-list of deidentify.py")
    value = dataset.get(keyword)
    return None if value in (None, "") else value


def _text(dataset: Dataset, keyword: str) -> str | None:
    """An allow-listed attribute as upper-case text without padding; of several values, the first."""
    value = _value(dataset, keyword)
    if value is not None and not isinstance(value, str):
        value = value[0] if len(value) else None
    return None if value is None else str(value).strip().upper()


def _known(value: str | None, vocabulary: tuple[str, ...]) -> str | None:
    return value if value is None or value in vocabulary else "other"


def _laterality(dataset: Dataset) -> str | None:
    """ImageLaterality (0020,0062), else Laterality (0020,0060)."""
    found = (_text(dataset, keyword) for keyword in ("ImageLaterality", "Laterality"))
    return next((side for side in found if side in ("L", "R")), None)


def _view(dataset: Dataset) -> str | None:
    """ViewCodeSequence (0054,0220), else ViewPosition, else PatientOrientation, where CBIS-DDSM writes the view."""
    codes = [str(item.get("CodeValue", "")) for item in _value(dataset, "ViewCodeSequence") or ()]
    if codes and codes[0]:
        return VIEW_CODES.get(codes[0], "other")
    if position := _text(dataset, "ViewPosition"):
        return position if position in ("CC", "MLO") else "other"
    orientation = _text(dataset, "PatientOrientation")
    return orientation if orientation in ("CC", "MLO") else None


def _transfer_syntax(dataset: Dataset) -> str | None:
    uid = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    return None if uid is None else _known(str(uid), (str(uid),) if UID(uid).is_transfer_syntax else ())


def _spacing(dataset: Dataset) -> float | None:
    found = _value(dataset, "PixelSpacing") or _value(dataset, "ImagerPixelSpacing")
    return float(found[0]) if found and float(found[0]) > 0 else None


def _exclusion(dataset: Dataset) -> str | None:
    """The first reason to leave the image out, in a fixed order."""
    sop_class = str(_value(dataset, "SOPClassUID") or "")
    if _text(dataset, "Modality") not in (None, "MG"):
        return "not_mammography"
    if sop_class == TOMOSYNTHESIS:
        return "tomosynthesis"
    if int(_value(dataset, "NumberOfFrames") or 1) > 1:
        return "multi_frame"
    if sop_class == FOR_PROCESSING or _text(dataset, "PresentationIntentType") == "FOR PROCESSING":
        return "for_processing"
    return _partial_view(dataset)


def _partial_view(dataset: Dataset) -> str | None:
    """A view of part of the breast, told by its modifiers (0054,0222) or its magnification (0018,1114)."""
    for view in _value(dataset, "ViewCodeSequence") or ():
        for modifier in view.get("ViewModifierCodeSequence") or ():
            if reason := PARTIAL_CODES.get(str(modifier.get("CodeValue", ""))):
                return reason
    magnification = float(_value(dataset, "EstimatedRadiographicMagnificationFactor") or 1)
    return "magnification" if magnification >= MAGNIFIED else None
