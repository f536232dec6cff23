"""kill -9 of the trainer and of dvc with it in mid-pretraining, then `dvc repro`: the same curve, the same weights."""

import os
import signal
import subprocess
import time
from pathlib import Path

from tests.stages.conftest import environment, write_pretraining_inputs

COMMAND = ["dvc", "repro", "--single-item", "pretrain"]
PATIENCE_S = 120


def repro(project: Path, scratch: str, *command: str) -> None:
    result = subprocess.run(
        command or COMMAND, cwd=project, env=environment(project, scratch), capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr


def result_of(project: Path) -> dict[str, bytes]:
    folder = project / "models/pretrained"
    return {name: (folder / name).read_bytes() for name in ("history.csv", "validation.csv", "model.safetensors")}


def kill_after_checkpoints(project: Path, scratch: str, checkpoints: int) -> None:
    """Starts `dvc repro` as a process group and kills the whole group once some checkpoints were written."""
    process = subprocess.Popen(
        COMMAND, cwd=project, env=environment(project, scratch), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    seen: set[str] = set()
    deadline = time.monotonic() + PATIENCE_S
    while len(seen) < checkpoints:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, f"saw only {seen}"
        seen |= {p.name for p in (project.parent / scratch).glob("pretrain/*/step-*.pt")}
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_killed_run_ends_as_an_uninterrupted_one(small_project: Path) -> None:
    write_pretraining_inputs(small_project)
    repro(small_project, "whole", "dvc", "repro", "--single-item", "initial")
    repro(small_project, "whole")
    expected = result_of(small_project)
    steps = expected["history.csv"].decode().strip().splitlines()[1:]
    assert len(steps) == 20  # 4 epochs of 20 breasts, 4 a step

    subprocess.run(["rm", "-rf", "models/pretrained", "dvc.lock", ".dvc/cache/runs"], cwd=small_project, check=True)
    kill_after_checkpoints(small_project, "killed", checkpoints=3)
    assert not (small_project / "models/pretrained/model.safetensors").exists()
    repro(small_project, "killed")
    assert result_of(small_project) == expected
