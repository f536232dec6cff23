"""One optimisation step: augment, embed, compare, move the weights."""

import math

import torch

from pipeline.errors import InputError
from pipeline.objectives.self_supervised import teacher_momentum
from pipeline.training.augment import augment
from pipeline.training.batch import Batch
from pipeline.training.loss import StepLoss
from pipeline.training.optimizer import learning_rate
from pipeline.training.passes import backward_pass
from pipeline.training.record import HistoryRow
from pipeline.training.run import Training

# A loss so many times its first value (or 1 nat, whichever is more) has diverged, though it is still finite.
DIVERGED = 10.0


def train_step(training: Training, batch: Batch, epoch: int) -> HistoryRow:
    """Augments, embeds, and moves the weights by one step.

    Raises:
        InputError: the loss has diverged, its gradient is not finite, or the memory does not suffice.
    """
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
    temperature = None if training.tower.log_temperatures is None else float(training.tower.scales()[0].detach())
    given = [loss.image_text, loss.views, temperature, loss.duplicate_rate, loss.alignment]
    parts = [float(loss.total.detach()), loss.uniformity]
    parts += [math.nan if part is None else float(torch.as_tensor(part).detach()) for part in given]
    device = training.accelerator.device
    total, uniformity, *means = training.accelerator.reduce(torch.tensor(parts, device=device), "mean").tolist()
    image_text, views, temperature, duplicates, alignment = (None if math.isnan(mean) else mean for mean in means)
    step = training.done.steps + 1
    return HistoryRow(step, epoch + 1, total, image_text, views, rate, temperature, duplicates, alignment, uniformity)


def _set_learning_rate(training: Training) -> float:
    """Sets and returns the learning rate of the step to come."""
    optimisation = training.recipe.optimisation
    warmup = round(optimisation.warmup_epochs * training.epoch_steps)
    rate = learning_rate(training.done.steps, training.total_steps, warmup, optimisation.learning_rate)
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    return rate


def _check_sane(training: Training, batch: Batch, loss: float, norm: float) -> None:
    """Stops a run that has diverged; the step is not taken. fp16's scaler skips overflowing gradients by itself."""
    done, fp16 = training.done, training.recipe.compute.precision == "fp16"
    ceiling = DIVERGED * max(1.0, abs(done.history[0].loss)) if done.history else math.inf
    if math.isfinite(loss) and loss <= ceiling and (math.isfinite(norm) or fp16):
        return
    keys = sorted(set(batch.keys.tolist()))
    images = ", ".join(training.pairs.images["image_id"].iloc[keys])
    raise InputError(
        f"pretrain: step {done.steps + 1}: loss {loss}, gradient norm {norm}; expected finite numbers and a loss below"
        f" {ceiling:.3g}. Images of this step on rank {training.accelerator.process_index}: {images}. The last good"
        f" checkpoint is that of step {done.saved} (0: none). Lower optimisation.learning_rate, raise"
        " optimisation.temperature_image_text, or set compute.precision to fp32"
    )
