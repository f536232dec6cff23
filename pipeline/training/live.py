"""The curve of a run while it runs, with what each step cost: a CSV that `dvc plots` and a person can follow."""

import resource
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import torch

from pipeline.training.record import HistoryRow, LiveRow, ValidationRow, append_row, write_rows
from pipeline.training.run import Training

T = TypeVar("T")
_BYTES_PER_GB = 2**30


class LiveCurve:
    """Written by the first rank only. A resumed run keeps the steps of the run before it, without their times.

    Beside it, with `_validation` in its name, a row for each epoch validated.
    """

    def __init__(self, path: Path, training: Training) -> None:
        self._path, self._training = path, training
        self._last_s = time.perf_counter()
        self._images = training.done.images
        if training.accelerator.is_main_process:
            path.parent.mkdir(parents=True, exist_ok=True)
            unknown = [None] * len(LiveRow._fields)
            write_rows(path, HistoryRow._fields + LiveRow._fields, ([*row, *unknown] for row in training.done.history))
            write_rows(self._of_epochs, ValidationRow._fields, training.done.validation)

    @property
    def _of_epochs(self) -> Path:
        return self._path.with_stem(f"{self._path.stem}_validation")

    def start_epoch(self) -> None:
        """Starts the clock of the next step: what came before, perhaps a validation, is not its cost."""
        self._last_s = time.perf_counter()

    def add(self, row: HistoryRow, waited_s: float) -> None:
        """Adds the step that has just ended."""
        now, images = time.perf_counter(), self._training.done.images
        cost = LiveRow((images - self._images) / (now - self._last_s), waited_s, memory_gb(self._training))
        self._last_s, self._images = now, images
        if self._training.accelerator.is_main_process:
            append_row(self._path, [*row, *(round(value, 4) for value in cost)])

    def add_validation(self, row: ValidationRow) -> None:
        """Adds the epoch that has just been validated."""
        if self._training.accelerator.is_main_process:
            append_row(self._of_epochs, row)


def timed(items: Iterable[T]) -> Iterator[tuple[T, float]]:
    """Each item with the seconds that were waited for it."""
    iterator = iter(items)
    while True:
        start = time.perf_counter()
        try:
            item = next(iterator)
        except StopIteration:
            return
        yield item, time.perf_counter() - start


def memory_gb(training: Training) -> float:
    """Highest memory so far: allocated on the GPU, or resident of this process on a CPU."""
    device = training.accelerator.device
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _BYTES_PER_GB
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB (getrusage(2))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _BYTES_PER_GB
