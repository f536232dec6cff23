"""Alignment and uniformity by hand."""

import math

import pytest
import torch

from pipeline.training.compare import alignment, uniformity


def test_alignment_of_equal_opposite_and_orthogonal_pairs():
    first = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    second = torch.tensor([[1.0, 0.0], [0.0, -5.0], [0.0, 1.0]])
    assert alignment(first, second) == pytest.approx((0 + 4 + 2) / 3)


def test_uniformity_of_two_points():
    """Distance 0: log 1; opposite ones: squared distance 4, log exp(-8); a single row has no pair."""
    assert uniformity(torch.tensor([[1.0, 0.0], [7.0, 0.0]])) == pytest.approx(0, abs=1e-6)
    assert uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8)
    assert uniformity(torch.ones(1, 4)) == 0


def test_uniformity_of_three_points_is_the_log_of_the_mean():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert uniformity(rows) == pytest.approx(math.log((2 * math.exp(-4) + math.exp(-8)) / 3))
