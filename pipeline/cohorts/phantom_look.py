"""How each synthetic archive looks: its machines, frame, texture, grey curve, film trouble and file formats."""

from typing import NamedTuple

from pydicom.uid import ExplicitVRLittleEndian as Uncompressed
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)

from pipeline.cohorts.phantom_population import Adapter


class Machine(NamedTuple):
    """names: how the header writes laterality and view, see phantom_dicom; voi: VOI LUT function."""

    manufacturer: str
    model: str
    names: str
    voi: str


class Look(NamedTuple):
    """rows, columns: frame; spacing_mm: at the detector; texture: scale of the tissue pattern, 1 is typical.

    fat, gland: display value (0..1) of fatty tissue and what fibroglandular tissue adds; noise: standard deviation;
    gamma: exponent of the grey curve; background: display value outside the breast; low, high: stored values of
    display 0 and 1; trouble, inverted: share of images with film trouble and of MONOCHROME1; syntaxes: with shares.
    """

    machines: tuple[Machine, ...]
    rows: int
    columns: int
    spacing_mm: float
    texture: float
    fat: float
    gland: float
    noise: float
    gamma: float
    background: float
    low: int
    high: int
    trouble: float
    inverted: float
    syntaxes: tuple[tuple[str, float], ...]


LOOKS: dict[Adapter, Look] = {
    "table": Look(
        machines=(
            Machine("HOLOGIC, Inc.", "Selenia Dimensions", "modern", "SIGMOID"),
            Machine("GE MEDICAL SYSTEMS", "Senographe Essential VERSION ADS_54.11", "retired", "LINEAR"),
        ),
        rows=608, columns=464, spacing_mm=0.40, texture=1.0, fat=0.30, gland=0.23, noise=0.020, gamma=1.0,
        background=0.0, low=60, high=3700, trouble=0.2, inverted=0.12,
        syntaxes=((Uncompressed, 0.3), (RLELossless, 0.25), (JPEGLosslessSV1, 0.3), (JPEG2000Lossless, 0.15)),
    ),
    "vindr": Look(
        machines=(
            Machine("SIEMENS", "Mammomat Inspiration", "modern", "LINEAR"),
            Machine("IMS s.r.l.", "GIOTTO IMAGE 3DL", "code_only", "LINEAR"),
        ),
        rows=640, columns=496, spacing_mm=0.38, texture=0.88, fat=0.26, gland=0.25, noise=0.023, gamma=1.12,
        background=0.02, low=0, high=4095, trouble=0.12, inverted=0.25,
        syntaxes=((Uncompressed, 0.5), (RLELossless, 0.1), (JPEGLosslessSV1, 0.2), (JPEG2000Lossless, 0.2)),
    ),
    "rsna": Look(
        machines=(
            Machine("FUJIFILM Corporation", "FDR-3000AWS", "retired", "LINEAR_EXACT"),
            Machine("LORAD", "Lorad Selenia", "study_side", "LINEAR"),
        ),
        rows=592, columns=480, spacing_mm=0.42, texture=1.15, fat=0.34, gland=0.21, noise=0.019, gamma=0.9,
        background=0.05, low=250, high=3300, trouble=0.3, inverted=0.15,
        syntaxes=((Uncompressed, 0.2), (RLELossless, 0.2), (JPEGLosslessSV1, 0.35), (JPEG2000Lossless, 0.25)),
    ),
}  # fmt: skip
