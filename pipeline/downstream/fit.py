"""The one training loop of the downstream models: AdamW, cosine, the best epoch on the validation split."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

# method.md, MV-MLM table: AdamW with weight decay 1e-4, cosine with 1 warm-up epoch.
WEIGHT_DECAY = 1e-4
WARMUP_EPOCHS = 1
Batch = TypeVar("Batch")


class Schedule(NamedTuple):
    """Epochs, rows per step and peak learning rate."""

    epochs: int
    batch: int
    learning_rate: float


def fit(
    model: nn.Module,
    batches: Callable[[int], Iterable[Batch]],
    loss: Callable[[Batch], Float[Tensor, ""]],
    score: Callable[[], float | None],
    rows: int,
    schedule: Schedule,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Trains a model in place and leaves it as it was after the epoch with the best score.

    Args:
        model: Its parameters are trained.
        batches: Of the epoch with this number (from 0).
        loss: Mean loss of a batch.
        score: Of the model on the validation split, higher is better; None where it is undefined.
        rows: Number of training rows.
        schedule: Epochs, batch, learning rate.
        scaler: Of gradients, for fp16.

    The first of equal scores counts; where no score is defined, the last epoch does.
    """
    optimizer = torch.optim.AdamW(model.parameters(), schedule.learning_rate, weight_decay=WEIGHT_DECAY, fused=True)
    scaler = scaler or torch.amp.GradScaler(enabled=False)
    rates = _learning_rates(rows, schedule)
    best, best_score = None, -np.inf
    for epoch in range(schedule.epochs):
        for batch in batches(epoch):
            optimizer.param_groups[0]["lr"] = next(rates)
            optimizer.zero_grad()
            scaler.scale(loss(batch)).backward()
            scaler.step(optimizer)
            scaler.update()
        reached = score()
        if reached is not None and reached > best_score:
            best, best_score = copy.deepcopy(model.state_dict()), reached
    if best is not None:
        model.load_state_dict(best)


def one_thread() -> threadpool_limits:
    """Context in which torch and BLAS use one thread.

    For the small models on frozen features: handing such small operations to a second thread costs more than it
    saves (risk: 4 s of one core; on two busy cores over 300 s), and sums do not depend on the number of cores.
    """
    return threadpool_limits(limits=1)


def shuffled_batches(rows: int, batch: int, generator: torch.Generator) -> Iterator[Int[Tensor, " batch"]]:
    """Every row once, in random order; the last batch may be smaller."""
    yield from torch.randperm(rows, generator=generator).split(batch)


def _learning_rates(rows: int, schedule: Schedule) -> Iterator[float]:
    """The learning rate of every step: linear over the warm-up (none in a single epoch), then half a cosine to zero."""
    per_epoch = -(-rows // schedule.batch)
    warmup = WARMUP_EPOCHS * per_epoch if schedule.epochs > WARMUP_EPOCHS else 0
    steps = schedule.epochs * per_epoch
    for step in range(steps):
        rising = (step + 1) / max(warmup, 1)
        falling = (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2
        yield schedule.learning_rate * (rising if step < warmup else falling)
