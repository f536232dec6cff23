"""Turns stored values into display values: modality LUT, VOI LUT, MONOCHROME1 undone, 16 bits."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt16
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from pipeline.dicom.decode import check_pixels, stored_values
from pipeline.dicom.deidentify import UnusableFileError

WHITE = 65535  # the display scale: 0 is black (air), 65535 white (dense tissue)
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class GreyTable:
    """Display value of every word that can be stored.

    Attributes:
        values: Display values, indexed by the stored word read as an unsigned integer.
        voi: Which VOI transformation: `lut 1 of 2`, `LINEAR window 1 of 3`, or `none`.
    """

    values: UInt16[np.ndarray, " words"]
    voi: str


def display_values(dataset: Dataset) -> UInt16[np.ndarray, "height width"]:
    """Decodes one single-frame image and maps it to the 16-bit display scale.

    Stored values pass the modality LUT (PS3.3 C.11.1), then the first VOI LUT or window (C.11.2; a VOI LUT comes
    before a window), and the range those steps can produce, a property of the header and not of the pixels, is
    mapped linearly onto 0..65535: the VOI LUT's or the window's output range, or without them the range of
    BitsStored after the modality step. MONOCHROME1, or a Presentation LUT Shape INVERSE (C.11.6), is then undone.
    Padding (C.7.5.1.1.2) becomes black.

    Raises:
        UnusableFileError: no pixel data, of the wrong length, not 8 or 16 bits of one sample, or not decodable.
    """
    return np.asarray(grey_table(dataset).values[stored_values(dataset)])


def grey_table(dataset: Dataset) -> GreyTable:
    """The display value of every word, so that pydicom's LUTs run on 65,536 numbers, not on a frame.

    A word holds the value in BitsStored bits below and including HighBit; what lies beside them (old overlays,
    PS3.5 8.1.2 of 2004) is ignored, and the sign is that of PixelRepresentation.

    Raises:
        UnusableFileError: the header promises no grey image of 8 or 16 bits, or a LUT cannot be applied.
    """
    check_pixels(dataset)
    try:
        return _grey_table(dataset)
    except Exception as error:
        raise UnusableFileError(f"grey_values: {type(error).__name__} while applying the modality or VOI LUT") from None


def _grey_table(dataset: Dataset) -> GreyTable:
    values = word_values(dataset)
    low, high = _output_range(dataset)
    _mend(dataset)
    grey = apply_voi_lut(apply_modality_lut(values, dataset), dataset, index=0).astype(np.float64)
    share = np.clip((grey - low) / (high - low), 0, 1)
    if dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        share = 1 - share
    padding = _padding(dataset)
    if padding is not None:
        share[(values >= padding[0]) & (values <= padding[1])] = 0
    return GreyTable(np.rint(share * WHITE).astype(np.uint16), _voi(dataset))


def word_values(dataset: Dataset) -> np.ndarray:
    """The stored value that every word of BitsAllocated bits stands for, int16 or unsigned."""
    bits, allocated = dataset.BitsStored, dataset.BitsAllocated
    words = np.arange(2**allocated, dtype=np.int64)
    values = (words >> (dataset.HighBit + 1 - bits)) & (2**bits - 1)
    if dataset.PixelRepresentation:
        values -= (values >> (bits - 1)) << bits
    typed: np.ndarray = values.astype(f"{'i' if dataset.PixelRepresentation else 'u'}{allocated // 8}")
    return typed


def _mend(dataset: Dataset) -> None:
    """Two places where pydicom 3.0 is stricter or narrower than the standard."""
    if not dataset.get("VOILUTFunction"):
        dataset.pop("VOILUTFunction", None)  # type 3: empty means absent, and pydicom refuses an empty one
    if _has_lut(dataset, "VOILUTSequence") and dataset.VOILUTSequence[0].LUTDescriptor[2] == 8:
        dataset.VOILUTSequence[0].LUTDescriptor[2] = 16  # pydicom keeps indices in the LUT's depth: they wrap at 256


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    """Least and greatest stored value of padding (PS3.3 C.7.5.1.1.2), or None."""
    first = dataset.get("PixelPaddingValue")
    if first is None:
        return None
    last = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(first), int(first if last is None else last)))
    return low, high


def _voi(dataset: Dataset) -> str:
    """Which VOI transformation is applied, out of how many."""
    if _has_lut(dataset, "VOILUTSequence"):
        return f"lut 1 of {len(dataset.VOILUTSequence)}"
    centre = dataset.get("WindowCenter")
    if None in (centre, dataset.get("WindowWidth")):
        return "none"
    function = dataset.get("VOILUTFunction", "LINEAR")
    windows = 1 if isinstance(centre, int | float | str) else len(centre)
    return f"{function if function in FUNCTIONS else 'other'} window 1 of {windows}"


def _output_range(dataset: Dataset) -> tuple[float, float]:
    """The display value of black and of white after modality and VOI LUT, before MONOCHROME1 is undone.

    With a negative RescaleSlope a window's black is the greater number (PS3.3 C.11.2.1.2 takes the output range from
    the rescaled BitsStored range, and so does pydicom), while rescaled values without a window keep their order.
    """
    if _has_lut(dataset, "VOILUTSequence"):
        return 0.0, float(2 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1)
    if dataset.get("ModalityLUTSequence"):
        return 0.0, float(2 ** dataset.ModalityLUTSequence[0].LUTDescriptor[2] - 1)
    bits = dataset.BitsStored
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dataset.PixelRepresentation else (0, 2**bits - 1)
    if "RescaleSlope" in dataset and "RescaleIntercept" in dataset:
        low, high = (float(end * dataset.RescaleSlope + dataset.RescaleIntercept) for end in (low, high))
    windowed = None not in (dataset.get("WindowCenter"), dataset.get("WindowWidth"))
    return (float(low), float(high)) if windowed else (float(min(low, high)), float(max(low, high)))


def _has_lut(dataset: Dataset, keyword: str) -> bool:
    """Whether a LUT sequence holds a first item with its data."""
    sequence = dataset.get(keyword)
    return bool(sequence) and None not in (sequence[0].get("LUTDescriptor"), sequence[0].get("LUTData"))
