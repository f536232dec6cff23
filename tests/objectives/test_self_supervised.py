"""lightly's losses as pure functions: numbers worked by hand, slow references, finite differences, no hidden state."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from pipeline.objectives.self_supervised import (
    DINO_CENTER_MOMENTUM,
    DINO_STUDENT_TEMPERATURE,
    DINO_TEACHER_TEMPERATURE,
    SINKHORN_EPSILON,
    SWAV_TEMPERATURE,
    byol_loss,
    dino_loss,
    simclr_loss,
    swav_loss,
    teacher_momentum,
)


def rows(count: int, images: int, dim: int, seed: int = 0) -> list[torch.Tensor]:
    made = torch.randn(count, images, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return list(made)


def cosines(images: int, prototypes: int, seed: int = 0) -> list[torch.Tensor]:
    return [each.tanh() for each in rows(2, images, prototypes, seed)]


def codes(scores: torch.Tensor) -> torch.Tensor:
    """Sinkhorn's three rounds: prototypes get equal shares, then images do, on plain lists."""
    images, prototypes = scores.shape
    code = [[math.exp(float(scores[i, k]) / SINKHORN_EPSILON) for k in range(prototypes)] for i in range(images)]
    for _ in range(3):
        for k in range(prototypes):
            share = sum(code[i][k] for i in range(images))
            for i in range(images):
                code[i][k] /= share * prototypes
        for i in range(images):
            share = sum(code[i])
            code[i] = [entry / share for entry in code[i]]
    return torch.tensor(code, dtype=torch.float64)


def swapped(first: torch.Tensor, second: torch.Tensor, first_code: torch.Tensor, second_code: torch.Tensor):
    """SwAV's eq. 2 with given codes."""
    there = -(second_code * (first / SWAV_TEMPERATURE).log_softmax(1)).sum(1).mean()
    return (there - (first_code * (second / SWAV_TEMPERATURE).log_softmax(1)).sum(1).mean()) / 2


def slow_simclr(first: torch.Tensor, second: torch.Tensor, temperature: float) -> float:
    every, size = torch.cat([first, second]), len(first)
    total = 0.0
    for i in range(2 * size):
        terms = {
            j: math.exp(float(F.cosine_similarity(every[i], every[j], dim=0)) / temperature)
            for j in range(2 * size)
            if j != i
        }
        total -= math.log(terms[(i + size) % (2 * size)] / sum(terms.values()))
    return total / (2 * size)


def slow_dino(students: list[torch.Tensor], teachers: list[torch.Tensor], center: torch.Tensor) -> float:
    total = 0.0
    for student, teacher in ((students[0], teachers[1]), (students[1], teachers[0])):
        for own, target in zip(student.tolist(), teacher.tolist(), strict=True):
            wanted = [
                math.exp((t - c) / DINO_TEACHER_TEMPERATURE) for t, c in zip(target, center.tolist(), strict=True)
            ]
            said = [math.exp(s / DINO_STUDENT_TEMPERATURE) for s in own]
            total -= sum(w / sum(wanted) * math.log(s / sum(said)) for w, s in zip(wanted, said, strict=True))
    return total / (2 * len(students[0]))


def test_simclr_by_hand():
    """Two images whose augmentations agree and that are orthogonal: ln(1 + 2 e^(-1 / T)) for each projection."""
    rows = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    assert float(simclr_loss(rows, 3 * rows, 1.0)) == pytest.approx(math.log(1 + 2 / math.e))
    assert float(simclr_loss(rows, rows)) == pytest.approx(math.log(1 + 2 * math.exp(-2)))


def test_swav_by_hand():
    """Two images on two prototypes, each on its own: the codes are (1, 0) and (0, 1) but for e^-20."""
    scores = torch.eye(2, dtype=torch.float64)
    assert float(swav_loss(scores, scores)) == pytest.approx(math.log1p(math.exp(-10)), rel=1e-3)


