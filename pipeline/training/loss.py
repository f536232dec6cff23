"""The loss of one step, over the units of all ranks, for every pretraining method."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from pipeline.models.methods import METHODS
from pipeline.models.two_tower import TwoTowerOutput
from pipeline.objectives.clip import clip_loss, matching
from pipeline.objectives.local_alignment import local_alignment_loss
from pipeline.objectives.multi_view import multi_view_loss
from pipeline.objectives.self_supervised import simclr_loss
from pipeline.objectives.siglip import siglip_loss
from pipeline.objectives.supervised import weighted_cross_entropy
from pipeline.precision import at_least_float32
from pipeline.sections import Pretrain
from pipeline.training.batch import Batch
from pipeline.training.compare import alignment, uniformity
from pipeline.training.gather import gather_labels, gather_rows
from pipeline.training.self_supervised import self_supervised_loss
from pipeline.training.teacher import Teacher

# Share of a run's steps for which mama has its first term alone: 8k of 40k. Source: method.md, MaMA, `Loss`.
FIRST_TERM_ALONE = 0.2


class Objective(NamedTuple):
    """What a method compares with, besides the two towers.

    heads: what learns beside them, empty for most methods with text (models/heads.py). positive_weight: of malignant
    images, for supervised.
    """

    settings: Pretrain
    heads: nn.ModuleDict
    teacher: Teacher | None
    positive_weight: float


class StepLoss(NamedTuple):
    """total is what is minimised; a part is None where a method or a step has no such term.

    image_text: of the paired image. views: of CC and MLO, or of mama's two images. second, local: of mama's second
    image and the caption, of patches and sentences. duplicate_rate: share of the units whose report another unit of the
    step has too. alignment, uniformity: of what is compared (compare.py).
    """

    total: Float[Tensor, ""]
    image_text: Float[Tensor, ""] | None
    views: Float[Tensor, ""] | None
    duplicate_rate: float | None
    alignment: float | None
    uniformity: float
    second: Float[Tensor, ""] | None = None
    local: Float[Tensor, ""] | None = None


def step_loss(
    output: TwoTowerOutput,
    batch: Batch,
    objective: Objective,
    targets: Float[Tensor, "view channel"] | None = None,
    done: float = 1.0,
) -> StepLoss:
    """The method's loss.

    negatives = gathered: over the units of all ranks, with gradient (method.md, `negatives across GPUs`); local: each
    rank by itself.

    Args:
        output: Embeddings of the batch's views and distinct reports.
        batch: On the device of output.
        objective: The method and what it needs.
        targets: The teacher's pooled feature maps of the views, for byol and dino.
        done: Share of the run's steps that lie behind, for mama.
    """
    method = objective.settings.method
    if METHODS[method].captions:
        return _caption_loss(output, batch, objective, done >= FIRST_TERM_ALONE)
    if METHODS[method].text:
        return _image_text_loss(output, batch, objective.settings)
    if method == "supervised":
        return _supervised_loss(output, batch, objective)
    return _pair_loss(output, batch, objective, targets)


def _image_text_loss(output: TwoTowerOutput, batch: Batch, settings: Pretrain) -> StepLoss:
    """Image-text loss of eq. 2 (or SigLIP's) plus, for mv_*, the view loss of eq. 3, equal weight."""
    embedding = output.image.embedding
    if embedding is None or output.text is None or output.scales is None:
        raise ValueError("the model gives no embedding of images and reports; build it for a method with text")
    parts = [embedding[batch.paired], output.text[batch.text]]
    multi_view = METHODS[settings.method].breasts
    if multi_view:
        parts += [embedding[batch.first], embedding[batch.second]]
    rows, report, breast, both = _gathered(settings, torch.cat(parts, dim=1), batch.report, batch.breast, batch.both)
    image, text, *views = rows.split(embedding.shape[1], dim=1)
    positives, excluded = _pairs(report, breast, breast, settings)
    if settings.method == "siglip":
        image_text = siglip_loss(image, text, output.scales[0], output.scales[2], positives, excluded)
    else:
        image_text = clip_loss(image, text, output.scales[0], positives, excluded)
    between_views = None
    if multi_view and bool(both.any()):
        between_views = multi_view_loss(views[0][both], views[1][both], output.scales[1])
    total = image_text if between_views is None else image_text + between_views
    return StepLoss(
        total, image_text, between_views, _duplicate_rate(report), alignment(image, text), uniformity(image)
    )


def _caption_loss(output: TwoTowerOutput, batch: Batch, objective: Objective, every_term: bool) -> StepLoss:
    """Both images against the caption, against each other, and patches against sentences; or the first term alone.

    multi_positive: equal captions match in all terms but that between images, which reads none.

    Source: method.md, MaMA, `Loss`. Other than in its released code, logits are over all ranks.
    """
    embedding, patches = output.image.embedding, output.image.patches
    text, scales, sentences, present = output.text, output.scales, output.sentences, output.present
    if embedding is None or patches is None or text is None or scales is None or sentences is None or present is None:
        raise ValueError("the model gives no embedding of images, captions or their parts; build it for mama")
    settings = objective.settings
    parts = torch.cat([embedding[batch.paired], embedding[batch.second], text[batch.text]], dim=1)
    rows, report, *breasts = _gathered(settings, parts, batch.report, batch.breast, batch.second_breast)
    first, second, said = rows.split(text.shape[1], dim=1)
    positives, excluded = _pairs(report, breasts[0], breasts[0], settings)
    image_text = clip_loss(first, said, scales[0], positives, excluded)
    seen = (_duplicate_rate(report), alignment(first, said), uniformity(first))
    if not every_term:
        return StepLoss(image_text, image_text, None, *seen)
    again = clip_loss(second, said, scales[0], *_pairs(report, breasts[1], breasts[0], settings))
    views = simclr_loss(first, second)
    (regions,) = _gathered(settings, patches[batch.paired])
    local, there = _gathered(settings, sentences[batch.text], present[batch.text])
    parts_alike = local_alignment_loss(regions, local, there, objective.heads["local"](), positives=positives)
    return StepLoss(image_text + again + views + parts_alike, image_text, views, *seen, again, parts_alike)


def _supervised_loss(output: TwoTowerOutput, batch: Batch, objective: Objective) -> StepLoss:
    """Weighted cross-entropy of a linear head on the pooled feature map."""
    rows, label = _gathered(objective.settings, output.image.backbone[batch.paired], batch.label)
    logits = objective.heads["classifier"](at_least_float32(rows))[:, 0]
    total = weighted_cross_entropy(logits, label == 1, ~label.isnan(), objective.positive_weight)
    return StepLoss(total, None, None, None, None, uniformity(rows))


def _pair_loss(
    output: TwoTowerOutput, batch: Batch, objective: Objective, targets: Float[Tensor, "view channel"] | None
) -> StepLoss:
    """Self-supervised loss between two augmentations of each image.

    The heads run on the rows of all ranks: their BatchNorm sees the whole step, on one rank as on eight.
    """
    backbone = output.image.backbone
    width = backbone.shape[1]
    parts = [backbone[batch.first], backbone[batch.second]]
    if targets is not None:
        parts += [targets[batch.first], targets[batch.second]]
    (rows,) = _gathered(objective.settings, torch.cat(parts, dim=1))
    first, second, *followed = at_least_float32(rows).split(width, dim=1)
    total = self_supervised_loss(objective.settings.method, first, second, followed, objective.heads, objective.teacher)
    return StepLoss(total, None, None, None, alignment(first, second), uniformity(first))


def _gathered(settings: Pretrain, rows: Tensor, *labels: Tensor) -> list[Tensor]:
    """Rows and labels of all ranks, or of this one where negatives are local."""
    if settings.negatives == "local":
        return [rows, *labels]
    return [gather_rows(rows), *(gather_labels(label) for label in labels)]


def _pairs(
    report: Int64[Tensor, " unit"], breast: Int64[Tensor, " unit"], told: Int64[Tensor, " unit"], settings: Pretrain
) -> tuple[Bool[Tensor, "unit unit"] | None, Bool[Tensor, "unit unit"] | None]:
    """Positives (equal reports, as an option) and pairs left out of the loss.

    For units that are images the two views of a breast may fall into one step; each is left out of the other's
    negatives, which is what method.md (`samples`) asks for, without ordering the epoch by it. For mv_* a breast occurs
    once. breast: that of a unit's image; told: that of its report.
    """
    positives = matching(report, report) if settings.positives == "multi_positive" else None
    if METHODS[settings.method].breasts:
        return positives, None
    other_view = matching(breast, told) & ~torch.eye(len(breast), dtype=torch.bool, device=breast.device)
    return positives, other_view if positives is None else other_view & ~positives


def _duplicate_rate(report: Int64[Tensor, " unit"]) -> float:
    """Share of the units whose report occurs more than once (method.md, `identical reports`)."""
    _, inverse, counts = report.unique(return_inverse=True, return_counts=True)
    return float((counts[inverse] > 1).float().mean())
