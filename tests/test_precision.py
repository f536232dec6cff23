"""Which types become float32, and what an average of half precision keeps."""

import pytest
import torch

from pipeline.precision import at_least_float32, global_average


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(half: torch.dtype):
    rows = torch.tensor([[0.5, -2.0]], dtype=half)
    found = at_least_float32(rows)
    assert found.dtype == torch.float32 and found.tolist() == [[0.5, -2.0]]


@pytest.mark.parametrize("kept", [torch.float32, torch.float64])
def test_full_precision_is_left_alone(kept: torch.dtype):
    rows = torch.ones(2, 3, 4, dtype=kept)
    assert at_least_float32(rows) is rows


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_averaged_in_float32(half: torch.dtype):
    features = torch.tensor([[[[1.0, 1.0], [1.0, 1.0078125]]]], dtype=half)
    found = global_average(features)
    assert found.dtype == torch.float32 and found.tolist() == [[1.001953125]]
    assert found.to(torch.bfloat16).tolist() == [[1.0]]


@pytest.mark.parametrize("kept", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_full_precision_is_averaged_to_the_same_bits(kept: torch.dtype, layout: torch.memory_format):
    features = torch.randn(3, 16, 7, 5, dtype=kept, generator=torch.Generator().manual_seed(0))
    features = features.to(memory_format=layout).requires_grad_()
    found, expected = global_average(features), features.mean(dim=(2, 3))
    assert found.dtype == kept and torch.equal(found, expected)
    grads = [torch.autograd.grad(rows.square().sum(), features)[0] for rows in (found, expected)]
    assert torch.equal(*grads)
