"""The slowly following copy of encoder and projection whose output BYOL and DINO learn to predict."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.models.image_tower import ImageTower


class Teacher(nn.Module):
    """Learns by following: each parameter keeps `momentum` of itself and takes the rest from its pupil.

    Args:
        image: The image tower as it starts.
        projection: The projection head as it starts.
        channels: Of the pooled feature map, which the projection takes.

    center: what DINO subtracts from the projection.
    """

    center: Tensor

    def __init__(self, image: ImageTower, projection: nn.Module, channels: int) -> None:
        super().__init__()
        self.image, self.projection = copy.deepcopy(image), copy.deepcopy(projection)
        self.requires_grad_(False)
        with torch.no_grad():
            trial = self.projection.eval()(next(self.projection.parameters()).new_zeros(1, channels))
        self.register_buffer("center", torch.zeros_like(trial))

    @torch.no_grad()
    def embed(self, views: Float[Tensor, "view 1 height width"], images: int) -> Float[Tensor, "view channel"]:
        """Pooled feature maps, `images` at a time."""
        return torch.cat([self.image(part).backbone for part in views.split(images)])

    @torch.no_grad()
    def follow(self, image: ImageTower, projection: nn.Module, momentum: float) -> None:
        """One step towards the pupil; running statistics are taken over."""
        for own, pupil in ((self.image, image), (self.projection, projection)):
            for mine, theirs in zip(own.parameters(), pupil.parameters(), strict=True):
                mine.lerp_(theirs.to(mine.dtype), 1.0 - momentum)
            for held, found in zip(own.buffers(), pupil.buffers(), strict=True):
                held.copy_(found)
