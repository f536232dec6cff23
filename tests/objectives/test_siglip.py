"""siglip_loss against numbers worked by hand, a slow reference, and finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from pipeline.objectives.clip import matching
from pipeline.objectives.siglip import BIAS, TEMPERATURE, siglip_loss


def embeddings(pairs: int, dim: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.randn(2, pairs, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    image, text = F.normalize(made, dim=2)
    return image, text


def slow_reference(image, text, temperature, bias, positives, excluded) -> float:
    """The double sum of section 3.2, term by term."""
    size, total = len(image), 0.0
    for i in range(size):
        for j in range(size):
            if bool(excluded[i, j]):
                continue
            z = 1 if bool(positives[i, j]) else -1
            logit = sum(float(a * b) for a, b in zip(image[i], text[j], strict=True)) / temperature + bias
            total += math.log(1 / (1 + math.exp(-z * logit)))
    return -total / size


def test_two_pairs_by_hand():
    """Similarities [[1, 0], [0.6, 0.8]], temperature 1, bias -1: logits [[0, -1], [-0.4, -0.2]].

    Positives: ln(1 + e^0) = 0.693147, ln(1 + e^0.2) = 0.798139; negatives: ln(1 + e^-1) = 0.313262,
    ln(1 + e^-0.4) = 0.513015; their sum over two images: 2.317563 / 2 = 1.158782.
    """
    image = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    assert float(siglip_loss(image, torch.eye(2), 1.0, -1.0)) == pytest.approx(1.158782, abs=1e-5)


def test_starts_where_the_paper_starts():
    """t' = log 10, b = -10: orthogonal pairs that match have logit 0, the others -10."""
    assert math.log(1 / TEMPERATURE) == pytest.approx(math.log(10)) and BIAS == -10
    found = siglip_loss(torch.eye(3).double(), torch.eye(3).double(), TEMPERATURE, BIAS)
    assert float(found) == pytest.approx(math.log(2) + 2 * math.log1p(math.exp(-10)))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 7), st.integers(0, 1000), st.sampled_from([0.05, 0.1, 1.0]), st.sampled_from([-10.0, 0.0, 2.0]))
def test_equals_the_slow_reference(pairs: int, seed: int, temperature: float, bias: float):
    image, text = embeddings(pairs, 5, seed)
    report = torch.randint(0, 3, (pairs,), generator=torch.Generator().manual_seed(seed))
    diagonal, nowhere = torch.eye(pairs).bool(), torch.zeros(pairs, pairs).bool()
    equal = matching(report, report)
    for positives, excluded in ((None, None), (equal, None), (None, equal & ~diagonal)):
        expected = slow_reference(
            image,
            text,
            temperature,
            bias,
            diagonal if positives is None else positives,
            nowhere if excluded is None else excluded,
        )
        found = siglip_loss(image, text, temperature, bias, positives, excluded)
        assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert float(found) >= 0


def test_gradients():
    image, text = (e.requires_grad_() for e in embeddings(4, 3))
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(-1.5, dtype=torch.float64, requires_grad=True)
    report = torch.tensor([0, 1, 0, 2])
    equal = matching(report, report)
    others = equal & ~torch.eye(4).bool()
    for positives, excluded in ((None, None), (equal, None), (None, others)):
        assert torch.autograd.gradcheck(
            lambda i, t, d, b, p=positives, e=excluded: siglip_loss(i, t, d, b, p, e), (image, text, temperature, bias)
        )


def test_an_excluded_pair_has_no_influence():
    image, text = embeddings(2, 4)
    excluded = torch.tensor([[False, True], [True, False]])
    alone = (siglip_loss(image[:1], text[:1], 0.1, -10.0) + siglip_loss(image[1:], text[1:], 0.1, -10.0)) / 2
    torch.testing.assert_close(siglip_loss(image, text, 0.1, -10.0, None, excluded), alone)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(half: torch.dtype):
    image, text = (e.to(half) for e in embeddings(8, 16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = siglip_loss(image, text, 0.01, -10.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, siglip_loss(image.float(), text.float(), 0.01, -10.0), rtol=1e-6, atol=0)


def test_wrong_arguments():
    image, text = embeddings(2, 3)
    with pytest.raises(ValueError, match="temperature"):
        siglip_loss(image, text, 0.0, -10.0)
    with pytest.raises(ValueError, match="no pair"):
        siglip_loss(image[:0], text[:0], 0.1, -10.0)
    with pytest.raises(ValueError, match="both positive and excluded"):
        siglip_loss(image, text, 0.1, -10.0, None, torch.eye(2).bool())
    with pytest.raises(TypeCheckError):
        siglip_loss(image, text[:1], 0.1, -10.0)
