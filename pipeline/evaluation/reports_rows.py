"""The rows behind the reports page: which sets of reports there are, and which of their drafts to show."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pipeline.errors import InputError
from pipeline.tables import DRAFTS, REPORTS, read_table

# Folder of the sets -> what they are for.
PURPOSES = {
    "pretrain": "Pretraining",
    "evaluate/full": "Retrieval: test breasts",
    "evaluate/pre_reading": "Fusion: known before reading",
}
BUDGET = "budget"  # the code of a draft that met the cap on generations; belongs to no attempt


class ReportSet(NamedTuple):
    """purpose: a key of PURPOSES; rows: tables.REPORTS; drafts: tables.DRAFTS; engine: engine.json."""

    purpose: str
    cohort: str
    rows: pd.DataFrame
    drafts: pd.DataFrame
    engine: dict[str, Any]


def read_sets(folder: Path) -> list[ReportSet]:
    """Every set below a folder, by purpose, then by cohort.

    Raises:
        InputError: there is none.
    """
    files = [file for purpose in PURPOSES for file in sorted((folder / purpose).glob("*/reports.parquet"))]
    if not files:
        raise InputError(f"{folder}: no reports in it; run the write_reports stages first")
    return [_read_set(file.parent, file.parent.parent.relative_to(folder).as_posix()) for file in files]


def choose_drafts(sets: Sequence[ReportSet], count: int) -> list[dict[str, Any]]:
    """Drafts to show: in turn from every set and origin, other prompts before other variants of a prompt.

    Returns:
        Columns of tables.DRAFTS with purpose and cohort, as Python's own values.
    """
    drafts = pd.concat([each.drafts.assign(purpose=each.purpose, cohort=each.cohort) for each in sets])
    drafts = drafts.sort_values(["variant", "prompt_id"], kind="stable")
    place = drafts["purpose"].map(list(PURPOSES).index)
    turn = drafts.groupby(["purpose", "cohort", "origin"]).cumcount()
    chosen = drafts.assign(turn=turn, place=place).sort_values(["turn", "place", "cohort", "origin"], kind="stable")
    columns = [*DRAFTS.names, "purpose", "cohort"]
    rows = chosen[columns].head(count).astype(object).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def codes_by_attempt(codes: Sequence[str], failed: int) -> list[list[str]] | None:
    """Whose codes they are, as far as it can be told: the codes of one attempt are sorted and distinct.

    Args:
        codes: Of all failed attempts, in order, without BUDGET.
        failed: How many failed; each left at least one code.

    Returns:
        The codes of each failed attempt, or None where several divisions are possible.

    >>> codes_by_attempt(["hedge", "number", "cut_off"], 2)
    [['hedge', 'number'], ['cut_off']]
    >>> codes_by_attempt(["cut_off", "hedge", "number"], 2)
    """
    parts: list[list[str]] = []
    for code in codes:
        if parts and parts[-1][-1] < code:
            parts[-1].append(code)
        else:
            parts.append([code])
    if len(codes) == failed:
        parts = [[code] for code in codes]
    return parts if len(parts) == failed else None


def _read_set(folder: Path, purpose: str) -> ReportSet:
    """One cohort's set."""
    rows, drafts = read_table(folder / "reports.parquet", REPORTS), read_table(folder / "drafts.parquet", DRAFTS)
    engine = json.loads((folder / "engine.json").read_text(encoding="utf-8"))
    return ReportSet(purpose, folder.name, rows, drafts, engine)
