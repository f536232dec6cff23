"""One optimisation step: augment, embed, compare, move the weights."""

import math
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.objectives.self_supervised import teacher_momentum
from pipeline.training.augment import augment
from pipeline.training.batch import Batch
from pipeline.training.gather import gather_labels
from pipeline.training.loss import StepLoss
from pipeline.training.memory import memory_explained
from pipeline.training.optimizer import learning_rate
from pipeline.training.passes import backward_pass
from pipeline.training.record import HistoryRow
from pipeline.training.run import Training

# A loss so many times its first value (or 1 nat, whichever is more) has diverged, though it is still finite.
DIVERGED = 10.0
# Overflows in a row that fp16's scaler may take to find its scale: it starts at 2^16, here it has come to 2^-4.
OVERFLOWS = 20
_ALWAYS = ("loss", "uniformity")  # a step has these, though they may not be numbers


def train_step(training: Training, batch: Batch, epoch: int) -> HistoryRow:
    """Augments, embeds, and moves the weights by one step.

    Raises:
        InputError: the loss has diverged, its gradient is not finite, or the memory does not suffice.
    """
    height, width = batch.images.shape[1:]
    with memory_explained(training, len(batch.shown), (height, width)):
        return _step(training, batch, epoch)


def _step(training: Training, batch: Batch, epoch: int) -> HistoryRow:
    """`train_step`, whatever becomes of the memory."""
    recipe, accelerator, done = training.recipe, training.accelerator, training.done
    training.set_training()
    batch = Batch(*(part.to(accelerator.device, non_blocking=True) for part in batch))
    views = augment(batch.images[batch.shown], batch.keys.cpu(), recipe.augment, recipe.seed, epoch, batch.copies.cpu())
    loss = backward_pass(training, views, batch)
    rate = _set_learning_rate(training)
    learned = [*training.model.parameters(), *training.objective.heads.parameters()]
    norm = accelerator.clip_grad_norm_(learned, recipe.optimisation.clip_norm)
    row = _row(training, loss, epoch, rate)
    _check_sane(training, batch, row.loss, float(norm))
    training.optimizer.step()
    training.optimizer.zero_grad()
    if training.objective.teacher is not None:
        momentum = teacher_momentum(done.steps, training.total_steps)
        training.objective.teacher.follow(training.tower.image, training.objective.heads["projection"], momentum)
    counted = torch.tensor(float(len(batch.images)), device=accelerator.device)
    done.images += int(accelerator.reduce(counted, reduction="sum"))
    done.steps += 1
    done.history.append(row)
    return row


def _row(training: Training, loss: StepLoss, epoch: int, rate: float) -> HistoryRow:
    """The step's line of the curve, mean over ranks."""
    parts = _losses(loss) | _temperatures(training)
    values = [math.nan if part is None else float(torch.as_tensor(part).detach()) for part in parts.values()]
    means = training.accelerator.reduce(torch.tensor(values, device=training.accelerator.device), "mean").tolist()
    known: dict[str, Any] = {
        name: None if math.isnan(mean) and name not in _ALWAYS else mean
        for name, mean in zip(parts, means, strict=True)
    }
    return HistoryRow(step=training.done.steps + 1, epoch=epoch + 1, learning_rate=rate, **known)


def _losses(loss: StepLoss) -> dict[str, Tensor | float | None]:
    """What a step's loss says, by the names of HistoryRow."""
    terms = {
        "loss": loss.total,
        "loss_image_text": loss.image_text,
        "loss_views": loss.views,
        "loss_second": loss.second,
        "loss_local": loss.local,
    }
    return terms | {name: getattr(loss, name) for name in ("duplicate_rate", "alignment", "uniformity")}


def _temperatures(training: Training) -> dict[str, Tensor | float | None]:
    """The divisors of similarities as they are, and SigLIP's bias; None where the method has none."""
    tower, heads = training.tower, training.objective.heads
    image_text = views = bias = None
    if tower.log_temperatures is not None:
        image_text, views, bias = tower.scales().tolist()
    return {
        "temperature": image_text,
        "temperature_views": views if training.recipe.traits.breasts else None,
        "temperature_local": heads["local"]() if "local" in heads else None,
        "bias": bias if tower.bias is not None else None,
    }


def _set_learning_rate(training: Training) -> float:
    """Sets and returns the learning rate of the step to come."""
    optimisation = training.recipe.optimisation
    warmup = round(optimisation.warmup_epochs * training.epoch_steps)
    rate = learning_rate(training.done.steps, training.total_steps, warmup, optimisation.learning_rate)
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    return rate


def _check_sane(training: Training, batch: Batch, loss: float, norm: float) -> None:
    """Stops a run that has diverged; the step is not taken.

    fp16's scaler skips a step whose gradient overflows and halves its scale, which is how it finds one that fits; a
    gradient that overflows at every scale has diverged, too.
    """
    done, fp16 = training.done, training.recipe.compute.precision == "fp16"
    done.overflowed = 0 if math.isfinite(norm) else done.overflowed + 1
    ceiling = DIVERGED * max(1.0, abs(done.history[0].loss)) if done.history else math.inf
    if math.isfinite(loss) and loss <= ceiling and done.overflowed <= (OVERFLOWS if fp16 else 0):
        return
    # loss, norm and history are equal on all ranks: all come here, and each names the images of all
    keys = gather_labels(batch.keys).unique().tolist()
    images = ", ".join(training.pairs.images["image_id"].iloc[keys])
    raise InputError(
        f"pretrain: step {done.steps + 1}: loss {loss}, gradient norm {norm}; expected finite numbers and a loss below"
        f" {ceiling:.3g}. Images of this step: {images}. The last good checkpoint is that of step {done.saved} (0:"
        " none). Lower optimisation.learning_rate, raise optimisation.temperature_image_text, or set"
        " compute.precision to fp32"
    )
