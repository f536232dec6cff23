"""Reads frozen features without the libraries that computed them."""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float32

from pipeline.tables import FEATURES, read_table


def read_features(folder: Path) -> pd.DataFrame:
    """Features of one cohort and encoder, sorted by image_id."""
    return read_table(folder / "features.parquet", FEATURES).sort_values("image_id", ignore_index=True)


def feature_matrix(features: pd.DataFrame, column: str) -> Float32[np.ndarray, "row feature"]:
    """One column of vectors (backbone or embedding) as a matrix.

    Raises:
        ValueError: a vector is missing.
    """
    if features[column].isna().any():
        missing = features.loc[features[column].isna(), "image_id"].iloc[0]
        raise ValueError(f"image {missing}: no {column}; embed with a model that has one")
    return np.stack(features[column].to_list()).astype(np.float32)
