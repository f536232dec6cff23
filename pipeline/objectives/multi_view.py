"""Symmetric InfoNCE between the two views of each breast (MV-MLM, eq. 3)."""

from jaxtyping import Float
from torch import Tensor

from pipeline.objectives.clip import clip_loss


def multi_view_loss(
    cc: Float[Tensor, "breast dim"],
    mlo: Float[Tensor, "breast dim"],
    temperature: float | Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """Symmetric InfoNCE between the two views of each breast.

    Args:
        cc: Unit-norm embeddings of the CC views; row i pairs with row i of mlo.
        mlo: Unit-norm embeddings of the MLO views.
        temperature: Divisor of the cosine similarities, > 0.

    Returns:
        Mean loss in nats per breast, non-negative.

    Raises:
        ValueError: temperature is not positive, or there is no breast.

    Source: MV-MLM, eq. 3, which is eq. 2 with the MLO view in the place of the text.
    """
    return clip_loss(cc, mlo, temperature)
