"""Cuts the breast out of a mammogram: the box, the blanked and reduced crop, and its grey statistics."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8, UInt16

from pipeline.dicom.frame import Frame
from pipeline.dicom.outline import REDUCED_PX, breast_outline, without_padding

LARGE, SMALL = 0.9, 0.1  # share of the frame beyond which a box is flagged (measurements.md)
LOW_CONTRAST = 0.1  # a breast whose tissue spans less of the frame's range is flagged
THUMBNAIL_PX = 96  # of a film of 30 cm: 3 mm a pixel, where letters of 5 mm are two pixels high
SAMPLE_PIXELS = 250_000  # the 99.5th percentile of a sample this large is within 0.03 % of its rank


@dataclass(frozen=True)
class Box:
    """Where the breast lies.

    Attributes:
        top: First row, in pixels of the whole frame.
        left: First column.
        height: Number of rows.
        width: Number of columns.
        chest_wall: The side of the frame on which the chest wall lies: `left` or `right`.
        flag: None, or why a person should look: `box_large`, `box_small`, `no_chest_wall`, `clipped` (the breast
            reaches the side of the frame that is away from the chest wall).
        mask: The breast on a reduced copy of the whole frame.
        reduced: That copy, display values.
    """

    top: int
    left: int
    height: int
    width: int
    chest_wall: str
    flag: str | None
    mask: Bool[np.ndarray, "reduced_height reduced_width"]
    reduced: Float32[np.ndarray, "reduced_height reduced_width"]


def find_breast(frame: Frame) -> Box:
    """Finds the breast: the largest component that touches the chest-wall side, borders and labels left out.

    Args:
        frame: Air dark.

    Raises:
        UnusableFileError: all pixels are equal, or nothing is brighter than the background.

    Source: MV-MLM, image preprocessing (threshold, Sobel edges, connected components); measurements.md, finding the
        breast, for what real films need on top.
    """
    reduced = frame.reduced(REDUCED_PX)
    mask, (top, bottom, left, right), touches, mirrored = breast_outline(reduced, frame.low, frame.high)
    share = (bottom - top) * (right - left) / mask.size
    flag = "box_large" if share > LARGE else "box_small" if share < SMALL else None if touches else "no_chest_wall"
    if flag is None and (left == 0 if mirrored else right == mask.shape[1]):
        flag = "clipped"
    rows, columns = frame.height_px / mask.shape[0], frame.width_px / mask.shape[1]
    box_top, box_left = int(top * rows), int(left * columns)
    box_bottom, box_right = min(frame.height_px, round(bottom * rows)), min(frame.width_px, round(right * columns))
    height, width = box_bottom - box_top, box_right - box_left
    return Box(box_top, box_left, height, width, "right" if mirrored else "left", flag, mask, reduced)


def crop_size(box: Box, aspect: float, max_px: int) -> tuple[int, int]:
    """Height and width of the crop: square pixels, no more of them than the frame has, at most max_px a side.

    Args:
        box: The breast's box.
        aspect: Height over width of a pixel of the frame; the denser side is reduced to the other's spacing.
        max_px: Longest side of the crop.
    """
    height, width = box.height * min(1.0, aspect), box.width * min(1.0, 1 / aspect)
    scale = min(1.0, max_px / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def crop_breast(frame: Frame, box: Box, size: tuple[int, int]) -> UInt16[np.ndarray, "rows columns"]:
    """Cuts out the box; grey values inside the breast stay, all else takes the frame's least value (air).

    Args:
        frame: The frame, or a copy not smaller than size within the box.
        box: What find_breast returned for this frame.
        size: Height and width of the crop (crop_size); a larger box is reduced by area.
    """
    display = frame.display(*_spans(frame, box))
    crop = display if display.shape == size else cv2.resize(display, size[::-1], interpolation=cv2.INTER_AREA)
    inside = _enlarged(box.mask, box, frame, size)
    return np.asarray(cv2.copyTo(crop, inside, np.full(size, frame.low, np.uint16)))


def breast_percentiles(frame: Frame, box: Box, shares: tuple[float, float]) -> tuple[float, float]:
    """Quantiles of the grey values inside the breast, on a sample of about SAMPLE_PIXELS pixels.

    Args:
        frame: The frame or a copy of it.
        box: What find_breast returned for this frame.
        shares: Two quantiles in [0, 1].
    """
    rows, columns = _spans(frame, box)
    step = max(1, int(((rows.stop - rows.start) * (columns.stop - columns.start) / SAMPLE_PIXELS) ** 0.5))
    sample = frame.display(slice(rows.start, rows.stop, step), slice(columns.start, columns.stop, step))
    inside = _enlarged(without_padding(box.mask), box, frame, sample.shape) > 0
    low, high = np.quantile(sample[inside] if inside.any() else sample, shares)
    return float(low), float(high)


def thumbnail(box: Box, low: float, high: float) -> bytes:
    """The whole frame as an 8-bit PNG of THUMBNAIL_PX, low to high stretched over its greys."""
    scale = min(1.0, THUMBNAIL_PX / max(box.reduced.shape))
    height, width = (max(1, round(side * scale)) for side in box.reduced.shape)
    small = cv2.resize(box.reduced, (width, height), interpolation=cv2.INTER_AREA)
    shown = np.rint(np.clip((small - low) * (255 / max(high - low, 1.0)), 0, 255)).astype(np.uint8)
    return cv2.imencode(".png", shown, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _spans(frame: Frame, box: Box) -> tuple[slice, slice]:
    """The rows and columns of the frame's words that cover the box."""
    spans = []
    for start, length, words, whole in (
        (box.top, box.height, frame.words.shape[0], frame.height_px),
        (box.left, box.width, frame.words.shape[1], frame.width_px),
    ):
        first = start * words // whole
        spans.append(slice(first, max(first + 1, min(words, round((start + length) * words / whole)))))
    return spans[0], spans[1]


def _enlarged(
    mask: Bool[np.ndarray, "reduced_height reduced_width"], box: Box, frame: Frame, size: tuple[int, ...]
) -> UInt8[np.ndarray, "height width"]:
    """The part of a reduced mask of the whole frame that lies in the box, at this size: 255 inside, 0 outside."""
    down, across = mask.shape[0] / frame.height_px, mask.shape[1] / frame.width_px
    top, bottom = round(box.top * down), round((box.top + box.height) * down)
    left, right = round(box.left * across), round((box.left + box.width) * across)
    part = mask[top : max(bottom, top + 1), left : max(right, left + 1)].view(np.uint8) * np.uint8(255)
    return np.asarray(cv2.resize(part, size[::-1], interpolation=cv2.INTER_NEAREST))
