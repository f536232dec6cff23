"""Everything a training run holds, made from its recipe."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from pydantic import BaseModel
from torch import nn

from pipeline.models.image_tower import hold_batch_norm
from pipeline.models.two_tower import ModelConfig, Temperatures, TwoTower, build_model, load_model
from pipeline.params import by_encoder
from pipeline.scratch import scratch_folder
from pipeline.sections import Augment, Compute, Optimisation, Pretrain, Tr
from pipeline.training.batch import Draw, ImageReader, draw_units, epoch_steps
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint
from pipeline.training.dataset import PairedImages, read_pairs
from pipeline.training.optimizer import build_optimizer
from pipeline.training.record import HistoryRow, ValidationRow


class Recipe(NamedTuple):
    """The arguments of `loop.pretrain`."""

    shards: Path
    text: Path
    initial: Path
    out: Path
    encoder: str
    seed: int
    settings: Pretrain
    tr: Tr
    optimisation: Optimisation
    augment: Augment
    compute: Compute
    text_tokens: int


@dataclass
class Done:
    """How far a run is: steps, images decoded by all ranks, the step of the last checkpoint, and the curves."""

    steps: int = 0
    saved: int = 0
    images: int = 0
    history: list[HistoryRow] = field(default_factory=list)
    validation: list[ValidationRow] = field(default_factory=list)


@dataclass
class Training:
    """One rank's training run.

    model: wrapped for several ranks; tower: the same, unwrapped. held: BatchNorm keeps the running statistics it came
    with. They are kept where the encoder has pretrained weights, since batches of 8 breasts are too small to estimate
    them (and a step costs less: 27 instead of 36 ms per 256 x 160 image on two cores); random weights have none to
    keep, and use each rank's batch.
    """

    recipe: Recipe
    accelerator: Accelerator
    config: ModelConfig
    tower: TwoTower
    model: nn.Module
    optimizer: AcceleratedOptimizer
    pairs: PairedImages
    validation: PairedImages
    reader: ImageReader
    folder: Path
    batch: int
    epochs: int
    epoch_steps: int
    epoch_images: int
    held: bool
    done: Done

    def draw(self, epoch: int) -> Draw:
        """The units of an epoch."""
        return _draw(self.recipe, self.pairs, epoch)

    def set_training(self) -> None:
        """Training mode, but for the BatchNorm that is held."""
        self.model.train()
        if self.held:
            hold_batch_norm(self.model)

    def save(self) -> None:
        """Writes a checkpoint, on the first rank.

        No random state is in it: what is drawn depends on (seed, epoch, unit) alone, and nothing else is drawn.
        """
        self.done.saved = self.done.steps
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        state = {
            "model": self.tower.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
            "steps": self.done.steps,
            "images": self.done.images,
            "history": [list(row) for row in self.done.history],
            "validation": [list(row) for row in self.done.validation],
        }
        save_checkpoint(self.folder, self.done.steps, state)

    def restore(self) -> None:
        """Continues from the newest checkpoint of the same recipe, if there is one."""
        state = load_checkpoint(self.folder)
        if state is None:
            return
        self.tower.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        history = [HistoryRow(*row) for row in state["history"]]
        validation = [ValidationRow(*row) for row in state["validation"]]
        self.done = Done(state["steps"], state["steps"], state["images"], history, validation)


def prepare(recipe: Recipe) -> Training:
    """Reads the pairs and the initial encoder, builds model and optimizer, and finds the run's scratch folder."""
    compute, settings = recipe.compute, recipe.settings
    precision = "no" if compute.precision == "fp32" else compute.precision
    accelerator = Accelerator(mixed_precision=precision, cpu=compute.device == "cpu")
    if compute.device == "cpu" and accelerator.num_processes > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // accelerator.num_processes))
    shuffle_seed = recipe.seed if settings.shuffle_reports else None
    pairs = read_pairs(recipe.shards, recipe.text, settings.cohorts, "train", shuffle_seed)
    validation = read_pairs(recipe.shards, recipe.text, settings.cohorts, "validation")
    tower, config = _build_tower(recipe, pairs.states[0].shape[1])
    draw, batch = _draw(recipe, pairs, 0), by_encoder(recipe.optimisation.batch, recipe.encoder)[settings.method]
    model, optimizer = accelerator.prepare(tower, build_optimizer(tower, recipe.optimisation))
    return Training(
        recipe=recipe,
        accelerator=accelerator,
        config=config,
        tower=tower,
        model=model,
        optimizer=optimizer,
        pairs=pairs,
        validation=validation,
        reader=ImageReader(recipe.shards),
        folder=_folder(recipe),
        batch=batch,
        epochs=by_encoder(recipe.optimisation.epochs, recipe.encoder),
        epoch_steps=epoch_steps(len(draw.paired), batch, accelerator.num_processes),
        epoch_images=len(set(draw.paired) | set(draw.cc) | set(draw.mlo)),
        held=config.encoder_weights != "random",
        done=Done(),
    )


def _folder(recipe: Recipe) -> Path:
    """The scratch folder of exactly this recipe, whatever the place of its inputs and of its result."""
    settings: list[BaseModel | str | int] = [recipe.encoder, recipe.seed, recipe.settings, recipe.tr]
    settings += [recipe.optimisation, recipe.augment, recipe.compute, recipe.text_tokens]
    inputs = [recipe.shards, recipe.text, recipe.initial]
    code = ["shards", "models", "objectives", "training"]
    return scratch_folder("pretrain", settings=settings, inputs=inputs, code=code)


def _draw(recipe: Recipe, pairs: PairedImages, epoch: int) -> Draw:
    """The units of an epoch: breasts with two views for mv_*, images for clip*."""
    settings = recipe.settings
    return draw_units(pairs, settings.method.startswith("mv_"), settings.swap_probability, recipe.seed, epoch)


def _build_tower(recipe: Recipe, text_width: int) -> tuple[TwoTower, ModelConfig]:
    """The two-tower model around the initial encoder; its other weights are random, seeded."""
    start, config = load_model(recipe.initial)
    optimisation, method = recipe.optimisation, recipe.settings.method
    config = config.model_copy(
        update={
            "method": method,
            "tr": recipe.tr if method.endswith("_tr") else None,
            "text_width": text_width,
            "text_tokens": recipe.text_tokens,
            "temperatures": Temperatures(
                image_text=optimisation.temperature_image_text,
                views=optimisation.temperature_views,
                learnable=optimisation.learnable_temperature,
            ),
        }
    )
    torch.manual_seed(recipe.seed)
    tower = build_model(config)
    tower.image.encoder.load_state_dict(start.image.encoder.state_dict())
    tower.image.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return tower, config
