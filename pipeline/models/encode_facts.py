"""One state per fact that the table holds of a breast before reading, in the tables that `encode_reports` writes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.models.text_encoder import TextEncoder, load_text_encoder
from pipeline.models.text_states import KEYS_FILE, STATES_FILE
from pipeline.reports.tabular import fact_texts
from pipeline.sections import Text
from pipeline.tables import DRAFTS, REPORTS, TEXT_KEYS, TEXT_STATES, read_table, write_table


def encode_facts(reports: Path, out: Path, text: Text) -> None:
    """Writes out/states.parquet and out/keys.parquet: breasts with the same facts share a row, named by their prompt.

    A fact's state is the mean over the frozen encoder's token states of its text (`fact_texts`), so that a breast has
    as many states as known facts, in the order of the levels.

    Args:
        reports: Folder of the pre_reading reports, with drafts.parquet and reports.parquet per cohort below it.
        out: Folder to write.
        text: The profile's section.

    Raises:
        ValueError: a breast's facts hold one that only a reader knows.
        InputError: the text encoder cannot be loaded.
    """
    drafts, breasts = (
        pd.concat([read_table(file, schema) for file in sorted(reports.rglob(name))])
        for name, schema in (("drafts.parquet", DRAFTS), ("reports.parquet", REPORTS))
    )
    distinct = drafts.drop_duplicates("prompt_id").sort_values("prompt_id")
    texts = {prompt: fact_texts(json.loads(facts)) for prompt, facts in distinct[["prompt_id", "facts"]].to_numpy()}
    write_table(_states_table(texts, load_text_encoder(text)), out / STATES_FILE, TEXT_STATES)
    keys = breasts.assign(report_id=breasts["prompt_id"])[TEXT_KEYS.names]
    write_table(keys.sort_values("breast_id", ignore_index=True), out / KEYS_FILE, TEXT_KEYS)


def _states_table(texts: dict[str, list[str]], encoder: TextEncoder) -> pd.DataFrame:
    """One row of tables.TEXT_STATES per distinct set of facts; each distinct text is encoded once."""
    distinct = sorted({text for each in texts.values() for text in each})
    state = {text: states.mean(axis=0) for text, states in zip(distinct, encoder.encode(distinct), strict=True)}
    return pd.DataFrame(
        {
            "report_id": list(texts),
            "tokens": [len(each) for each in texts.values()],
            "width": encoder.width,
            "states": [np.stack([state[text] for text in each]).astype("<f4").tobytes() for each in texts.values()],
        }
    )
