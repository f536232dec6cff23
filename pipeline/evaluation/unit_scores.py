"""Scores of breasts and exams from those of their images: the mean, the maximum, and what is learned of both."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from pipeline.downstream.logistic import logistic_path
from pipeline.evaluation.scored import Scored, any_known, image_grades, scored_images, validation_as_test
from pipeline.metrics.bootstrap import cut_points
from pipeline.sections import Task

GROUPS = {"breast": "breast_id", "exam": "exam_id"}
SUMMARIES = ("mean", "max")
AGGREGATES = (*SUMMARIES, "learned")
# Inverse strength of the L2 penalty on the two standardised summaries: scikit-learn's default. It bounds the weights
# where the classes separate, and where all units have one image, so that mean and maximum are equal.
PENALTY_C = 1.0


def unit_scores(
    predictions: pd.DataFrame,
    development: Mapping[str, pd.DataFrame],
    labels: Mapping[str, pd.DataFrame],
    tasks: Mapping[str, Task],
    column: str,
) -> dict[str, list[Scored]]:
    """Every setting's test units (breasts or exams), once per aggregate of their images' scores.

    A unit is positive if any of its known images is, unknown if none is and one is unknown. However many images it has
    count: a missing view is one score less. `learned` is `learned_scores` of each training seed, fitted on the seed's
    validation units of the task's own cohort and applied to `test` and to transfer alike.

    Args:
        predictions: Rows of tables.PREDICTIONS, those of the validation split among them.
        development: tables.COHORT by cohort, which holds the labels of the validation split.
        labels: Sealed test images (tables.SEALED) by cohort.
        tasks: Binary ones, by name.
        column: breast_id or exam_id.

    Returns:
        By each of AGGREGATES the settings in one order. All scores of `learned` are NaN where the validation split has
        fewer than MIN_PATIENTS patients with a positive unit, or with a negative one, or was not scored.

    Raises:
        ValueError: an image was scored that is not in its split, or not by every seed.
    """
    known = validation_units(predictions, development, tasks, column)
    by_model = {means.model: (means, tops) for means, tops in zip(*known.values(), strict=True)}
    found: dict[str, list[Scored]] = {name: [] for name in AGGREGATES}
    for means, tops in _summarised(predictions, labels, tasks, column):
        learned = means._replace(scores=_learned(by_model.get(means.model), _columns(means, tops)))
        for name, unit in zip(AGGREGATES, (means, tops, learned), strict=True):
            found[name].append(unit)
    return found


def validation_units(
    predictions: pd.DataFrame, development: Mapping[str, pd.DataFrame], tasks: Mapping[str, Task], column: str
) -> dict[str, list[Scored]]:
    """Every setting's units of the validation split of the task's own cohort, once per each of SUMMARIES.

    Args and Raises: as `unit_scores`.
    """
    pairs = _summarised(*validation_as_test(predictions, development), tasks, column)
    return {name: [pair[place] for pair in pairs] for place, name in enumerate(SUMMARIES)}


def learned_scores(
    labels: Bool[np.ndarray, " known"],
    known: Float64[np.ndarray, "known summary"],
    others: Float64[np.ndarray, "other summary"],
) -> Float64[np.ndarray, " other"]:
    """Logistic regression of a unit's label on the mean and the maximum of its images' scores.

    The mean is best where all images of a positive show the finding, the maximum where one does; a weighted sum of the
    two holds both and what lies between. Two weights are what a few dozen validation patients can tell; they ask for
    no view by name, so that none can be missing.

    Args:
        labels: True for positives, both classes; of validation units.
        known: Mean and maximum of the same units.
        others: Mean and maximum of the units to score.

    Returns:
        Probabilities; higher means more of the label.
    """
    return logistic_path(known, labels.astype(np.int64), [others], [PENALTY_C])[0][0][:, 1]


def _learned(
    known: tuple[Scored, Scored] | None, others: Float64[np.ndarray, "seed other summary"]
) -> Float64[np.ndarray, "seed other"]:
    """`learned_scores` of every seed; NaN without validation patients enough, and of no unit none."""
    if known is None or not others.shape[1] or not cut_points(known[0].labels, known[0].patients):
        return np.full(others.shape[:2], np.nan)
    return np.stack([learned_scores(known[0].labels, *pair) for pair in zip(_columns(*known), others, strict=True)])


def _columns(means: Scored, tops: Scored) -> Float64[np.ndarray, "seed unit summary"]:
    return np.stack([means.scores, tops.scores], axis=2)


def _summarised(
    rows: pd.DataFrame, images: Mapping[str, pd.DataFrame], tasks: Mapping[str, Task], column: str
) -> list[tuple[Scored, Scored]]:
    """(means, maxima) of every setting."""
    truth = {cohort: _grouped_labels(table, column, tasks) for cohort, table in images.items()}
    means, tops = (scored_images(_grouped_scores(rows, column, summary), truth, tasks) for summary in SUMMARIES)
    return list(zip(means, tops, strict=True))


def _grouped_scores(rows: pd.DataFrame, column: str, summary: str) -> pd.DataFrame:
    """Predictions of breasts or exams in the form of images': the group's id stands as image_id."""
    keys = [column, "task", "method", "encoder", "fraction", "seed", "split"]
    return rows.groupby(keys, as_index=False).agg({"score": summary}).rename(columns={column: "image_id"})


def _grouped_labels(images: pd.DataFrame, column: str, tasks: Mapping[str, Task]) -> pd.DataFrame:
    """Labels of breasts or exams in the form of images': the group's id stands as image_id."""
    names = sorted({task.label for task in tasks.values()})
    known = images[[column, "patient_id"]].assign(**{name: image_grades(images, name)["grade"] for name in names})
    rules = {"patient_id": "first"} | dict.fromkeys(names, any_known)
    return known.groupby(column, as_index=False).agg(rules).rename(columns={column: "image_id"})