def test_swav_of_equal_images_is_the_logarithm_of_the_prototypes():
    scores = torch.full((4, 8), 0.3)
    assert float(swav_loss(scores, scores)) == pytest.approx(math.log(8), rel=1e-6)


def test_swav_does_not_hide_a_score_that_is_no_number():
    """The trainer stops at a loss that is not finite, and says at which images."""
    assert swav_loss(torch.full((2, 3), torch.nan), torch.full((2, 3), 0.5)).isnan()


def test_byol_by_hand():
    """Cosines of prediction and the other's target: 1 and 0.6, 0 and 0.8; mean of -0.8 and -0.4."""
    first = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    second = torch.tensor([[0.0, 2.0], [4.0, 3.0]])
    first_target, second_target = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[7.0, 0.0], [1.0, 0.0]])
    assert float(byol_loss(first, second, first_target, second_target)) == pytest.approx(-0.6)


def test_dino_by_hand():
    """Teacher outputs equal the centre: targets 1/2, 1/2. Student logits 0.1 and 0, over 0.1: ln(1 + e) - 1/2.

    The centre (1, 3) stays where it is, since the outputs are (1, 3) too; with outputs 0 it becomes 0.9 (1, 3).
    """
    student, teacher, center = torch.tensor([[0.1, 0.0]]), torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 3.0]])
    loss, moved = dino_loss(student, student, teacher, teacher, center)
    assert float(loss) == pytest.approx(math.log(1 + math.e) - 0.5, rel=1e-6)
    torch.testing.assert_close(moved, center)
    _, moved = dino_loss(student, student, 0 * teacher, 0 * teacher, center)
    torch.testing.assert_close(moved, DINO_CENTER_MOMENTUM * center)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 6), st.integers(0, 1000))
def test_each_equals_its_slow_reference(images: int, seed: int):
    first, second, third, fourth = rows(4, images, 5, seed)
    assert float(simclr_loss(first, second, 0.3)) == pytest.approx(slow_simclr(first, second, 0.3), abs=1e-9)
    by_hand = sum(
        float(F.cosine_similarity(p[i], t[i], dim=0))
        for p, t in ((first, fourth), (second, third))
        for i in range(images)
    )
    assert float(byol_loss(first, second, third, fourth)) == pytest.approx(-by_hand / (2 * images))
    center = torch.linspace(-1, 1, 5, dtype=torch.float64)
    loss, moved = dino_loss(first, second, third, fourth, center[None])
    # lightly holds the teacher's temperature in float32
    assert float(loss) == pytest.approx(slow_dino([first, second], [third, fourth], center), rel=1e-5)
    torch.testing.assert_close(moved[0], 0.9 * center + 0.1 * torch.cat([third, fourth]).mean(dim=0))
    a, b = cosines(images, 4, seed)
    assert float(swav_loss(a, b)) == pytest.approx(float(swapped(a, b, codes(a), codes(b))), rel=1e-9)


def test_gradients():
    first, second = (e.requires_grad_() for e in rows(2, 3, 4))
    third, fourth = rows(2, 3, 4, seed=1)
    assert torch.autograd.gradcheck(simclr_loss, (first, second))
    assert torch.autograd.gradcheck(lambda a, b: byol_loss(a, b, third, fourth), (first, second))
    center = torch.zeros(1, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: dino_loss(a, b, third, fourth, center)[0], (first, second))


def test_gradients_of_swav_leave_the_codes_alone():
    """Finite differences move the codes too, so the gradient is that of eq. 2 with fixed codes, checked in turn."""
    first, second = (e.requires_grad_() for e in cosines(5, 3))
    fixed = codes(first.detach()), codes(second.detach())
    assert torch.autograd.gradcheck(lambda a, b: swapped(a, b, *fixed), (first, second))
    expected = torch.autograd.grad(swapped(first, second, *fixed), (first, second))
    torch.testing.assert_close(torch.autograd.grad(swav_loss(first, second), (first, second)), expected)


