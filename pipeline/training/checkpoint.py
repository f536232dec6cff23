"""Checkpoints that survive a kill at any moment: written beside, made durable, then renamed."""

import os
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import InputError

KEPT = 2  # the newest, and the one before it
_PATTERN = "step-*.pt"


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Writes one checkpoint atomically and deletes all but the last two.

    Args:
        folder: Of this run.
        step: Steps done.
        state: Tensors and plain types only, so that it loads without running code.
    """
    final = folder / f"step-{step:09d}.pt"
    temporary = final.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, final)
    for old in sorted(folder.glob(_PATTERN))[:-KEPT]:
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
