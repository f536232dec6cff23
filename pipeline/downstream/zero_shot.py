"""Zero-shot scores: how much closer an image lies to the prompts of a label than to those of its absence."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, Float64, Integer
from scipy.special import softmax

from pipeline.downstream.feature_table import feature_matrix, read_features
from pipeline.downstream.labels import expected_grade
from pipeline.downstream.predictions import Origin, prediction_rows, write_predictions
from pipeline.downstream.prompts import Ensembles, caption_methods, prompt_methods
from pipeline.errors import InputError
from pipeline.models.config import ModelConfig
from pipeline.models.methods import METHODS
from pipeline.models.text_encoder import load_text_encoder
from pipeline.models.text_tower import pad_states
from pipeline.models.two_tower import TwoTower, load_model, read_config
from pipeline.sections import Task, Text

SIDES = {"L": "left", "R": "right"}
# Sentences -> unit-norm embeddings, one row each.
Embed = Callable[[list[str]], np.ndarray]


class TextSide(NamedTuple):
    """What images are compared with: prompts by method, what embeds them, and the temperature of image and text."""

    methods: Mapping[str, Ensembles]
    embed: Embed
    temperature: float


def zero_shot(
    features: Path,
    model_folder: Path,
    tasks: Mapping[str, Task],
    names: Sequence[str],
    keys: Sequence[str],
    text: Text,
    out: Path,
) -> None:
    """Writes out/predictions.parquet: scores of the test images of each task, one method per set of prompts.

    Of a model that met no text in pretraining (supervised, self-supervised, none) the file has no row. One that met
    captions (mama) gets captions as prompts. The text encoder is the model's own, where it learned along.

    Args:
        features: Folder of the pretrained encoder's features, one folder per cohort.
        model_folder: Folder of the pretrained model.
        tasks: Every task by name.
        names: Which of them to score.
        keys: What the reports of pretraining speak of (the annotation subset C).
        text: The frozen text encoder, for a model without one of its own.
        out: Folder to write to.
    """
    side, parts = text_side(model_folder, keys, text), []
    if side is not None:
        for name in names:
            images = read_features(features / tasks[name].cohort)
            images = images[images["split"] == "test"]
            parts += zero_shot_rows(name, tasks[name].label, {"pretrained": images}, side)
    write_predictions(parts, out)


def zero_shot_rows(task: str, label: str, images: Mapping[str, pd.DataFrame], side: TextSide) -> list[pd.DataFrame]:
    """Rows of tables.PREDICTIONS per encoder and method that has prompts of the label.

    Args:
        task: Name of the task.
        label: Its label.
        images: By encoder, rows of tables.FEATURES with embeddings of test images.
        side: The prompts and their embeddings, each of which is made once for all encoders.
    """
    together, parts = pd.concat(images), []
    encoders = together.index.get_level_values(0)
    for method, ensembles in side.methods.items():
        if prompts := ensembles.get(label):
            scores = image_scores(together, prompts, side.embed, side.temperature)
            for encoder, own in images.items():
                origin = Origin(task, method, encoder, fraction=0.0, seed=0, split="test")
                parts.append(prediction_rows(own, scores[encoders == encoder], origin))
    return parts


def image_scores(
    images: pd.DataFrame, prompts: Mapping[int, Sequence[str]], embed: Embed, temperature: float
) -> Float64[np.ndarray, " image"]:
    """`prompt_scores` of each image, prompts speaking of its own side.

    Args:
        images: Rows of tables.FEATURES with embeddings.
        prompts: Sentences by grade; {side} becomes left or right.
        embed: Embeds sentences.
        temperature: Of image and text, as trained.
    """
    grades = np.array(sorted(prompts))
    scores = np.empty(len(images))
    for side in images["laterality"].unique():
        rows = (images["laterality"] == side).to_numpy(bool)
        said = [[sentence.format(side=SIDES[side]) for sentence in prompts[grade]] for grade in grades]
        anchors = np.stack([ensemble_mean(embed(sentences)) for sentences in said])
        scores[rows] = prompt_scores(feature_matrix(images[rows], "embedding"), anchors, grades, temperature)
    return scores


def ensemble_mean(embeddings: Float32[np.ndarray, "prompt channel"]) -> Float32[np.ndarray, " channel"]:
    """Unit-norm mean of unit-norm prompt embeddings.

    Source: CLIP (Radford et al. 2021), section 3.1.4, ensembling over the embedding space.
    """
    mean = embeddings.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def prompt_scores(
    images: Float32[np.ndarray, "image channel"],
    anchors: Float32[np.ndarray, "grade channel"],
    grades: Integer[np.ndarray, " grade"],
    temperature: float,
) -> Float64[np.ndarray, " image"]:
    """Of two grades, 0 and 1, the logit of the second; of more the expected grade, both by the softmax over them.

    The logit is the difference of the cosines over the temperature. As a probability, most images of a model with a
    low temperature would be 0 or 1 to the last digit kept, and tie.
    """
    logits = images.astype(np.float64) @ anchors.T.astype(np.float64) / temperature
    if len(grades) == 2:
        return np.asarray(logits[:, 1] - logits[:, 0])
    return expected_grade(softmax(logits, axis=1), grades)


def text_side(model_folder: Path, keys: Sequence[str], text: Text) -> TextSide | None:
    """The prompts of a model, embedded by its text tower behind its own text encoder, or else behind the frozen one.

    Args:
        model_folder: Folder of the pretrained model.
        keys: What the reports of pretraining speak of.
        text: The frozen text encoder.

    Returns:
        None for a model that met no text in pretraining.
    """
    traits = METHODS[read_config(model_folder, ModelConfig).method]
    if not traits.text:
        return None
    model, config = load_model(model_folder)
    temperature = model.scales()[0].item()
    methods = caption_methods() if traits.captions else prompt_methods(keys)
    embed = _embed_behind_frozen(model, config, text) if config.language is None else _embed_by(model)
    return TextSide(methods, embed, temperature)


def _embed_behind_frozen(model: TwoTower, config: ModelConfig, text: Text) -> Embed:
    """By the text tower behind the frozen text encoder.

    Raises:
        InputError: it is not the one of pretraining.
        ValueError: the model has no text tower.
    """
    if config.frozen_text != text:
        raise InputError(
            f"zero-shot: expected the text encoder of pretraining ({config.frozen_text}), found {text}; set the"
            " profile's text to it, or pretrain anew"
        )
    tower, length = model.text, config.text_tokens
    if tower is None or length is None:
        raise ValueError(f"no text tower in the model {config}; zero-shot needs the pretrained model")
    encoder = load_text_encoder(text)

    def embed(sentences: list[str]) -> Float32[np.ndarray, "sentence channel"]:
        with torch.inference_mode():
            embeddings: np.ndarray = tower(*pad_states(encoder.encode(sentences), length)).numpy()
        return embeddings

    return embed


def _embed_by(model: TwoTower) -> Embed:
    """By the text encoder that the model holds."""

    def embed(sentences: list[str]) -> Float32[np.ndarray, "sentence channel"]:
        with torch.inference_mode():
            embeddings: np.ndarray = model.embed_texts([[sentence] for sentence in sentences]).numpy()
        return embeddings

    return embed
