"""Two machines under torchrun, here two processes that meet at a port, equal one process with twice the batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.training.loop import pretrain
from tests.training.conftest import pretrain_arguments

PATIENCE_S = 180
SCRIPT = """
import sys
from pathlib import Path
from tests.training.conftest import pretrain_arguments
from pipeline.training.loop import pretrain
inputs, out = map(Path, sys.argv[1:])
pretrain(inputs / "shards", inputs / "text", inputs / "initial", out, **pretrain_arguments(batch=5, processes=1))
loaded = {"transformers", "peft"} & set(sys.modules)
assert not loaded, f"states of a frozen text encoder are read, it is not loaded: {loaded}"
"""


def test_two_nodes_equal_one_process(inputs: Path, tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "PIPELINE_SCRATCH": str(tmp_path / "scratch_nodes")}
    nodes = [
        subprocess.Popen(
            [
                sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
                "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "test",
                str(script), str(inputs), str(tmp_path / "two"),
            ],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [node.communicate(timeout=PATIENCE_S)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(said)
    pretrain(inputs / "shards", inputs / "text", inputs / "initial", tmp_path / "one", **pretrain_arguments(batch=10))
    two, one = (pd.read_csv(tmp_path / name / "history.csv") for name in ("two", "one"))
    np.testing.assert_allclose(two["loss"][:2], one["loss"][:2], rtol=1e-5)
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=2e-3)
