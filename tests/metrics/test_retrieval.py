"""Recall at k and ranks worked out by hand; ties and collapse."""

import numpy as np
import pytest

from pipeline.metrics.retrieval import best_ranks, recall_at

SIMILARITY = np.array([[0.9, 0.5, 0.1], [0.8, 0.7, 0.1], [0.3, 0.2, 0.1]])
OWN = np.eye(3, dtype=bool)


def test_by_hand() -> None:
    assert best_ranks(SIMILARITY, OWN).tolist() == [1, 2, 3]
    assert recall_at(SIMILARITY, OWN, 1) == pytest.approx(1 / 3)
    assert recall_at(SIMILARITY, OWN, 2) == pytest.approx(2 / 3)
    assert recall_at(SIMILARITY, OWN, 3) == 1


def test_any_relevant_item_answers_a_query() -> None:
    relevant = OWN.copy()
    relevant[2, 0] = True
    assert best_ranks(SIMILARITY, relevant).tolist() == [1, 2, 1]


def test_a_collapsed_model_finds_nothing() -> None:
    assert recall_at(np.ones((4, 4)), np.eye(4, dtype=bool), 1) == 0
    assert best_ranks(np.ones((4, 4)), np.eye(4, dtype=bool)).tolist() == [4] * 4


def test_slow_reference() -> None:
    rng = np.random.default_rng(0)
    similarity, relevant = rng.normal(size=(40, 25)), rng.random((40, 25)) < 0.1
    relevant[:, 0] |= ~relevant.any(axis=1)
    slow = [
        next(rank for rank, item in enumerate(np.argsort(-row), start=1) if answers[item])
        for row, answers in zip(similarity, relevant, strict=True)
    ]
    assert best_ranks(similarity, relevant).tolist() == slow


def test_a_query_without_an_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="query 1"):
        best_ranks(SIMILARITY, np.array([[True, False, False], [False] * 3, [True] * 3]))
