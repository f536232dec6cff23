"""Fusion at breast level: image features and the report of what is known before reading, and each alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor
from torch.nn import functional as F

from pipeline.downstream.feature_table import read_features
from pipeline.downstream.fit import Schedule, fit, one_thread, shuffled_batches
from pipeline.downstream.labels import graded_auc, image_grades
from pipeline.downstream.predictions import Origin, prediction_rows, write_predictions
from pipeline.downstream.units import Units, padded_units, standardised
from pipeline.errors import InputError
from pipeline.models.co_attention import CoAttentionClassifier
from pipeline.models.text_states import read_keys, read_states
from pipeline.models.text_tower import pad_states
from pipeline.sections import Fuse

# Breasts per step, and the shared width of both modalities: a few hundred breasts train the model in seconds on a CPU.
BATCH = 32
WIDTH = 64
# method -> whether it sees image tokens, and text tokens
METHODS = {"image": (True, False), "text": (False, True), "fusion": (True, True)}


class Breasts(NamedTuple):
    """Breasts of one split; report: row of Reports, 0 where a breast has no report."""

    units: Units
    report: Int[Tensor, " breast"]


class Reports(NamedTuple):
    """Token states of the distinct reports; row 0 is a missing report, without any token."""

    states: Float32[Tensor, "report token width"]
    present: Bool[Tensor, "report token"]


def fuse(cohort: Path, features: Path, text: Path, settings: Fuse, seed: int, out: Path) -> None:
    """Writes out/predictions.parquet: probability of the label per test breast by image, by text and by both.

    Three models of one architecture are trained, each with what its method sees; what it does not see is replaced by
    the learned null token. The fusion model also loses its text at random, so that it runs without (method.md,
    Breast Cancer VLMs).

    Args:
        cohort: Folder of the cohort table.
        features: Folder of the pretrained encoder's features of that cohort.
        text: Folder of the states and keys of the pre_reading reports, which never speak of findings.
        settings: Label, epochs, learning rate, share of texts dropped.
        seed: Of initial weights, order, dropout.
        out: Folder to write to.
    """
    images = read_features(features)
    labels = breast_labels(cohort, settings.label)
    reports, rows = _reports(text)
    chosen = (
        labels.index[labels["split"] == "train"],
        labels.index[labels["split"] == "validation"],
        images.loc[images["split"] == "test", "breast_id"],
    )
    units = standardised(*(padded_units(images[images["breast_id"].isin(ids)], "breast_id") for ids in chosen))
    train, validation, test = (Breasts(split, _report_rows(split, rows)) for split in units)
    parts = []
    for method, sees in METHODS.items():
        with one_thread():
            model = _train(train, validation, reports, labels["grade"], settings, sees, seed)
            scores = probabilities(model, test, reports, sees)
        origin = Origin(f"fuse_{settings.label}", method, "pretrained", fraction=1.0, seed=seed, split="test")
        parts.append(prediction_rows(test.units.ids, scores, origin))
    write_predictions(parts, out)


def breast_labels(cohort: Path, label: str) -> pd.DataFrame:
    """split and grade by breast_id of the development breasts: the highest grade of the images whose label is known."""
    graded = image_grades(cohort, label)
    return graded.groupby("breast_id").agg(split=("split", "first"), grade=("grade", "max"))


def probabilities(
    model: CoAttentionClassifier, breasts: Breasts, reports: Reports, sees: tuple[bool, bool]
) -> Float[np.ndarray, " breast"]:
    """Probability of the label, given what the method sees."""
    model.eval()
    with torch.inference_mode():
        logits = [
            _logits(model, breasts, reports, sees, rows) for rows in torch.arange(len(breasts.units.ids)).split(BATCH)
        ]
    scores: np.ndarray = torch.cat(logits).double().sigmoid().numpy()
    return scores


def _reports(text: Path) -> tuple[Reports, pd.Series]:
    """Every distinct report behind an empty first row, and the row of each breast's report."""
    states = read_states(text)
    report_ids = sorted(states)
    padded, present = pad_states([states[report] for report in report_ids], max(map(len, states.values())))
    reports = Reports(*(torch.cat([torch.zeros_like(field[:1]), field]) for field in (padded, present)))
    keys = read_keys(text).set_index("breast_id")["report_id"]
    return reports, keys.map({report: row for row, report in enumerate(report_ids, start=1)})


def _report_rows(units: Units, rows: pd.Series) -> Int[Tensor, " breast"]:
    """Row of Reports of each unit, 0 where it has none."""
    return torch.tensor(rows.reindex(units.ids["breast_id"]).fillna(0).to_numpy(np.int64))


def _logits(
    model: CoAttentionClassifier,
    breasts: Breasts,
    reports: Reports,
    sees: tuple[bool, bool],
    rows: Int[Tensor, " row"],
    keeps_text: Bool[Tensor, " row"] | None = None,
) -> Float[Tensor, " row"]:
    """Logits of some breasts; keeps_text: whose text is not dropped."""
    report = breasts.report[rows] if keeps_text is None else breasts.report[rows] * keeps_text
    tokens = reports.states.shape[1] if sees[1] else 1  # what is not seen need not be long
    logits: Tensor = model(
        breasts.units.slots.images[rows],
        breasts.units.slots.present[rows] & sees[0],
        reports.states[:, :tokens][report],
        reports.present[:, :tokens][report] & sees[1],
    )
    return logits


def _train(
    train: Breasts,
    validation: Breasts,
    reports: Reports,
    grades: pd.Series,
    settings: Fuse,
    sees: tuple[bool, bool],
    seed: int,
) -> CoAttentionClassifier:
    """Fits one model; the epoch is chosen by the AUC of the validation breasts."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.tensor(grades.loc[train.units.ids["breast_id"]].to_numpy(np.float32))
    if not 0 < target.sum() < len(target):
        raise InputError(f"fuse.label: {settings.label}: every training breast has grade {target[0]:.0f}; take another")
    weight = (target == 0).sum() / (target == 1).sum()
    known = grades.loc[validation.units.ids["breast_id"]].to_numpy(np.int64)
    dropped = settings.text_dropout if all(sees) else 0.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CoAttentionClassifier(train.units.slots.images.shape[2], reports.states.shape[2], WIDTH)

        def loss(rows: Int[Tensor, " row"]) -> Float[Tensor, ""]:
            model.train()
            keeps_text = torch.rand(len(rows), generator=generator) >= dropped
            logits = _logits(model, train, reports, sees, rows, keeps_text)
            return F.binary_cross_entropy_with_logits(logits, target[rows], pos_weight=weight)

        def score() -> float | None:
            return graded_auc(known, probabilities(model, validation, reports, sees))

        def batches(_: int) -> Iterator[Int[Tensor, " row"]]:
            return shuffled_batches(len(target), BATCH, generator)

        fit(model, batches, loss, score, len(target), Schedule(settings.epochs, BATCH, settings.learning_rate))
    return model
