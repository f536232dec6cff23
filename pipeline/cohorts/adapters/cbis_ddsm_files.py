"""Where the files of CBIS-DDSM lie below the root, and where in its mammogram each lesion mask marks something.

The NBIA Data Retriever writes `<PatientID>/<study UID>/<series UID>/000000.dcm` (classic folder names) or
`<PatientID>/<date>-<...>-<end of study UID>/<number>-<description>-<end of series UID>/1-1.dcm` (descriptive ones),
below CBIS-DDSM/, with or without a manifest's folder around it.
Source: https://wiki.cancerimagingarchive.net/display/NBIA/Downloading+TCIA+Images (folder names).
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.dicom.decode import stored_values
from pipeline.dicom.deidentify import read_allowed, silenced

# PatientID of a mammogram; of a lesion's crop and mask with the lesion's number behind it.
MAMMOGRAM = r"(?:Mass|Calc)-(?:Training|Test)_P_\d{5}_(?:LEFT|RIGHT)_(?:CC|MLO)"
FOLDER = re.compile(MAMMOGRAM + r"(?:_\d+)?")
DEEPEST = 4  # <download>/manifest-<n>/CBIS-DDSM/<PatientID>
UID_END = 5  # characters of a UID that end a descriptive folder name
# Masks were drawn on images of other sizes now and then; scaling is safe while the proportions agree.
PROPORTIONS = 0.02
CANDIDATES = 2  # files decoded for one lesion at most: its mask, and what was taken for it

Box = tuple[float, float, float, float]  # top, left, height, width


def patient_folders(root: Path) -> dict[str, list[Path]]:
    """Folders named by a PatientID of the collection; several where a patient was downloaded in parts."""
    found: dict[str, list[Path]] = {}
    for place, below, _ in os.walk(root, followlinks=True):
        folder = Path(place)
        for name in sorted(filter(FOLDER.fullmatch, below)):
            found.setdefault(name, []).append(folder / name)
        deepest = len(folder.relative_to(root).parts) == DEEPEST - 1
        below[:] = [] if deepest else sorted(name for name in below if not FOLDER.fullmatch(name))
    return found


def series_files(folders: Mapping[str, Sequence[Path]], series: str) -> list[Path]:
    """The DICOM files of a series, sorted; none where it is absent.

    Args:
        folders: Folders by PatientID.
        series: `<PatientID>/<study UID>/<series UID>`, as the tables' paths begin.
    """
    patient, study_uid, series_uid = series.split("/")
    return sorted(
        file
        for folder in folders.get(patient, ())
        for study in _called(folder, study_uid)
        for place in _called(study, series_uid)
        for file in _listed(place)
        if file.suffix.lower() == ".dcm"
    )


def largest(files: Sequence[Path]) -> Path | None:
    """The mammogram of a series: its one file or, where crops or masks lie beside it, the one of most pixels."""
    if len(files) < 2:
        return files[0] if files else None
    with silenced():
        return max(files, key=lambda file: np.prod(_size(file) or (0, 0)))


def lesion_box(image: Path | None, files: Sequence[Path]) -> Box | None:
    """Bounding box of a lesion in the pixels of its mammogram; None where no file is a legible mask of it.

    Neither the order nor the names of mask and crop can be relied on. A mask has the proportions of the mammogram and
    two levels; a crop is smaller and has many. Headers choose the files, largest first; their pixels prove them masks.
    """
    frame = _size(image) if image is not None else None
    if frame is None:
        return None
    sizes = {file: size for file in files if (size := _size(file)) is not None}
    alike = [file for file in sizes if abs(_proportion(sizes[file]) / _proportion(frame) - 1) <= PROPORTIONS]
    for file in sorted(alike, key=lambda file: np.prod(sizes[file]), reverse=True)[:CANDIDATES]:
        if box := _marked(file):
            down, right = (whole / part for whole, part in zip(frame, sizes[file], strict=True))
            return box[0] * down, box[1] * right, box[2] * down, box[3] * right
    return None


def _marked(file: Path) -> Box | None:
    """Bounding box of the upper of two levels, in the file's own pixels; None if there are not two."""
    try:
        levels = stored_values(read_allowed(file))
    except Exception:  # whatever is wrong with a mask, the catalog goes on without its box
        return None
    marked = levels == levels.max()
    if marked.all() or not (marked | (levels == levels.min())).all():
        return None
    rows, columns = (np.flatnonzero(marked.any(axis=axis)) for axis in (1, 0))
    top, left = float(rows[0]), float(columns[0])
    return top, left, float(rows[-1]) - top + 1, float(columns[-1]) - left + 1


def _size(file: Path) -> tuple[int, int] | None:
    """Rows and columns as the header says, or None where it does not."""
    try:
        dataset = read_allowed(file, pixels=False)
        size = int(dataset.Rows), int(dataset.Columns)
    except Exception:  # as in _marked
        return None
    return size if min(size) > 0 else None


def _proportion(size: tuple[int, int]) -> float:
    """Height by width."""
    return size[0] / size[1]


def _called(folder: Path, uid: str) -> list[Path]:
    """What in a folder is named by a UID, or else by a description that ends like it."""
    below = _listed(folder)
    return [path for path in below if path.name == uid] or [
        path for path in below if path.name.endswith("-" + uid[-UID_END:])
    ]


def _listed(folder: Path) -> list[Path]:
    """The contents of a folder; none of a file, or of a folder that cannot be read, which the catalog tells."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []
