"""The learning rate over a run, and what weight decay touches."""

import pytest
import torch

from pipeline.models.config import ModelConfig, Temperatures
from pipeline.models.heads import build_heads
from pipeline.models.two_tower import build_model
from pipeline.sections import Optimisation
from pipeline.training.optimizer import build_optimizer, learning_rate


def test_learning_rate_by_hand():
    """10 steps, 2 of warm-up, peak 1: 0.5, 1, then (1 + cos(pi k / 8)) / 2 for k = 0 to 7."""
    found = [learning_rate(step, 10, 2, 1.0) for step in range(10)]
    expected = [0.5, 1.0, 1.0, 0.961940, 0.853553, 0.691342, 0.5, 0.308658, 0.146447, 0.038060]
    assert found == pytest.approx(expected, abs=1e-6)


def test_without_warmup_it_starts_at_the_peak():
    assert learning_rate(0, 4, 0, 3e-4) == 3e-4


@pytest.mark.parametrize("learnable", [True, False])
def test_weight_decay_spares_the_temperatures(learnable: bool):
    temperatures = Temperatures(image_text=0.07, views=0.1, learnable=learnable, bias=None)
    config = ModelConfig(
        encoder="resnet10t", encoder_weights="random", height_px=32, width_px=32, method="clip", tr=None, text_width=4,
        text_tokens=4, temperatures=temperatures,
    )  # fmt: skip
    model = build_model(config)
    optimisation = Optimisation(
        learning_rate=1e-3, weight_decay=1e-4, warmup_epochs=1.0, temperature_image_text=0.07, temperature_views=0.1,
        learnable_temperature=learnable, clip_norm=1.0, images_per_pass=None,
        activation_checkpointing=False, compile=False, checkpoint_steps=1, keep_checkpoints=2, epochs={"default": 1},
        batch={}, by_method={},
    )  # fmt: skip
    groups = build_optimizer(model, torch.nn.Linear(2, 3), optimisation).param_groups
    assert [group["weight_decay"] for group in groups] == ([1e-4, 0.0] if learnable else [1e-4])
    assert sum(len(group["params"]) for group in groups) == 2 + sum(p.requires_grad for p in model.parameters())
    assert any(p is model.log_temperatures for group in groups for p in group["params"]) is learnable
    heads = build_heads("mama", 4)
    _, spared = build_optimizer(model, heads, optimisation).param_groups
    assert any(p is heads["local"].log for p in spared["params"]) and spared["weight_decay"] == 0.0
