"""Follow-up of the development exams: what the risk models learn, and what chooses and calibrates them."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.downstream.labels import DEVELOPMENT
from pipeline.metrics.survival import concordance, observed_years
from pipeline.models.hazard import hazard_targets
from pipeline.tables import EXAM_LABELS

# A cancer within 6 months of the exam was found by it (method.md, Risk).
SCREEN_DETECTED_YEARS = 0.5


def followed_exams(images: pd.DataFrame, exclude_screen_detected: bool) -> pd.DataFrame:
    """split, years_to_cancer and years_followed by exam_id, of the train and validation exams with follow-up.

    Args:
        images: Rows of tables.COHORT.
        exclude_screen_detected: Leave out exams with cancer within SCREEN_DETECTED_YEARS.
    """
    exams = images[images["split"].isin(DEVELOPMENT)].groupby("exam_id")[["split", *EXAM_LABELS]].first()
    exams[list(EXAM_LABELS)] = exams[list(EXAM_LABELS)].astype("float64")
    if exclude_screen_detected:
        exams = exams[~(exams["years_to_cancer"] < SCREEN_DETECTED_YEARS)]
    return exams[exams[list(EXAM_LABELS)].notna().any(axis=1)]


def observed(exams: pd.DataFrame) -> tuple[Float[np.ndarray, " exam"], Bool[np.ndarray, " exam"]]:
    """observed_years of rows of followed_exams."""
    return observed_years(*(exams[name].to_numpy(np.float64) for name in EXAM_LABELS))


def targets(exams: pd.DataFrame, horizon_years: int) -> tuple[Float[Tensor, "exam year"], Bool[Tensor, "exam year"]]:
    """hazard_targets of rows of followed_exams."""
    to_cancer, followed = (torch.tensor(exams[name].to_numpy(np.float32)) for name in EXAM_LABELS)
    return hazard_targets(to_cancer, followed, horizon_years)


def validation_concordance(exams: pd.DataFrame, risks: pd.DataFrame) -> float | None:
    """Harrell's c of the validation exams among these rows of followed_exams, by the risk within the last year.

    Args:
        exams: All development exams.
        risks: By exam_id, a column per year.

    Returns:
        None where no two exams can be compared, as without any cancer.
    """
    followed = exams[exams["split"] == "validation"].sort_index()
    years, events = observed(followed)
    try:
        return concordance(years, events, risks.iloc[:, -1].loc[followed.index].to_numpy())
    except ZeroDivisionError:  # lifelines: no comparable pair
        return None
