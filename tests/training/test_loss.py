"""The terms of a step's loss: which pairs meet, which are left out."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from pipeline.models.image_tower import ImageOutput
from pipeline.models.two_tower import TwoTowerOutput
from pipeline.objectives.clip import clip_loss
from pipeline.objectives.multi_view import multi_view_loss
from pipeline.sections import Pretrain
from pipeline.training import loss
from pipeline.training.batch import Batch
from pipeline.training.loss import Objective, step_loss


def objective(**changed: Any) -> Objective:
    values = {"cohorts": ["a"], "method": "mv_clip", "shuffle_reports": False, "negatives": "gathered"}
    settings = Pretrain.model_validate(values | {"positives": "plain", "swap_probability": 0.5} | changed)
    return Objective(settings, torch.nn.ModuleDict(), None, 1.0)


def step() -> tuple[TwoTowerOutput, Batch]:
    """Three breasts: 0 and 1 with both views (0 shows its MLO view to the text), 2 with one; 0 and 2 share a report."""
    generator = torch.Generator().manual_seed(0)
    image = F.normalize(torch.randn(5, 4, generator=generator), dim=1)
    text = F.normalize(torch.randn(2, 4, generator=generator), dim=1)
    batch = Batch(
        images=torch.zeros(5, 2, 2, dtype=torch.uint8),
        shown=torch.arange(5),
        keys=torch.arange(5),
        copies=torch.zeros(5, dtype=torch.int64),
        states=torch.zeros(2, 1, 1),
        mask=torch.ones(2, 1).bool(),
        paired=torch.tensor([1, 2, 4]),
        first=torch.tensor([0, 2, 4]),
        second=torch.tensor([1, 3, 4]),
        both=torch.tensor([True, True, False]),
        text=torch.tensor([0, 1, 0]),
        report=torch.tensor([5, 8, 5]),
        breast=torch.tensor([0, 1, 2]),
        label=torch.full((3,), torch.nan),
    )
    return TwoTowerOutput(ImageOutput(image, image), text, torch.tensor([0.07, 0.1, 0.0])), batch


def test_breasts_with_both_views_have_both_terms():
    output, batch = step()
    image, text = output.image.embedding, output.text
    found = step_loss(output, batch, objective())
    torch.testing.assert_close(found.image_text, clip_loss(image[[1, 2, 4]], text[[0, 1, 0]], 0.07))
    torch.testing.assert_close(found.views, multi_view_loss(image[[0, 2]], image[[1, 3]], 0.1))
    torch.testing.assert_close(found.total, found.image_text + found.views)
    assert found.duplicate_rate == pytest.approx(2 / 3)


def test_without_a_view_pair_there_is_no_view_loss():
    output, batch = step()
    found = step_loss(output, batch._replace(both=torch.zeros(3).bool()), objective())
    assert found.views is None
    torch.testing.assert_close(found.total, found.image_text)


def test_equal_reports_as_positives():
    output, batch = step()
    positives = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 0, 1]]).bool()
    expected = clip_loss(output.image.embedding[[1, 2, 4]], output.text[[0, 1, 0]], 0.07, positives)
    torch.testing.assert_close(step_loss(output, batch, objective(positives="multi_positive")).image_text, expected)


def test_clip_never_makes_a_breast_its_own_negative():
    output, batch = step()
    batch = batch._replace(breast=torch.tensor([0, 1, 0]))
    excluded = torch.tensor([[0, 0, 1], [0, 0, 0], [1, 0, 0]]).bool()
    image, text = output.image.embedding[[1, 2, 4]], output.text[[0, 1, 0]]
    found = step_loss(output, batch, objective(method="clip"))
    torch.testing.assert_close(found.total, clip_loss(image, text, 0.07, None, excluded))
    assert found.views is None
    multi = step_loss(output, batch, objective(method="clip", positives="multi_positive"))
    torch.testing.assert_close(multi.total, clip_loss(image, text, 0.07, batch.report[:, None] == batch.report))


def test_local_negatives_stay_on_the_rank(monkeypatch: pytest.MonkeyPatch):
    output, batch = step()
    expected = step_loss(output, batch, objective()).total
    monkeypatch.setattr(loss, "gather_rows", lambda rows: pytest.fail("gathered"))
    torch.testing.assert_close(step_loss(output, batch, objective(negatives="local")).total, expected)


def test_an_encoder_without_embedding_is_refused():
    output, batch = step()
    with pytest.raises(ValueError, match="no embedding"):
        step_loss(output._replace(image=ImageOutput(output.image.backbone, None)), batch, objective())
