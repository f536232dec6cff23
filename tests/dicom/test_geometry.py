"""Boxes go to the crop and back; the crop's pixels are square; what lies outside the breast is blanked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dicom.crop import crop_breast, crop_size, find_breast
from pipeline.dicom.frame import displayed
from pipeline.dicom.geometry import PixelBox, to_crop, to_frame
from pipeline.dicom.image import CataloguedFile, image_row
from pipeline.dicom.store import decode_crop
from pipeline.sections import Ingest

SIDE = st.integers(1, 5000)
EDGE = st.floats(0, 5000, allow_nan=False)


@given(
    box=st.builds(PixelBox, EDGE, EDGE, EDGE, EDGE),
    top=st.integers(0, 4000), left=st.integers(0, 4000), height=SIDE, width=SIDE, rows=SIDE, columns=SIDE,
)  # fmt: skip
def test_a_box_comes_back_as_it_went(box, top, left, height, width, rows, columns):
    row = {"box_top_px": top, "box_left_px": left, "scale_rows": rows / height, "scale_columns": columns / width}
    assert to_frame(to_crop(box, row), row) == pytest.approx(box, abs=1e-6)


def ingested(tmp_path, mammogram, stored, max_px, **attributes):
    mammogram(stored, **attributes).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    file = CataloguedFile("a", "p", "L", "CC", "a.dcm", (tmp_path / "a.dcm").stat().st_size, None)
    row = image_row(tmp_path, file, Ingest(max_px=max_px, exclude=[], max_rejected_fraction=0.0, seconds_per_file=120))
    assert row["status"] == "ingested", row["reason"]
    return row, decode_crop(row["crop"], row["codec"])


@pytest.mark.parametrize("max_px", [64, 150, 5000])
@pytest.mark.parametrize("spacing", [[0.07, 0.07], [0.1, 0.05], [0.05, 0.08]])
def test_a_lesion_is_where_its_mapped_box_says(tmp_path, mammogram, breast, max_px, spacing):
    stored = breast()
    stored[140:164, 60:84] = 4095
    row, crop = ingested(tmp_path, mammogram, stored, max_px, ImagerPixelSpacing=spacing)
    box = to_crop(PixelBox(140, 60, 24, 24), row)
    bright = np.argwhere(crop > 60_000)
    found = np.array([*bright.min(axis=0), *(bright.max(axis=0) + 1)])
    assert np.abs(found - [box.top, box.left, box.top + box.height, box.left + box.width]).max() <= 1.5
    millimetres = (row["box_height_px"] * spacing[0], row["box_width_px"] * spacing[1])
    assert crop.shape[0] / crop.shape[1] == pytest.approx(millimetres[0] / millimetres[1], rel=0.03)
    assert row["crop_spacing_mm"] * crop.shape[0] == pytest.approx(millimetres[0], rel=1e-5)


def test_the_denser_side_is_reduced(breast):
    box = find_breast(displayed(breast().astype(np.uint16) * 16))
    assert crop_size(box, 1.0, 9999) == (box.height, box.width)
    assert crop_size(box, 2.0, 9999) == (box.height, round(box.width / 2))
    assert crop_size(box, 0.5, 9999) == (round(box.height / 2), box.width)


def test_everything_not_connected_to_the_breast_is_blanked(breast):
    film = (breast().astype(np.uint32) * 16).clip(0, 65535).astype(np.uint16) + np.uint16(50)
    film[0:12, 180:256] = 65535  # a label with text, beyond the breast's outline
    film[2:10:2, 190:250:3] = 90
    box = find_breast(displayed(film))
    wide = crop_breast(displayed(film), box, (box.height, box.width))
    outside = ~box.mask
    assert outside.any() and wide.min() == 50
    rows = np.arange(box.top, box.top + box.height) * box.mask.shape[0] // film.shape[0]
    columns = np.arange(box.left, box.left + box.width) * box.mask.shape[1] // film.shape[1]
    assert (wide[outside[np.ix_(rows, columns)]] == 50).all()
