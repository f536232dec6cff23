"""Fusion at breast level: feature map positions and what is known before reading, each alone, and with text withheld.

A labelled interpretation of Breast Cancer VLMs (arXiv 2510.25051), whose full text is not public enough to rebuild
it: inputs and tasks are the paper's, sizes and the division of the text are ours (method.md, Breast Cancer VLMs).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor
from torch.nn import functional as F

from pipeline.downstream.fit import Schedule, fit, one_thread, shuffled_batches
from pipeline.downstream.fusion_inputs import (
    Banks,
    Breasts,
    Sources,
    breast_labels,
    breasts_of,
    read_inputs,
    standardise_images,
    tokens_of,
)
from pipeline.downstream.labels import graded_auc
from pipeline.downstream.predictions import FUSION_METHODS, Origin, prediction_rows, write_predictions
from pipeline.errors import InputError
from pipeline.models.co_attention import CoAttentionClassifier, Tokens
from pipeline.sections import Compute, Fuse

# Breasts per step, and the shared width of both modalities: a few hundred breasts train the model in seconds on a CPU.
BATCH = 32
WIDTH = 64


class Sees(NamedTuple):
    """What a model is given; what it is not becomes the learned null token."""

    image: bool
    text: bool


IMAGE, TEXT, BOTH = Sees(True, False), Sees(False, True), Sees(True, True)
# method of FUSION_METHODS -> what its model sees in training, and at inference
METHODS = dict(zip(FUSION_METHODS, [(IMAGE, IMAGE), (TEXT, TEXT), (BOTH, BOTH), (BOTH, IMAGE)], strict=True))


def fuse(sources: Sources, settings: Fuse, seed: int, batch: dict[str, int], compute: Compute, out: Path) -> None:
    """Writes out/predictions.parquet: probability of each label per test breast by each of FUSION_METHODS.

    Three models of one architecture are trained, each with what its method sees. One model predicts all labels, from
    one logit each, as the paper's does: cancers often show as calcifications, and half as many models are trained. The
    fusion model loses its text at random, and sometimes the report alone, so that it runs without: with all text
    withheld it is scored, too.

    Args:
        sources: Folders.
        settings: Labels, grid, epochs, learning rate, share of texts dropped.
        seed: Of initial weights, order, dropout.
        batch: Images per forward pass of the frozen encoder, by encoder.
        compute: Device and precision of the frozen encoder; fusion itself is small and stays on the CPU.
        out: Folder to write to.

    Raises:
        InputError: training breasts have one grade alone of a label, a split has no breast, or a GPU is asked for and
            none is there.
    """
    labels = breast_labels(sources.cohort, settings.labels)
    _check_labels(labels[labels["split"] == "train"], settings.labels)
    _check_breasts(sources, "labelled validation", labels[labels["split"] == "validation"])
    inputs = read_inputs(sources, settings.grid, batch, compute)
    tested = inputs.images.loc[inputs.images["split"] == "test", "breast_id"]
    _check_breasts(sources, "test", tested)
    chosen = (labels.index[labels["split"] == "train"], labels.index[labels["split"] == "validation"], tested)
    train, validation, test = (breasts_of(inputs, list(ids)) for ids in chosen)
    standardise_images(inputs.banks, train)
    models: dict[Sees, CoAttentionClassifier] = {}
    parts = []
    with one_thread():
        for method, (learns, sees) in METHODS.items():
            if learns not in models:
                models[learns] = _train(train, validation, inputs.banks, labels, settings, learns, seed)
            scores = probabilities(models[learns], test, inputs.banks, sees)
            for number, label in enumerate(settings.labels):
                origin = Origin(f"fuse_{label}", method, "pretrained", fraction=1.0, seed=seed, split="test")
                parts.append(prediction_rows(test.ids, scores[:, number], origin))
    write_predictions(parts, out)


def probabilities(
    model: CoAttentionClassifier, breasts: Breasts, banks: Banks, sees: Sees
) -> Float[np.ndarray, "breast label"]:
    """Probability of each label, given what the method sees."""
    model.eval()
    with torch.inference_mode():
        logits = [
            model(*seen_tokens(breasts, banks, sees, rows)) for rows in torch.arange(len(breasts.ids)).split(BATCH)
        ]
    scores: np.ndarray = torch.cat(logits).double().sigmoid().numpy()
    return scores


def seen_tokens(
    breasts: Breasts,
    banks: Banks,
    sees: Sees,
    rows: Int[Tensor, " row"],
    keeps: Bool[Tensor, "2 row"] | None = None,
) -> tuple[Tokens, Tokens]:
    """Image and text tokens of some breasts, less what is not seen; keeps: whose table and report are not dropped."""
    texts = torch.stack([breasts.table[rows], breasts.report[rows]]) * sees.text
    table, report = texts if keeps is None else texts * keeps[..., None]
    image, segments = breasts.image[rows] * sees.image, (tokens_of(banks.table, table), tokens_of(banks.report, report))
    return tokens_of(banks.image, image), Tokens(*(torch.cat(fields, dim=1) for fields in zip(*segments, strict=True)))


def _check_labels(train: pd.DataFrame, labels: Sequence[str]) -> None:
    """Every label has training breasts with it and without."""
    for label in labels:
        having, lacking = ((train[label] == grade).sum() for grade in (1, 0))
        if not (having and lacking):
            raise InputError(
                f"fuse.labels: {label}: expected training breasts with and without it, found {having} and {lacking};"
                " take another label or cohort"
            )


def _check_breasts(sources: Sources, kind: str, breasts: pd.DataFrame | pd.Series) -> None:
    """There are some."""
    if breasts.empty:
        raise InputError(
            f"fuse.cohort: {sources.cohort.name}: expected {kind} breasts, found none; take another cohort"
        )


def _train(
    train: Breasts,
    validation: Breasts,
    banks: Banks,
    labels: pd.DataFrame,
    settings: Fuse,
    sees: Sees,
    seed: int,
) -> CoAttentionClassifier:
    """Fits one model; the epoch is chosen by the mean over the labels of the AUC of the validation breasts."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.tensor(labels.loc[train.ids["breast_id"], settings.labels].to_numpy())
    known = labels.loc[validation.ids["breast_id"], settings.labels].to_numpy()
    weight = (target == 0).sum(dim=0) / (target == 1).sum(dim=0)
    dropped = settings.text_dropout if sees == BOTH else 0.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CoAttentionClassifier(banks.image_sizes, banks.text_sizes, len(settings.labels), WIDTH)

        def loss(rows: Int[Tensor, " row"]) -> Float[Tensor, ""]:
            model.train()
            keeps = torch.rand(2, len(rows), generator=generator) >= dropped
            keeps[1] &= keeps[0]  # without the table there is no report: it is written of it
            return label_loss(model(*seen_tokens(train, banks, sees, rows, keeps)), target[rows], weight)

        def score() -> float | None:
            return mean_auc(known, probabilities(model, validation, banks, sees))

        def batches(_: int) -> Iterator[Int[Tensor, " row"]]:
            return shuffled_batches(len(target), BATCH, generator)

        fit(model, batches, loss, score, len(target), Schedule(settings.epochs, BATCH, settings.learning_rate))
    return model


def label_loss(
    logits: Float[Tensor, "row label"], target: Float32[Tensor, "row label"], weight: Float[Tensor, " label"]
) -> Float[Tensor, ""]:
    """Mean binary cross-entropy in nats over the known labels, of which there is one at least; NaN is unknown."""
    known = ~target.isnan()
    losses = F.binary_cross_entropy_with_logits(logits, target.nan_to_num(), pos_weight=weight, reduction="none")
    return (losses * known).sum() / known.sum()


def mean_auc(grades: Float[np.ndarray, "row label"], scores: Float[np.ndarray, "row label"]) -> float | None:
    """Mean over the labels of the AUC on rows whose grade is known; labels of one grade are left out, None if all."""
    known = ~np.isnan(grades)
    aucs = [
        graded_auc(grades[rows, number].astype(np.int64), scores[rows, number]) for number, rows in enumerate(known.T)
    ]
    defined = [auc for auc in aucs if auc is not None]
    return float(np.mean(defined)) if defined else None
