"""The precision that feature maps are pooled, embeddings normalised and losses computed in."""

import torch
from jaxtyping import Float
from torch import Tensor


def at_least_float32(rows: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Half precision becomes float32; float32 and float64 stay (why: clip_loss)."""
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def global_average(features: Float[Tensor, "image channel rows columns"]) -> Float[Tensor, "image channel"]:
    """Mean over the positions of feature maps; of half precision in float32, since 3 digits tie what is told apart."""
    return features.mean(dim=(2, 3), dtype=torch.promote_types(features.dtype, torch.float32))
