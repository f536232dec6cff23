"""Joins predictions to the sealed labels: for every task, split, setting and encoder, grades beside scores."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.downstream.labels import as_grades
from pipeline.downstream.predictions import FUSION_METHODS, scored_splits
from pipeline.sections import Task

SETTING_KEYS = ["method", "fraction", "encoder"]


class Scored(NamedTuple):
    """Test units of one setting, in the order of their ids.

    task, split: As in metrics.json; split is one of `scored_splits`.
    setting: The method with its percentage of the training patients (`lp_10`), or `zero_shot`.
    grades: 0 or 1 of a binary label, else the ordinal grade [unit].
    scores: Higher means more of the label [seed, unit].
    patients: Whose unit it is [unit].
    """

    task: str
    split: str
    setting: str
    encoder: str
    is_ordinal: bool
    grades: np.ndarray
    scores: np.ndarray
    patients: np.ndarray

    @property
    def model(self) -> tuple[str, str, str]:
        """What scored the units: task, setting and encoder."""
        return self.task, self.setting, self.encoder

    @property
    def labels(self) -> np.ndarray:
        """What an AUC is taken of: the grades of an ordinal label, else True for positives [unit]."""
        return self.grades if self.is_ordinal else self.grades == 1

    def has_units_of(self, other: "Scored") -> bool:
        """Whether both scored the same units, as far as grades and patients tell."""
        return np.array_equal(self.grades, other.grades) and np.array_equal(self.patients, other.patients)


def scored_images(
    predictions: pd.DataFrame, labels: Mapping[str, pd.DataFrame], tasks: Mapping[str, Task]
) -> list[Scored]:
    """Every setting of every task on the test images of its own cohort and of those in `score_on`.

    Args:
        predictions: Rows of tables.PREDICTIONS; validation rows are ignored.
        labels: Sealed test images (tables.SEALED) by cohort.
        tasks: By name.

    Raises:
        ValueError: an image was scored that is not in the sealed test split, or not by every seed.
    """
    found = []
    for name, task in tasks.items():
        for split, cohort in scored_splits(task).items():
            rows = predictions[(predictions["task"] == name) & (predictions["split"] == split)]
            truth = image_grades(labels[cohort], task.label)
            found += list(_settings(rows, truth, "image_id", (name, split), task.kind == "ordinal"))
    return found


def validation_as_test(
    predictions: pd.DataFrame, development: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Predictions and images of the validation split under the name of the test split, for `scored_images`.

    Args:
        predictions: Rows of tables.PREDICTIONS.
        development: tables.COHORT by cohort, whose test images have no labels.
    """
    rows = predictions[predictions["split"] == "validation"].assign(split="test")
    return rows, {cohort: images[images["split"] == "validation"] for cohort, images in development.items()}


def scored_breasts(predictions: pd.DataFrame, labels: pd.DataFrame, label: str) -> list[Scored]:
    """The fusion models on test breasts; the label of a breast is any of its images'.

    Args and Raises: as `scored_images`; settings are FUSION_METHODS.
    """
    task = f"fuse_{label}"
    rows = predictions[(predictions["task"] == task) & (predictions["split"] == "test")]
    known = image_grades(labels, label).merge(labels[["image_id", "breast_id"]], on="image_id")
    breasts = known.groupby("breast_id", as_index=False).agg({"patient_id": "first", "grade": any_known})
    return list(_settings(rows, breasts, "breast_id", (task, "test"), is_ordinal=False))


def image_grades(labels: pd.DataFrame, label: str) -> pd.DataFrame:
    """image_id, patient_id and grade (float, NaN where unknown), as the models learned it."""
    grades = as_grades(labels[label], label)
    return labels[["image_id", "patient_id"]].assign(grade=grades.to_numpy(np.float64, na_value=np.nan))


def setting_name(method: str, fraction: float) -> str:
    """`lp` at 0.1 is lp_10: keys of metrics.json hold no dots; zero-shot saw no label, fusion all, and has no other."""
    has_none = fraction == 0 or method in FUSION_METHODS
    return method if has_none else f"{method}_{round(100 * fraction)}"


def _settings(
    rows: pd.DataFrame, truth: pd.DataFrame, unit: str, names: tuple[str, str], is_ordinal: bool
) -> Iterator[Scored]:
    """One Scored per (setting, encoder) among the rows; units whose label is unknown are left out."""
    if strangers := sorted(set(rows[unit]) - set(truth[unit])):
        raise ValueError(f"{names[0]}, {names[1]}: scored {unit} {strangers[0]}, which is not in the sealed test split")
    known = truth[truth["grade"].notna()].set_index(unit).sort_index()
    for _, group in rows.groupby(SETTING_KEYS, sort=True):
        method, fraction, encoder = (group[name].iloc[0] for name in SETTING_KEYS)
        wide = group.pivot(index=unit, columns="seed", values="score")
        if wide.isna().to_numpy().any():
            raise ValueError(f"{names[0]}, {method}: some seeds did not score every {unit}")
        own = known.loc[known.index.isin(wide.index)]
        yield Scored(
            *names,
            setting_name(str(method), float(fraction)),
            str(encoder),
            is_ordinal,
            own["grade"].to_numpy().astype(np.int64),
            wide.loc[own.index].to_numpy().astype(np.float64).T,
            own["patient_id"].to_numpy().astype(str),
        )


def any_known(grades: pd.Series) -> float:
    """1 if any image is positive; unknown if none is and one is unknown."""
    return 1.0 if (grades == 1).any() else float(grades.max(skipna=False))
