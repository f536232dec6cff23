"""Pseudo reports of whole tables: one generation per distinct prompt and variant, shared by its breasts."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from pipeline.errors import InputError
from pipeline.reports.chunks import ChunkedGenerator
from pipeline.reports.drafts import Draft, DraftKey, Drafts, check_templates, final_texts, generate_drafts
from pipeline.reports.generate import Generator
from pipeline.reports.prompt import KEYS, select_facts, short_digest, write_prompt
from pipeline.sections import Llm, Reports
from pipeline.tables import ANNOTATIONS, DRAFTS, REPORTS, read_table, write_table


class ReportRequest(NamedTuple):
    """annotations: files of tables.ANNOTATIONS; out: folder to write; keys: of the annotation subset C."""

    annotations: tuple[Path, ...]
    out: Path
    annotation_set: Literal["full", "pre_reading"]
    keys: tuple[str, ...]


class _Rows(NamedTuple):
    """breasts: rows of tables.ANNOTATIONS, sorted; keys: each row's draft, as a place in `drafts`."""

    breasts: pd.DataFrame
    keys: np.ndarray
    drafts: dict[DraftKey, Draft]


def write_reports(
    requests: Sequence[ReportRequest], reports: Reports, llm: Llm, seed: int, generator: Generator | None = None
) -> None:
    """Writes reports.parquet (tables.REPORTS), drafts.parquet and engine.json for every request, with one engine start.

    Args:
        requests: In any order; `llm.max_generations` caps all of them together, request by request,
            in the order of prompt ids.
        reports: Engine, attempts per prompt, variants per prompt.
        llm: The profile's section.
        seed: Of the sampling.
        generator: What answers prompts; None: the profile's engine, started only if there is something to generate.

    Raises:
        InputError: the engine is missing, or several attempts or variants were asked for that must all be the same.
    """
    _check_sampling(reports, llm)
    tables = [_read_rows(request, reports.variants, llm.prompt) for request in requests]
    drafts: Drafts = {key: draft for rows in tables for key, draft in rows.drafts.items()}
    check_templates(drafts)
    writer = (generator or ChunkedGenerator(llm, seed)) if reports.engine == "llm" else None
    if writer:
        drafts = generate_drafts(drafts, reports.attempts, llm.max_generations, writer)
    texts = final_texts(drafts)
    for request, rows in zip(requests, tables, strict=True):
        mine = {key: drafts[key] for key in rows.drafts}
        _write_tables(request, rows, mine, texts)
        _write_engine(request, mine, llm, reports, writer)


def _check_sampling(reports: Reports, llm: Llm) -> None:
    """Greedy decoding gives the same text each time."""
    for name, count in (("attempts", reports.attempts), ("variants", reports.variants)):
        if reports.engine == "llm" and llm.temperature == 0 and count > 1:
            raise InputError(
                f"reports.{name}: {count} {name} at llm.temperature 0 give the same text each time;"
                f" set reports.{name} to 1 or raise llm.temperature"
            )


def _read_rows(request: ReportRequest, variants: int, prompt_version: str) -> _Rows:
    """The breasts, and the distinct drafts they need; facts and prompts are made once per distinct row."""
    breasts = pd.concat([read_table(file, ANNOTATIONS) for file in request.annotations], ignore_index=True)
    breasts = breasts.sort_values("breast_id", ignore_index=True)
    told = [key for key in KEYS if key == "laterality" or key in request.keys]
    told += [] if set(request.keys) <= set(KEYS) else ["extra"]
    distinct = breasts.drop_duplicates(told)
    group = breasts.groupby(told, dropna=False, sort=False).ngroup().to_numpy()
    facts = [select_facts({str(k): v for k, v in row.items()}, request.keys) for row in distinct.to_dict("records")]
    prompts = [write_prompt(each, prompt_version) for each in facts]
    ids = np.array([short_digest(prompt) for prompt in prompts], dtype=object)
    variant = np.array([_variant(breast, variants) for breast in breasts["breast_id"]], dtype=np.int16)
    by_id = dict(zip(ids, zip(facts, prompts, strict=True), strict=True))
    keyed = pd.MultiIndex.from_arrays([ids[group], variant])
    places, unique = pd.factorize(keyed, sort=True)
    drafts = {DraftKey(str(key), int(number)): Draft(*by_id[key]) for key, number in unique}
    return _Rows(breasts[["breast_id", "patient_id", "split"]], places, drafts)


def _variant(breast_id: str, variants: int) -> int:
    """Which of its prompt's reports a breast gets: evenly spread, and the same whatever other breasts there are."""
    return int(hashlib.sha256(breast_id.encode()).hexdigest()[:8], 16) % variants if variants > 1 else 0


def _write_tables(request: ReportRequest, rows: _Rows, mine: Drafts, texts: dict[DraftKey, str]) -> None:
    """out/drafts.parquet, one row per distinct report, and out/reports.parquet, one row per breast."""
    drafts = pd.DataFrame(
        {
            "prompt_id": [key.prompt_id for key in mine],
            "variant": [key.variant for key in mine],
            "annotation_set": request.annotation_set,
            "facts": [json.dumps(dict(draft.facts), sort_keys=True) for draft in mine.values()],
            "prompt": [draft.prompt for draft in mine.values()],
            "report_id": [short_digest(texts[key]) for key in mine],
            "report": [texts[key] for key in mine],
            "origin": [draft.origin for draft in mine.values()],
            "attempts": [draft.attempts for draft in mine.values()],
            "tokens": [draft.tokens for draft in mine.values()],
            "codes": pd.Series([list(draft.codes) for draft in mine.values()], dtype=object),
            "raws": pd.Series([list(draft.raws) for draft in mine.values()], dtype=object),
            "breasts": np.bincount(rows.keys, minlength=len(mine)),
        }
    )
    write_table(drafts[DRAFTS.names], request.out / "drafts.parquet", DRAFTS)
    shared = [name for name in REPORTS.names if name not in rows.breasts]
    table = pd.concat([rows.breasts, drafts[shared].take(rows.keys).reset_index(drop=True)], axis=1)
    write_table(table[REPORTS.names], request.out / "reports.parquet", REPORTS)


def _write_engine(
    request: ReportRequest, mine: Drafts, llm: Llm, reports: Reports, generator: Generator | None
) -> None:
    """out/engine.json: what ran, and what became of the distinct prompts of this request."""
    accepted = sum(draft.origin == "llm" for draft in mine.values())
    codes = Counter(code for draft in mine.values() for code in draft.codes)
    content = {
        "engine": generator.name if generator else "template",
        "engine_version": generator.version if generator else None,
        "model": llm.model if generator else None,
        "revision": generator.revision if generator else None,
        "prompt_version": llm.prompt,
        "prompts_distinct": len({key.prompt_id for key in mine}),
        "variants": reports.variants,
        "generations": sum(draft.attempts for draft in mine.values()),
        "generated_tokens": sum(draft.tokens for draft in mine.values()),
        "accepted": accepted,
        "template": len(mine) - accepted,
        "codes": dict(sorted(codes.items())),
    }
    (request.out / "engine.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
