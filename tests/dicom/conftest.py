"""Small synthetic DICOM files and catalogs."""

from collections.abc import Callable
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pandas as pd
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from pipeline.tables import CATALOG, write_table

ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    JPEGLosslessSV1: lambda p: imagecodecs.jpeg_encode(p, lossless=True, predictor=1, bitspersample=12),
    JPEG2000Lossless: lambda p: imagecodecs.jpeg2k_encode(p, codecformat="j2k", reversible=True, bitspersample=12),
    HTJ2KLossless: lambda p: imagecodecs.htj2k_encode(p, reversible=True),
    JPEGLSLossless: imagecodecs.jpegls_encode,
}


def make_dataset(pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, **attributes: object) -> Dataset:
    """A valid enough mammogram of 12 bits in 16; attributes override, None removes."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax if syntax in ENCODERS else ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalMammographyXRayImageStorageForPresentation, "1.2.3"
    dataset.Modality, dataset.PresentationIntentType = "MG", "FOR PRESENTATION"
    dataset.ImageLaterality, dataset.ViewPosition = "L", "CC"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.ImagerPixelSpacing = [0.07, 0.07]
    if syntax in ENCODERS:
        dataset.add_new("PixelData", "OB", encapsulate([bytes(ENCODERS[syntax](pixels))]))
        dataset["PixelData"].is_undefined_length = True
    else:
        dataset.add_new("PixelData", "OW", pixels.tobytes())
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
        if value is None:
            delattr(dataset, keyword)
    return dataset


def draw_breast(height: int = 320, width: int = 256, right: bool = False) -> np.ndarray:
    """12-bit stored values: a half-ellipse of tissue with a darker skin line on a black background."""
    stored = np.zeros((height, width), np.uint16)
    cv2.ellipse(stored, (0, height // 2), (width // 2, height // 3), 0, 0, 360, 500, -1)
    cv2.ellipse(stored, (0, height // 2), (width // 2 - 8, height // 3 - 8), 0, 0, 360, 1600, -1)
    stored = cv2.GaussianBlur(stored, (0, 0), 2)
    texture = np.random.default_rng(0).integers(0, 200, stored.shape).astype(np.uint16)
    stored[stored > 400] += texture[stored > 400]
    return np.ascontiguousarray(stored[:, ::-1]) if right else stored


@pytest.fixture
def mammogram() -> Callable[..., Dataset]:
    return make_dataset


@pytest.fixture
def breast() -> Callable[..., np.ndarray]:
    return draw_breast


@pytest.fixture
def archive(tmp_path: Path) -> Callable[[dict[str, Dataset | bytes]], tuple[Path, Path]]:
    """Writes files into a root and their catalog; returns both folders. One image per patient."""

    def write(files: dict[str, Dataset | bytes]) -> tuple[Path, Path]:
        root, catalog = tmp_path / "root", tmp_path / "catalog"
        root.mkdir(exist_ok=True)
        rows = []
        for name, content in files.items():
            path = root / f"{name}.dcm"
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif not path.exists():
                content.save_as(path, enforce_file_format=True)
            side = content.get("ImageLaterality") if isinstance(content, Dataset) else None
            rows.append(_catalog_row(name, path, "R" if side == "R" else "L"))
        write_table(pd.DataFrame(rows), catalog / "images.parquet", CATALOG)
        return root, catalog

    return write


def _catalog_row(name: str, path: Path, laterality: str) -> dict[str, object]:
    known = {
        "cohort": "tiny",
        "patient_id": f"p-{name}",
        "exam_id": f"e-{name}",
        "exam_day": 0,
        "breast_id": f"e-{name}-{laterality}",
        "image_id": name,
        "laterality": laterality,
        "view": "CC",
        "path": path.name,
        "size_bytes": path.stat().st_size,
    }
    return dict.fromkeys(CATALOG.names) | known
