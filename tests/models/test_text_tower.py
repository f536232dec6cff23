"""Padding never reaches the text embedding."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipeline.models.feature_tokens import FeatureTokens
from pipeline.models.text_tower import TextTower, pad_states
from pipeline.sections import Tr

STATES = [np.random.default_rng(row).normal(size=(tokens, 6)).astype(np.float32) for row, tokens in enumerate((3, 5))]


def tower(with_tr: bool) -> TextTower:
    torch.manual_seed(0)
    return TextTower(6, 8, FeatureTokens(7, 8, Tr(tokens=3, blocks=1, heads=2, mlp=5)) if with_tr else None)


def test_pad_states():
    states, mask = pad_states(STATES, 7)
    assert states.shape == (2, 7, 6)
    assert mask.sum(dim=1).tolist() == [3, 5]
    assert np.array_equal(states[0, :3].numpy(), STATES[0])
    assert not states[0, 3:].any()


def test_pad_states_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="5 tokens, the model takes 4"):
        pad_states(STATES, 4)
    with pytest.raises(ValueError, match="no report"):
        pad_states([], 4)


@pytest.mark.parametrize("with_tr", [True, False])
def test_padding_does_not_matter(with_tr: bool):
    states, mask = pad_states(STATES, 7)
    noisy = states.clone()
    noisy[~mask] = 100.0
    found = tower(with_tr)(states, mask)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(tower(with_tr)(noisy, mask), found)


def test_without_tr_it_is_the_projected_mean():
    states, mask = pad_states(STATES, 7)
    module = tower(with_tr=False)
    expected = F.normalize(module.project(torch.from_numpy(STATES[1].mean(axis=0))), dim=0)
    torch.testing.assert_close(module(states, mask)[1], expected)


def test_with_tr_padding_is_zero_after_the_projection():
    states, mask = pad_states(STATES, 7)
    module = tower(with_tr=True)
    padded = torch.zeros(1, 8, 7)
    padded[0, :, :3] = module.project(torch.from_numpy(STATES[0])).T
    assert module.tokens is not None
    torch.testing.assert_close(module(states, mask)[:1], F.normalize(module.tokens(padded), dim=1))
