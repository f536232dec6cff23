"""Turns a stored 16-bit crop into the 8-bit image that an encoder sees. Pure: no files, no randomness."""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from pipeline.sections import Pack


def prepare(
    crop: UInt16[np.ndarray, "h w"],
    *,
    frame_low: float,
    frame_high: float,
    breast_low: float,
    breast_high: float,
    settings: Pack,
) -> UInt8[np.ndarray, "height_px width_px"]:
    """Prepares one crop: grey scale, threshold, then size; never mirrored.

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
        settings: Section `pack`.

    Raises:
        ValueError: a scale is empty (its high end is not above its low end).

    Source: method.md, rows `image`, `which grey scale the 40 refers to`, `pixels < 40`, `resize`, `flips`.
    """
    low, high = _scale(frame_low, frame_high, breast_low, breast_high, settings)
    if not (frame_high > frame_low and high > low):
        raise ValueError(f"empty grey scale: frame {frame_low} to {frame_high}, {settings.grey} {low} to {high}")
    grey = np.clip((np.arange(int(crop.max()) + 1, dtype=np.float64) - low) * (255 / (high - low)), 0, 255)
    if settings.threshold_use == "zero":
        grey[: max(0, int(np.ceil(frame_low + settings.threshold * (frame_high - frame_low) / 255)))] = 0
    fit = _stretch if settings.resize == "stretch" else _letterbox
    resized = fit(grey.astype(np.float32)[crop], settings.height_px, settings.width_px)
    prepared: UInt8[np.ndarray, "height_px width_px"] = np.rint(resized).astype(np.uint8)
    return prepared


def _scale(
    frame_low: float, frame_high: float, breast_low: float, breast_high: float, settings: Pack
) -> tuple[float, float]:
    """The display values that become 0 and 255."""
    if settings.grey == "frame":
        return frame_low, frame_high
    return breast_low, breast_low + settings.headroom * (breast_high - breast_low)


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
