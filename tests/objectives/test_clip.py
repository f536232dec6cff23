"""clip_loss against numbers worked by hand, a slow reference, and finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.objectives.clip import clip_loss, matching


def embeddings(pairs: int, dim: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.randn(2, pairs, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    image, text = F.normalize(made, dim=2)
    return image, text


def slow_reference(image, text, temperature, positives, excluded) -> float:
    """The sums of eq. 2, term by term."""
    size, total = len(image), 0.0
    for direction in ("image to text", "text to image"):
        for i in range(size):
            pick = (lambda m, i, j: m[i, j]) if direction == "image to text" else (lambda m, i, j: m[j, i])
            similarity = image @ text.T
            terms = [math.exp(pick(similarity, i, j) / temperature) for j in range(size)]
            allowed = [j for j in range(size) if not bool(pick(excluded, i, j))]
            matches = [j for j in range(size) if bool(pick(positives, i, j))]
            denominator = sum(terms[j] for j in allowed)
            total -= sum(math.log(terms[j] / denominator) for j in matches) / len(matches) / (2 * size)
    return total


def test_two_pairs_by_hand():
    """Similarities [[1, 0], [0.6, 0.8]] at temperature 1.

    Image to text: ln(1 + e^-1) = 0.313262 and ln(1 + e^-0.2) = 0.598139; text to image: ln(1 + e^-0.4) = 0.513015 and
    ln(1 + e^-0.8) = 0.371101; half the sum of the means: (0.911401 + 0.884116) / 4 = 0.448879.
    """
    image = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    assert float(clip_loss(image, torch.eye(2), 1.0)) == pytest.approx(0.448879, abs=1e-5)


def test_limits():
    one, _ = embeddings(4, 3)
    assert float(clip_loss(one[:1], one[:1], 0.07)) == pytest.approx(0.0, abs=1e-12)
    same = one[:1].expand(4, 3)
    assert float(clip_loss(same, same, 0.07)) == pytest.approx(math.log(4))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 7), st.integers(0, 1000), st.sampled_from([0.05, 0.1, 1.0]))
def test_equals_the_slow_reference(pairs: int, seed: int, temperature: float):
    image, text = embeddings(pairs, 5, seed)
    report = torch.randint(0, 3, (pairs,), generator=torch.Generator().manual_seed(seed))
    diagonal, nowhere = torch.eye(pairs).bool(), torch.zeros(pairs, pairs).bool()
    equal = matching(report, report)
    for positives, excluded in ((None, None), (equal, None), (None, equal & ~diagonal)):
        expected = slow_reference(
            image,
            text,
            temperature,
            diagonal if positives is None else positives,
            nowhere if excluded is None else excluded,
        )
        found = clip_loss(image, text, temperature, positives, excluded)
        assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert float(found) >= 0


def test_gradients():
    image, text = (e.requires_grad_() for e in embeddings(4, 3))
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    report = torch.tensor([0, 1, 0, 2])
    equal = matching(report, report)
    assert torch.autograd.gradcheck(clip_loss, (image, text, temperature))
    assert torch.autograd.gradcheck(lambda i, t, d: clip_loss(i, t, d, equal), (image, text, temperature))
    others = equal & ~torch.eye(4).bool()
    assert torch.autograd.gradcheck(lambda i, t, d: clip_loss(i, t, d, None, others), (image, text, temperature))


def test_an_excluded_pair_has_no_influence():
    image, text = embeddings(3, 4)
    excluded = torch.zeros(3, 3).bool()
    excluded[0, 1] = excluded[1, 0] = True
    moved = text.clone()
    moved[1] = image[0]
    rows = [0]
    found, after = (
        (image[rows] @ t.T / 0.1).masked_fill(excluded[rows], -torch.inf).log_softmax(1)[0, 0] for t in (text, moved)
    )
    assert float(found) == float(after)
    assert torch.isfinite(clip_loss(image, moved, 0.1, None, excluded))
    assert clip_loss(image, moved, 0.1, None, excluded) < clip_loss(image, moved, 0.1)


def test_half_precision_is_computed_in_float32():
    image, text = (e.to(torch.bfloat16) for e in embeddings(8, 16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = clip_loss(image, text, 0.007)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, clip_loss(image.float(), text.float(), 0.007), rtol=1e-6, atol=0)


def test_wrong_arguments():
    image, text = embeddings(2, 3)
    with pytest.raises(ValueError, match="temperature"):
        clip_loss(image, text, 0.0)
    with pytest.raises(ValueError, match="no pair"):
        clip_loss(image[:0], text[:0], 0.1)
    with pytest.raises(ValueError, match="both positive and excluded"):
        clip_loss(image, text, 0.1, None, torch.eye(2).bool())
