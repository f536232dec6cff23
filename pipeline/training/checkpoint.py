"""Checkpoints that survive a kill at any moment: written beside, made durable, then renamed."""

import os
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import InputError

_PATTERN = "step-*.pt"


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], kept: int) -> None:
    """Writes one checkpoint atomically and deletes all but the newest.

    Args:
        folder: Of this run.
        step: Steps done.
        state: Tensors and plain types only, so that it loads without running code.
        kept: How many stay, at least one.

    Raises:
        InputError: it could not be written (the disk is full); those before it are still there.
    """
    final = folder / f"step-{step:09d}.pt"
    temporary = final.with_suffix(".tmp")
    try:
        with temporary.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, final)
    except (OSError, RuntimeError) as error:  # torch's writer turns a failed write into a RuntimeError
        temporary.unlink(missing_ok=True)
        before = [file.name for file in sorted(folder.glob(_PATTERN))]
        raise InputError(
            f"{final.name}: cannot be written to {folder} ({type(error).__name__}: {str(error).splitlines()[0]});"
            f" make room or set $PIPELINE_SCRATCH to another disk, then start again: it continues from"
            f" {before[-1] if before else 'the beginning, no checkpoint is kept yet'}"
        ) from error
    for old in sorted(folder.glob(_PATTERN))[:-kept]:
        old.unlink()


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint of a run on the CPU; None if there is none.

    Raises:
        InputError: it cannot be read.
    """
    files = sorted(folder.glob(_PATTERN))
    if not files:
        return None
    try:
        state: dict[str, Any] = torch.load(files[-1], weights_only=True, map_location="cpu")
    except Exception as error:  # a torn file makes torch raise many kinds, some without a public name
        raise InputError(
            f"{files[-1].name}: not a whole checkpoint ({type(error).__name__}); delete it from {folder} to continue"
            " from the one before it"
        ) from error
    return state
