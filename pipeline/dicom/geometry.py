"""Maps boxes between the pixels of the full frame and those of the stored crop."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class PixelBox(NamedTuple):
    """A rectangle: edges between pixels, so that a box of n pixels is n wide; 0 is the outer edge of the first."""

    top: float
    left: float
    height: float
    width: float


def to_crop(box: PixelBox, row: Mapping[str, Any]) -> PixelBox:
    """A box of the full frame in pixels of the crop; parts outside the crop get coordinates outside it.

    Args:
        box: In pixels of the full frame.
        row: box_top_px, box_left_px, scale_rows and scale_columns of the image (tables.CROPS).
    """
    return PixelBox(
        (box.top - row["box_top_px"]) * row["scale_rows"],
        (box.left - row["box_left_px"]) * row["scale_columns"],
        box.height * row["scale_rows"],
        box.width * row["scale_columns"],
    )


def to_frame(box: PixelBox, row: Mapping[str, Any]) -> PixelBox:
    """A box of the crop in pixels of the full frame: the inverse of to_crop.

    Args:
        box: In pixels of the crop.
        row: box_top_px, box_left_px, scale_rows and scale_columns of the image (tables.CROPS).
    """
    return PixelBox(
        box.top / row["scale_rows"] + row["box_top_px"],
        box.left / row["scale_columns"] + row["box_left_px"],
        box.height / row["scale_rows"],
        box.width / row["scale_columns"],
    )
