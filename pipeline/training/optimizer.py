"""AdamW and the learning rate of every step."""

import math

import torch
from torch import nn

from pipeline.models.heads import Temperature
from pipeline.models.two_tower import TwoTower
from pipeline.sections import Optimisation


def build_optimizer(model: TwoTower, heads: nn.Module, optimisation: Optimisation) -> torch.optim.AdamW:
    """AdamW over all parameters that learn (method.md, `optimisation`).

    Weight decay acts on every one, as in the paper's plain AdamW, but not on the temperatures and SigLIP's bias: it
    would pull them towards 1 and 0. `fused`: one kernel per step instead of one per tensor.
    """
    own = [part.log for part in heads.modules() if isinstance(part, Temperature)]
    temperatures = [p for p in (model.log_temperatures, model.bias, *own) if p is not None and p.requires_grad]
    kept = {id(parameter) for parameter in temperatures}
    everything = [*model.parameters(), *heads.parameters()]
    others = [p for p in everything if p.requires_grad and id(p) not in kept]
    groups = [{"params": others}] + ([{"params": temperatures, "weight_decay": 0.0}] if temperatures else [])
    return torch.optim.AdamW(groups, lr=optimisation.learning_rate, weight_decay=optimisation.weight_decay, fused=True)


def learning_rate(step: int, steps: int, warmup_steps: int, peak: float) -> float:
    """Linear warm-up, then a cosine down to zero (method.md, `optimisation`).

    Args:
        step: Number of the step, from 0.
        steps: Steps of the whole run.
        warmup_steps: Steps of the warm-up; the last of them runs at the peak.
        peak: The highest learning rate.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return peak * 0.5 * (1.0 + math.cos(math.pi * done))
