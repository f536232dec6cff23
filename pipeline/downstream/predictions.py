"""Rows of tables.PREDICTIONS, and the one file a task stage writes."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from pipeline.sections import Task
from pipeline.tables import PREDICTIONS, write_table

IDS = ["image_id", "breast_id", "exam_id", "patient_id"]
# Decimals kept of a score: finer differences are noise of the arithmetic, coarser ones would tie ranks.
DECIMALS = 6
# Before the task it was fine-tuned on, in the name of an encoder.
TUNED = "ft_"
# What a fusion model saw; the last is the model of both modalities, whose text was withheld at inference.
FUSION_METHODS = ("image", "text", "fusion", "fusion_without_text")


class Origin(NamedTuple):
    """Where scores come from.

    method: how they were made. encoder: one of sections.ENCODERS, a baseline's name, or TUNED and a task. fraction: of
    the training patients used. seed: of the repetition. split: validation, or one of `scored_splits`. horizon_years: 0,
    or the years within which a score is a risk.
    """

    task: str
    method: str
    encoder: str
    fraction: float
    seed: int
    split: str
    horizon_years: int = 0


def scored_splits(task: Task) -> dict[str, str]:
    """Split of the predictions -> cohort whose test images it holds: `test`, and `transfer_<cohort>` of the others."""
    return {"test": task.cohort} | {f"transfer_{cohort}": cohort for cohort in task.score_on}


def prediction_rows(ids: pd.DataFrame, scores: Float[np.ndarray, " unit"], origin: Origin) -> pd.DataFrame:
    """One row of tables.PREDICTIONS per scored unit.

    Args:
        ids: The units; of IDS, the columns that are missing become null (an exam has no image).
        scores: One finite number per unit, higher means more of the label.
        origin: The same for all.

    Raises:
        ValueError: a score is not finite, or their number differs from that of the units.
    """
    if scores.shape != (len(ids),) or not np.isfinite(scores).all():
        raise ValueError(f"{origin}: expected {len(ids)} finite scores, found {scores.shape}: {scores}")
    columns = {name: ids[name].to_numpy() if name in ids else None for name in IDS}
    score = np.round(scores.astype(np.float64), DECIMALS)
    return pd.DataFrame(columns, index=range(len(ids))).assign(**origin._asdict(), score=score)


def write_predictions(parts: Sequence[pd.DataFrame], out: Path) -> None:
    """Writes out/predictions.parquet, sorted by every key so that the file does not depend on the order of work."""
    empty = pd.DataFrame({name: [] for name in PREDICTIONS.names})
    rows = pd.concat(parts, ignore_index=True) if parts else empty
    keys = ["task", "method", "encoder", "fraction", "seed", "split", "horizon_years", "exam_id", "breast_id"]
    ordered = rows.sort_values([*keys, "image_id"], kind="stable", ignore_index=True)
    write_table(ordered, out / "predictions.parquet", PREDICTIONS)
