"""Cuts the breast out of a mammogram: the box, the blanked and reduced crop, and its grey statistics."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, UInt16

from pipeline.dicom.outline import breast_outline, without_padding

LARGE, SMALL = 0.9, 0.1  # share of the frame beyond which a box is flagged (measurements.md)
SAMPLE_PIXELS = 1_000_000  # quantiles of a sample this large are within 0.2 % of a rank


@dataclass(frozen=True)
class Box:
    """Where the breast lies.

    Attributes:
        top: First row, in pixels of the frame.
        left: First column.
        height: Number of rows.
        width: Number of columns.
        flag: None, or why a person should look: `box_large`, `box_small`, `no_chest_wall`.
        mask: The breast on a reduced copy of the whole frame.
    """

    top: int
    left: int
    height: int
    width: int
    flag: str | None
    mask: Bool[np.ndarray, "reduced_height reduced_width"]


def find_breast(frame: UInt16[np.ndarray, "height width"]) -> Box:
    """Finds the breast: the largest component that touches the chest-wall side, borders and labels left out.

    Args:
        frame: Display values, air dark.

    Raises:
        UnusableFileError: all pixels are equal, or nothing is brighter than the background.

    Source: MV-MLM, image preprocessing (threshold, Sobel edges, connected components); measurements.md, finding the
        breast, for what real films need on top.
    """
    mask, (top, bottom, left, right), touches = breast_outline(frame)
    share = (bottom - top) * (right - left) / mask.size
    flag = "box_large" if share > LARGE else "box_small" if share < SMALL else None if touches else "no_chest_wall"
    rows, columns = frame.shape[0] / mask.shape[0], frame.shape[1] / mask.shape[1]
    box_top, box_left = int(top * rows), int(left * columns)
    box_bottom, box_right = min(frame.shape[0], round(bottom * rows)), min(frame.shape[1], round(right * columns))
    return Box(box_top, box_left, box_bottom - box_top, box_right - box_left, flag, mask)


def crop_breast(frame: UInt16[np.ndarray, "height width"], box: Box, max_px: int) -> UInt16[np.ndarray, "rows columns"]:
    """Cuts out the box; grey values inside the breast stay, all else takes the frame's least value (air).

    Args:
        frame: Display values.
        box: What find_breast returned for this frame.
        max_px: Longest side of the crop; a larger box is reduced by area, keeping its aspect ratio.
    """
    crop = frame[box.top : box.top + box.height, box.left : box.left + box.width]
    crop = np.where(_inside_box(box.mask, frame.shape, box), crop, frame.min())
    scale = max_px / max(crop.shape)
    if scale >= 1:
        return crop
    height, width = (max(1, round(side * scale)) for side in crop.shape)
    return np.asarray(cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA))


def breast_percentiles(
    frame: UInt16[np.ndarray, "height width"], box: Box, shares: tuple[float, float]
) -> tuple[float, float]:
    """Quantiles of the grey values inside the breast, on a sample of about a million pixels.

    Args:
        frame: Display values.
        box: What find_breast returned for this frame.
        shares: Two quantiles in [0, 1].
    """
    step = max(1, int((box.height * box.width / SAMPLE_PIXELS) ** 0.5))
    inside = _inside_box(without_padding(box.mask), frame.shape, box)[::step, ::step]
    crop = frame[box.top : box.top + box.height : step, box.left : box.left + box.width : step]
    low, high = np.quantile(crop[inside] if inside.any() else crop, shares)
    return float(low), float(high)


def _inside_box(
    mask: Bool[np.ndarray, "reduced_height reduced_width"], frame_shape: tuple[int, ...], box: Box
) -> Bool[np.ndarray, "height width"]:
    """The part of a reduced mask that lies in the box, enlarged to the pixels of the frame."""
    rows = np.arange(box.top, box.top + box.height) * mask.shape[0] // frame_shape[0]
    columns = np.arange(box.left, box.left + box.width) * mask.shape[1] // frame_shape[1]
    return mask[np.ix_(rows, columns)]
