import cv2
import numpy as np
import pytest

from pipeline.sections import Pack
from pipeline.shards.prepare import Place, prepare

# A frame of 80 x 60 px, the crop's box of 40 x 30 px at its left edge, 20 px below the top.
PLACE = Place("left", 80, 60, 20, 0, 40, 30)
SCALES = {"frame_low": 100.0, "frame_high": 610.0, "breast_low": 200.0, "breast_high": 455.0}


def settings(**changes) -> Pack:
    plain = dict(preparation="mv_mlm", height_px=32, width_px=32, resize="stretch", grey="stored", threshold=40)
    plain |= dict(headroom=1.0, threshold_use="zero", mirror="none", bits=8, shards=1)
    return Pack(**{**plain, **changes})


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


@pytest.mark.parametrize("chest_wall", ["left", "right"])
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_not_mirrored_unless_asked(chest_wall: str, resize: str) -> None:
    crop, place = blocks([[455, 300], [240, 100]]), PLACE._replace(chest_wall=chest_wall)
    assert corners(prepare(crop, **SCALES, settings=settings(resize=resize), place=place)) == [255, 100, 40, 0]


@pytest.mark.parametrize(
    ("mirror", "chest_wall", "expected"),
    [
        ("chest_wall_left", "left", [255, 100, 40, 0]),
        ("chest_wall_left", "right", [100, 255, 0, 40]),
        ("chest_wall_right", "left", [100, 255, 0, 40]),
        ("chest_wall_right", "right", [255, 100, 40, 0]),
    ],
)
def test_mirrored_so_that_the_chest_wall_lies_where_it_is_asked_to(mirror, chest_wall, expected) -> None:
    place = PLACE._replace(chest_wall=chest_wall)
    for crop in (blocks([[455, 300], [240, 100]]), blocks([[455, 300], [240, 100]], 64)):
        assert corners(prepare(crop, **SCALES, settings=settings(mirror=mirror), place=place)) == expected


@pytest.mark.parametrize("chest_wall", [None, "", "top"])
def test_an_unknown_chest_wall_cannot_be_mirrored(chest_wall: str | None) -> None:
    place = PLACE._replace(chest_wall=chest_wall)
    with pytest.raises(ValueError, match="mirror chest_wall_left: expected the side of the chest wall"):
        prepare(blocks([[1, 2], [3, 4]]), **SCALES, settings=settings(mirror="chest_wall_left"), place=place)


def test_frame_puts_the_crop_where_it_lay_in_the_frame() -> None:
    # 80 x 60 -> 40 x 36 px: rows 20 to 60 become 10 to 30, columns 0 to 30 become 0 to 18.
    wanted = settings(resize="frame", height_px=40, width_px=36)
    image = prepare(np.full((50, 37), 455, np.uint16), **SCALES, settings=wanted, place=PLACE)
    expected = np.zeros((40, 36), np.uint8)
    expected[10:30, :18] = 255
    np.testing.assert_array_equal(image, expected)
    turned = prepare(
        np.full((50, 37), 455, np.uint16),
        **SCALES,
        settings=settings(resize="frame", height_px=40, width_px=36, mirror="chest_wall_right"),
        place=PLACE,
    )
    np.testing.assert_array_equal(turned, expected[:, ::-1])


def test_frame_fills_the_image_with_a_crop_that_is_the_whole_frame() -> None:
    crop = np.random.default_rng(1).integers(0, 600, (97, 71)).astype(np.uint16)
    whole = Place("right", 97, 71, 0, 0, 97, 71)
    framed = prepare(crop, **SCALES, settings=settings(resize="frame"), place=whole)
    np.testing.assert_array_equal(framed, prepare(crop, **SCALES, settings=settings()))


def test_frame_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="resize frame: expected the crop's place"):
        prepare(blocks([[1, 2], [3, 4]]), **SCALES, settings=settings(resize="frame"))


def test_sixteen_bits_hold_what_eight_cannot() -> None:
    # Frame scale (v - 100) / 2: 200 and 201 are 50 and 50.5 of 255; 257 times that: 12850 and 12978.5, rounded to even.
    crop = blocks([[200, 201], [610, 100]])
    image = prepare(crop, **SCALES, settings=settings(grey="frame", threshold_use="mask_only", bits=16))
    assert image.dtype == np.uint16
    assert corners(image) == [12850, 12978, 65535, 0]


def test_empty_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="empty grey scale"):
        prepare(blocks([[1, 2], [3, 4]]), **{**SCALES, "breast_high": 200.0}, settings=settings())


@pytest.mark.parametrize("place", [Place("left", 6000, 4000, 5998, 0, 2, 40), Place("left", 6000, 4000, 0, 3997, 8, 3)])
def test_a_box_smaller_than_a_pixel_of_the_target_takes_one(place: Place) -> None:
    image = prepare(blocks([[455, 455], [455, 455]]), **SCALES, settings=settings(resize="frame"), place=place)
    assert (image > 0).sum() == 1
