"""The breast's box on synthetic film, what the crop keeps, and the codec."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipeline.dicom.crop import Box, breast_percentiles, crop_breast, crop_size, find_breast
from pipeline.dicom.deidentify import UnusableFileError
from pipeline.dicom.frame import displayed
from pipeline.dicom.store import CODEC, decode_crop, encode_crop


@pytest.fixture
def frame(breast):
    def make(**options):
        return (breast(**options).astype(np.uint32) * 16).clip(0, 65535).astype(np.uint16)

    return make


def edges(box: Box) -> np.ndarray:
    return np.array([box.top, box.left, box.top + box.height, box.left + box.width])


def test_box_holds_the_breast_and_little_more(frame):
    image = frame()
    rows, columns = np.nonzero(image > 1000)
    box = find_breast(displayed(image))
    found, truth = edges(box), np.array([rows.min(), 0, rows.max() + 1, columns.max() + 1])
    assert box.flag is None
    assert (found[:2] <= truth[:2]).all() and (found[2:] >= truth[2:]).all()
    assert np.abs(found - truth).max() <= 16


def test_right_breast_mirrors_the_left(frame):
    left, right = find_breast(displayed(frame())), find_breast(displayed(frame(right=True)))
    assert right.left + right.width == 256 and right.width == left.width
    assert (right.mask == left.mask[:, ::-1]).all()


@pytest.mark.parametrize("right", [False, True])
def test_white_border_labels_and_glow_leave_the_box_alone(frame, right):
    clean, film = find_breast(displayed(frame(right=right))), frame(right=right)
    label = slice(190, 250) if not right else slice(6, 66)
    film[20:34, label] = 65535
    film[-9:], film[:, -6:], film[:6] = 60000, 65535, 62000
    glow = (20000 * np.exp(-np.arange(60) / 12)).astype(np.uint16)[:, None]
    film[6:66] = np.maximum(film[6:66], glow)
    box = find_breast(displayed(film))
    assert box.flag is None
    assert np.abs(edges(box) - edges(clean)).max() <= 12
    crop = crop_breast(displayed(film), box, (box.height, box.width))
    assert crop[:, 3:-9].max() < 40000, "no label or border in the crop"


def test_label_brighter_than_everything_does_not_hide_the_breast(frame):
    film = frame() // 8
    film[20:34, 190:250] = 65535
    assert np.abs(edges(find_breast(displayed(film))) - edges(find_breast(displayed(frame())))).max() <= 12


def test_large_frames_are_found_like_small_ones(frame):
    small = frame()
    large = cv2.resize(small, None, fx=8, fy=8, interpolation=cv2.INTER_LINEAR)
    assert np.abs(edges(find_breast(displayed(large))) / 8 - edges(find_breast(displayed(small)))).max() <= 4


def test_odd_boxes_are_flagged(frame):
    filled = np.full((320, 256), 30000, np.uint16)
    filled[:8, -8:] = 0
    assert find_breast(displayed(filled)).flag == "box_large"
    speck = np.zeros((320, 256), np.uint16)
    cv2.circle(speck, (0, 160), 24, 40000, -1)
    assert find_breast(displayed(speck)).flag == "box_small"
    afloat = np.zeros((320, 256), np.uint16)
    cv2.circle(afloat, (110, 160), 60, 40000, -1)
    assert find_breast(displayed(afloat)).flag == "no_chest_wall"


def test_blank_frames_are_refused():
    with pytest.raises(UnusableFileError, match="blank"):
        find_breast(displayed(np.full((64, 64), 7, np.uint16)))


def test_crop_keeps_grey_values_inside_and_blanks_outside(frame):
    film = frame() + np.uint16(100)
    film[5:15, 5:60] = 50000  # a label above the breast, not connected to it
    box = replace(find_breast(displayed(film)), top=0, left=0, height=film.shape[0], width=film.shape[1])
    crop = crop_breast(displayed(film), box, film.shape)
    inside = frame() > 1000
    assert (crop[inside] == film[inside]).all()
    assert (crop[5:15, 5:60] == film.min()).all()


def test_crop_is_reduced_by_area_to_fit(frame):
    whole = displayed(frame())
    box = find_breast(whole)
    full, small = (crop_breast(whole, box, crop_size(box, 1.0, longest)) for longest in (10_000, 100))
    assert full.shape == (box.height, box.width)
    assert max(small.shape) == 100
    assert small.shape[0] / small.shape[1] == pytest.approx(box.height / box.width, rel=0.02)
    assert small.mean() == pytest.approx(full.mean(), rel=0.01)


def test_percentiles_ignore_air_and_labels(frame):
    film = frame()
    film[20:34, 190:250] = 65535
    low, high = breast_percentiles(displayed(film), find_breast(displayed(film)), (0.05, 0.995))
    tissue = film[frame() > 1000]
    assert 1000 < low < np.quantile(tissue, 0.2)
    assert high == pytest.approx(np.quantile(tissue, 0.995), rel=0.03)


def test_codec_is_lossless_and_byte_stable():
    for shape in ((1, 1), (37, 53), (640, 384)):
        crop = np.random.default_rng(3).integers(0, 65536, shape).astype(np.uint16)
        encoded = encode_crop(crop)
        assert encoded == encode_crop(crop.copy())
        assert (decode_crop(encoded, CODEC) == crop).all()
    with pytest.raises(ValueError, match="codec 'png'"):
        decode_crop(encoded, "png")
