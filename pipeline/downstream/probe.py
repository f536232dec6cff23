"""Linear probes on frozen features: a converged logistic regression (`lp`) and the paper's (`lp_paper`)."""

import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Int64
from torch import nn

from pipeline.downstream.feature_table import feature_matrix, read_features
from pipeline.downstream.fit import Schedule, one_thread
from pipeline.downstream.fractions import nested_patients
from pipeline.downstream.head import head_probabilities, train_linear_head
from pipeline.downstream.labels import check_images, expected_grade, graded_auc, image_grades, warn_of_one_grade
from pipeline.downstream.logistic import logistic_path
from pipeline.downstream.predictions import Origin, prediction_rows, scored_splits, write_predictions
from pipeline.errors import InputError
from pipeline.sections import Probe, Task, by_encoder

Scores = dict[str, Float[np.ndarray, " _"]]  # by split of the predictions


class ProbeImages(NamedTuple):
    """Frozen features of one encoder: labelled training and validation images; what is scored, by split (no labels)."""

    train: pd.DataFrame
    train_grades: Int64[np.ndarray, " train"]
    train_features: Float32[np.ndarray, "train feature"]
    validation_grades: Int64[np.ndarray, " validation"]
    scored: dict[str, pd.DataFrame]
    scored_features: dict[str, Float32[np.ndarray, "_ feature"]]


def probe(
    task_name: str,
    task: Task,
    cohort: Path,
    features: Mapping[str, Path],
    settings: Probe,
    network: str,
    seed: int,
    out: Path,
) -> None:
    """Writes out/predictions.parquet (tables.PREDICTIONS) of both probes, for every encoder, fraction and seed.

    Args:
        task_name: Name of the task.
        task: Its label and kind.
        cohort: Folder of the task's cohort table.
        features: Folder with the features per cohort, by encoder.
        settings: Fractions, seeds, penalties, the paper's schedule.
        network: The encoders' timm name, which decides the paper's batch.
        seed: The project's; with each of the settings' seeds it decides which patients a fraction holds.
        out: Folder to write to.

    A fraction whose training images are all of one grade gets no rows and a warning; validation images of one grade
    give a warning.

    Raises:
        InputError: the task has no image of a split, or a fraction is no whole percentage.
    """
    if uneven := [fraction for fraction in settings.fractions if round(100 * fraction, 6) % 1]:
        raise InputError(f"probe.fractions: expected whole percentages (0.1 is 10 %), found {uneven[0]}")
    graded = image_grades(cohort, task.label)
    train = graded[graded["split"] == "train"]
    drawn = {s: nested_patients(train, settings.fractions, np.random.default_rng([seed, s])) for s in settings.seeds}
    warn_of_one_grade(task_name, graded.loc[graded["split"] == "validation", "grade"])
    schedule = _schedule(settings, network)
    parts = []
    with one_thread():
        for encoder, folder in features.items():
            images = _images(task_name, graded, task, folder)
            logistic: dict[bytes, Scores] = {}
            for repeat, fraction in product(settings.seeds, settings.fractions):
                rows = images.train["patient_id"].isin(drawn[repeat][fraction]).to_numpy()
                if len(np.unique(images.train_grades[rows])) < 2:
                    print(f"warning: {task_name}: one grade only, fraction {fraction}, seed {repeat}", file=sys.stderr)
                    continue
                for (method, split), scores in _fit(images, rows, settings.c_grid, schedule, repeat, logistic).items():
                    origin = Origin(task_name, method, encoder, fraction, repeat, split)
                    parts.append(prediction_rows(images.scored[split], scores, origin))
    write_predictions(parts, out)


def probe_baseline(
    name: str,
    tasks: Mapping[str, Task],
    cohorts: Path,
    features: Path,
    settings: Probe,
    network: str,
    seed: int,
    out: Path,
) -> None:
    """Writes out/<task>/predictions.parquet of every task, as `probe` does for this run's own encoders.

    Args:
        name: Of the baseline: its `encoder` in the predictions.
        tasks: By name.
        cohorts: Folder with a cohort table per cohort.
        features: Folder with the baseline's features per cohort.
        settings, network, seed: As of `probe`.
        out: Folder to write to.
    """
    for task_name, task in tasks.items():
        probe(task_name, task, cohorts / task.cohort, {name: features}, settings, network, seed, out / task_name)


