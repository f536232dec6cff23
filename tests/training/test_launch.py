"""What a rank raises reaches the user as it was meant, and a rank that is asked to stop has the time to."""

import multiprocessing
import signal
import time
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.training.launch import STOP_S, launch

PATIENCE_S = 300


def refuse(name: str) -> None:
    raise InputError(f"{name}: expected a b: found c")


def test_an_input_error_in_a_rank_keeps_its_message():
    with pytest.raises(InputError, match=r"^x: expected a b: found c$"):
        launch(refuse, 1, "x")


def save_slowly(folder: str) -> None:
    """Takes three seconds to end after SIGTERM."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    (Path(folder) / "started").touch()
    while not asked:
        time.sleep(0.01)
    time.sleep(3)
    (Path(folder) / "saved").touch()


def test_a_rank_that_saves_for_longer_than_torchs_own_limit_is_not_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "1")  # torch's 30 s would be waited for here
    process = multiprocessing.get_context("spawn").Process(target=launch, args=(save_slowly, 1, str(tmp_path)))
    process.start()
    deadline = time.monotonic() + PATIENCE_S
    while not (tmp_path / "started").exists():
        assert process.exitcode is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.terminate()
    process.join(PATIENCE_S)
    assert process.exitcode == 128 + signal.SIGTERM
    assert (tmp_path / "saved").exists()
    assert STOP_S > 30  # torch's own
