"""A run that is killed and terminated again and again, at random moments, ends with the bits of one that never was."""

import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.training.loop import pretrain
from tests.training.conftest import pretrain_arguments

PATIENCE_S = 300
EPOCHS = {"mv_clip_tr": 14, "dino": 3, "clip": 2}  # of 5 and of 9 steps; of 5 on two ranks
RESULT = ("history.csv", "validation.csv", "model.safetensors", "config.json", "engine.json")
# A server that has imported everything forks a child in milliseconds: 27 starts cost less than one import.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.training.test_interrupted"])


def train(method: str, processes: int, inputs: Path, out: Path, live: Path, scratch: str) -> None:
    """A whole run in a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_SCRATCH", scratch)
        torch.set_num_threads(1)
        epochs = {"default": EPOCHS[method]}
        arguments = pretrain_arguments(method, processes=processes, epochs=epochs, checkpoint_steps=3) | {"live": live}
        pretrain(inputs / "shards", inputs / "text", inputs / "initial", out, **arguments)


def interrupt(start: Callable[[], Any], live: Path, more_steps: int, delay_s: float, number: signal.Signals) -> None:
    """Starts the run and sends the signal a moment after it has made so many more steps."""
    live.unlink(missing_ok=True)
    process = start()
    process.start()
    deadline = time.monotonic() + PATIENCE_S
    first = None
    while first is None or len(live.read_text().splitlines()) < first + more_steps:
        assert process.exitcode is None, "the run ended before it could be interrupted"
        assert time.monotonic() < deadline
        if first is None and live.exists():
            first = len(live.read_text().splitlines())
        time.sleep(0.001)
    time.sleep(delay_s)
    process.kill() if number == signal.SIGKILL else process.terminate()
    process.join(PATIENCE_S)
    assert process.exitcode == (-signal.SIGKILL if number == signal.SIGKILL else 128 + signal.SIGTERM)


def finish(process: Any) -> None:
    """Lets a run come to its end."""
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == 0


def assert_same_results(broken: Path, whole: Path) -> None:
    for name in RESULT:
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.parametrize(("method", "kills", "terms"), [("mv_clip_tr", 20, 5), ("dino", 3, 1)])
def test_an_interrupted_run_ends_with_the_same_bits(method: str, kills: int, terms: int, inputs: Path, tmp_path: Path):
    def run(name: str) -> Any:
        given = (method, 1, inputs, tmp_path / name, tmp_path / f"{name}.csv", str(tmp_path / f"{name}_scratch"))
        return PROCESSES.Process(target=train, args=given)

    draw = random.Random(0)
    numbers = [signal.SIGKILL] * kills + [signal.SIGTERM] * terms
    draw.shuffle(numbers)
    for number in numbers:
        interrupt(lambda: run("broken"), tmp_path / "broken.csv", draw.randint(0, 2), draw.uniform(0, 0.08), number)
        assert not (tmp_path / "broken").exists()
    for name in ("broken", "whole"):
        finish(run(name))
    assert_same_results(tmp_path / "broken", tmp_path / "whole")
    assert len((tmp_path / "whole" / "history.csv").read_text().splitlines()) > 25


def test_two_ranks_save_on_sigterm_and_go_on_to_the_same_bits(inputs: Path, tmp_path: Path):
    def run(name: str) -> Any:
        given = (inputs, tmp_path / name, tmp_path / f"{name}.csv", str(tmp_path / f"{name}_scratch"))
        return PROCESSES.Process(target=train, args=("clip", 2, *given))

    interrupt(lambda: run("broken"), tmp_path / "broken.csv", 1, 0.0, signal.SIGTERM)
    done = len((tmp_path / "broken.csv").read_text().splitlines()) - 1
    assert 1 <= done < 10
    assert list(tmp_path.glob(f"broken_scratch/pretrain/*/step-{done:09d}.pt"))
    for name in ("broken", "whole"):
        finish(run(name))
    assert_same_results(tmp_path / "broken", tmp_path / "whole")
