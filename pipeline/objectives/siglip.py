"""Sigmoid loss between images and texts: every pair is a yes-or-no question of its own (SigLIP)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.objectives.clip import checked_matches
from pipeline.precision import at_least_float32

# Both are learned from here: t' = log 10 and b = -10 (Zhai et al., ICCV 2023, section 3.2 and Algorithm 1), so that
# at the start every pair is taken to be a negative, as nearly all of them are.
TEMPERATURE = 0.1
BIAS = -10.0


def siglip_loss(
    image: Float[Tensor, "pair dim"],
    text: Float[Tensor, "pair dim"],
    temperature: float | Float[Tensor, ""],
    bias: float | Float[Tensor, ""],
    positives: Bool[Tensor, "pair pair"] | None = None,
    excluded: Bool[Tensor, "pair pair"] | None = None,
) -> Float[Tensor, ""]:
    """-1/n sum_ij log sigmoid(z_ij (x_i . y_j / temperature + bias)), z = 1 where i and j match, -1 elsewhere.

    The sum runs over n^2 pairs and is divided by n, as in the paper. float32 at least, as clip_loss.

    Args:
        image: Unit-norm embeddings; row i pairs with row i of text.
        text: Unit-norm embeddings.
        temperature: Divisor of the cosine similarities, > 0; the paper's t is its inverse.
        bias: Added to the divided similarities.
        positives: [image, text], true where they match; None: the diagonal alone. A diagonal entry is always true.
        excluded: [image, text], true where a pair contributes nothing; None: nowhere.

    Returns:
        Loss in nats per image, non-negative.

    Raises:
        ValueError: temperature is not positive, there is no pair, or a pair is both positive and excluded.

    Source: Zhai et al., Sigmoid Loss for Language Image Pre-Training, ICCV 2023, section 3.2.
    """
    matches = checked_matches(image, temperature, positives, excluded)
    with torch.autocast(image.device.type, enabled=False):
        logits = at_least_float32(image) @ at_least_float32(text).T / temperature + bias
        terms = F.logsigmoid(torch.where(matches, logits, -logits))
        if excluded is not None:
            terms = terms.masked_fill(excluded, 0.0)
        return -terms.sum() / len(image)
