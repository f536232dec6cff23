"""Two gloo ranks with uneven rows have the loss and the gradients of one process with all rows."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from pipeline.objectives.clip import clip_loss
from pipeline.training.gather import gather_labels, gather_rows, world_size

SIZES = (3, 2)


def network() -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(4, 6).double()


def rows() -> torch.Tensor:
    return torch.randn(sum(SIZES), 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def loss_of(embedding: torch.Tensor) -> torch.Tensor:
    image, text = torch.nn.functional.normalize(embedding.view(-1, 2, 3), dim=2).unbind(1)
    return clip_loss(image, text, 0.1)


def one_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=len(SIZES))
    start = sum(SIZES[:rank])
    model = DistributedDataParallel(network())
    gathered = gather_rows(model(rows()[start : start + SIZES[rank]]).view(-1, 2, 3))  # more than two dimensions
    loss = loss_of(gathered.flatten(1))
    loss.backward()
    several = gather_labels(torch.full((SIZES[rank], 2), rank > 0))
    assert several.tolist() == [[False] * 2] * SIZES[0] + [[True] * 2] * SIZES[1]
    labels = gather_labels(torch.arange(start, start + SIZES[rank]))
    torch.save(
        {"loss": loss.detach(), "weight": model.module.weight.grad, "labels": labels}, Path(folder) / f"{rank}.pt"
    )
    dist.destroy_process_group()


def test_loss_and_gradients_equal_one_process(tmp_path: Path):
    mp.spawn(one_rank, args=(str(tmp_path),), nprocs=len(SIZES))
    model = network()
    expected = loss_of(model(rows()))
    expected.backward()
    for rank in range(len(SIZES)):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found["loss"], expected.detach())
        torch.testing.assert_close(found["weight"], model.weight.grad)
        assert found["labels"].tolist() == list(range(sum(SIZES)))


def test_without_ranks_rows_stay_what_they_are():
    given = torch.ones(2, 3, requires_grad=True)
    assert world_size() == 1
    assert gather_rows(given) is given
    assert gather_labels(given[:, 0]).tolist() == pytest.approx([1.0, 1.0])
