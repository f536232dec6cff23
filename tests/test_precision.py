"""at_least_float32: which types change."""

import pytest
import torch

from pipeline.precision import at_least_float32


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(half: torch.dtype):
    rows = torch.tensor([[0.5, -2.0]], dtype=half)
    found = at_least_float32(rows)
    assert found.dtype == torch.float32 and found.tolist() == [[0.5, -2.0]]


@pytest.mark.parametrize("kept", [torch.float32, torch.float64])
def test_full_precision_is_left_alone(kept: torch.dtype):
    rows = torch.ones(2, 3, 4, dtype=kept)
    assert at_least_float32(rows) is rows
