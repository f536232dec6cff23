"""A compiled encoder, with BatchNorm folded into its convolutions and images in parts, trains as the plain one.

Traced and differentiated by torch.compile, but run by torch's own kernels (`aot_eager`): those that inductor writes are
torch's matter and take a C++ compiler a minute. In a process of its own: checks of shapes at run time cannot be traced.
"""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file

PATIENCE_S = 300
SCRIPT = """
import functools, sys
from pathlib import Path
import torch
from torch._dynamo.utils import counters
from tests.training.conftest import pretrain_arguments
from pipeline.training.loop import pretrain
inputs, out = map(Path, sys.argv[1:])
torch.nn.Module.compile = functools.partialmethod(torch.nn.Module.compile, backend="aot_eager")
for name in ("eager", "compiled"):
    assert not counters["stats"]
    given = pretrain_arguments("mv_clip", 6, compile=name == "compiled", images_per_pass=5, epochs={"default": 1})
    pretrain(inputs / "shards", inputs / "text", inputs / "initial", out / name, **given)
assert counters["stats"]["unique_graphs"] > 1 and not counters["graph_break"], counters
"""


def test_a_compiled_encoder_trains_as_the_plain_one(inputs: Path, tmp_path: Path):
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(inputs), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.getcwd()}, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    eager, compiled = (pd.read_csv(tmp_path / name / "history.csv") for name in ("eager", "compiled"))
    assert len(eager) == 3 and eager["loss"].nunique() == 3
    pd.testing.assert_frame_equal(compiled, eager, rtol=1e-5)
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in ("eager", "compiled"))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
