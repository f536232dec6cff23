"""Two ranks with half the batch each, and passes of a few images, have the loss and the gradients of one big batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.models.methods import METHODS
from pipeline.training import passes, setup
from pipeline.training.augment import augment
from pipeline.training.launch import launch
from pipeline.training.loop import _batches
from pipeline.training.passes import backward_pass
from pipeline.training.run import Recipe
from pipeline.training.setup import prepare
from tests.training.conftest import pretrain_arguments

# With a text encoder that learns along behind the plus.
TRAINED = [*(method for method in METHODS if method != "none"), "clip_tr+lora"]
WHOLE, PARTS = None, 3


def recipe_of(inputs: Path, method: str, batch: int, images_per_pass: int | None, processes: int) -> Recipe:
    method, _, learned = method.partition("+")
    settings = {"images_per_pass": images_per_pass, "text_encoder": learned or "auto"}
    arguments = pretrain_arguments(method, batch, processes, **settings)
    return Recipe(inputs / "shards", inputs / "text", inputs / "initial", inputs, **arguments)


@contextmanager
def in_double() -> Iterator[None]:
    """Towers and heads in float64: rounding, which ReLU and BatchNorm over few rows amplify, is then no difference."""
    build_model, build_heads = setup.build_model, setup.build_heads
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "build_model", lambda *given: build_model(*given).double())
        patch.setattr(setup, "build_heads", lambda *given: build_heads(*given).double())
        yield


def first_step(recipe: Recipe, dropout: bool = False) -> dict[str, Any]:
    """Loss and gradients of the first batch, with every term, but without dropout, of which ranks draw their own."""
    with in_double():
        training = prepare(recipe)
    for part in training.tower.modules():
        if isinstance(part, torch.nn.Dropout) and not dropout:
            part.p = 0.0
    batch = next(_batches(training, epoch=0))
    training.done.steps = training.total_steps - 1  # mama begins with one term alone
    training.set_training()
    views = augment(batch.images[batch.shown], batch.keys, recipe.augment, recipe.seed, 0, batch.copies).double()
    if batch.states.is_floating_point():  # token ids are not
        batch = batch._replace(states=batch.states.double())
    loss = backward_pass(training, views, batch)
    learned = {**dict(training.tower.named_parameters()), **dict(training.objective.heads.named_parameters())}
    gradients = {name: p.grad.clone() for name, p in learned.items() if p.grad is not None}
    assert set(gradients) == {name for name, p in learned.items() if p.requires_grad}
    return {"loss": loss.total.detach(), "gradients": gradients, "views": len(views)}


def every_method(inputs: str, out: str) -> None:
    """What each of two ranks runs."""
    torch.set_num_threads(1)
    for method in TRAINED:
        for name, images_per_pass in (("whole", WHOLE), ("parts", PARTS)):
            found = first_step(recipe_of(Path(inputs), method, 5, images_per_pass, processes=2))
            rank = torch.distributed.get_rank()
            torch.save(found, Path(out) / f"{method}-{name}-{rank}.pt")


@pytest.fixture(scope="module")
def two_ranks(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_SCRATCH", str(folder / "scratch"))
        patch.setenv("OMP_NUM_THREADS", "1")
        launch(every_method, 2, str(inputs), str(folder))
    return folder


def assert_same_step(found: dict[str, Any], expected: dict[str, Any]) -> None:
    torch.testing.assert_close(found["loss"], expected["loss"], rtol=1e-9, atol=1e-9)
    assert set(found["gradients"]) == set(expected["gradients"])
    scale = max(gradient.norm() for gradient in expected["gradients"].values())
    for name, gradient in expected["gradients"].items():
        difference = (found["gradients"][name] - gradient).norm()
        assert difference <= 1e-6 * gradient.norm() + 1e-9 * scale, (name, difference, gradient.norm())


@pytest.mark.parametrize("method", [*TRAINED, "siglip+full"])
def test_parts_equal_the_whole(method: str, inputs: Path):
    expected = first_step(recipe_of(inputs, method, 10, WHOLE, processes=1))
    assert expected["views"] > 2 * PARTS
    assert_same_step(first_step(recipe_of(inputs, method, 10, PARTS, processes=1)), expected)


def test_a_text_encoder_drops_the_same_on_the_way_back(inputs: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(passes, "_draw_alike", lambda *_: torch.manual_seed(0))  # else the last part draws its own
    expected = first_step(recipe_of(inputs, "mama", 10, WHOLE, processes=1), dropout=True)
    assert_same_step(first_step(recipe_of(inputs, "mama", 10, PARTS, processes=1), dropout=True), expected)
    without = first_step(recipe_of(inputs, "mama", 10, WHOLE, processes=1))
    assert not torch.isclose(without["loss"], expected["loss"])


@pytest.mark.parametrize("images_per_pass", ["whole", "parts"])
@pytest.mark.parametrize("method", TRAINED)
def test_two_ranks_equal_one(method: str, images_per_pass: str, inputs: Path, two_ranks: Path):
    expected = first_step(recipe_of(inputs, method, 10, WHOLE, processes=1))
    ranks = [torch.load(two_ranks / f"{method}-{images_per_pass}-{n}.pt", weights_only=True) for n in range(2)]
    assert sum(rank["views"] for rank in ranks) == expected["views"]
    for rank in ranks:
        assert_same_step(rank, expected)
