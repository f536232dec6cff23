"""What saves memory changes no result; what stops a run, and what it says then."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from pipeline.errors import InputError
from pipeline.models.image_tower import ImageTower
from pipeline.training import run, step
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


FULL = [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("DefaultCPUAllocator: can't allocate memory")]


@pytest.mark.parametrize("error", FULL)
@pytest.mark.parametrize("place", ["augment", "backward_pass", "Training.set_training", "AcceleratedOptimizer.step"])
def test_out_of_memory_names_what_to_change(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, place: str
):
    """Wherever in the step it happens: AdamW's state is allocated by the first one."""
    training = prepare(recipe_of(inputs, "mv_clip_tr", 8, None, 1))

    def full(*given: Any) -> Any:
        raise error

    if place == "AcceleratedOptimizer.step":
        monkeypatch.setattr(training.optimizer, "step", full)
    else:
        monkeypatch.setattr(f"pipeline.training.step.{place}", full)
    message = (
        r"out of memory after step 0: \d+ images of 32 x 32 px on cpu \(batch 8, .*lower optimisation.images_per_pass.*"
        r"optimisation.activation_checkpointing.*optimisation.batch"
    )
    with pytest.raises(InputError, match=message):
        train_step(training, next(_batches(training, 0)), 0)


def test_out_of_memory_in_a_validation_names_what_to_change(
    inputs: Path, tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
):
    def full(*given: Any) -> Any:
        raise FULL[0]

    monkeypatch.setattr("pipeline.training.loop.validate", full)
    for images, most in ((16, None), (5, 5)):  # which so helps a validation, too
        given = arguments(batch=8, images_per_pass=most)
        with pytest.raises(InputError, match=rf"out of memory after step 3: {images} images of 32 x 32 px"):
            pretrain(inputs / "shards", inputs / "text", inputs / "initial", tmp_path, **given)


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
    batch = next(batches)
    (elsewhere,) = sorted(set(range(len(training.pairs.images))) - set(batch.keys.tolist()))[:1]
    monkeypatch.setattr(step, "gather_labels", lambda keys: torch.cat([keys, torch.tensor([elsewhere])]))
    with pytest.raises(InputError, match=r"step 2: loss .*Images of this step: i0.*checkpoint is that of") as stopped:
        train_step(training, batch, 0)
    assert training.done.steps == 1
    named = training.pairs.images["image_id"].iloc[[elsewhere, *batch.keys.tolist()]]
    assert all(image in str(stopped.value) for image in named)  # of both ranks


def test_fp16_may_skip_some_steps_but_not_all(inputs: Path):
    training = prepare(recipe_of(inputs, "mv_clip", 8, None, 1))
    batch = next(_batches(training, 0))
    fp16 = training.recipe.compute.model_copy(update={"precision": "fp16"})
    training.recipe = training.recipe._replace(compute=fp16)
    for _ in range(step.OVERFLOWS):
        step._check_sane(training, batch, 1.0, math.inf)
    step._check_sane(training, batch, 1.0, 0.5)  # a scale that fits is found: it starts to count anew
    for _ in range(step.OVERFLOWS):
        step._check_sane(training, batch, 1.0, math.nan)
    with pytest.raises(InputError, match="gradient norm inf"):
        step._check_sane(training, batch, 1.0, math.inf)


def test_ranks_that_find_different_checkpoints_are_refused(inputs: Path, monkeypatch: pytest.MonkeyPatch):
    training = prepare(recipe_of(inputs, "mv_clip", 8, None, 1))
    monkeypatch.setattr(run, "gather_labels", lambda steps: torch.cat([steps, torch.tensor([7])]))
    with pytest.raises(InputError, match=r"different steps \(\[0, 7\], 0: none\).*folder that all nodes share"):
        training.restore()


def test_another_number_of_ranks_starts_anew(inputs: Path, monkeypatch: pytest.MonkeyPatch):
    """Steps of two ranks hold twice as many breasts: no checkpoint of one rank is theirs."""
    recipe = recipe_of(inputs, "mv_clip", 8, None, 1)
    one = prepare(recipe).folder
    assert one == prepare(recipe).folder
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    assert prepare(recipe).folder != one


def test_the_curve_names_every_temperature_and_the_bias(inputs: Path):
    rows = {}
    for method in ("mv_clip", "clip", "siglip"):
        training = prepare(recipe_of(inputs, method, 8, None, 1))
        rows[method] = train_step(training, next(_batches(training, 0)), 0)
    tau = training.recipe.optimisation
    found = {method: (row.temperature, row.temperature_views, row.bias) for method, row in rows.items()}
    near = partial(pytest.approx, rel=1e-5)
    assert found == {
        "mv_clip": (near(tau.temperature_image_text), near(tau.temperature_views), None),
        "clip": (near(tau.temperature_image_text), None, None),
        "siglip": (near(0.1), None, -10),
    }
    assert {row.temperature_local for row in rows.values()} == {None}
