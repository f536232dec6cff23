"""The training loop: learning rates, the epoch that is kept, and what happens where no score is defined."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from pipeline.downstream import fit as fitting
from pipeline.downstream.fit import Schedule, fit, shuffled_batches
from pipeline.training.optimizer import learning_rate


@pytest.mark.parametrize(("epochs", "rows"), [(1, 10), (2, 7), (30, 64)])
def test_rates_are_those_of_pretraining(epochs: int, rows: int) -> None:
    schedule = Schedule(epochs, 4, 0.3)
    steps = -(-rows // 4)
    warmup = steps if epochs > 1 else 0
    expected = [learning_rate(step, epochs * steps, warmup, 0.3) for step in range(epochs * steps)]
    assert list(fitting._learning_rates(rows, schedule)) == pytest.approx(expected)


def test_every_row_once_and_by_the_generator() -> None:
    first, again, other = (
        torch.cat(list(shuffled_batches(11, 4, torch.Generator().manual_seed(s)))).tolist() for s in (0, 0, 1)
    )
    assert sorted(first) == list(range(11))
    assert first == again != other


@pytest.mark.parametrize(
    ("scores", "kept"), [([0.1, 0.7, 0.7, 0.2], 1), ([None, None, None, None], 3), ([None, 0.2, None, 0.1], 1)]
)
def test_the_best_epoch_is_kept(scores: list[float | None], kept: int) -> None:
    torch.manual_seed(0)
    model, inputs = nn.Linear(2, 1), torch.randn(6, 2)
    generator, reached, seen = torch.Generator().manual_seed(0), iter(scores), []

    def batches(_: int) -> Iterator[torch.Tensor]:
        return shuffled_batches(6, 4, generator)

    def score() -> float | None:
        seen.append(model.weight.detach().clone())
        return next(reached)

    fit(model, batches, lambda rows: model(inputs[rows]).square().mean(), score, 6, Schedule(4, 4, 0.1))
    torch.testing.assert_close(model.weight.detach(), seen[kept], rtol=0, atol=0)
    assert len({tuple(w.flatten().tolist()) for w in seen}) == 4
