"""The precision that embeddings are normalised and losses computed in."""

import torch
from jaxtyping import Float
from torch import Tensor


def at_least_float32(rows: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Half precision becomes float32; float32 and float64 stay (why: clip_loss)."""
    return rows.to(torch.promote_types(rows.dtype, torch.float32))
