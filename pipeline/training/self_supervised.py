"""SimCLR, SwAV, DINO and BYOL: from the pooled feature maps of two augmentations to their loss."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.objectives.self_supervised import byol_loss, dino_loss, simclr_loss, swav_loss
from pipeline.sections import Method
from pipeline.training.teacher import Teacher


def self_supervised_loss(
    method: Method,
    first: Float[Tensor, "image channel"],
    second: Float[Tensor, "image channel"],
    followed: Sequence[Float[Tensor, "image channel"]],
    heads: nn.ModuleDict,
    teacher: Teacher | None,
) -> Float[Tensor, ""]:
    """The method's loss; DINO's centre moves along with it.

    Args:
        method: simclr, swav, dino or byol.
        first: Pooled feature maps of one augmentation of every image.
        second: Of the other.
        followed: The teacher's of both, for dino and byol.
        heads: Of the method.
        teacher: For dino and byol.
    """
    one, other = (heads["projection"](rows) for rows in (first, second))
    if method == "simclr":
        return simclr_loss(one, other)
    if method == "swav":
        return swav_loss(*_prototype_scores(heads["prototypes"], one, other))
    if teacher is None:
        raise ValueError(f"{method} needs a teacher")
    one_target, other_target = (teacher.projection(rows).detach() for rows in followed)
    if method == "byol":
        return byol_loss(heads["prediction"](one), heads["prediction"](other), one_target, other_target)
    loss, center = dino_loss(one, other, one_target, other_target, teacher.center)
    teacher.center.copy_(center)
    return loss


def _prototype_scores(
    prototypes: Any, *projected: Float[Tensor, "image dim"]
) -> list[Float[Tensor, "image prototype"]]:
    """Cosines of the projections with lightly's prototypes, whose norm is put back to 1 before."""
    prototypes.normalize()
    return [prototypes(F.normalize(rows, dim=1)) for rows in projected]
