"""Labels of the training and validation splits as ordered grades; labels of the test split are never read."""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer

from pipeline.cohorts.splits import patient_splits
from pipeline.errors import InputError
from pipeline.metrics.classification import macro_auc
from pipeline.tables import COHORT, DENSITIES, read_table

DEVELOPMENT = ("train", "validation")
BIRADS_INCOMPLETE = 0


def read_images(cohort: Path) -> pd.DataFrame:
    """Images of a cohort (tables.COHORT), sorted by image_id.

    `filter` has sealed the labels of the test split; a table that still holds them changes nothing downstream.

    Raises:
        InputError: a patient is in two splits.
    """
    images = read_table(cohort / "images.parquet", COHORT).sort_values("image_id", ignore_index=True)
    patient_splits(images, str(cohort))
    return images


def image_grades(cohort: Path, label: str) -> pd.DataFrame:
    """Known labels of the development images, as whole grades.

    Args:
        cohort: Folder that holds images.parquet.
        label: As in `as_grades`.

    Returns:
        image_id, breast_id, patient_id, split and grade (int64), sorted by image_id; train and validation only,
        rows whose grade is unknown left out.
    """
    images = read_images(cohort)
    graded = images.assign(grade=as_grades(images[label], label))
    known = graded[graded["split"].isin(DEVELOPMENT) & graded["grade"].notna()]
    columns = known[["image_id", "breast_id", "patient_id", "split"]]
    return columns.assign(grade=known["grade"].astype("int64")).reset_index(drop=True)


def check_images(task: str, cohort: str, images: Mapping[str, pd.DataFrame]) -> None:
    """Refuses a task without images to learn from, to choose by or to score.

    Args:
        task: Its name.
        cohort: Where the images are from.
        images: By what they are for: `labelled training`, `labelled validation`, `test`.

    Raises:
        InputError: one of them is empty.
    """
    for kind, rows in images.items():
        if rows.empty:
            raise InputError(
                f"tasks.{task}: cohort {cohort}: expected {' and '.join(images)} images, found no {kind} image; take"
                " another cohort or label, or divide the patients otherwise (filter.validation_fraction and"
                " filter.test_fraction, or the dataset's own split)"
            )


def warn_of_one_grade(task: str, validation: pd.Series) -> None:
    """Says so where no choice can be made by the validation images, since they have one grade alone."""
    if validation.nunique() < 2:
        print(
            f"warning: {task}: validation images of one grade: nothing is chosen by them; taken are the strongest"
            " penalty and the last epoch",
            file=sys.stderr,
        )


def as_grades(values: pd.Series, label: str) -> pd.Series:
    """Values of a label as ordered grades (Float64, null where unknown).

    Args:
        values: A label's column of tables.COHORT or tables.SEALED.
        label: mass, calcification or malignant (grades 0, 1), density (A-D: 0-3) or birads (1-6 as read).

    BI-RADS 0 is unknown: "incomplete" says that further images are needed, not that there is less concern than in 1.
    Source: ACR BI-RADS Atlas, 5th edition, assessment categories.
    """
    if label == "density":
        values = values.map(DENSITIES.index, na_action="ignore")
    grades = values.astype("Float64")
    return grades.mask(grades == BIRADS_INCOMPLETE) if label == "birads" else grades


def expected_grade(
    probabilities: Float[np.ndarray, "row grade"], grades: Integer[np.ndarray, " grade"]
) -> Float[np.ndarray, " row"]:
    """Mean grade under the predicted probabilities; for grades 0 and 1 the probability of the label."""
    return np.asarray(probabilities @ grades.astype(probabilities.dtype))


def graded_auc(grades: Integer[np.ndarray, " row"], scores: Float[np.ndarray, " row"]) -> float | None:
    """Ordinal AUC (for a binary label the AUC), used to choose on the validation split only.

    Returns:
        The AUC in [0, 1], or None where there is only one grade.
    """
    return None if len(np.unique(grades)) < 2 else macro_auc(grades, scores)
