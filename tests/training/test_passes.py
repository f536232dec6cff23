"""What saves memory changes no result, and running out of it says what to change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.errors import InputError
from pipeline.models.image_tower import ImageTower
from pipeline.training.loop import _batches, pretrain
from pipeline.training.passes import _draw_alike
from pipeline.training.setup import prepare
from pipeline.training.step import train_step
from tests.training.test_loop import column
from tests.training.test_parity import recipe_of

Arguments = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("changed", [{"activation_checkpointing": True}, {"images_per_pass": 3}])
def test_a_run_with_less_memory_is_the_same_run(
    inputs: Path, tmp_path: Path, arguments: Arguments, changed: dict[str, Any]
):
    for name, settings in (("plain", {}), ("less", changed)):
        given = arguments(batch=8, **settings)
        pretrain(inputs / "shards", inputs / "text", inputs / "initial", tmp_path / name, **given)
    np.testing.assert_allclose(column(tmp_path / "less", "loss"), column(tmp_path / "plain", "loss"), rtol=1e-3)
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "less"))
    for name, value in expected.items():
        assert (found[name] - value).double().norm() <= 0.02 * value.double().norm() + 1e-3, name


def test_only_a_few_images_are_in_the_encoder_at_once(inputs: Path, monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    forward = ImageTower.forward

    def counted(tower: ImageTower, images: torch.Tensor, *asked: bool) -> Any:
        sizes.append(len(images))
        return forward(tower, images, *asked)

    monkeypatch.setattr(ImageTower, "forward", counted)
    training = prepare(recipe_of(inputs, "mv_clip_tr", 8, 3, 1))
    train_step(training, next(_batches(training, 0)), 0)
    assert max(sizes) == 3
    assert sum(sizes) == 2 * training.done.images  # each twice


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_names_what_to_change(inputs: Path, monkeypatch: pytest.MonkeyPatch, error: Exception):
    training = prepare(recipe_of(inputs, "mv_clip_tr", 8, None, 1))

    def full(*given: Any) -> Any:
        raise error

    monkeypatch.setattr(ImageTower, "forward", full)
    message = (
        r"out of memory at step 1: \d+ images of 32 x 32 px on cpu \(batch 8, .*lower optimisation.images_per_pass.*"
        r"optimisation.activation_checkpointing.*optimisation.batch"
    )
    with pytest.raises(InputError, match=message):
        train_step(training, next(_batches(training, 0)), 0)


def test_what_networks_draw_repeats_by_step_and_part(inputs: Path):
    training = prepare(recipe_of(inputs, "clip", 8, None, 1))

    def drawn(part: int) -> float:
        _draw_alike(training, part)
        return float(torch.rand(()))

    first = drawn(0)
    assert drawn(1) != first
    assert drawn(0) == first
    training.done.steps += 1
    assert drawn(0) != first


def test_a_loss_that_grows_tenfold_stops_with_the_images(inputs: Path, monkeypatch: pytest.MonkeyPatch):
    training = prepare(recipe_of(inputs, "mv_clip_tr", 8, None, 1))
    batches = _batches(training, 0)
    first = train_step(training, next(batches), 0)
    training.done.history[0] = first._replace(loss=first.loss / 100)
    monkeypatch.setattr("pipeline.training.step.DIVERGED", 0.1)
    with pytest.raises(InputError, match=r"step 2: loss .*Images of this step on rank 0: i0.*checkpoint is that of"):
        train_step(training, next(batches), 0)
    assert training.done.steps == 1
