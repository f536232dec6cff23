"""Labels of the training and validation splits as ordered grades; labels of the test split are never read."""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer

from pipeline.cohorts.splits import patient_splits
from pipeline.metrics.classification import macro_auc
from pipeline.tables import COHORT, DENSITIES, read_table

DEVELOPMENT = ("train", "validation")


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
        label: mass, calcification or malignant (grades 0, 1), density (A-D: 0-3) or birads (0-6 as read).

    Returns:
        image_id, breast_id, patient_id, split and grade (int64), sorted by image_id; train and validation only,
        rows whose label is unknown left out.
    """
    images = read_images(cohort)
    known = images[images["split"].isin(DEVELOPMENT) & images[label].notna()]
    grades = known[label].map(DENSITIES.index) if label == "density" else known[label]
    columns = known[["image_id", "breast_id", "patient_id", "split"]]
    return columns.assign(grade=grades.astype("int64")).reset_index(drop=True)


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
