"""Retrieval metrics from a similarity matrix: ranks and recall at k, ties counted against the model."""

import numpy as np
from jaxtyping import Bool, Float, Int


def best_ranks(
    similarity: Float[np.ndarray, "query item"], relevant: Bool[np.ndarray, "query item"]
) -> Int[np.ndarray, " query"]:
    """Rank of each query's best relevant item, 1 = first.

    Args:
        similarity: Higher means closer.
        relevant: Which items answer which query; equal reports are all relevant.

    Returns:
        One plus the number of irrelevant items at least as close: equal similarities count against the model, so
        that embeddings collapsed to a point find nothing.

    Raises:
        ValueError: a query has no relevant item.
    """
    if not relevant.any(axis=1).all():
        raise ValueError(f"query {int(np.argmin(relevant.any(axis=1)))} has no relevant item in the gallery")
    best = np.where(relevant, similarity, -np.inf).max(axis=1, keepdims=True)
    return np.asarray(1 + ((similarity >= best) & ~relevant).sum(axis=1))


def recall_at(similarity: Float[np.ndarray, "query item"], relevant: Bool[np.ndarray, "query item"], k: int) -> float:
    """Share of queries with a relevant item among the k closest, in [0, 1].

    Raises:
        ValueError: a query has no relevant item.
    """
    return float((best_ranks(similarity, relevant) <= k).mean())
