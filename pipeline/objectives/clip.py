"""Symmetric InfoNCE between two sets of embeddings: the image-text loss of CLIP and MV-MLM (eq. 2)."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from pipeline.precision import at_least_float32


def clip_loss(
    image: Float[Tensor, "pair dim"],
    text: Float[Tensor, "pair dim"],
    temperature: float | Float[Tensor, ""],
    positives: Bool[Tensor, "pair pair"] | None = None,
    excluded: Bool[Tensor, "pair pair"] | None = None,
) -> Float[Tensor, ""]:
    """Symmetric InfoNCE: half the cross-entropy of finding text i from image i, half that of the way back.

    With several positives a row's target is uniform over them (Yang et al., UniCL, CVPR 2022, eq. 4-6); with one this
    is eq. 2. Similarities are computed in float32 at least: at temperature 0.007 they reach 143, where float16 and
    bfloat16 step by 0.125 and 1 (method.md, `tau_1`).

    Args:
        image: Unit-norm embeddings; row i pairs with row i of text.
        text: Unit-norm embeddings.
        temperature: Divisor of the cosine similarities, > 0.
        positives: [image, text], true where they match; None: the diagonal alone. A diagonal entry is always true.
        excluded: [image, text], true where a pair is neither positive nor negative; None: nowhere.

    Returns:
        Mean loss in nats per pair, non-negative.

    Raises:
        ValueError: temperature is not positive, there is no pair, or a pair is both positive and excluded.
    """
    matches = checked_matches(image, temperature, positives, excluded)
    with torch.autocast(image.device.type, enabled=False):
        logits = at_least_float32(image) @ at_least_float32(text).T / temperature
        if excluded is not None:
            logits = logits.masked_fill(excluded, -torch.inf)
        return (_cross_entropy(logits, matches) + _cross_entropy(logits.T, matches.T)) / 2


def checked_matches(
    image: Float[Tensor, "pair dim"],
    temperature: float | Float[Tensor, ""],
    positives: Bool[Tensor, "pair pair"] | None,
    excluded: Bool[Tensor, "pair pair"] | None,
) -> Bool[Tensor, "pair pair"]:
    """Which pairs match, the diagonal always.

    Raises:
        ValueError: temperature is not positive, there is no pair, or a pair is both positive and excluded.
    """
    if isinstance(temperature, float) and temperature <= 0:
        raise ValueError(f"temperature must be positive, found {temperature}")
    if not len(image):
        raise ValueError("there is no pair")
    diagonal = torch.eye(len(image), dtype=torch.bool, device=image.device)
    matches = diagonal if positives is None else positives | diagonal
    if excluded is not None and bool((excluded & matches).any()):
        raise ValueError("a pair is both positive and excluded")
    return matches


def matching(first: Int64[Tensor, " pair"], second: Int64[Tensor, " pair"]) -> Bool[Tensor, "pair pair"]:
    """True where entry i of first equals entry j of second: equal reports, or images of one breast."""
    return first.unsqueeze(1) == second.unsqueeze(0)


def _cross_entropy(logits: Float[Tensor, "row column"], positives: Bool[Tensor, "row column"]) -> Float[Tensor, ""]:
    """Mean over rows of the cross-entropy with a target that is uniform over the row's positives."""
    log_probability = logits.log_softmax(dim=1).masked_fill(~positives, 0.0)
    return -(log_probability.sum(dim=1) / positives.sum(dim=1)).mean()
