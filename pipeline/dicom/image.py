"""One catalogued file becomes one row: ingested with its crop, excluded or rejected with a reason."""

from dataclasses import dataclass
from pathlib import Path

import cv2

from pipeline.allocator import keep_freed_memory
from pipeline.dicom.crop import LOW_CONTRAST, Box, breast_percentiles, crop_breast, crop_size, find_breast, thumbnail
from pipeline.dicom.deidentify import UnusableFileError, read_allowed, silenced
from pipeline.dicom.frame import Frame, first_look, second_look
from pipeline.dicom.header import Header, header_flags, read_header
from pipeline.dicom.pixels import grey_table
from pipeline.dicom.plain_image import is_plain, plain_frame, plain_header
from pipeline.dicom.store import CODEC, Row, encode_crop
from pipeline.sections import Exclusion, Ingest
from pipeline.tables import CROPS

# Quantiles that stand for the darkest and the brightest tissue: see CROPS in tables.py.
BREAST_SHARES = (0.005, 0.995)
# 64 million pixels of 16 bits, twice: a larger file is no single image, and would not fit the memory of a worker.
MAX_BYTES = 256_000_000


@dataclass(frozen=True)
class CataloguedFile:
    """What the catalog says about one file; path is relative to the archive's root."""

    image_id: str
    patient_id: str
    laterality: str | None
    view: str | None
    path: str
    size_bytes: int
    exclusion: Exclusion | None


def image_row(root: Path, file: CataloguedFile, settings: Ingest) -> Row:
    """Decodes, crops and compresses one file. Never raises for a bad file: it becomes a rejected row.

    Args:
        root: Folder of the archive.
        file: The file's entry in the catalog.
        settings: Section `ingest` of the profile.

    Returns:
        A row of CROPS. `reason` is `code` or `code: detail`, in words of this package only: the text of a foreign
        exception could quote the file.
    """
    keep_freed_memory()
    cv2.setNumThreads(1)  # one process per core already
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it quotes files
    try:
        with silenced():
            return _row(root, file, settings)
    except UnusableFileError as rejection:
        return rejected_row(file, str(rejection))
    except Exception as error:
        return rejected_row(file, f"failed: {type(error).__name__} while reading the image")


def rejected_row(file: CataloguedFile, reason: str) -> Row:
    """The row of a file that cannot be used."""
    return _empty_row(file) | {"status": "rejected", "reason": reason}


def _row(root: Path, file: CataloguedFile, settings: Ingest) -> Row:
    """The row of a file that can be read."""
    path = root / file.path
    if path.is_file() and path.stat().st_size != file.size_bytes:
        raise UnusableFileError(f"size: {path.stat().st_size} bytes, the catalog says {file.size_bytes}")
    if file.exclusion in settings.exclude:
        return _empty_row(file) | {"status": "excluded", "reason": file.exclusion}
    header = plain_header(path) if is_plain(path) else read_header(read_allowed(path, pixels=False))
    row = _empty_row(file) | _header_columns(header)
    row |= {"laterality": file.laterality or header.laterality, "view": file.view or header.view}
    flags = header_flags(header, file.laterality, file.view)
    if reason := next((reason for reason in header.exclusions if reason in settings.exclude), None):
        return row | {"status": "excluded", "reason": reason, "flag": ";".join(flags) or None}
    if file.size_bytes > MAX_BYTES:
        raise UnusableFileError(f"too_large: {file.size_bytes} bytes, at most {MAX_BYTES} are a mammogram")
    read = _plain if is_plain(path) else _dicom
    frame, box, size, voi = read(path, header, settings)
    flags += [box.flag] if box.flag else []
    cropped = _crop_columns(frame, box, size, header)
    tissue, whole = cropped["breast_high"] - cropped["breast_low"], cropped["frame_high"] - cropped["frame_low"]
    flags += ["low_contrast"] if tissue < LOW_CONTRAST * whole else []
    return row | cropped | {"voi": voi, "flag": ";".join(flags) or None}


def _dicom(path: Path, header: Header, settings: Ingest) -> tuple[Frame, Box, tuple[int, int], str]:
    """The frame at the size its crop needs, the breast's box, the crop's size, and the VOI transformation."""
    dataset = read_allowed(path)
    table = grey_table(dataset)
    look = first_look(dataset, table.values)
    box = find_breast(look)
    size = crop_size(box, header.aspect, settings.max_px)
    needed = max(size[0] / box.height, size[1] / box.width)
    return second_look(look, dataset, table.values, needed), box, size, table.voi


def _plain(path: Path, header: Header, settings: Ingest) -> tuple[Frame, Box, tuple[int, int], str]:
    """The same of an image without tags."""
    frame = plain_frame(path, inverse=header.photometric == "MONOCHROME1")
    box = find_breast(frame)
    return frame, box, crop_size(box, 1.0, settings.max_px), "none"


def _crop_columns(frame: Frame, box: Box, size: tuple[int, int], header: Header) -> Row:
    """The crop, its geometry and its grey statistics."""
    low, high = breast_percentiles(frame, box, BREAST_SHARES)
    return {
        "status": "ingested",
        "crop": encode_crop(crop_breast(frame, box, size)),
        "codec": CODEC,
        "height_px": size[0],
        "width_px": size[1],
        "box_top_px": box.top,
        "box_left_px": box.left,
        "box_height_px": box.height,
        "box_width_px": box.width,
        "scale_rows": size[0] / box.height,
        "scale_columns": size[1] / box.width,
        "crop_spacing_mm": header.spacing_mm and header.spacing_mm * box.height / size[0],
        "chest_wall": box.chest_wall,
        "frame_low": float(frame.low),
        "frame_high": float(frame.high),
        "breast_low": low,
        "breast_high": high,
        "thumbnail": thumbnail(box, low, high),
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
