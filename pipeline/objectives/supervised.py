"""Weighted binary cross-entropy: the supervised baseline (method.md, baselines)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.precision import at_least_float32


def weighted_cross_entropy(
    logits: Float[Tensor, " image"],
    labels: Bool[Tensor, " image"],
    known: Bool[Tensor, " image"],
    positive_weight: float,
) -> Float[Tensor, ""]:
    """sum of w_i loss_i over sum of w_i, over the images whose label is known; w = positive_weight or 1.

    Divided by the sum of the weights, as torch's class weights are: a step's loss does not grow with its share of
    positives. float32 at least.

    Args:
        logits: Of the positive class.
        labels: True for positive; anything where not known.
        known: Which labels count.
        positive_weight: Weight of a positive image relative to a negative one, > 0.

    Returns:
        Mean loss in nats, non-negative; 0 with gradient 0 if no label of the step is known (a small step of a cohort
        with few labels must not stop or spoil the run).

    Raises:
        ValueError: positive_weight is not positive.
    """
    if positive_weight <= 0:
        raise ValueError(f"positive_weight must be positive, found {positive_weight}")
    with torch.autocast(logits.device.type, enabled=False):
        rows = at_least_float32(logits)
        weights = torch.ones_like(rows).masked_fill(labels, positive_weight).masked_fill(~known, 0.0)
        losses = F.binary_cross_entropy_with_logits(rows, labels.to(rows.dtype), reduction="none")
        total = weights.sum()
        weighted = (weights * losses.masked_fill(~known, 0.0)).sum()
        return weighted / torch.where(total > 0, total, 1.0)


def positive_weight(labels: Bool[Tensor, " image"], known: Bool[Tensor, " image"]) -> float:
    """Negatives per positive of the training split: both classes then weigh the same in total.

    Raises:
        ValueError: no known image is positive, or none is negative; there is nothing to tell apart.
    """
    positives, negatives = int((labels & known).sum()), int((~labels & known).sum())
    if not positives or not negatives:
        raise ValueError(
            f"expected positive and negative labels in the training split, found {positives} positive and {negatives}"
            f" negative of {len(labels)} images; choose a cohort with both, or another method"
        )
    return negatives / positives
