"""Applies exclusions in order and counts what each leaves: the cohort's flow diagram as a table."""

from collections.abc import Sequence

import pandas as pd


def apply_in_order(rows: pd.DataFrame, kept: Sequence[tuple[str, pd.Series]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keeps the rows that pass every condition, one after the other.

    Args:
        rows: One row per image, with image_id, breast_id, exam_id and patient_id.
        kept: (name of the step, which rows it keeps; same index as rows), in order.

    Returns:
        The rows that are left, and a table (tables.FLOW) of counts: first all, then what each step leaves.
    """
    counts = [_count("catalogued", rows)]
    for step, keep in kept:
        rows = rows[keep.reindex(rows.index).to_numpy(dtype=bool)]
        counts.append(_count(step, rows))
    return rows, pd.DataFrame(counts)


def _count(step: str, rows: pd.DataFrame) -> dict[str, object]:
    """Distinct images, breasts (of known side), exams and patients."""
    return {
        "step": step,
        "images": rows["image_id"].nunique(),
        "breasts": rows["breast_id"].nunique(),
        "exams": rows["exam_id"].nunique(),
        "patients": rows["patient_id"].nunique(),
    }
