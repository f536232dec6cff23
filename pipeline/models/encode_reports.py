"""Token states of every distinct report, and which breast has which report."""

import json
from pathlib import Path

import pandas as pd

from pipeline.errors import InputError
from pipeline.models.text_encoder import TextEncoder, load_text_encoder
from pipeline.models.text_states import KEYS_FILE, STATES_FILE, TEXTS_FILE
from pipeline.sections import Text
from pipeline.tables import REPORTS, TEXT_KEYS, TEXT_STATES, TEXTS, read_table, write_table


def encode_reports(reports: Path, out: Path, text: Text) -> None:
    """Writes out/states.parquet, out/texts.parquet, out/keys.parquet and out/engine.json.

    Args:
        reports: Folder; every reports.parquet below it is read (one per cohort).
        out: Folder to write.
        text: The profile's section.

    Raises:
        InputError: no breast has a report, or the text encoder cannot be loaded.
    """
    files = sorted(reports.rglob("reports.parquet"))
    rows = pd.concat([read_table(file, REPORTS) for file in files], ignore_index=True) if files else pd.DataFrame()
    if rows.empty:
        raise InputError(f"{reports}: no report in any reports.parquet below it; write_reports must come first")
    keys = rows[TEXT_KEYS.names].sort_values("breast_id", ignore_index=True)
    if repeated := int(keys["breast_id"].duplicated().sum()):
        raise ValueError(f"{reports}: {repeated} breasts have more than one report; breast ids must name the cohort")
    distinct = rows.drop_duplicates("report_id").sort_values("report_id", ignore_index=True)
    encoder = load_text_encoder(text)
    write_table(_states_table(distinct, encoder), out / STATES_FILE, TEXT_STATES)
    write_table(distinct[TEXTS.names], out / TEXTS_FILE, TEXTS)
    write_table(keys, out / KEYS_FILE, TEXT_KEYS)
    engine = {
        "text_model": text.model,
        "class": encoder.class_name,
        "width": encoder.width,
        "distinct_reports": len(distinct),
        "reports": len(keys),
    }
    (out / "engine.json").write_text(json.dumps(engine, indent=2) + "\n", encoding="utf-8")


def _states_table(distinct: pd.DataFrame, encoder: TextEncoder) -> pd.DataFrame:
    """One row of tables.TEXT_STATES per distinct report."""
    states = encoder.encode(distinct["report"].tolist())
    return pd.DataFrame(
        {
            "report_id": distinct["report_id"],
            "tokens": [len(state) for state in states],
            "width": encoder.width,
            "states": [state.astype("<f4").tobytes() for state in states],
        }
    )
