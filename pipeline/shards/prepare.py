"""Turns a stored 16-bit crop into the image that an encoder sees. Pure: no files, no randomness."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from pipeline.sections import Pack
from pipeline.tables import STEPS_16_BIT


class Place(NamedTuple):
    """Where a crop lies in its frame, in the frame's pixels: columns of tables.CROPS."""

    chest_wall: str
    frame_height_px: int
    frame_width_px: int
    box_top_px: int
    box_left_px: int
    box_height_px: int
    box_width_px: int


def prepare(
    crop: UInt16[np.ndarray, "h w"],
    *,
    frame_low: float,
    frame_high: float,
    breast_low: float,
    breast_high: float,
    settings: Pack,
    place: Place | None = None,
) -> UInt8[np.ndarray, "height_px width_px"] | UInt16[np.ndarray, "height_px width_px"]:
    """Prepares one crop: grey scale, threshold, then size; mirrored only where settings.mirror asks for it.

    The threshold is taken on the frame scale (0 at frame_low, 255 at frame_high) and applied before resizing. The
    image is stored on the scale of settings.grey: `stored` puts breast_low at 0 and settings.headroom times the way to
    breast_high at 255, `frame` is the paper's literal 8-bit min-max of the displayed frame. Grey values are rounded
    once, at the end.

    Headroom: calcifications are the brightest thousandths of a breast, so that a scale ending at a percentile cuts
    them off, and a scale ending at the maximum would depend on whether there are any
    (bench/results/grey_scale.json).

    Args:
        crop: Display values.
        frame_low: Least display value of the whole frame.
        frame_high: Greatest display value of the whole frame.
        breast_low: 0.5 percentile inside the breast.
        breast_high: 99.5 percentile inside the breast.
        settings: Section `pack` with its preparation.
        place: Where the crop lies in its frame; needed to mirror, and for resize `frame`.

    Returns:
        Grey values 0 to 255, or 0 to 65535 for 16 bits.

    Raises:
        ValueError: a scale is empty (its high end is not above its low end), or place is needed and missing.

    Source: method.md, rows `image`, `which grey scale the 40 refers to`, `pixels < 40`, `resize`, `flips`;
        docs/preparations.md.
    """
    low, high = _scale(frame_low, frame_high, breast_low, breast_high, settings)
    if not (frame_high > frame_low and high > low):
        raise ValueError(f"empty grey scale: frame {frame_low} to {frame_high}, {settings.grey} {low} to {high}")
    grey = np.clip((np.arange(int(crop.max()) + 1, dtype=np.float64) - low) * (255 / (high - low)), 0, 255)
    if settings.threshold_use == "zero":
        grey[: max(0, int(np.ceil(frame_low + settings.threshold * (frame_high - frame_low) / 255)))] = 0
    resized = _fit(grey.astype(np.float32)[crop], settings, place)
    if is_mirrored(settings, place):
        resized = np.ascontiguousarray(resized[:, ::-1])
    if settings.bits == 16:
        deep: UInt16[np.ndarray, "height_px width_px"] = np.rint(resized * STEPS_16_BIT).astype(np.uint16)
        return deep
    prepared: UInt8[np.ndarray, "height_px width_px"] = np.rint(resized).astype(np.uint8)
    return prepared


def is_mirrored(settings: Pack, place: Place | None) -> bool:
    """Whether the preparation turns this image left to right, so that the chest wall lies where it wants it.

    Raises:
        ValueError: a side is asked for, and the image's own is not known.
    """
    if settings.mirror == "none":
        return False
    if place is None or place.chest_wall not in ("left", "right"):
        raise ValueError(f"mirror {settings.mirror}: expected the side of the chest wall, found none")
    return settings.mirror != f"chest_wall_{place.chest_wall}"


def _scale(
    frame_low: float, frame_high: float, breast_low: float, breast_high: float, settings: Pack
) -> tuple[float, float]:
    """The display values that become 0 and 255."""
    if settings.grey == "frame":
        return frame_low, frame_high
    return breast_low, breast_low + settings.headroom * (breast_high - breast_low)


def _fit(
    image: Float32[np.ndarray, "h w"], settings: Pack, place: Place | None
) -> Float32[np.ndarray, "height_px width_px"]:
    """Brings the crop to the size of the prepared image."""
    if settings.resize == "stretch":
        return _stretch(image, settings.height_px, settings.width_px)
    if settings.resize == "letterbox":
        return _letterbox(image, settings.height_px, settings.width_px)
    if place is None:
        raise ValueError("resize frame: expected the crop's place in its frame, found none")
    return _in_frame(image, settings.height_px, settings.width_px, place)


def _stretch(
    image: Float32[np.ndarray, "h w"], height_px: int, width_px: int
) -> Float32[np.ndarray, "height_px width_px"]:
    """Fills the whole target, whatever the aspect ratio."""
    filled: Float32[np.ndarray, "height_px width_px"] = cv2.resize(
        image, (width_px, height_px), interpolation=cv2.INTER_AREA
    )
    return filled


def _letterbox(
    image: Float32[np.ndarray, "h w"], height_px: int, width_px: int
) -> Float32[np.ndarray, "height_px width_px"]:
    """Keeps the aspect ratio; the rest, split evenly between both sides, is 0."""
    scale = min(height_px / image.shape[0], width_px / image.shape[1])
    rows, columns = (max(1, round(side * scale)) for side in image.shape)
    top, left = (height_px - rows) // 2, (width_px - columns) // 2
    boxed = np.zeros((height_px, width_px), np.float32)
    boxed[top : top + rows, left : left + columns] = _stretch(image, rows, columns)
    return boxed


def _in_frame(
    image: Float32[np.ndarray, "h w"], height_px: int, width_px: int, place: Place
) -> Float32[np.ndarray, "height_px width_px"]:
    """Stretches the whole frame over the target: the crop lies where it lay in the frame, the rest is 0."""
    down, across = height_px / place.frame_height_px, width_px / place.frame_width_px
    top, left = min(round(place.box_top_px * down), height_px - 1), min(round(place.box_left_px * across), width_px - 1)
    bottom = max(round((place.box_top_px + place.box_height_px) * down), top + 1)
    right = max(round((place.box_left_px + place.box_width_px) * across), left + 1)
    framed = np.zeros((height_px, width_px), np.float32)
    framed[top:bottom, left:right] = _stretch(image, bottom - top, right - left)
    return framed
