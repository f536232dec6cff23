"""Forwards and backwards through both towers: the whole batch at once, or in parts with the gradient of the whole."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.models.image_tower import ImageOutput
from pipeline.models.two_tower import TwoTowerOutput
from pipeline.reports.captions import MAX_SENTENCES
from pipeline.training.batch import Batch
from pipeline.training.gather import gather_labels
from pipeline.training.loss import StepLoss, step_loss
from pipeline.training.run import Training

Views = Float[Tensor, "view 1 height width"]


def backward_pass(training: Training, views: Views, batch: Batch) -> StepLoss:
    """Adds the gradient of the step's loss to the parameters."""
    most = training.recipe.optimisation.images_per_pass or len(views)
    targets = None
    if training.objective.teacher is not None:
        with training.accelerator.autocast():
            targets = training.objective.teacher.embed(views, most)
    if _fit_everywhere(training, views):
        return _at_once(training, views, batch, targets)
    return _in_parts(training, views, batch, targets, most)


def _fit_everywhere(training: Training, views: Views) -> bool:
    """Whether every rank's views pass at once: ranks that took different ways would wait for each other for ever."""
    most = training.recipe.optimisation.images_per_pass
    return most is None or int(gather_labels(torch.tensor([len(views)], device=views.device)).max()) <= most


def _at_once(training: Training, views: Views, batch: Batch, targets: Tensor | None) -> StepLoss:
    """One pass over all views."""
    _draw_alike(training, 0)
    output = training.model(views, *_text(training, batch))
    loss = step_loss(output, batch, training.objective, targets, _share_done(training))
    training.accelerator.backward(loss.total)
    _average_heads(training)
    return loss


def _in_parts(training: Training, views: Views, batch: Batch, targets: Tensor | None, most: int) -> StepLoss:
    """The same loss and gradient while only `most` views are held in the encoder.

    The loss L needs all embeddings e at once, but dL/dtheta = sum_k dL/de_k de_k/dtheta: so all parts are embedded
    without gradient, L and dL/de are computed, and each part is embedded again to carry its dL/de_k back. Two forward
    passes instead of one. Equal to one pass but for a BatchNorm that uses the statistics of what passes at once.
    Source: Gao et al., Scaling deep contrastive learning batch size under memory limited setup, RepL4NLP 2021.
    """
    parts = views.split(most)
    whole = _leaves(_embed_all(training, parts, batch))
    loss = step_loss(whole, batch, training.objective, targets, _share_done(training))
    training.accelerator.backward(loss.total)
    _average_heads(training)
    gradients = [leaf.grad.split(most) for leaf in _compared(whole) if leaf.grad is not None]
    if not gradients:
        raise ValueError("the loss does not depend on the images")
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        _draw_alike(training, number)
        with nullcontext() if is_last else training.accelerator.no_sync(training.model):
            output = training.model(part, *(_text(training, batch) if is_last else ()))
            # in mama's first steps there are patches without a gradient; the embedding always has one
            pairs = zip(_compared(output), gradients, strict=False)
            carried = torch.stack([(again * rows[number]).sum() for again, rows in pairs]).sum()
            if is_last:
                carried = carried + _carried_text(output, whole)
            carried.backward()  # type: ignore[no-untyped-call]  # dL/de holds fp16's scale already
    return loss


def _embed_all(training: Training, parts: tuple[Tensor, ...], batch: Batch) -> TwoTowerOutput:
    """All embeddings, without gradient; running statistics are left to the way back."""
    outputs = []
    with torch.no_grad(), _buffers_kept(training.tower), training.accelerator.autocast():
        for number, part in enumerate(parts):
            _draw_alike(training, number)
            is_last = number == len(parts) - 1
            outputs.append(training.tower(part, *(_text(training, batch) if is_last else ())))
    of_images = zip(*(output.image for output in outputs), strict=True)
    backbone, embedding, patches = (None if rows[0] is None else torch.cat(rows) for rows in of_images)
    last: TwoTowerOutput = outputs[-1]
    return last._replace(image=ImageOutput(backbone, embedding, patches))  # type: ignore[arg-type]  # backbone is there


def _leaves(output: TwoTowerOutput) -> TwoTowerOutput:
    """The same values, each collecting its gradient."""
    backbone, embedding, patches, text, scales, sentences = (
        None if value is None else value.detach().requires_grad_()
        for value in (*output.image, output.text, output.scales, output.sentences)
    )
    image = ImageOutput(backbone, embedding, patches)  # type: ignore[arg-type]  # backbone is there
    return TwoTowerOutput(image, text, scales, sentences, output.present)


def _compared(output: TwoTowerOutput) -> list[Tensor]:
    """What the loss takes of the images: embedding and patches, or the pooled feature map of a method without text."""
    _, embedding, patches = output.image
    if embedding is None:
        return [output.image.backbone]
    return [embedding] if patches is None else [embedding, patches]


def _carried_text(output: TwoTowerOutput, whole: TwoTowerOutput) -> Tensor | float:
    """The text's and the temperatures' part of what carries the gradient back."""
    total: Tensor | float = 0.0
    for again, leaf in zip(output[1:4], whole[1:4], strict=True):  # text, scales, sentences
        if again is not None and leaf is not None and leaf.grad is not None and again.requires_grad:
            total = total + (again * leaf.grad).sum()
    return total


def _text(training: Training, batch: Batch) -> tuple[Tensor | int, ...]:
    """What the text tower takes, nothing for a method without text."""
    if training.recipe.traits.captions:
        return batch.states, batch.mask, batch.sentence, MAX_SENTENCES
    return (batch.states, batch.mask) if training.recipe.traits.text else ()


def _share_done(training: Training) -> float:
    """Share of the run's steps that lie behind."""
    return training.done.steps / training.total_steps


def _draw_alike(training: Training, part: int) -> None:
    """Seeds what networks draw (dropout): a part draws the same both times, and so does a resumed run."""
    words = [training.recipe.seed, training.done.steps, training.accelerator.process_index, part]
    torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))


def _average_heads(training: Training) -> None:
    """Mean over ranks of the heads' gradients: they stand outside the wrapper that averages the towers'."""
    if training.accelerator.num_processes == 1:
        return
    for parameter in training.objective.heads.parameters():
        if parameter.grad is not None:
            parameter.grad = training.accelerator.reduce(parameter.grad, reduction="mean")


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """Puts the running statistics back."""
    kept = [buffer.clone() for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in zip(module.buffers(), kept, strict=True):
            buffer.copy_(value)
