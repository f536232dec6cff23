"""A decoded frame, or a smaller copy of it, with its grey table: display values are made only where they are asked."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Integer, UInt16
from pydicom import Dataset

from pipeline.dicom.decode import reduced_values, stored_values
from pipeline.dicom.pixels import WHITE

IDENTITY = np.arange(WHITE + 1, dtype=np.uint16)
LOOK_PX = 384  # the outline is found on a copy of this size: a smaller frame is not read at half the size
LOOK_HALVINGS = 2  # of a wavelet code, to find the breast: 70-100 ms instead of 1,300-1,900 (measurements.md)


@dataclass(frozen=True)
class Frame:
    """Stored words and what they look like. Greys rise or fall with the words all the way, so means may be taken.

    Attributes:
        words: Unsigned words [h, w] of the frame or of a smaller copy.
        values: Display value of every word.
        height_px: Height of the whole frame.
        width_px: Width of the whole frame.
        low: Least display value.
        high: Greatest display value.
    """

    words: Integer[np.ndarray, "h w"]
    values: UInt16[np.ndarray, " words"]
    height_px: int
    width_px: int
    low: int
    high: int

    def display(self, rows: slice = slice(None), columns: slice = slice(None)) -> UInt16[np.ndarray, "rows columns"]:
        """Display values of a part of the words."""
        return table_lookup(self.words[rows, columns], self.values)

    def reduced(self, longest_px: int) -> Float32[np.ndarray, "rows columns"]:
        """Display values reduced by area until the longest side has longest_px."""
        scale = min(1.0, longest_px / max(self.words.shape))
        height, width = (max(1, round(side * scale)) for side in self.words.shape)
        small = cv2.resize(_by_whole_steps(self.words, int(1 / scale)), (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(self.values[small], np.float32)


def table_lookup(words: Integer[np.ndarray, "h w"], values: UInt16[np.ndarray, " words"]) -> UInt16[np.ndarray, "h w"]:
    """values[words], by OpenCV where it can: it is several times as fast as NumPy's indexing."""
    if words.dtype != np.uint16 or len(values) != WHITE + 1:
        return np.asarray(values[words])
    return np.asarray(cv2.LUT(words, values))


def _by_whole_steps(words: Integer[np.ndarray, "h w"], step: int) -> Integer[np.ndarray, "rows columns"]:
    """Means over step x step words; up to step - 1 rows and columns at the end are left out.

    By a whole number OpenCV reduces 4 times as fast; what is left out is below 0.3 % of a side of 384 pixels.
    """
    height, width = (side // step * step for side in words.shape)
    if step < 2 or not height or not width:
        return words
    return np.asarray(cv2.resize(words[:height, :width], (width // step, height // step), interpolation=cv2.INTER_AREA))


def frame_of(
    words: Integer[np.ndarray, "h w"], values: UInt16[np.ndarray, " words"], height_px: int, width_px: int
) -> Frame:
    """Joins words and grey table; where greys do not follow the words (signed values, odd LUTs), they replace them."""
    least, greatest = (int(word) for word in cv2.minMaxLoc(words)[:2])  # half the time of NumPy's two passes
    steps = np.diff(values[least : greatest + 1].astype(np.int32))
    if (steps < 0).any() and (steps > 0).any():
        words = table_lookup(words, values)
        return Frame(words, IDENTITY, height_px, width_px, int(words.min()), int(words.max()))
    low, high = sorted((int(values[least]), int(values[greatest])))
    return Frame(words, values, height_px, width_px, low, high)


def displayed(display: UInt16[np.ndarray, "height width"]) -> Frame:
    """A whole frame of display values."""
    return frame_of(display, IDENTITY, *display.shape)


def first_look(dataset: Dataset, values: UInt16[np.ndarray, " words"]) -> Frame:
    """The frame, or a copy of a quarter of its sides where the file holds one: enough to find the breast."""
    height_px, width_px = dataset.Rows, dataset.Columns
    words = None
    if max(height_px, width_px) >= LOOK_PX << LOOK_HALVINGS:
        words = reduced_values(dataset, LOOK_HALVINGS)
        words = reduced_values(dataset, 1) if words is None else words
    return frame_of(stored_values(dataset) if words is None else words, values, height_px, width_px)


def second_look(look: Frame, dataset: Dataset, values: UInt16[np.ndarray, " words"], needed: float) -> Frame:
    """The frame at the size that is needed: the first look if that is whole, half the size if that is enough.

    Args:
        look: What first_look returned.
        dataset: The image.
        values: Display value of every word.
        needed: Share of the frame's resolution that the crop will have.
    """
    if look.words.shape == (look.height_px, look.width_px):
        return look
    words = reduced_values(dataset, 1) if needed <= 0.5 else None
    return frame_of(stored_values(dataset) if words is None else words, values, look.height_px, look.width_px)
