"""Everything a training run holds, made from its recipe."""

import os
from pathlib import Path

import torch
from accelerate import Accelerator
from pydantic import BaseModel

from pipeline.models.config import ModelConfig, Temperatures
from pipeline.models.heads import build_heads
from pipeline.models.image_tower import feature_shape
from pipeline.models.two_tower import TwoTower, build_model, load_model
from pipeline.objectives import siglip
from pipeline.objectives.supervised import positive_weight
from pipeline.scratch import scratch_folder
from pipeline.sections import by_encoder
from pipeline.training.batch import draw_units
from pipeline.training.dataset import PairedImages, label_images, read_pairs
from pipeline.training.loss import Objective
from pipeline.training.optimizer import build_optimizer
from pipeline.training.order import epoch_steps
from pipeline.training.reader import ImageReader
from pipeline.training.run import Done, Recipe, Training
from pipeline.training.teacher import Teacher
from pipeline.training.texts import caption_images


def prepare(recipe: Recipe) -> Training:
    """Reads the pairs and the initial encoder, builds model and optimizer, and finds the run's scratch folder."""
    settings, optimisation = recipe.settings, recipe.optimisation
    accelerator = _accelerator(recipe)
    pairs, validation = _pairs(recipe)
    tower, config = _build_tower(recipe, pairs.states[0].shape[1] if pairs.states else None)
    objective = _objective(recipe, tower, pairs, config)
    objective.heads.to(accelerator.device)
    if objective.teacher is not None:
        objective.teacher.to(accelerator.device)
    _speed(tower, recipe)
    draw = draw_units(pairs, recipe.traits, settings.swap_probability, recipe.seed, epoch=0)
    batch = by_encoder(optimisation.batch, recipe.encoder)[settings.method]
    model, optimizer = accelerator.prepare(tower, build_optimizer(tower, objective.heads, optimisation))
    return Training(
        recipe=recipe,
        accelerator=accelerator,
        config=config,
        tower=tower,
        model=model,
        objective=objective,
        optimizer=optimizer,
        pairs=pairs,
        validation=validation,
        reader=ImageReader(recipe.shards, accelerator.num_processes),
        folder=_folder(recipe, accelerator.num_processes),
        batch=batch,
        epochs=by_encoder(optimisation.epochs, recipe.encoder),
        epoch_steps=epoch_steps(len(draw.paired), batch, accelerator.num_processes),
        epoch_images=len(draw.first) + int((draw.first != draw.second).sum()),
        held=config.encoder_weights != "random",
        done=Done(),
    )


def _accelerator(recipe: Recipe) -> Accelerator:
    """Device, precision and ranks; ranks on one CPU share its cores."""
    compute = recipe.compute
    precision = "no" if compute.precision == "fp32" else compute.precision
    accelerator = Accelerator(mixed_precision=precision, cpu=compute.device == "cpu")
    if compute.device == "cpu" and accelerator.num_processes > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // accelerator.num_processes))
    return accelerator


def _pairs(recipe: Recipe) -> tuple[PairedImages, PairedImages]:
    """The training and the validation split, with what the method learns from."""
    settings = recipe.settings
    captions = recipe.traits.captions
    text = recipe.text if recipe.traits.text and not captions else None
    shuffle_seed = recipe.seed if settings.shuffle_reports else None
    texts = recipe.language is not None
    train = read_pairs(recipe.shards, text, settings.cohorts, "train", shuffle_seed, settings.incomplete, texts)
    validation = read_pairs(recipe.shards, text, settings.cohorts, "validation", reads_texts=texts)
    if settings.method == "supervised":
        train = label_images(train, recipe.shards, settings.cohorts)
    if captions:
        train = caption_images(train, recipe.shards, settings.cohorts, shuffle_seed)
        validation = caption_images(validation, recipe.shards, settings.cohorts)
    return train, validation


def _build_tower(recipe: Recipe, text_width: int | None) -> tuple[TwoTower, ModelConfig]:
    """The two-tower model around the initial encoder; its other weights are random, seeded."""
    start, config = load_model(recipe.initial)
    traits = recipe.traits
    config = config.model_copy(
        update={
            "method": recipe.settings.method,
            "tr": recipe.tr if traits.tr else None,
            "text_width": text_width,
            "text_tokens": recipe.text_tokens if traits.text else None,
            "temperatures": _temperatures(recipe) if traits.text else None,
            "language": recipe.language,
            "frozen_text": recipe.text_model if traits.text and recipe.language is None else None,
        }
    )
    torch.manual_seed(recipe.seed)
    tower = build_model(config)
    tower.image.encoder.load_state_dict(start.image.encoder.state_dict())
    tower.image.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return tower, config


def _temperatures(recipe: Recipe) -> Temperatures:
    """As the profile says; SigLIP's own temperature and bias, which it learns (Zhai et al. 2023, section 3.2)."""
    optimisation, is_siglip = recipe.optimisation, recipe.settings.method == "siglip"
    return Temperatures(
        image_text=siglip.TEMPERATURE if is_siglip else optimisation.temperature_image_text,
        views=optimisation.temperature_views,
        learnable=is_siglip or optimisation.learnable_temperature,
        bias=siglip.BIAS if is_siglip else None,
    )


def _objective(recipe: Recipe, tower: TwoTower, pairs: PairedImages, config: ModelConfig) -> Objective:
    """Heads, teacher and class weight of the method."""
    method = recipe.settings.method
    channels = feature_shape(config.encoder, config.height_px, config.width_px)[0]
    heads = build_heads(method, channels)
    teacher = Teacher(tower.image, heads["projection"], channels) if recipe.traits.teacher else None
    weight = 1.0
    if method == "supervised":
        label = torch.from_numpy(pairs.label)
        weight = positive_weight(label == 1, ~label.isnan())
    return Objective(recipe.settings, heads, teacher, weight)


def _speed(tower: TwoTower, recipe: Recipe) -> None:
    """Activation checkpointing and compilation, as the profile says; both keep the names of the weights."""
    if recipe.optimisation.activation_checkpointing:
        tower.image.encoder.set_activation_checkpointing(True)
        if tower.language is not None:
            tower.language.gradient_checkpointing_enable()
    if recipe.optimisation.compile:
        tower.image.encoder.compile()


def _folder(recipe: Recipe, ranks: int) -> Path:
    """The scratch folder of exactly this recipe, whatever the place of its inputs and of its result.

    The number of ranks of all nodes is part of it: a step of more ranks is another step.
    """
    settings: list[BaseModel | str | int] = [recipe.encoder, recipe.seed, recipe.settings, recipe.tr, ranks]
    settings += [recipe.optimisation, recipe.augment, recipe.compute, recipe.text_model]
    inputs = [recipe.shards, recipe.text, recipe.initial]
    code = [
        "shards",
        "models",
        "objectives",
        "training",
        "precision.py",
        *(["reports"] if recipe.traits.captions else []),
    ]
    return scratch_folder("pretrain", settings=settings, inputs=inputs, code=code)
