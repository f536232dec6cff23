"""Calls in worker processes: what they return, raise, and leave behind."""

import os
import signal
import time
from pathlib import Path

import pytest

from pipeline.dicom.guarded import Ending, guarded, in_processes, marked


@pytest.mark.parametrize("workers", [1, 2])
def test_every_call_has_its_own_result_or_ending(workers: int) -> None:
    def work(item: str) -> str:
        if item == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if item == "hang":
            time.sleep(60)
        return item.upper()

    items = ["a", "hang", "b", "crash", "c", "d"]
    results = list(guarded(work, items, workers, seconds=1))
    assert dict(results) == {0: "A", 1: Ending.TIMEOUT, 2: "B", 3: Ending.CRASH, 4: "C", 5: "D"}
    assert len(results) == len(items)


def test_no_call_no_process() -> None:
    assert list(guarded(len, [], 2, seconds=1)) == []


def test_an_exception_of_a_call_is_the_callers_and_the_next_calls_work() -> None:
    with pytest.raises(ZeroDivisionError):
        list(guarded(lambda item: 1 // item, [2, 1, 0, 3], 2, seconds=9))
    assert sorted(in_processes(abs, [-1, -2], 2)) == [1, 2]


def test_a_caller_who_has_seen_enough_stops_the_calls(tmp_path: Path) -> None:
    results = in_processes(lambda name: (tmp_path / str(name)).touch(), list(range(500)), 2)
    next(results)
    results.close()
    assert len(list(tmp_path.iterdir())) < 100


def test_a_mark_is_there_while_the_call_runs_and_only_then(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with marked(mark, 60):
        assert mark.read_text() == ""
    assert not mark.exists()
    with pytest.raises(ValueError, match="bad"), marked(mark, 60):
        raise ValueError("bad")
    assert not mark.exists(), "an exception is no crash"
