"""The curve of a running training: every step with what it cost, continued by a run that goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.training import live
from pipeline.training.loop import pretrain
from pipeline.training.record import HistoryRow, LiveRow
from pipeline.training.setup import prepare
from tests.training.test_parity import recipe_of

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
    validated = tmp_path / "new/live_validation.csv"
    assert validated.read_bytes() == (tmp_path / "out/validation.csv").read_bytes()
    pretrain(inputs / "shards", inputs / "text", inputs / "initial", tmp_path / "again", **given)
    assert validated.read_bytes() == (tmp_path / "out/validation.csv").read_bytes()
    again = pd.read_csv(given["live"])
    pd.testing.assert_frame_equal(again[list(HistoryRow._fields)], history)
    assert again["images_per_s"].isna().all()


def test_an_epochs_validation_can_be_read_before_the_next(
    inputs: Path, tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
):
    lines, add = [], live.LiveCurve.add

    def watch(curve: live.LiveCurve, *given: Any) -> None:
        add(curve, *given)
        lines.append(len((tmp_path / "live_validation.csv").read_text().splitlines()))

    monkeypatch.setattr(live.LiveCurve, "add", watch)
    given = arguments(batch=8) | {"live": tmp_path / "live.csv"}
    pretrain(inputs / "shards", inputs / "text", inputs / "initial", tmp_path / "out", **given)
    assert lines == [1 + step // 3 for step in range(len(lines))]  # its header, and three steps an epoch


def test_a_validation_is_no_cost_of_the_step_after_it(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    training = prepare(recipe_of(inputs, "clip", 8, None, 1))
    clock = iter([0.0, 2.0, 100.0, 104.0])
    monkeypatch.setattr(live.time, "perf_counter", lambda: next(clock))
    curve = live.LiveCurve(tmp_path / "live.csv", training)
    row = HistoryRow(*[0] * len(HistoryRow._fields))
    training.done.images = 10
    curve.add(row, 0.0)
    curve.start_epoch()
    training.done.images = 18
    curve.add(row, 0.0)
    monkeypatch.undo()
    assert pd.read_csv(tmp_path / "live.csv")["images_per_s"].tolist() == [10 / 2, 8 / 4]


def test_waiting_is_timed(monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 2.0, 10.0, 13.5, 20.0, 20.0])
    monkeypatch.setattr(live.time, "perf_counter", lambda: next(clock))
    assert list(live.timed("ab")) == [("a", 2.0), ("b", 3.5)]
