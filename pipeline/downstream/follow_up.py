"""Follow-up of exams: what the risk models learn, what chooses and calibrates them, and what scores them."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from pipeline.metrics.survival import concordance, observed_years
from pipeline.tables import EXAM_LABELS

# A cancer within 6 months of the exam counts as detected by it (Yala et al. 2021, eaba4373; method.md, Risk).
SCREEN_DETECTED_YEARS = 0.5


def followed_exams(images: pd.DataFrame, exclude_screen_detected: bool) -> pd.DataFrame:
    """patient_id, split, years_to_cancer and years_followed (float64, NaN unknown) by exam_id, of exams with follow-up.

    Args:
        images: Rows of tables.COHORT or tables.SEALED.
        exclude_screen_detected: Leave out exams with cancer within SCREEN_DETECTED_YEARS.
    """
    exams: pd.DataFrame = images.groupby("exam_id")[["patient_id", "split", *EXAM_LABELS]].first()
    years = exams[list(EXAM_LABELS)].astype("Float64").to_numpy(np.float64, na_value=np.nan)
    exams[list(EXAM_LABELS)] = years
    is_left_out = exclude_screen_detected & (years[:, 0] < SCREEN_DETECTED_YEARS)
    followed: pd.DataFrame = exams[~np.isnan(years).all(axis=1) & ~is_left_out]
    return followed


def observed(exams: pd.DataFrame) -> tuple[Float[np.ndarray, " exam"], Bool[np.ndarray, " exam"]]:
    """observed_years of rows of followed_exams."""
    return observed_years(*(exams[name].to_numpy(np.float64) for name in EXAM_LABELS))


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
