"""What is said of retrieval by the ranks of the right answers: recall, median rank, and what a change left of them."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from pipeline.metrics.bootstrap import UNSUPPORTED, Interval, mean_interval
from pipeline.metrics.share import share_interval
from pipeline.metrics.weighted import weighted_interval, weighted_median

DEPTHS = (1, 5, 10)
DECIMALS = 4
Result = dict[str, Any]  # numbers, null where there is none


class Queries(NamedTuple):
    """What was asked of one gallery.

    ranks: Of each query's best answer, 1 = first.
    clusters: What is resampled together.
    gallery: Number of its items.
    chance: Share of its items that answer a query, the mean over queries: recall at 1 of a random order.
    every_report: The same with the report of every breast for itself, if equal reports are one here.
    """

    ranks: Int[np.ndarray, " query"]
    clusters: Shaped[np.ndarray, " query"]
    gallery: int
    chance: float
    every_report: "Queries | None" = None


def retrieval_result(queries: Queries, seed: int, bootstrap: int) -> Result:
    """Recall at 1, 5 and 10 and median rank with 95 % intervals over clusters, chance at 1, sizes.

    The gallery stays as it is: what is resampled are the queries and their ranks. The ends are `low` and `high` of
    recall at 1, <name>_low and <name>_high of the others; numbers and ends are null where there are too few clusters
    for an interval.
    `every_report` is the same of `Queries.every_report`.
    """
    ranks, resampling = queries.ranks, (queries.clusters, bootstrap, seed)
    result: Result = {}
    for depth in DEPTHS:
        share, prefix = share_interval(ranks <= depth, *resampling), "" if depth == 1 else f"recall_at_{depth}_"
        result[f"recall_at_{depth}"] = round(share.value, DECIMALS) if share.is_supported else None
        result |= _limits(prefix, share)
    median = weighted_interval(partial(weighted_median, ranks), *resampling)
    result["median_rank"] = median.value if median.is_supported else None
    result |= _limits("median_rank_", median)
    result |= {
        "chance_at_1": round(queries.chance, DECIMALS),
        "queries": len(ranks),
        "clusters": len(np.unique(queries.clusters)),
        "gallery": queries.gallery,
    }
    if queries.every_report is not None:
        result["every_report"] = retrieval_result(queries.every_report, seed, bootstrap)
    return result


def recall_change(before: Queries, after: Queries, seed: int, bootstrap: int) -> Result:
    """Recall at 1 of the second minus that of the first, in [-1, 1], with its 95 % interval (low, high) over clusters.

    Both are of the same queries and resampled together. All are null where there are too few clusters for an interval;
    the limits are, where no query changes or all change alike, which says nothing of how much they might.

    Raises:
        ValueError: the queries are not the same.
    """
    if before.gallery != after.gallery or not np.array_equal(before.clusters, after.clusters):
        raise ValueError("expected the same queries before and after, found others; rerun embed and finetune")
    gained = (after.ranks <= 1).astype(np.float64) - (before.ranks <= 1)
    change = mean_interval(gained, before.clusters, bootstrap, seed)
    value = {"recall_at_1": round(change.value, DECIMALS) if change.is_supported else None}
    return value | _limits("", change if np.ptp(gained) else UNSUPPORTED)


def _limits(prefix: str, interval: Interval) -> Result:
    """Both ends of an interval."""
    ends = {"low": interval.low, "high": interval.high}
    return {prefix + name: round(end, DECIMALS) if interval.is_supported else None for name, end in ends.items()}
