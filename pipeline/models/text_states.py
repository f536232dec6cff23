"""Reads what `encode_reports` wrote; apart from it, because the trainer needs no text encoder (and no transformers)."""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from pipeline.tables import TEXT_KEYS, TEXT_STATES, TEXTS, read_table

STATES_FILE, KEYS_FILE, TEXTS_FILE = "states.parquet", "keys.parquet", "texts.parquet"


def read_states(folder: Path) -> dict[str, Float[np.ndarray, "_ width"]]:
    """report_id -> float32 token states [tokens, width], from what `encode_reports` wrote."""
    rows = read_table(folder / STATES_FILE, TEXT_STATES)
    return {
        report_id: np.frombuffer(states, dtype="<f4").reshape(tokens, width).copy()
        for report_id, tokens, width, states in zip(*(rows[name].tolist() for name in TEXT_STATES.names), strict=True)
    }


def read_texts(folder: Path) -> dict[str, str]:
    """report_id -> the report, for a text encoder other than the frozen one."""
    rows = read_table(folder / TEXTS_FILE, TEXTS)
    return dict(zip(rows["report_id"].tolist(), rows["report"].tolist(), strict=True))


def read_keys(folder: Path) -> pd.DataFrame:
    """breast_id, patient_id, split, report_id, prompt_id: one row per breast, sorted by breast_id."""
    return read_table(folder / KEYS_FILE, TEXT_KEYS)
