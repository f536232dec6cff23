"""The Tr module against a reference written out, and one step at the paper's size."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.errors import InputError
from pipeline.models.feature_tokens import FeatureTokens
from pipeline.sections import Tr

PAPER = Tr(tokens=256, blocks=4, heads=8, mlp=1024)


def slow_reference(module: FeatureTokens, features: torch.Tensor) -> torch.Tensor:
    """Item by item, head by head: map, pre-norm attention, pre-norm MLP, maximum."""
    results = []
    for item in features:
        x = (item @ module.mix.weight.T + module.mix.bias).T
        for block in module.blocks:
            attention, width = block.self_attn, x.shape[1]
            normed = F.layer_norm(x, (width,), block.norm1.weight, block.norm1.bias)
            q, k, v = (normed @ attention.in_proj_weight.T + attention.in_proj_bias).split(width, dim=1)
            size = width // attention.num_heads
            heads = []
            for start in range(0, width, size):
                cut = slice(start, start + size)
                heads.append(torch.softmax(q[:, cut] @ k[:, cut].T / size**0.5, dim=1) @ v[:, cut])
            x = x + torch.cat(heads, dim=1) @ attention.out_proj.weight.T + attention.out_proj.bias
            normed = F.layer_norm(x, (width,), block.norm2.weight, block.norm2.bias)
            hidden = F.gelu(normed @ block.linear1.weight.T + block.linear1.bias)
            x = x + hidden @ block.linear2.weight.T + block.linear2.bias
        results.append(x.max(dim=0).values)
    return torch.stack(results)


@pytest.mark.parametrize("training", [True, False])
def test_equals_the_slow_reference(training: bool):
    torch.manual_seed(0)
    module = FeatureTokens(6, 8, Tr(tokens=3, blocks=2, heads=2, mlp=5)).double().train(training)
    features = torch.randn(4, 8, 6, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(module(features), slow_reference(module, features))


def test_gradients_equal_the_slow_reference():
    torch.manual_seed(0)
    module = FeatureTokens(6, 8, Tr(tokens=3, blocks=2, heads=2, mlp=5)).double()
    features = torch.randn(4, 8, 6, dtype=torch.float64)
    found = torch.autograd.grad(module(features).square().sum(), list(module.parameters()))
    expected = torch.autograd.grad(slow_reference(module, features).square().sum(), list(module.parameters()))
    torch.testing.assert_close(found, expected)


def test_positions_are_not_interchangeable():
    torch.manual_seed(0)
    module = FeatureTokens(6, 8, Tr(tokens=3, blocks=1, heads=2, mlp=5))
    features = torch.randn(1, 8, 6)
    assert not torch.allclose(module(features), module(features.flip(2)))


def test_heads_must_divide_the_channels():
    with pytest.raises(InputError, match=r"7 does not divide.*1280"):
        FeatureTokens(40, 1280, Tr(tokens=16, blocks=1, heads=7, mlp=8))


def test_another_number_of_positions_fails():
    with pytest.raises(ValueError, match=r"found 5 positions.* 6"):
        FeatureTokens(6, 8, Tr(tokens=3, blocks=1, heads=2, mlp=5))(torch.zeros(1, 8, 5))


def test_one_step_at_the_size_of_the_paper():
    """48 x 29 positions of a 1520 x 912 image, 512 channels as ResNet-34's, text of 256 tokens."""
    torch.manual_seed(0)
    image, text = FeatureTokens(48 * 29, 512, PAPER), FeatureTokens(256, 512, PAPER)
    for module, positions in ((image, 48 * 29), (text, 256)):
        pooled = module(torch.randn(2, 512, positions))
        assert pooled.shape == (2, 512)
        F.normalize(pooled, dim=1).prod(dim=0).sum().backward()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.any() or "in_proj_bias" in name, name
