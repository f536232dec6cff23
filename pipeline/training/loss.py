"""The loss of one step, over the units of all ranks."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from pipeline.models.two_tower import TwoTowerOutput
from pipeline.objectives.clip import clip_loss, matching
from pipeline.objectives.multi_view import multi_view_loss
from pipeline.sections import Pretrain
from pipeline.training.batch import Batch
from pipeline.training.gather import gather_labels, gather_rows


class StepLoss(NamedTuple):
    """total is what is minimised; views is None where no breast of the step has both views.

    duplicate_rate: share of the units whose report another unit of the step has too.
    """

    total: Float[Tensor, ""]
    image_text: Float[Tensor, ""]
    views: Float[Tensor, ""] | None
    duplicate_rate: float


def step_loss(output: TwoTowerOutput, batch: Batch, settings: Pretrain) -> StepLoss:
    """Image-text loss of eq. 2 plus, for mv_*, the view loss of eq. 3, equal weight.

    negatives = gathered: over the units of all ranks, with gradient (method.md, `negatives across GPUs`); local: each
    rank by itself.

    Args:
        output: Embeddings of the batch's images and distinct reports.
        batch: On the device of output.
        settings: method, negatives, positives.
    """
    embedding = output.image.embedding
    if embedding is None:
        raise ValueError("the image tower gives no embedding; build it for a method")
    parts = [embedding[batch.paired], output.text[batch.text]]
    multi_view = settings.method.startswith("mv_")
    if multi_view:
        parts += [embedding[batch.cc], embedding[batch.mlo]]
    report, breast, both = batch.report, batch.breast, batch.both
    rows = torch.cat(parts, dim=1)
    if settings.negatives == "gathered":
        rows = gather_rows(rows)
        report, breast, both = (gather_labels(labels) for labels in (report, breast, both))
    image, text, *views = rows.split(embedding.shape[1], dim=1)
    positives, excluded = _pairs(report, breast, settings)
    image_text = clip_loss(image, text, output.temperatures[0], positives, excluded)
    between_views = None
    if multi_view and bool(both.any()):
        between_views = multi_view_loss(views[0][both], views[1][both], output.temperatures[1])
    total = image_text if between_views is None else image_text + between_views
    return StepLoss(total, image_text, between_views, _duplicate_rate(report))


def _pairs(
    report: Int64[Tensor, " unit"], breast: Int64[Tensor, " unit"], settings: Pretrain
) -> tuple[Bool[Tensor, "unit unit"] | None, Bool[Tensor, "unit unit"] | None]:
    """Positives (equal reports, as an option) and pairs left out of the loss.

    For clip* the two views of a breast may fall into one step; each is left out of the other's negatives, which is
    what method.md (`samples`) asks for, without ordering the epoch by it. For mv_* a breast occurs once.
    """
    positives = matching(report, report) if settings.positives == "multi_positive" else None
    if settings.method.startswith("mv_"):
        return positives, None
    other_view = matching(breast, breast) & ~torch.eye(len(breast), dtype=torch.bool, device=breast.device)
    return positives, other_view if positives is None else other_view & ~positives


def _duplicate_rate(report: Int64[Tensor, " unit"]) -> float:
    """Share of the units whose report occurs more than once (method.md, `identical reports`)."""
    _, inverse, counts = report.unique(return_inverse=True, return_counts=True)
    return float((counts[inverse] > 1).float().mean())
