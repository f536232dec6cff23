"""Recall, median rank and their intervals against resampling written out."""

import numpy as np
import pytest

from pipeline.downstream.recall import Queries, retrieval_result
from pipeline.metrics.bootstrap import resample_counts

RESAMPLES = 150  # more than one block


def drawn_ranks(ranks: np.ndarray, clusters: np.ndarray) -> list[np.ndarray]:
    """The ranks of every resample, written out."""
    names = np.unique(clusters)
    counts = np.concatenate(list(resample_counts(len(names), RESAMPLES, 1))).astype(int)
    return [
        np.concatenate([np.tile(ranks[clusters == c], n) for c, n in zip(names, row, strict=True)]) for row in counts
    ]


def test_intervals_of_recall_and_median_rank_equal_resampling_written_out() -> None:
    generator = np.random.default_rng(0)
    clusters = np.append(np.arange(24), generator.integers(0, 24, 37)).astype(str)
    ranks = generator.geometric(0.05 + 0.3 * generator.random(24)[np.unique(clusters, return_inverse=True)[1]])
    found = retrieval_result(Queries(ranks, clusters, 300, 0.004), 1, RESAMPLES)
    drawn = drawn_ranks(ranks, clusters)
    for depth, prefix in ((1, ""), (5, "recall_at_5_"), (10, "recall_at_10_")):
        slow = np.percentile([np.mean(d <= depth) for d in drawn], [2.5, 97.5])
        assert 0 < found[f"recall_at_{depth}"] == round(float(np.mean(ranks <= depth)), 4) < 1
        assert [found[f"{prefix}low"], found[f"{prefix}high"]] == np.round(slow, 4).tolist()
    slow = np.percentile([np.median(d) for d in drawn], [2.5, 97.5])
    assert found["median_rank"] == np.median(ranks)
    assert [found["median_rank_low"], found["median_rank_high"]] == np.round(slow, 4).tolist()
    assert slow[0] < slow[1]
    assert (found["queries"], found["clusters"], found["gallery"], found["chance_at_1"]) == (61, 24, 300, 0.004)


def test_too_few_patients_carry_no_number() -> None:
    ranks = np.repeat([1, 2], 40)
    few, enough = (
        retrieval_result(Queries(ranks, np.arange(80) % patients, 80, 0.5), 1, RESAMPLES) for patients in (9, 10)
    )
    told = {name for name, value in few.items() if value is not None}
    assert told == {"chance_at_1", "queries", "clusters", "gallery"}
    assert (enough["recall_at_1"], enough["median_rank"]) == (0.5, 1.5)
    assert None not in enough.values()


def test_the_interval_resamples_patients() -> None:
    ranks = np.repeat([1, 2], 40)  # twenty patients right, twenty wrong, two images each
    found = retrieval_result(Queries(ranks, np.arange(40).repeat(2).astype(str), 2, 0.5), 1, 2000)
    assert found["recall_at_1"] == 0.5
    half_width = 1.96 * 0.5 / np.sqrt(40)  # of 40 patients, not of 80 images
    assert found["high"] - found["low"] == pytest.approx(2 * half_width, rel=0.15)


def test_a_model_that_finds_nothing_is_not_said_to_find_nothing_for_certain() -> None:
    found = retrieval_result(Queries(np.full(60, 7), np.arange(30).repeat(2).astype(str), 60, 1 / 60), 1, 200)
    assert (found["recall_at_1"], found["low"]) == (0.0, 0.0)
    assert found["high"] == found["recall_at_5_high"] == round(1 - 0.025 ** (1 / 30), 4)  # of 30 patients
    assert (found["recall_at_10"], found["recall_at_10_low"], found["recall_at_10_high"]) == (
        1.0,
        1 - found["high"],
        1.0,
    )
