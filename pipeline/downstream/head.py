"""The softmax head of `lp_paper` and `ft`: its class weights, and its training on frozen features."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.downstream.fit import Schedule, fit, shuffled_batches


def class_weights(classes: Int64[Tensor, " row"]) -> Float32[Tensor, " grade"]:
    """n / (K n_k) for each of K classes: all weigh the same (the paper's weighted cross-entropy).

    Raises:
        ValueError: a class below the highest has no row.
    """
    occurrences = classes.bincount()
    if (occurrences == 0).any():
        raise ValueError(f"expected rows of every class, found counts {occurrences.tolist()}")
    return len(classes) / (len(occurrences) * occurrences.float())


def zero_head(width: int, classes: int) -> nn.Linear:
    """A linear head that starts at zero: the loss is convex in it, so the start needs no seed (the paper is silent)."""
    head = nn.Linear(width, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def train_linear_head(
    features: Float32[np.ndarray, "row feature"],
    classes: Int64[np.ndarray, " row"],
    score: Callable[[nn.Linear], float | None],
    schedule: Schedule,
    seed: int,
) -> nn.Linear:
    """Trains the paper's linear probe: a head on raw frozen features, weighted cross-entropy.

    Args:
        features: Of the training rows.
        classes: 0, 1, ... without a gap.
        score: Of a head on the validation split.
        schedule: Epochs, batch, learning rate.
        seed: Of the order of the rows.

    Returns:
        The head after the best epoch.
    """
    inputs, targets = torch.from_numpy(features), torch.from_numpy(classes)
    weights = class_weights(targets)
    head = zero_head(features.shape[1], len(weights))
    generator = torch.Generator().manual_seed(seed)

    def loss(rows: Int64[Tensor, " batch"]) -> Float[Tensor, ""]:
        return F.cross_entropy(head(inputs[rows]), targets[rows], weights)

    def batches(_: int) -> Iterator[Int64[Tensor, " batch"]]:
        return shuffled_batches(len(targets), schedule.batch, generator)

    fit(head, batches, loss, lambda: score(head), len(targets), schedule)
    return head


def head_probabilities(
    head: nn.Linear, features: Float32[np.ndarray, "row feature"]
) -> Float64[np.ndarray, "row grade"]:
    """Softmax of the head's logits."""
    with torch.inference_mode():
        probabilities: np.ndarray = head(torch.from_numpy(features)).double().softmax(dim=1).numpy()
    return probabilities
