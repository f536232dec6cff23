"""What a training run leaves behind besides the model: loss curve, validation curve, and what ran."""

import csv
import json
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

Value = float | int | None


class HistoryRow(NamedTuple):
    """One step. Losses in nats; None where the method or the step has no such term.

    loss_second, loss_local: mama's, of its second image and the caption, and of patches and sentences. temperature: of
    image-text; it, those of the views and of loss_local, and SigLIP's bias are as before the step. duplicate_rate:
    share of the units whose report another unit of the step has too. alignment, uniformity: of what is compared
    (compare.py).
    """

    step: int
    epoch: int
    loss: float
    loss_image_text: float | None
    loss_views: float | None
    loss_second: float | None
    loss_local: float | None
    learning_rate: float
    temperature: float | None
    temperature_views: float | None
    temperature_local: float | None
    bias: float | None
    duplicate_rate: float | None
    alignment: float | None
    uniformity: float


class LiveRow(NamedTuple):
    """What one step cost on the first rank; beside the curve while it runs, in no result.

    images_per_s: of all ranks, in this step. data_wait_s: waited for decoded images. memory_gb: highest so far.
    """

    images_per_s: float
    data_wait_s: float
    memory_gb: float


class ValidationRow(NamedTuple):
    """One epoch: share of the n validation images whose own report is the closest (methods with text)."""

    epoch: int
    recall_at_1: float
    n: int


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Value]]) -> None:
    """Writes a CSV; numbers in full, None as nothing."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def append_row(path: Path, row: Sequence[Value]) -> None:
    """Adds one row, so that the curve of a running training can be watched."""
    with path.open("a", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerow(row)


def write_engine(path: Path, counted: dict[str, int | str]) -> None:
    """Writes what ran: the counts given, and the versions of the libraries that did the work."""
    versions = {name: version(name) for name in ("torch", "accelerate", "timm")}
    path.write_text(json.dumps(counted | versions, indent=2, sort_keys=True) + "\n")
