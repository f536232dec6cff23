"""Reads the attributes of one mammogram that the pipeline uses."""

from dataclasses import dataclass, field

from pydicom import Dataset
from pydicom.uid import UID

from pipeline.dicom.attributes import attribute, first_text
from pipeline.dicom.deidentify import UnusableFileError, known_manufacturer
from pipeline.dicom.views import contradictions, exclusions, laterality, view
from pipeline.sections import Exclusion
from pipeline.tables import VIEWS

# Film of 24 x 30 cm sampled at 42 um (the finest digitiser of DDSM) has 41 million pixels; more is a broken header.
MAX_PIXELS = 64_000_000
PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2")
# Spacings of mammograms lie between 0.02 and 0.3 mm; a ratio of sides beyond this is a broken header.
MAX_ASPECT = 2.0


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
        aspect: Height of a pixel over its width, 1.0 where nothing is said.
        rows: Height of the frame in pixels.
        columns: Width of the frame in pixels.
        frames: Number of frames.
        exclusions: Every reason to leave the image out.
        burned_in: Whether the file declares text in its pixels (0028,0301).
        contradictions: Flags of tags that contradict each other; a file without tags has none.
    """

    laterality: str | None
    view: str | None
    manufacturer: str | None
    photometric: str | None
    transfer_syntax: str | None
    spacing_mm: float | None
    aspect: float
    rows: int
    columns: int
    frames: int
    exclusions: list[Exclusion]
    burned_in: bool
    contradictions: list[str] = field(default_factory=list)


def read_header(dataset: Dataset) -> Header:
    """Reads the header of one file.

    Raises:
        UnusableFileError: Rows or Columns is absent or not positive, the frame is larger than any mammogram, or its
            pixels are longer than wide by more than MAX_ASPECT.
    """
    rows, columns = int(attribute(dataset, "Rows") or 0), int(attribute(dataset, "Columns") or 0)
    if rows <= 0 or columns <= 0:
        raise UnusableFileError("no_pixels: Rows or Columns is absent or zero; the file is cut short or holds no image")
    if rows * columns > MAX_PIXELS:
        raise UnusableFileError(f"too_large: {rows} x {columns} pixels, at most {MAX_PIXELS} are a mammogram")
    spacing_mm, aspect = _spacing(dataset)
    if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT:
        raise UnusableFileError(f"aspect: pixels {aspect:.3g} times as high as wide, at most {MAX_ASPECT} are expected")
    return Header(
        laterality=laterality(dataset),
        view=view(dataset),
        manufacturer=known_manufacturer(first_text(dataset, "Manufacturer")),
        photometric=_known(first_text(dataset, "PhotometricInterpretation"), PHOTOMETRIC),
        transfer_syntax=_transfer_syntax(dataset),
        spacing_mm=spacing_mm,
        aspect=aspect,
        rows=rows,
        columns=columns,
        frames=int(attribute(dataset, "NumberOfFrames") or 1),
        exclusions=exclusions(dataset),
        burned_in=first_text(dataset, "BurnedInAnnotation") == "YES",
        contradictions=contradictions(dataset),
    )


def header_flags(header: Header, catalogued_laterality: str | None, catalogued_view: str | None) -> list[str]:
    """Names what deserves a look: tags against the catalog (which wins) or each other, text in the pixels."""
    flags = []
    if None not in (header.laterality, catalogued_laterality) and header.laterality != catalogued_laterality:
        flags.append("laterality_differs")
    views = {view if view in VIEWS else "other" for view in (header.view, catalogued_view) if view is not None}
    if len(views) > 1:
        flags.append("view_differs")
    flags += header.contradictions
    if header.burned_in:
        flags.append("burned_in")
    return flags


def _known(value: str | None, vocabulary: tuple[str, ...]) -> str | None:
    return value if value is None or value in vocabulary else "other"


def _transfer_syntax(dataset: Dataset) -> str | None:
    uid = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    return None if uid is None else _known(str(uid), (str(uid),) if UID(uid).is_transfer_syntax else ())


def _spacing(dataset: Dataset) -> tuple[float | None, float]:
    """Row spacing in mm, and height over width of a pixel (PS3.3 10.7.1; PixelAspectRatio where there is none)."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        pair = _pair(dataset, keyword)
        if pair:
            return pair[0], pair[0] / pair[1]
    ratio = _pair(dataset, "PixelAspectRatio")
    return None, ratio[0] / ratio[1] if ratio else 1.0


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    """Two positive numbers, or None."""
    try:
        found = attribute(dataset, keyword)
        values = [float(value) for value in found] if found and not isinstance(found, str) else []
    except (TypeError, ValueError):  # an optional attribute that is no pair of numbers counts as absent
        return None
    return (values[0], values[1]) if len(values) == 2 and min(values) > 0 else None
