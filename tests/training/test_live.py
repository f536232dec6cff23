"""The curve of a running training: every step with what it cost, continued by a run that goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.training import live
from pipeline.training.loop import pretrain
from pipeline.training.record import HistoryRow, LiveRow

Arguments = Callable[..., dict[str, Any]]


def test_it_has_every_step_with_its_cost(inputs: Path, tmp_path: Path, arguments: Arguments):
    given = arguments() | {"live": tmp_path / "new/live.csv"}
    pretrain(inputs / "shards", inputs / "text", inputs / "initial", tmp_path / "out", **given)
    rows, history = pd.read_csv(given["live"]), pd.read_csv(tmp_path / "out/history.csv")
    assert list(rows) == [*HistoryRow._fields, *LiveRow._fields]
    pd.testing.assert_frame_equal(rows[list(HistoryRow._fields)], history)
    assert (rows["images_per_s"] > 0).all()
    assert (rows["data_wait_s"] >= 0).all()
    assert rows["memory_gb"].between(0.05, 64).all()
    assert rows["memory_gb"].is_monotonic_increasing
    pretrain(inputs / "shards", inputs / "text", inputs / "initial", tmp_path / "again", **given)
    again = pd.read_csv(given["live"])
    pd.testing.assert_frame_equal(again[list(HistoryRow._fields)], history)
    assert again["images_per_s"].isna().all()


def test_waiting_is_timed(monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 2.0, 10.0, 13.5, 20.0, 20.0])
    monkeypatch.setattr(live.time, "perf_counter", lambda: next(clock))
    assert list(live.timed("ab")) == [("a", 2.0), ("b", 3.5)]
