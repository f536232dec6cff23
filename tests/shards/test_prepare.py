import cv2
import numpy as np
import pytest

from pipeline.sections import Pack
from pipeline.shards.prepare import prepare

SCALES = {"frame_low": 100.0, "frame_high": 610.0, "breast_low": 200.0, "breast_high": 455.0}


def settings(**changes) -> Pack:
    plain = dict(preparation="mv_mlm", height_px=32, width_px=32, resize="stretch", grey="stored", threshold=40)
    return Pack(**{**plain, "headroom": 1.0, "threshold_use": "zero", "shards": 1, **changes})


def blocks(values: list[list[int]], side: int = 32) -> np.ndarray:
    """Each value as a square, so that a target of 32 x 32 px keeps flat areas."""
    rows, columns = len(values), len(values[0])
    return np.kron(np.array(values), np.ones((side // rows, side // columns))).astype(np.uint16)


def corners(image: np.ndarray) -> list[int]:
    return [int(image[4, 4]), int(image[4, -4]), int(image[-4, 4]), int(image[-4, -4])]


def test_stored_scale_by_hand() -> None:
    # Frame span 510: 40/255 of it is 80, so values below 180 become 0. Stored: (v - 200) * 255 / 255.
    image = prepare(blocks([[179, 240], [455, 600]]), **SCALES, settings=settings())
    assert image.dtype == np.uint8
    assert corners(image) == [0, 40, 255, 255]


def test_headroom_keeps_what_is_brighter_than_the_breast_s_percentile() -> None:
    # 255 lies at 200 + 1.5 * 255 = 582.5: (v - 200) / 1.5, and 500 and 560 stay apart.
    image = prepare(blocks([[200, 455], [500, 560]]), **SCALES, settings=settings(headroom=1.5))
    assert corners(image) == [0, 170, 200, 240]


def test_frame_scale_by_hand() -> None:
    # (v - 100) / 2, zero below 40: the paper's literal rule.
    image = prepare(blocks([[179, 180], [300, 610]]), **SCALES, settings=settings(grey="frame"))
    assert corners(image) == [0, 40, 100, 255]


def test_mask_only_zeroes_nothing() -> None:
    image = prepare(
        blocks([[110, 179], [180, 610]]), **SCALES, settings=settings(grey="frame", threshold_use="mask_only")
    )
    assert corners(image) == [5, 40, 40, 255]  # 39.5 is rounded to the even 40


def test_threshold_is_on_the_frame_scale_whatever_the_stored_scale() -> None:
    wide = {**SCALES, "breast_low": 0.0, "breast_high": 510.0}
    image = prepare(blocks([[179, 180], [181, 510]]), **wide, settings=settings())
    assert corners(image) == [0, 90, 90, 255]  # 181/2 = 90.5 rounds to the even 90


def test_background_of_a_crop_stays_black() -> None:
    image = prepare(blocks([[0, 0], [0, 500]]), **SCALES, settings=settings(threshold=0))
    assert corners(image) == [0, 0, 0, 255]


def test_threshold_comes_before_resizing() -> None:
    # 64 -> 32 px averages 2 x 2: half of each square is just below the threshold. After: (240 -> 40) / 2 = 20.
    crop = np.tile(np.array([[179, 240]], np.uint16), (64, 32))
    assert set(np.unique(prepare(crop, **SCALES, settings=settings()))) == {20}


def test_stretch_equals_opencv_area_resize_of_the_grey_image() -> None:
    crop = np.random.default_rng(0).integers(0, 4096, (90, 71)).astype(np.uint16)
    scales = {"frame_low": 3.0, "frame_high": 4090.0, "breast_low": 310.5, "breast_high": 3900.0}
    grey = np.clip((crop - 310.5) / (3900 - 310.5) * 255, 0, 255)
    grey[(crop - 3.0) / (4090 - 3) * 255 < 40] = 0
    expected = cv2.resize(grey.astype(np.float32), (32, 48), interpolation=cv2.INTER_AREA)
    found = prepare(crop, **scales, settings=settings(height_px=48))
    assert np.abs(found - expected).max() <= 0.501


@pytest.mark.parametrize(
    ("shape", "filled"), [((64, 32), np.s_[:, 8:24]), ((32, 64), np.s_[8:24, :]), ((40, 40), np.s_[:, :])]
)
def test_letterbox_keeps_the_aspect_ratio_and_centres(shape, filled) -> None:
    image = prepare(np.full(shape, 455, np.uint16), **SCALES, settings=settings(resize="letterbox"))
    expected = np.zeros((32, 32), np.uint8)
    expected[filled] = 255
    np.testing.assert_array_equal(image, expected)


def test_never_mirrored() -> None:
    crop = blocks([[455, 300], [240, 100]])
    for resize in ("stretch", "letterbox"):
        assert corners(prepare(crop, **SCALES, settings=settings(resize=resize))) == [255, 100, 40, 0]


def test_empty_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="empty grey scale"):
        prepare(blocks([[1, 2], [3, 4]]), **{**SCALES, "breast_high": 200.0}, settings=settings())
