"""weighted_cross_entropy against numbers worked by hand, a slow reference, torch's class weights; positive_weight."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from pipeline.objectives.supervised import positive_weight, weighted_cross_entropy

LABELS = torch.tensor([True, False, True, False, False])
KNOWN = torch.tensor([True, True, False, True, False])


def logits(images: int, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(images, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def slow_reference(scores, labels, known, weight: float) -> float:
    total = weights = 0.0
    for score, label, counts in zip(scores.tolist(), labels.tolist(), known.tolist(), strict=True):
        if counts:
            probability = 1 / (1 + math.exp(-score))
            own = weight if label else 1.0
            total -= own * math.log(probability if label else 1 - probability)
            weights += own
    return total / weights if weights else 0.0


def test_three_known_images_by_hand():
    """Positive at logit 0, negatives at 0 and ln 3, weight 2: (2 ln 2 + ln 2 + ln 4) / (2 + 1 + 1) = 5/4 ln 2."""
    scores = torch.tensor([0.0, 0.0, 50.0, math.log(3), -50.0])
    assert float(weighted_cross_entropy(scores, LABELS, KNOWN, 2.0)) == pytest.approx(1.25 * math.log(2))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 12), st.integers(0, 1000), st.sampled_from([0.2, 1.0, 30.0]))
def test_equals_the_slow_reference(images: int, seed: int, weight: float):
    generator = torch.Generator().manual_seed(seed)
    labels, known = torch.randint(0, 2, (2, images), generator=generator).bool()
    found = weighted_cross_entropy(logits(images, seed), labels, known, weight)
    assert float(found) == pytest.approx(slow_reference(logits(images, seed), labels, known, weight), rel=1e-9)


def test_equals_torch_with_class_weights():
    scores = logits(5)
    both = torch.stack([torch.zeros_like(scores), scores], dim=1)
    expected = F.cross_entropy(both[KNOWN], LABELS[KNOWN].long(), weight=torch.tensor([1.0, 7.0], dtype=torch.float64))
    torch.testing.assert_close(weighted_cross_entropy(scores, LABELS, KNOWN, 7.0), expected)


def test_gradients_reach_known_images_alone():
    scores = logits(5).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: weighted_cross_entropy(s, LABELS, KNOWN, 3.0), (scores,))
    weighted_cross_entropy(scores, LABELS, KNOWN, 3.0).backward()
    assert torch.equal(scores.grad != 0, KNOWN)


def test_nothing_known_is_zero_with_zero_gradient():
    scores = logits(5).requires_grad_()
    found = weighted_cross_entropy(scores, LABELS, torch.zeros(5).bool(), 3.0)
    found.backward()
    assert float(found.detach()) == 0.0
    assert torch.equal(scores.grad, torch.zeros_like(scores))
    assert float(weighted_cross_entropy(logits(0), LABELS[:0], KNOWN[:0], 3.0)) == 0.0


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(half: torch.dtype):
    scores = logits(5).to(half)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = weighted_cross_entropy(scores, LABELS, KNOWN, 7.3)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, weighted_cross_entropy(scores.float(), LABELS, KNOWN, 7.3), rtol=1e-6, atol=0)


def test_the_weight_makes_both_classes_weigh_the_same():
    assert positive_weight(LABELS, KNOWN) == 2.0
    labels = torch.arange(40) < 8
    assert positive_weight(labels, torch.ones(40).bool()) == 4.0


def test_wrong_arguments():
    with pytest.raises(ValueError, match="positive_weight"):
        weighted_cross_entropy(logits(5), LABELS, KNOWN, 0.0)
    with pytest.raises(ValueError, match="found 0 positive and 3 negative of 5 images"):
        positive_weight(torch.tensor([False, False, True, False, False]), KNOWN)
    with pytest.raises(ValueError, match="found 3 positive and 0 negative"):
        positive_weight(torch.ones(5).bool(), KNOWN)
    with pytest.raises(TypeCheckError):
        weighted_cross_entropy(logits(4), LABELS, KNOWN, 1.0)
