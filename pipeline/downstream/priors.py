"""Prior exams: the images of a patient's earlier exams beside those of each exam."""

import pandas as pd

from pipeline.models.hazard import PRIOR_YEARS

# The latest ones that count, so that the slots of a unit stay few: with the exam itself 16 images of four views.
# (Mirai's code bounds the images instead, to the latest num_images.)
PRIOR_EXAMS = 3
DAYS_PER_YEAR = 365.25


def with_priors(images: pd.DataFrame, exam_days: pd.Series) -> pd.DataFrame:
    """The images of every exam, and once more under its exam_id those of the patient's exams before it.

    Prior are exams of an earlier day, rounded to whole years at most PRIOR_YEARS before; the latest PRIOR_EXAMS count.

    Args:
        images: Rows of tables.FEATURES.
        exam_days: exam_day (tables.COHORT) by exam_id, of at least the exams of these images.

    Returns:
        The rows with prior_years: 0 for the exam's own images, else how many whole years before it they were taken (1
        for less than half a year, so that annual and biennial screening fall in the middle of a year).

    Source: Mirai's code (yala/Mirai, mgh_mammo_cancer_survival_all_images.py): images so far, whole years (time_seq).
    """
    exams = images[["patient_id", "exam_id"]].drop_duplicates()
    exams = exams.assign(day=exams["exam_id"].map(exam_days).astype("int64"))
    pairs = exams.merge(exams, on="patient_id", suffixes=("", "_prior"))
    days = pairs["day"] - pairs["day_prior"]
    pairs = pairs.assign(prior_years=(days / DAYS_PER_YEAR).round().clip(lower=1).astype("int64"))
    earlier = pairs[(days > 0) & (pairs["prior_years"] <= PRIOR_YEARS)]
    latest = earlier.sort_values(["exam_id", "day_prior", "exam_id_prior"]).groupby("exam_id").tail(PRIOR_EXAMS)
    prior = latest[["exam_id", "exam_id_prior", "prior_years"]].merge(
        images.rename(columns={"exam_id": "exam_id_prior"}), on="exam_id_prior"
    )
    return pd.concat([images.assign(prior_years=0), prior[[*images.columns, "prior_years"]]], ignore_index=True)
