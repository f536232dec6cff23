"""Zero-shot scores: how much closer an image lies to the prompts of a label than to those of its absence."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, Float64, Integer
from scipy.special import softmax

from pipeline.downstream.feature_table import feature_matrix, read_features
from pipeline.downstream.labels import expected_grade
from pipeline.downstream.predictions import Origin, prediction_rows, write_predictions
from pipeline.downstream.prompts import caption_methods, prompt_methods
from pipeline.models.methods import METHODS
from pipeline.models.text_encoder import load_text_encoder
from pipeline.models.text_tower import pad_states
from pipeline.models.two_tower import TwoTower, load_model, read_config
from pipeline.sections import Task, Text

SIDES = {"L": "left", "R": "right"}
# Sentences -> unit-norm embeddings, one row each.
Embed = Callable[[list[str]], np.ndarray]


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
    captions (mama) gets captions as prompts, by the text encoder that it holds.

    Args:
        features: Folder of the pretrained encoder's features, one folder per cohort.
        model_folder: Folder of the pretrained model.
        tasks: Every task by name.
        names: Which of them to score.
        keys: What the reports of pretraining speak of (the annotation subset C).
        text: The frozen text encoder, for all but mama.
        out: Folder to write to.
    """
    traits = METHODS[read_config(model_folder).method]
    if not traits.text:
        write_predictions([], out)
        return
    embed, temperature = _text_side(model_folder, text)
    methods = caption_methods() if traits.captions else prompt_methods(keys)
    parts = []
    for name in names:
        images = read_features(features / tasks[name].cohort)
        images = images[images["split"] == "test"].reset_index(drop=True)
        for method, ensembles in methods.items():
            if prompts := ensembles.get(tasks[name].label):
                scores = image_scores(images, prompts, embed, temperature)
                origin = Origin(name, method, "pretrained", fraction=0.0, seed=0, split="test")
                parts.append(prediction_rows(images, scores, origin))
    write_predictions(parts, out)


def image_scores(
    images: pd.DataFrame, prompts: Mapping[int, Sequence[str]], embed: Embed, temperature: float
) -> Float64[np.ndarray, " image"]:
    """Expected grade of each image, prompts speaking of its own side.

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
    """Expected grade under the softmax of cosine / temperature.

    With two grades, 0 and 1, this is the sigmoid of the difference of the cosines over the temperature: it ranks as
    the difference does.
    """
    cosines = images.astype(np.float64) @ anchors.T.astype(np.float64)
    return expected_grade(softmax(cosines / temperature, axis=1), grades)


def _text_side(model_folder: Path, text: Text) -> tuple[Embed, float]:
    """What embeds sentences, and the temperature of image and text.

    The model's text tower behind its own text encoder, or else behind the frozen one.

    Raises:
        ValueError: the model has no text tower.
    """
    model, config = load_model(model_folder)
    tower, length = model.text, config.text_tokens
    if tower is None or length is None or model.log_temperatures is None:
        raise ValueError(f"{model_folder}: no text tower; zero-shot needs the pretrained model")
    temperature = float(model.log_temperatures[0].exp())
    if model.language is not None:
        return _embed_by(model), temperature
    encoder = load_text_encoder(text)

    def embed(sentences: list[str]) -> Float32[np.ndarray, "sentence channel"]:
        with torch.inference_mode():
            embeddings: np.ndarray = tower(*pad_states(encoder.encode(sentences), length)).numpy()
        return embeddings

    return embed, temperature


def _embed_by(model: TwoTower) -> Embed:
    """By the text encoder that the model holds."""

    def embed(captions: list[str]) -> Float32[np.ndarray, "caption channel"]:
        with torch.inference_mode():
            tokens = model.language.tokenize_sentences([[caption] for caption in captions])
            embeddings: np.ndarray = model.embed_captions(tokens).numpy()
        return embeddings

    return embed
