"""Additive hazard against values computed by hand, and the aggregator with missing views."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.models.hazard import (
    HEADS,
    AdditiveHazard,
    ExamAggregator,
    additive_hazard,
    hazard_targets,
    masked_hazard_loss,
)

NAN = math.nan
FLOATS = st.floats(-20, 20, width=32)


def test_logits_add_up_positive_hazards() -> None:
    logits = additive_hazard(torch.tensor([-1.0]), torch.tensor([[0.5, -3.0, 2.0]]))
    torch.testing.assert_close(logits, torch.tensor([[-0.5, -0.5, 1.5]]))


@settings(max_examples=50, deadline=None)
@given(FLOATS, st.lists(FLOATS, min_size=1, max_size=8))
def test_risk_never_falls_with_the_horizon(base: float, hazards: list[float]) -> None:
    probability = additive_hazard(torch.tensor([base]), torch.tensor([hazards])).sigmoid()
    assert (probability.diff(dim=1) >= 0).all()


@pytest.mark.parametrize(
    ("years_to_cancer", "years_followed", "labels", "mask"),
    [
        (0.0, 0.0, [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]),
        (0.4, 6.0, [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]),
        (1.0, 1.0, [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]),
        (2.3, 2.3, [0, 0, 1, 1, 1], [1, 1, 1, 0, 0]),
        (5.0, 5.0, [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]),
        (6.5, 6.5, [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]),
        (2.3, NAN, [0, 0, 1, 1, 1], [1, 1, 1, 0, 0]),
        (6.5, NAN, [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]),
        (NAN, 3.7, [0, 0, 0, 0, 0], [1, 1, 1, 0, 0]),
        (NAN, 0.9, [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]),
        (NAN, 9.0, [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]),
        (NAN, NAN, [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]),
    ],
)
def test_targets_by_hand(years_to_cancer: float, years_followed: float, labels: list[int], mask: list[int]) -> None:
    found, known = hazard_targets(torch.tensor([years_to_cancer]), torch.tensor([years_followed]), 5)
    assert known[0].tolist() == [bool(m) for m in mask]
    assert found[0].tolist() == labels


def test_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [5.0, -5.0]])
    labels = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    mask = torch.tensor([[True, True], [False, False]])
    expected = (math.log(2) - math.log(0.75)) / 2  # probabilities 0.5 and 0.75 of the two known years
    assert masked_hazard_loss(logits, labels, mask).item() == pytest.approx(expected, abs=1e-6)


def test_loss_without_a_known_year_is_refused() -> None:
    with pytest.raises(ValueError, match="known year"):
        masked_hazard_loss(torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool))


def test_gradients_of_hazard_and_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(3, generator=generator, dtype=torch.float64, requires_grad=True)
    hazards = torch.randn(3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    labels, mask = hazard_targets(
        torch.tensor([1.5, NAN, NAN], dtype=torch.float64), torch.tensor([1.5, 3.0, 8.0], dtype=torch.float64), 5
    )
    assert torch.autograd.gradcheck(
        lambda b, h: masked_hazard_loss(additive_hazard(b, h), labels, mask), (base, hazards)
    )


def test_module_is_the_function_of_its_two_maps() -> None:
    torch.manual_seed(0)
    module, hidden = AdditiveHazard(4, 3), torch.randn(2, 4)
    expected = additive_hazard(
        hidden @ module.base.weight[0] + module.base.bias, hidden @ module.hazards.weight.T + module.hazards.bias
    )
    torch.testing.assert_close(module(hidden), expected)


def exam(slots: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(2, slots, 6, generator=generator)
    view = torch.randint(2, (2, slots), generator=generator)
    side = torch.randint(2, (2, slots), generator=generator)
    years = torch.tensor([[0, 0, 1, 3][:slots], [0, 0, 0, 10][:slots]])
    return images, view, side, years, torch.ones(2, slots, dtype=torch.bool)


def aggregator() -> ExamAggregator:
    torch.manual_seed(0)
    return ExamAggregator(6, 16).eval()


def test_absent_slots_change_nothing() -> None:
    model, (images, view, side, years, present) = aggregator(), exam(4)
    present[:, 3] = False
    whole = model(images, view, side, years, present)
    images[:, 3] = 1e3
    torch.testing.assert_close(model(images, view, side, years, present), whole)
    torch.testing.assert_close(model(*(field[:, :3] for field in (images, view, side, years, present))), whole)


def test_order_of_the_images_does_not_matter_but_view_side_and_time_do() -> None:
    model, (images, view, side, years, present) = aggregator(), exam(4)
    whole = model(images, view, side, years, present)
    order = [2, 0, 3, 1]
    torch.testing.assert_close(model(*(field[:, order] for field in (images, view, side, years, present))), whole)
    assert not torch.allclose(model(images, 1 - view, side, years, present), whole)
    assert not torch.allclose(model(images, view, 1 - side, years, present), whole)
    assert not torch.allclose(model(images, view, side, (years + 1) % 10, present), whole)


def test_images_of_the_exam_itself_have_no_time_and_those_of_each_year_before_their_own() -> None:
    model, (images, view, side, years, present) = aggregator(), exam(4)
    tokens = []
    model.layer.register_forward_pre_hook(lambda _, given: tokens.append(given[0].detach()))
    model(images, view, side, years, present).square().sum().backward()
    moved = tokens[0] - (model.project(images) + model.view(view) + model.side(side)).detach()
    torch.testing.assert_close(moved, model.prior_years.weight.detach()[years], rtol=0, atol=1e-5)
    assert moved.abs().sum(dim=2).gt(0.1).tolist() == [[False, False, True, True], [False, False, False, True]]
    assert model.prior_years.weight.grad.abs().sum(dim=1).nonzero()[:, 0].tolist() == [1, 3, 10]


def test_what_is_drawn_after_the_aggregator_does_not_depend_on_its_times() -> None:
    torch.manual_seed(0)
    known = nn.Linear(6, 16), nn.Embedding(2, 16), nn.Embedding(2, 16)
    nn.TransformerEncoderLayer(16, HEADS, 32)
    attention, after = nn.Linear(16, 1), torch.rand(3)
    torch.manual_seed(0)
    model = ExamAggregator(6, 16)
    torch.testing.assert_close(torch.rand(3), after, rtol=0, atol=0)
    for own, drawn in zip((model.project, model.view, model.side, model.attention), (*known, attention), strict=True):
        torch.testing.assert_close(own.weight, drawn.weight, rtol=0, atol=0)


def test_an_exam_without_images_is_refused() -> None:
    images, view, side, years, present = exam(2)
    present[1] = False
    with pytest.raises(ValueError, match="without any"):
        aggregator()(images, view, side, years, present)