def _schedule(settings: Probe, network: str) -> Schedule:
    """The paper's, by encoder."""
    return Schedule(settings.paper_epochs, by_encoder(settings.paper_batch, network), settings.paper_learning_rate)


def _images(task_name: str, graded: pd.DataFrame, task: Task, features: Path) -> ProbeImages:
    """Joins labels and features; only the development splits have labels here."""
    tables = {split: read_features(features / cohort) for split, cohort in scored_splits(task).items()}
    labelled = tables["test"].merge(graded[["image_id", "grade"]], on="image_id", validate="one_to_one")
    train, validation = (labelled[labelled["split"] == split] for split in ("train", "validation"))
    scored = {"validation": validation}
    scored |= {split: images[images["split"] == "test"] for split, images in tables.items()}
    learned = {"labelled training": train, "labelled validation": validation}
    for split, cohort in scored_splits(task).items():
        own = learned if split == "test" else {}
        check_images(task_name, cohort, own | {"test": scored[split]})
    return ProbeImages(
        train[["patient_id"]],
        train["grade"].to_numpy(np.int64),
        feature_matrix(train, "backbone"),
        validation["grade"].to_numpy(np.int64),
        scored,
        {split: feature_matrix(images, "backbone") for split, images in scored.items()},
    )


def _fit(
    images: ProbeImages,
    rows: Bool[np.ndarray, " train"],
    c_grid: Sequence[float],
    schedule: Schedule,
    seed: int,
    logistic: dict[bytes, Scores],
) -> dict[tuple[str, str], Float[np.ndarray, " _"]]:
    """Scores of both probes by (method, split), fitted on the given training rows.

    logistic keeps those of `lp` by training rows: with all patients they are the same for every seed.
    """
    train, grades = images.train_features[rows], images.train_grades[rows]
    if rows.tobytes() not in logistic:
        logistic[rows.tobytes()] = _logistic(images, train, grades, c_grid)
    methods = {"lp": logistic[rows.tobytes()], "lp_paper": _paper(images, train, grades, schedule, seed)}
    return {(method, split): scores for method, splits in methods.items() for split, scores in splits.items()}


def _logistic(
    images: ProbeImages,
    train: Float32[np.ndarray, "row feature"],
    grades: Int64[np.ndarray, " row"],
    c_grid: Sequence[float],
) -> Scores:
    """Expected grades of the penalty that ranks the validation split best (the strongest of equals)."""
    known = np.unique(grades)
    others = [features.astype(np.float64) for features in images.scored_features.values()]
    strongest_first = sorted(c_grid)
    path = [
        dict(zip(images.scored, (expected_grade(p, known) for p in probabilities), strict=True))
        for probabilities in logistic_path(train.astype(np.float64), grades, others, strongest_first)
    ]
    reached = [graded_auc(images.validation_grades, scores["validation"]) for scores in path]
    return path[int(np.argmax([-np.inf if auc is None else auc for auc in reached]))]


def _paper(
    images: ProbeImages,
    train: Float32[np.ndarray, "row feature"],
    grades: Int64[np.ndarray, " row"],
    schedule: Schedule,
    seed: int,
) -> Scores:
    """Expected grades of the paper's probe after the epoch that ranks the validation split best."""
    known, classes = np.unique(grades, return_inverse=True)

    def scores(head: nn.Linear, split: str) -> Float[np.ndarray, " _"]:
        return expected_grade(head_probabilities(head, images.scored_features[split]), known)

    def reached(head: nn.Linear) -> float | None:
        return graded_auc(images.validation_grades, scores(head, "validation"))

    head = train_linear_head(train, classes, reached, schedule, seed)
    return {split: scores(head, split) for split in images.scored}
