"""The terms of a step's loss: which pairs meet, which are left out."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from pipeline.models.heads import build_heads
from pipeline.models.image_tower import ImageOutput
from pipeline.models.two_tower import TwoTowerOutput
from pipeline.objectives.clip import clip_loss
from pipeline.objectives.local_alignment import local_alignment_loss
from pipeline.objectives.multi_view import multi_view_loss
from pipeline.objectives.self_supervised import simclr_loss
from pipeline.sections import Pretrain
from pipeline.training import loss
from pipeline.training.batch import Batch
from pipeline.training.loss import Objective, step_loss


def objective(**changed: Any) -> Objective:
    values = {"cohorts": ["a"], "method": "mv_clip", "shuffle_reports": False, "negatives": "gathered"}
    values |= {"positives": "plain", "incomplete": "keep", "swap_probability": 0.5, "caption_masking": 0.8}
    values |= {"text_encoder": "auto"}
    settings = Pretrain.model_validate(values | changed)
    return Objective(settings, build_heads(settings.method, 4), None, 1.0)


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
        sentence=torch.zeros(0, 1, dtype=torch.int64),
        paired=torch.tensor([1, 2, 4]),
        first=torch.tensor([0, 2, 4]),
        second=torch.tensor([1, 3, 4]),
        both=torch.tensor([True, True, False]),
        text=torch.tensor([0, 1, 0]),
        report=torch.tensor([5, 8, 5]),
        breast=torch.tensor([0, 1, 2]),
        second_breast=torch.tensor([0, 1, 2]),
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


def caption_step() -> tuple[TwoTowerOutput, Batch]:
    """Three images with captions of their own: 0 with itself again, 1 with 2's breast, 2 with itself again."""
    output, batch = step()
    generator = torch.Generator().manual_seed(1)
    patches, sentences, text = (
        F.normalize(torch.randn(*shape, 4, generator=generator), dim=-1) for shape in ((5, 6), (3, 2), (3,))
    )
    image = output.image._replace(patches=patches)
    present = torch.tensor([[True, True], [True, False], [True, True]])
    batch = batch._replace(
        paired=torch.tensor([0, 2, 4]), first=torch.tensor([0, 2, 4]), second=torch.tensor([1, 4, 3]),
        both=torch.ones(3).bool(), text=torch.arange(3), report=torch.tensor([3, 4, 6]),
        second_breast=torch.tensor([0, 2, 2]),
    )  # fmt: skip
    return TwoTowerOutput(image, text, output.scales, sentences, present), batch


def test_mama_has_four_terms_and_begins_with_one():
    output, batch = caption_step()
    first, second, text = output.image.embedding[[0, 2, 4]], output.image.embedding[[1, 4, 3]], output.text
    excluded = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 0]]).bool()  # image 2 of 1, text of 2
    image_text = clip_loss(first, text, 0.07)
    again = clip_loss(second, text, 0.07, None, excluded)
    views = simclr_loss(first, second, 0.5)
    local = local_alignment_loss(output.image.patches[[0, 2, 4]], output.sentences, output.present, 0.07)
    for done in (0.2, 1.0):
        found = step_loss(output, batch, objective(method="mama"), done=done)
        torch.testing.assert_close(found.total, image_text + again + views + local)
        torch.testing.assert_close((found.image_text, found.views), (image_text, views))
    begun = step_loss(output, batch, objective(method="mama"), done=0.1999)
    torch.testing.assert_close(begun.total, image_text)
    assert begun.views is None


def test_equal_captions_match_in_every_term_of_mama_that_reads_them():
    output, batch = caption_step()
    batch = batch._replace(report=torch.tensor([3, 4, 3]))
    positives = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 0, 1]]).bool()
    excluded = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 0]]).bool()  # image 2 of 1, text of 2
    first, second, text = output.image.embedding[[0, 2, 4]], output.image.embedding[[1, 4, 3]], output.text
    patches = output.image.patches[[0, 2, 4]]
    expected = clip_loss(first, text, 0.07, positives) + clip_loss(second, text, 0.07, positives, excluded)
    expected += simclr_loss(first, second, 0.5)
    expected += local_alignment_loss(patches, output.sentences, output.present, 0.07, positives=positives)
    found = step_loss(output, batch, objective(method="mama", positives="multi_positive"))
    torch.testing.assert_close(found.total, expected)
    assert found.duplicate_rate == pytest.approx(2 / 3)
    assert not torch.isclose(step_loss(output, batch, objective(method="mama")).total, found.total)


def test_mama_leaves_out_the_other_view_of_a_breast():
    output, batch = caption_step()
    batch = batch._replace(breast=torch.tensor([0, 2, 2]))
    excluded = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 0]]).bool()
    found = step_loss(output, batch, objective(method="mama"), done=0.0)
    expected = clip_loss(output.image.embedding[[0, 2, 4]], output.text, 0.07, None, excluded)
    torch.testing.assert_close(found.total, expected)


def test_mama_needs_patches_and_sentences():
    output, batch = caption_step()
    with pytest.raises(ValueError, match="build it for mama"):
        step_loss(output._replace(sentences=None), batch, objective(method="mama"))
