"""local_alignment_loss: numbers worked by hand, a slow reference, chunked against whole, memory, finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.objectives.local_alignment import local_alignment_loss


def made(pairs: int, patches: int, sentences: int, dim: int, seed: int = 0):
    """Unit-norm patches and sentences, and which sentences are there: the first always, the others at random."""
    generator = torch.Generator().manual_seed(seed)
    patch = torch.randn(pairs, patches, dim, dtype=torch.float64, generator=generator)
    sentence = torch.randn(pairs, sentences, dim, dtype=torch.float64, generator=generator)
    present = torch.randint(0, 2, (pairs, sentences), generator=generator).bool()
    present[:, 0] = True
    return F.normalize(patch, dim=2), F.normalize(sentence, dim=2), present


def slow_reference(patches, sentences, present, temperature: float, matches=None) -> float:
    """Both matrices entry by entry, then the four cross-entropies row by row; matches[i]: texts of image i."""
    size = len(patches)
    by_sentence, by_patch = ([[0.0] * size for _ in range(size)] for _ in range(2))
    for i in range(size):
        for t in range(size):
            there = [s for s in range(sentences.shape[1]) if bool(present[t, s])]
            cosine = [[float(patch @ sentences[t, s]) for s in there] for patch in patches[i]]
            best_patches = [max(row[s] for row in cosine) for s in range(len(there))]
            by_sentence[i][t] = sum(best_patches) / len(there)
            by_patch[i][t] = sum(max(row) for row in cosine) / len(cosine)
    total = 0.0
    forth = matches or [{i} for i in range(size)]
    back = [{i for i in range(size) if t in forth[i]} for t in range(size)]
    for matrix in (by_sentence, by_patch):
        for rows, wanted in ((matrix, forth), (list(zip(*matrix, strict=True)), back)):
            for row, own in zip(rows, wanted, strict=True):
                denominator = sum(math.exp(entry / temperature) for entry in row)
                logs = [math.log(math.exp(row[i] / temperature) / denominator) for i in own]
                total -= sum(logs) / len(logs) / (2 * size)
    return total


class LargestTensor(TorchDispatchMode):
    """Remembers how many elements the largest tensor had that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for each in found if isinstance(found, (tuple, list)) else [found]:
            if isinstance(each, torch.Tensor):
                self.elements = max(self.elements, each.numel())
        return found


def test_two_pairs_by_hand():
    """Images with patches (a, a) and (a, b), texts with sentences (a) and (a, b), of orthogonal a and b; temperature 1.

    By sentence [image, text]: [[1, 1/2], [1, 1]]; by patch: [[1, 1], [1/2, 1]]. Each has rows and columns that differ
    by 1/2 in favour of the match or not at all: half of (ln(1 + e^-1/2) + ln 2) / 2 each way, two ways, two matrices:
    ln(1 + e^-1/2) + ln 2 = 0.474077 + 0.693147.
    """
    a, b = torch.eye(2)
    patches = torch.stack([torch.stack([a, a]), torch.stack([a, b])])
    sentences = torch.stack([torch.stack([a, b]), torch.stack([a, b])])
    present = torch.tensor([[True, False], [True, True]])
    assert float(local_alignment_loss(patches, sentences, present, 1.0)) == pytest.approx(1.167224, abs=1e-5)


def test_several_texts_of_an_image_share_its_target():
    parts, matches = made(4, 3, 2, 5), [{0, 2}, {1}, {0, 2}, {3}]
    positives = torch.tensor([[text in own for text in range(4)] for own in matches])
    found = float(local_alignment_loss(*parts, 0.3, positives=positives))
    assert found == pytest.approx(slow_reference(*parts, 0.3, matches))
    alone = torch.eye(4).bool()
    assert float(local_alignment_loss(*parts, 0.3, positives=alone)) == pytest.approx(slow_reference(*parts, 0.3))


def test_one_pair_has_no_loss():
    assert float(local_alignment_loss(*made(1, 3, 2, 4), 0.07)) == pytest.approx(0.0, abs=1e-12)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000), st.sampled_from([0.07, 1.0]))
def test_equals_the_slow_reference(pairs: int, patches: int, sentences: int, seed: int, temperature: float):
    parts = made(pairs, patches, sentences, 5, seed)
    found = float(local_alignment_loss(*parts, temperature))
    assert found == pytest.approx(slow_reference(*parts, temperature), rel=1e-9, abs=1e-12)
    assert found >= 0


@pytest.mark.parametrize("texts_at_once", [1, 2, 3, 6])
def test_chunks_change_neither_value_nor_gradient(texts_at_once: int):
    patches, sentences, present = made(7, 5, 4, 6)
    results = []
    for at_once in (7, texts_at_once):
        leaves = [part.clone().requires_grad_() for part in (patches, sentences)]
        temperature = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
        loss = local_alignment_loss(*leaves, present, temperature, at_once)
        loss.backward()
        results.append([loss.detach(), *(leaf.grad for leaf in leaves), temperature.grad])
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-14)


def test_no_tensor_is_larger_than_one_chunk():
    patches, sentences, present = made(8, 9, 5, 4)
    leaves = [part.requires_grad_() for part in (patches, sentences)]
    with LargestTensor() as largest:
        local_alignment_loss(*leaves, present, 0.1, 2).backward()
    assert largest.elements == 8 * 2 * 9 * 5


def test_gradients():
    patches, sentences, present = made(3, 4, 3, 5)
    leaves = [part.requires_grad_() for part in (patches, sentences)]
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda p, s, t: local_alignment_loss(p, s, present, t, texts_at_once=2), (*leaves, temperature)
    )


def test_an_absent_sentence_has_no_influence():
    patches, sentences, present = made(4, 5, 3, 6)
    sentences = sentences.requires_grad_()
    moved = torch.where(present[..., None], sentences.detach(), 9.0)
    found = local_alignment_loss(patches, sentences, present, 0.1)
    torch.testing.assert_close(local_alignment_loss(patches, moved, present, 0.1), found.detach())
    found.backward()
    assert not present.all() and sentences.grad[~present].eq(0).all()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(half: torch.dtype):
    patches, sentences, present = made(4, 5, 3, 6)
    patches, sentences = (part.to(half).requires_grad_() for part in (patches, sentences))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = local_alignment_loss(patches, sentences, present, 0.01)
    expected = local_alignment_loss(patches.float(), sentences.float(), present, 0.01)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.autograd.grad(found, patches), torch.autograd.grad(expected, patches))


def test_wrong_arguments():
    patches, sentences, present = made(3, 2, 2, 4)
    with pytest.raises(ValueError, match="temperature"):
        local_alignment_loss(patches, sentences, present, 0.0)
    with pytest.raises(ValueError, match="texts_at_once"):
        local_alignment_loss(patches, sentences, present, 0.1, 0)
    with pytest.raises(ValueError, match="no pair"):
        local_alignment_loss(patches[:0], sentences[:0], present[:0], 0.1)
    with pytest.raises(ValueError, match="none in text 1"):
        local_alignment_loss(patches, sentences, torch.tensor([[True, True], [False, False], [False, True]]), 0.1)
    with pytest.raises(TypeCheckError):
        local_alignment_loss(patches, sentences[..., :3], present, 0.1)
