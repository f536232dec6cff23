"""A small project for tests that run stages as DVC does: the repository's code and DAG, a profile of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline.tables import SHARD, TEXT_KEYS, TEXT_STATES, write_table
from tests.yaml_file import edit_yaml

ROOT = Path(__file__).resolve().parents[2]
HEIGHT_PX, WIDTH_PX = 64, 64
TEXT_WIDTH = 16


@pytest.fixture
def small_project(tmp_path: Path) -> Path:
    """A git and DVC checkout of the code with 64 x 64 images and a Tr module of 4 tokens."""
    project = tmp_path / "project"
    for folder in ("pipeline", "stages", "conf", ".dvc"):
        ignored = shutil.ignore_patterns("__pycache__", "cache", "tmp")
        shutil.copytree(ROOT / folder, project / folder, ignore=ignored)
    for file in ("params.yaml", "dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / file, project)
    edit_yaml(project / "conf/profile/demo.yaml", shrink)
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    return project


def shrink(profile: dict[str, Any]) -> None:
    profile["preparations"]["mv_mlm"].update(height_px=HEIGHT_PX, width_px=WIDTH_PX)
    profile["tr"].update(tokens=4, blocks=1, heads=8, mlp=32)
    profile["text"]["max_tokens"] = 8
    profile["optimisation"].update(checkpoint_steps=2, epochs={"default": 4})
    profile["optimisation"]["batch"] = {"default": {"mv_clip_tr": 4}}


def environment(project: Path, scratch: str = "scratch") -> dict[str, str]:
    """The environment's tools first on the path, and a scratch folder of the test's own."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PIPELINE_SCRATCH": str(project.parent / scratch), "DVC_NO_ANALYTICS": "1"}


def write_pretraining_inputs(project: Path, breasts: int = 24) -> None:
    """Shards of random images and random text states for `breasts` breasts of as many patients."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(breasts):
        ids = {"patient_id": f"p{number:03d}", "exam_id": f"p{number:03d}-0", "breast_id": f"p{number:03d}-0-L"}
        for view in ("CC", "MLO"):
            pixels = rng.integers(0, 255, (HEIGHT_PX, WIDTH_PX), dtype=np.uint8)
            image = cv2.imencode(".png", pixels)[1].tobytes()
            split = "validation" if number % 6 == 0 else "train"
            rows.append({**ids, "image_id": f"{number:03d}{view}", "view": view, "split": split, "image": image})
    shard = pd.DataFrame(rows).assign(laterality="L", mirrored=False, codec="png")
    write_table(shard, project / "data/shards/pretrain/screening/shard-000.parquet", SHARD, row_group_size=16)
    keys = shard.drop_duplicates("breast_id")[["breast_id", "patient_id", "split"]]
    keys = keys.assign(report_id=[f"r{n % 9}" for n in range(breasts)], prompt_id=[f"p{n % 9}" for n in range(breasts)])
    write_table(keys, project / "data/text/pretrain/keys.parquet", TEXT_KEYS)
    states = [rng.standard_normal((5, TEXT_WIDTH)).astype(np.float32).tobytes() for _ in range(9)]
    table = pd.DataFrame({"report_id": [f"r{n}" for n in range(9)], "tokens": 5, "width": TEXT_WIDTH, "states": states})
    write_table(table, project / "data/text/pretrain/states.parquet", TEXT_STATES)
