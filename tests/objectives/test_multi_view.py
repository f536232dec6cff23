"""multi_view_loss: eq. 3 worked by hand, symmetry, finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F

from pipeline.objectives.multi_view import multi_view_loss


def views(breasts: int) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.randn(2, breasts, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    cc, mlo = F.normalize(made, dim=2)
    return cc, mlo


def test_orthogonal_breasts_by_hand():
    """Two breasts whose views agree and that are orthogonal to each other: ln(1 + e^(-1 / 0.1)) each way."""
    found = multi_view_loss(torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64), 0.1)
    assert float(found) == pytest.approx(math.log1p(math.exp(-10)), rel=1e-9)


def test_views_may_change_places():
    cc, mlo = views(5)
    torch.testing.assert_close(multi_view_loss(cc, mlo, 0.1), multi_view_loss(mlo, cc, 0.1))


def test_equals_cross_entropy_both_ways():
    cc, mlo = views(5)
    logits, target = cc @ mlo.T / 0.1, torch.arange(5)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(multi_view_loss(cc, mlo, 0.1), expected)


def test_gradients():
    cc, mlo = (e.requires_grad_() for e in views(3))
    assert torch.autograd.gradcheck(lambda a, b: multi_view_loss(a, b, 0.2), (cc, mlo))


def test_wrong_arguments():
    cc, mlo = views(2)
    with pytest.raises(ValueError, match="temperature"):
        multi_view_loss(cc, mlo, -0.1)
    with pytest.raises(ValueError, match="no pair"):
        multi_view_loss(cc[:0], mlo[:0], 0.1)
