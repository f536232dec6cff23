"""Rows of all ranks in one tensor, with gradient."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor


def world_size() -> int:
    """Number of ranks; 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_rows(rows: Float[Tensor, "row *dims"]) -> Float[Tensor, "all *dims"]:
    """Concatenates the rows of all ranks in the order of the ranks; ranks may hold different numbers of rows.

    Gradient: every rank computes the same loss L from the gathered rows, and DDP averages parameter gradients over
    the W ranks. With g_r = dL/drows_r, the gradient of one process that held all rows is sum_r g_r drows_r/dtheta; DDP
    yields (1/W) sum_r b_r drows_r/dtheta for what backward returns. So b_r = W g_r: the rank's own slice of the
    gradient times W, and nothing is sent on the way back.
    """
    if world_size() == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows)
    return gathered


def gather_labels(labels: Shaped[Tensor, "row *dims"]) -> Shaped[Tensor, "all *dims"]:
    """Concatenates rows of numbers over all ranks, without gradient."""
    if world_size() == 1:
        return labels
    return _all_gather(labels)[0]


class _GatherRows(torch.autograd.Function):
    """The gradient that `gather_rows` derives."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        gathered, sizes = _all_gather(rows)
        start = sum(sizes[: dist.get_rank()])
        ctx.own = slice(start, start + len(rows))
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0][ctx.own] * dist.get_world_size()


def _all_gather(rows: Tensor) -> tuple[Tensor, list[int]]:
    """Rows of all ranks and how many each rank holds; shorter ranks are padded on the way."""
    world = dist.get_world_size()
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world)]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    sizes = [int(count) for count in counts]
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]), sizes
