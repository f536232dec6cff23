"""Labels beside the shards of pretraining: what a method that learns from labels may see, no test patient."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.tables import COHORT, read_table, write_table

LABELS_FILE = "labels.parquet"


def write_labels(cohort: Path, out: Path, splits: Sequence[str]) -> None:
    """Writes out/labels.parquet (tables.COHORT): the cohort's rows of these splits."""
    images = read_table(cohort / "images.parquet", COHORT)
    write_table(images[images["split"].isin(list(splits))], out / LABELS_FILE, COHORT)


def read_labels(shards: Path, cohorts: Sequence[str]) -> pd.DataFrame:
    """The rows that `write_labels` wrote of several cohorts, indexed by image_id."""
    tables = [read_table(shards / cohort / LABELS_FILE, COHORT) for cohort in cohorts]
    return pd.concat(tables).set_index("image_id")