def test_no_gradient_reaches_a_teacher():
    first, second, third, fourth = (e.requires_grad_() for e in rows(4, 3, 4))
    center = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    loss, moved = dino_loss(first, second, third, fourth, center)
    (loss + byol_loss(first, second, third, fourth)).backward()
    assert first.grad is not None and second.grad is not None
    assert third.grad is None and fourth.grad is None and center.grad is None and not moved.requires_grad


def test_dino_changes_nothing_it_is_given():
    parts = rows(4, 3, 4)
    center = torch.ones(1, 4)
    found = [dino_loss(*(part.float() for part in parts), center) for _ in range(2)]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    assert torch.equal(center, torch.ones(1, 4))


def test_ranks_that_hold_all_rows_change_nothing(monkeypatch: pytest.MonkeyPatch):
    """Two ranks with equal rows: DINO's centre is averaged over equal values, the others do not talk."""
    parts, center = rows(4, 3, 4), torch.ones(1, 4, dtype=torch.float64)
    scores = cosines(3, 4)
    sent = []

    def all_losses() -> list[torch.Tensor]:
        return [simclr_loss(*parts[:2]), swav_loss(*scores), byol_loss(*parts), *dino_loss(*parts, center)]

    alone = all_losses()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda value: sent.append(value.mul_(2)))
    torch.testing.assert_close(all_losses(), alone, rtol=0, atol=0)
    assert [tuple(value.shape) for value in sent] == [(1, 1, 4)]


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(half: torch.dtype):
    parts = [part.to(half) for part in rows(4, 6, 8)]
    scores = [part.to(half) for part in cosines(6, 8)]
    full, full_scores = [part.float() for part in parts], [part.float() for part in scores]
    center = torch.full((1, 8), 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [simclr_loss(*parts[:2]), swav_loss(*scores), byol_loss(*parts), *dino_loss(*parts, center)]
    assert {each.dtype for each in found} == {torch.float32}
    expected = [simclr_loss(*full[:2]), swav_loss(*full_scores), byol_loss(*full), *dino_loss(*full, center)]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_the_teacher_moves_less_and_less():
    """0.996 at first, 0.998 half-way, 1 at the end."""
    assert teacher_momentum(0, 10) == pytest.approx(0.996)
    assert teacher_momentum(5, 10) == pytest.approx(0.998)
    assert teacher_momentum(10, 10) == 1.0
    momenta = [teacher_momentum(step, 10) for step in range(11)]
    assert momenta == sorted(momenta)


def test_wrong_arguments():
    first, second, third, fourth = rows(4, 3, 4)
    with pytest.raises(ValueError, match="temperature"):
        simclr_loss(first, second, 0.0)
    with pytest.raises(ValueError, match=r"scores must be cosines, found 1\.5"):
        swav_loss(torch.full((2, 3), 0.5), torch.full((2, 3), 1.5))
    for step, steps in ((-1, 10), (11, 10), (0, 0)):
        with pytest.raises(ValueError, match="0 <= step <= steps"):
            teacher_momentum(step, steps)
    nothing, center = first[:0], torch.zeros(1, 4)
    for call in (
        lambda: simclr_loss(nothing, nothing),
        lambda: swav_loss(nothing, nothing),
        lambda: byol_loss(nothing, nothing, nothing, nothing),
        lambda: dino_loss(nothing, nothing, nothing, nothing, center),
    ):
        with pytest.raises(ValueError, match="no image"):
            call()
    for call in (
        lambda: simclr_loss(first, second[:2]),
        lambda: swav_loss(first, second[:, :3]),
        lambda: byol_loss(first, second, third, fourth[:2]),
        lambda: dino_loss(first, second, third, fourth, center[:, :3]),
    ):
        with pytest.raises(TypeCheckError):
            call()
