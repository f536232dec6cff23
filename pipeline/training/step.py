"""One optimisation step: augment, embed, compare, move the weights."""

import math

import torch

from pipeline.errors import InputError
from pipeline.training.augment import augment
from pipeline.training.batch import Batch
from pipeline.training.loss import step_loss
from pipeline.training.optimizer import learning_rate
from pipeline.training.record import HistoryRow
from pipeline.training.setup import Training


def train_step(training: Training, batch: Batch, epoch: int) -> HistoryRow:
    """Augments, embeds, and moves the weights by one step.

    Raises:
        InputError: the loss or its gradient is not finite.
    """
    recipe, accelerator, done = training.recipe, training.accelerator, training.done
    training.set_training()
    batch = Batch(*(part.to(accelerator.device, non_blocking=True) for part in batch))
    images = augment(batch.images, batch.keys.cpu(), recipe.augment, recipe.seed, epoch)
    output = training.model(images, batch.states, batch.mask)
    loss = step_loss(output, batch, recipe.settings)
    rate = _set_learning_rate(training)
    accelerator.backward(loss.total)
    norm = accelerator.clip_grad_norm_(training.model.parameters(), recipe.optimisation.clip_norm)
    counted = torch.tensor(float(len(batch.images)), device=accelerator.device)
    nothing = torch.full_like(loss.total, math.nan)
    parts = [loss.total, loss.image_text, nothing if loss.views is None else loss.views, output.temperatures[0]]
    values = accelerator.reduce(torch.stack(parts).detach(), reduction="mean").tolist()
    _check_finite(training, values[0], float(norm))
    training.optimizer.step()
    training.optimizer.zero_grad()
    done.steps += 1
    done.images += int(accelerator.reduce(counted, reduction="sum"))
    views = None if math.isnan(values[2]) else values[2]
    row = HistoryRow(done.steps, epoch + 1, values[0], values[1], views, rate, values[3], loss.duplicate_rate)
    done.history.append(row)
    return row


def _set_learning_rate(training: Training) -> float:
    """Sets and returns the learning rate of the step to come."""
    optimisation, steps = training.recipe.optimisation, training.epoch_steps
    warmup = round(optimisation.warmup_epochs * steps)
    rate = learning_rate(training.done.steps, training.epochs * steps, warmup, optimisation.learning_rate)
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    return rate


def _check_finite(training: Training, loss: float, norm: float) -> None:
    """Stops a run that has diverged; the step is not taken. fp16's scaler skips overflowing gradients by itself."""
    compute = training.recipe.compute
    if math.isfinite(loss) and (math.isfinite(norm) or compute.precision == "fp16"):
        return
    raise InputError(
        f"pretrain: step {training.done.steps + 1}: loss {loss}, gradient norm {norm}; expected finite numbers. The"
        f" last good checkpoint is that of step {training.done.saved} (0: none). Lower optimisation.learning_rate,"
        " raise optimisation.temperature_image_text, or set compute.precision to fp32"
    )
