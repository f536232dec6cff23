"""One catalogued file becomes one row: ingested with its crop, excluded or rejected with a reason."""

from dataclasses import dataclass
from pathlib import Path

import cv2

from pipeline.dicom.crop import breast_percentiles, crop_breast, find_breast
from pipeline.dicom.deidentify import UnusableFileError, read_allowed, silenced
from pipeline.dicom.header import Header, header_flags, read_header
from pipeline.dicom.pixels import display_values
from pipeline.dicom.store import CODEC, Row, encode_crop
from pipeline.tables import CROPS

# Quantiles that stand for the darkest and the brightest tissue: see CROPS in tables.py.
BREAST_SHARES = (0.005, 0.995)


@dataclass(frozen=True)
class CataloguedFile:
    """What the catalog says about one file; path is relative to the archive's root."""

    image_id: str
    patient_id: str
    laterality: str
    view: str
    path: str
    size_bytes: int


def image_row(root: Path, file: CataloguedFile, max_px: int) -> Row:
    """Decodes, crops and compresses one file. Never raises for a bad file: it becomes a rejected row.

    Args:
        root: Folder of the archive.
        file: The file's entry in the catalog.
        max_px: Longest side of the stored crop.

    Returns:
        A row of CROPS. `reason` is `code` or `code: detail`, in words of this package only: the text of a foreign
        exception could quote the file.
    """
    cv2.setNumThreads(1)  # one process per core already
    try:
        with silenced():
            return _row(root, file, max_px)
    except UnusableFileError as rejection:
        return rejected_row(file, str(rejection))
    except Exception as error:
        return rejected_row(file, f"failed: {type(error).__name__} while reading the image")


def rejected_row(file: CataloguedFile, reason: str) -> Row:
    """The row of a file that cannot be used."""
    return _empty_row(file) | {"status": "rejected", "reason": reason}


def _row(root: Path, file: CataloguedFile, max_px: int) -> Row:
    """The row of a file that can be read."""
    path = root / file.path
    if path.is_file() and path.stat().st_size != file.size_bytes:
        raise UnusableFileError(f"size: {path.stat().st_size} bytes, the catalog says {file.size_bytes}")
    dataset = read_allowed(path)
    header = read_header(dataset)
    row = _empty_row(file) | _header_columns(header)
    flags = header_flags(header, file.laterality, file.view)
    if header.exclusion:
        return row | {"status": "excluded", "reason": header.exclusion, "flag": ";".join(flags) or None}
    frame = display_values(dataset)
    box = find_breast(frame)
    crop = crop_breast(frame, box, max_px)
    breast_low, breast_high = breast_percentiles(frame, box, BREAST_SHARES)
    return row | {
        "status": "ingested",
        "crop": encode_crop(crop),
        "codec": CODEC,
        "height_px": crop.shape[0],
        "width_px": crop.shape[1],
        "box_top_px": box.top,
        "box_left_px": box.left,
        "box_height_px": box.height,
        "box_width_px": box.width,
        "frame_low": float(frame.min()),
        "frame_high": float(frame.max()),
        "breast_low": breast_low,
        "breast_high": breast_high,
        "flag": ";".join(flags + ([box.flag] if box.flag else [])) or None,
    }


def _empty_row(file: CataloguedFile) -> Row:
    """A row with what the catalog knows, all else null."""
    known = {
        "image_id": file.image_id,
        "patient_id": file.patient_id,
        "laterality": file.laterality,
        "view": file.view,
    }
    return dict.fromkeys(CROPS.names) | known


def _header_columns(header: Header) -> Row:
    """The columns that come from the tags alone."""
    return {
        "frame_height_px": header.rows,
        "frame_width_px": header.columns,
        "spacing_mm": header.spacing_mm,
        "manufacturer": header.manufacturer,
        "photometric": header.photometric,
        "transfer_syntax": header.transfer_syntax,
    }
