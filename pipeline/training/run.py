"""What a training run holds while it runs, and its checkpoints."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import nn

from pipeline.errors import InputError
from pipeline.models.config import Language, ModelConfig
from pipeline.models.image_tower import hold_batch_norm
from pipeline.models.methods import METHODS, Traits
from pipeline.models.two_tower import TwoTower
from pipeline.sections import Augment, Compute, Optimisation, Pretrain, Text, Tr
from pipeline.training.batch import Draw, draw_units
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint
from pipeline.training.dataset import PairedImages
from pipeline.training.gather import gather_labels
from pipeline.training.loss import Objective
from pipeline.training.reader import ImageReader
from pipeline.training.record import HistoryRow, ValidationRow


class Recipe(NamedTuple):
    """The arguments of `loop.pretrain`."""

    shards: Path
    text: Path
    initial: Path
    out: Path
    live: Path | None
    encoder: str
    seed: int
    settings: Pretrain
    tr: Tr
    optimisation: Optimisation
    augment: Augment
    compute: Compute
    text_model: Text

    @property
    def text_tokens(self) -> int:
        """Greatest number of tokens of a report or caption."""
        return self.text_model.max_tokens

    @property
    def traits(self) -> Traits:
        """What the method compares."""
        return METHODS[self.settings.method]

    @property
    def language(self) -> Language | None:
        """The text encoder that learns along; None: the frozen one's stored states are read, if any text is."""
        chosen = self.settings.text_encoder
        mode = ("lora" if self.traits.captions else "frozen") if chosen == "auto" else chosen
        return None if mode == "frozen" else Language(**self.text_model.model_dump(), mode=mode)


@dataclass
class Done:
    """How far a run is: steps, images decoded by all ranks, the step of the last checkpoint, and the curves.

    overflowed: steps in a row that fp16 did not take.
    """

    steps: int = 0
    saved: int = 0
    images: int = 0
    overflowed: int = 0
    history: list[HistoryRow] = field(default_factory=list)
    validation: list[ValidationRow] = field(default_factory=list)


@dataclass
class Training:
    """One rank's training run.

    model: wrapped for several ranks; tower: the same, unwrapped. held: BatchNorm keeps the running statistics it came
    with. They are kept where the encoder has pretrained weights, since batches of 8 breasts are too small to estimate
    them (and a step costs less: 27 instead of 36 ms per 256 x 160 image on two cores); random weights have none to
    keep, and use those of the images that pass at once (each rank's batch, or images_per_pass).
    """

    recipe: Recipe
    accelerator: Accelerator
    config: ModelConfig
    tower: TwoTower
    model: nn.Module
    objective: Objective
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

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.epoch_steps

    def draw(self, epoch: int) -> Draw:
        """The units of an epoch: breasts with two views for mv_*, images for all others."""
        recipe = self.recipe
        return draw_units(self.pairs, recipe.traits, recipe.settings.swap_probability, recipe.seed, epoch)

    def set_training(self) -> None:
        """Training mode, but for the BatchNorm that is held."""
        self.model.train()
        self.objective.heads.train()
        if self.objective.teacher is not None:
            self.objective.teacher.train()
        if self.held:
            hold_batch_norm(self.model)
            if self.objective.teacher is not None:
                hold_batch_norm(self.objective.teacher.image)

    def save(self) -> None:
        """Writes a checkpoint, on the first rank.

        No random state is in it: what is drawn depends on (seed, epoch, unit) and (seed, step, rank) alone.
        """
        self.done.saved = self.done.steps
        if not self.accelerator.is_main_process:
            return
        scaler, teacher = self.accelerator.scaler, self.objective.teacher
        state = {
            "model": self.tower.state_dict(),
            "heads": self.objective.heads.state_dict(),
            "teacher": teacher.state_dict() if teacher is not None else {},
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
            "steps": self.done.steps,
            "images": self.done.images,
            "history": [list(row) for row in self.done.history],
            "validation": [list(row) for row in self.done.validation],
        }
        save_checkpoint(self.folder, self.done.steps, state, self.recipe.optimisation.keep_checkpoints)

    def restore(self) -> None:
        """Continues from the newest checkpoint of the same recipe, if there is one.

        Raises:
            InputError: it cannot be read, or the ranks do not find the same one.
        """
        state = load_checkpoint(self.folder)
        found = gather_labels(torch.tensor([state["steps"] if state else 0], device=self.accelerator.device)).tolist()
        if len(set(found)) > 1:
            raise InputError(
                f"pretrain: the ranks found checkpoints of different steps ({found}, 0: none) in {self.folder};"
                " $PIPELINE_SCRATCH must be one folder that all nodes share"
            )
        if state is None:
            return
        self.tower.load_state_dict(state["model"])
        self.objective.heads.load_state_dict(state["heads"])
        if self.objective.teacher is not None:
            self.objective.teacher.load_state_dict(state["teacher"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        history = [HistoryRow(*row) for row in state["history"]]
        validation = [ValidationRow(*row) for row in state["validation"]]
        self.done = Done(state["steps"], state["steps"], state["images"], history=history, validation=validation)
