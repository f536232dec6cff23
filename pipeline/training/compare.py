"""Two numbers that tell how an embedding space fills up: alignment and uniformity."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def alignment(first: Float[Tensor, "pair dim"], second: Float[Tensor, "pair dim"]) -> float:
    """Mean squared distance of the pairs on the unit sphere: 0 where they agree, 2 for random directions.

    Source: Wang & Isola, Understanding contrastive representation learning, ICML 2020, section 4.1.
    """
    x, y = F.normalize(first.float(), dim=1), F.normalize(second.float(), dim=1)
    return float((x - y).square().sum(dim=1).mean())


@torch.no_grad()
def uniformity(rows: Float[Tensor, "row dim"]) -> float:
    """Logarithm of the mean Gaussian kernel exp(-2 d^2) over all pairs of rows: 0 if all collapse to one point.

    0 too for a single row, which has no pair. Source: as `alignment`, section 4.2, t = 2.
    """
    x = F.normalize(rows.float(), dim=1)
    if len(x) < 2:
        return 0.0
    return float(torch.pdist(x).square().mul(-2).exp().mean().log())
