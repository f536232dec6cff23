"""SIGTERM ends a run on all ranks at the same step, with a checkpoint."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from pipeline.training.run import Training

_STOPPED = 128 + signal.SIGTERM  # the shell's exit code of a process that SIGTERM ended


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Notes SIGTERM instead of dying of it, so that the step can end."""
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGTERM, before)


def save_or_stop(training: Training, asked: bool, due: bool) -> None:
    """Writes a checkpoint when it is due or a rank was asked to stop; all ranks stop once it is written.

    A rank that ended before would have the launcher end the one that still writes.

    Raises:
        SystemExit: a rank was asked to stop.
    """
    stop = _any_rank(training, asked)
    if stop or due:
        training.save()
    if stop:
        training.accelerator.wait_for_everyone()
        raise SystemExit(_STOPPED)


def _any_rank(training: Training, asked: bool) -> bool:
    """Whether any rank was asked to stop: all must stop at the same step."""
    accelerator = training.accelerator
    if accelerator.num_processes == 1:
        return asked
    return float(accelerator.reduce(torch.tensor(float(asked), device=accelerator.device), reduction="sum")) > 0
