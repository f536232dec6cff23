"""The stages of a baseline after each other: patients, splits and images of the run, in the baseline's own pixels."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

import stages.baselines
import stages.embed
import stages.initial
import stages.pack_baseline
import stages.pack_evaluate
import stages.probe
import stages.probe_baseline
from pipeline.dicom.store import CODEC, encode_crop
from pipeline.tables import COHORT, CROPS, FEATURES, IMAGE_LABELS, PREDICTIONS, SHARD, read_table, write_table
from tests.stages.conftest import ROOT
from tests.yaml_file import edit_yaml

BASELINE = "mirai_resnet18"
FRAME_PX = (64, 52)  # the size of the baseline's images, too: nothing is resized
BOX = (8, 4, 48, 40)  # top, left, height, width of the crop in the frame
GREY_MAX = 4095
WALLS = {"L": "left", "R": "right"}


def shrink_run(run: Any) -> None:
    run["tasks"] = {"mass_vindr": run["tasks"]["mass_vindr"]}
    run["zero_shot"]["tasks"] = run["finetune"]["tasks"] = []
    run["baselines"] = [BASELINE]
    run["probe"].update(fractions=[0.5, 1.0], seeds=[0, 1, 2], paper_epochs=2)


def shrink_profile(profile: Any) -> None:
    profile["preparations"]["mv_mlm"].update(height_px=64, width_px=64)
    profile["preparations"]["mirai"].update(height_px=FRAME_PX[0], width_px=FRAME_PX[1])
    profile["compute"]["workers"] = 1


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Crops and tables of two cohorts, beside the project's parameters."""
    (tmp_path / "conf/profile").mkdir(parents=True)
    for name, edit in (("params.yaml", shrink_run), ("conf/profile/demo.yaml", shrink_profile)):
        (tmp_path / name).write_text((ROOT / name).read_text())
        edit_yaml(tmp_path / name, edit)
    for cohort in ("vindr", "screening"):
        write_cohort(tmp_path, cohort)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def crop_of(image_id: str) -> np.ndarray:
    """Noise that depends on the image's id alone."""
    rng = np.random.default_rng(list(image_id.encode()))
    return rng.integers(0, GREY_MAX + 1, BOX[2:]).astype(np.uint16)


def write_cohort(root: Path, cohort: str) -> None:
    """Two images of each of 30 patients."""
    rng = np.random.default_rng(len(cohort))
    rows, crops = [], []
    for number in range(30):
        split = ("train", "validation", "test")[number % 3]
        for side, wall in WALLS.items():
            breast = f"{cohort}-{number:02d}-0-{side}"
            ids = dict(patient_id=f"{cohort}-{number:02d}", image_id=f"{breast}-CC", laterality=side, view="CC")
            label = None if split == "test" else bool(rng.random() < 0.5)
            known = dict(cohort=cohort, exam_id=f"{cohort}-{number:02d}-0", exam_day=0, breast_id=breast, split=split)
            rows.append(dict.fromkeys(COHORT.names) | known | ids | dict.fromkeys(IMAGE_LABELS[:3], label))
            place = dict(zip(("box_top_px", "box_left_px", "box_height_px", "box_width_px"), BOX, strict=True))
            place |= dict(frame_height_px=FRAME_PX[0], frame_width_px=FRAME_PX[1], chest_wall=wall)
            scale = dict(frame_low=0.0, frame_high=float(GREY_MAX), breast_low=100.0, breast_high=4000.0)
            stored = dict(status="ingested", codec=CODEC, crop=encode_crop(crop_of(ids["image_id"])))
            crops.append(dict.fromkeys(CROPS.names) | ids | place | scale | stored)
    write_table(pd.DataFrame(rows), root / "cohort" / cohort / "images.parquet", COHORT)
    write_table(pd.DataFrame(crops), root / "crops" / cohort / "part-000.parquet", CROPS)


def run_stages() -> None:
    """Both encoders of `probe` are the initial one here: only who is scored matters."""
    stages.initial.main("models/initial")
    stages.baselines.main("models/baselines")
    for cohort in ("vindr", "screening"):
        inputs = (f"crops/{cohort}", f"cohort/{cohort}")
        stages.pack_evaluate.main(*inputs, f"shards/{cohort}")
        stages.pack_baseline.main(BASELINE, *inputs, f"shards/{BASELINE}/{cohort}")
        stages.embed.main(f"shards/{cohort}", "models/initial", f"features/initial/{cohort}")
        model = f"models/baselines/{BASELINE}"
        stages.embed.main(f"shards/{BASELINE}/{cohort}", model, f"features/{BASELINE}/{cohort}")
    stages.probe.main("mass_vindr", "cohort/vindr", "features/initial", "features/initial", "predictions/probe")
    stages.probe_baseline.main(BASELINE, "cohort", f"features/{BASELINE}", f"predictions/{BASELINE}")


def mirai_pixels(crop: np.ndarray, laterality: str) -> np.ndarray:
    """The whole frame, 16 bits from 0 to its greatest value, black beside the crop, the chest wall on the right."""
    top, left, height, width = BOX
    frame = np.zeros(FRAME_PX)
    frame[top : top + height, left : left + width] = crop.astype(float) / GREY_MAX * 65535
    return frame if WALLS[laterality] == "right" else frame[:, ::-1]


def test_a_baseline_sees_the_same_images_in_its_own_preparation_and_scores_the_same_patients(project: Path) -> None:
    run_stages()
    shards, own = (
        pd.concat([read_table(file, SHARD) for file in sorted((project / folder).glob("shard-*.parquet"))])
        for folder in (f"shards/{BASELINE}/vindr", "shards/vindr")
    )
    ids = ["image_id", "breast_id", "exam_id", "patient_id", "laterality", "view", "split"]
    pd.testing.assert_frame_equal(shards[ids], own[ids])
    for row in shards.to_dict("records"):
        image = cv2.imdecode(np.frombuffer(row["image"], np.uint8), cv2.IMREAD_UNCHANGED)
        assert image.dtype == np.uint16
        np.testing.assert_allclose(image, mirai_pixels(crop_of(row["image_id"]), row["laterality"]), atol=1)

    features = read_table(project / f"features/{BASELINE}/vindr/features.parquet", FEATURES)
    assert {len(vector) for vector in features["backbone"]} == {512}
    keys = ["task", "method", "fraction", "seed", "split", "image_id", "patient_id"]
    found = read_table(project / f"predictions/{BASELINE}/mass_vindr/predictions.parquet", PREDICTIONS)
    reference = read_table(project / "predictions/probe/predictions.parquet", PREDICTIONS)
    assert set(found["encoder"]) == {BASELINE}
    reference = reference[reference["encoder"] == "pretrained"]
    pd.testing.assert_frame_equal(found[keys].reset_index(drop=True), reference[keys].reset_index(drop=True))
    assert len(found) == 2 * 2 * 3 * (20 + 20 + 20)  # methods, fractions, seeds
    assert json.loads((project / "models/baselines/baselines.json").read_text())[BASELINE]["preparation"] == "mirai"
