"""Pseudo reports of whole tables: one generation per distinct prompt, audited; the template where that fails."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from pipeline.errors import InputError
from pipeline.reports.audit import audit
from pipeline.reports.generate import Generation, Generator, VllmGenerator
from pipeline.reports.parse import parse_output
from pipeline.reports.prompt import Facts, select_facts, short_digest, write_prompt
from pipeline.reports.template import write_template
from pipeline.sections import Llm, Reports
from pipeline.tables import ANNOTATIONS, REPORTS, read_table, write_table


class ReportRequest(NamedTuple):
    """annotations: files of tables.ANNOTATIONS; out: folder to write; keys: of the annotation subset C."""

    annotations: tuple[Path, ...]
    out: Path
    annotation_set: Literal["full", "pre_reading"]
    keys: tuple[str, ...]


class _Draft(NamedTuple):
    """One distinct prompt with what was generated for it. report: accepted text, None while there is none."""

    facts: Facts
    prompt: str
    report: str | None = None
    attempts: int = 0
    tokens: int = 0
    codes: tuple[str, ...] = ()
    raw: str = ""


Drafts = dict[str, _Draft]  # by prompt_id


def write_reports(
    requests: Sequence[ReportRequest], reports: Reports, llm: Llm, seed: int, generator: Generator | None = None
) -> None:
    """Writes out/reports.parquet (tables.REPORTS) and out/engine.json for every request, with one engine start.

    Args:
        requests: In the order in which they draw on `llm.max_generations`, which caps all of them together.
        reports: Engine and attempts per prompt.
        llm: The profile's section.
        seed: Of the sampling.
        generator: What answers prompts; None: vLLM, started only if there is something to generate.

    Raises:
        InputError: vLLM is missing, or several attempts were asked for that must all be the same.
    """
    if reports.engine == "llm" and llm.temperature == 0 and reports.attempts > 1:
        raise InputError(
            f"reports.attempts: {reports.attempts} attempts at llm.temperature 0 give the same text each time;"
            " set reports.attempts to 1 or raise llm.temperature"
        )
    tables, drafts = [], Drafts()
    for request in requests:
        rows, prompts = _read_rows(request)
        tables.append(rows)
        drafts |= {key: draft for key, draft in prompts.items() if key not in drafts}
    writer = (generator or VllmGenerator(llm, seed)) if reports.engine == "llm" else None
    if writer:
        _generate(drafts, reports.attempts, llm.max_generations, writer)
    for request, rows in zip(requests, tables, strict=True):
        _write_rows(request, rows, drafts)
        _write_engine(request, [drafts[key] for key in sorted(set(rows["prompt_id"]))], llm, writer)


def _read_rows(request: ReportRequest) -> tuple[pd.DataFrame, Drafts]:
    """The annotations, sorted by breast and with prompt_id, and their distinct prompts, sorted by id."""
    rows = pd.concat([read_table(file, ANNOTATIONS) for file in request.annotations], ignore_index=True)
    rows = rows.sort_values("breast_id", ignore_index=True)
    facts = [select_facts({str(key): row[key] for key in row}, request.keys) for row in rows.to_dict("records")]
    drafts = [_Draft(fact, write_prompt(fact)) for fact in facts]
    prompt_ids = [short_digest(draft.prompt) for draft in drafts]
    prompts = dict(sorted(zip(prompt_ids, drafts, strict=True), key=lambda item: item[0]))
    return rows.assign(prompt_id=pd.array(prompt_ids, dtype="string")), prompts


def _generate(drafts: Drafts, attempts: int, budget: int | None, generator: Generator) -> None:
    """Round by round, the prompts that still lack a report, in their fixed order, as far as the budget goes."""
    for attempt in range(1, attempts + 1):
        pending = [key for key, draft in drafts.items() if draft.report is None and "budget" not in draft.codes]
        asked = pending if budget is None else pending[:budget]
        answers = generator([drafts[key].prompt for key in asked], attempt) if asked else []
        for key, answer in zip(asked, answers, strict=True):
            drafts[key] = _judge(drafts[key], answer)
        for key in pending[len(asked) :]:
            drafts[key] = drafts[key]._replace(codes=(*drafts[key].codes, "budget"))
        budget = None if budget is None else budget - len(asked)


def _judge(draft: _Draft, answer: Generation) -> _Draft:
    """Post-processes and audits one generation."""
    parsed = parse_output(answer.text, draft.prompt, answer.finished)
    codes = [parsed.code] if parsed.code else audit(parsed.report, draft.facts)
    return draft._replace(
        report=None if codes else parsed.report,
        attempts=draft.attempts + 1,
        tokens=draft.tokens + answer.tokens,
        codes=(*draft.codes, *codes),
        raw=answer.text,
    )


def _write_rows(request: ReportRequest, rows: pd.DataFrame, drafts: Drafts) -> None:
    """out/reports.parquet, one row per breast."""
    texts = {key: drafts[key].report or write_template(drafts[key].facts, key) for key in set(rows["prompt_id"])}
    mine = [drafts[key] for key in rows["prompt_id"]]
    table = rows.assign(
        annotation_set=request.annotation_set,
        report=rows["prompt_id"].map(texts),
        report_id=rows["prompt_id"].map({key: short_digest(text) for key, text in texts.items()}),
        origin=["template" if draft.report is None else "llm" for draft in mine],
        attempts=[draft.attempts for draft in mine],
        codes=pd.Series([list(draft.codes) for draft in mine], dtype=object),
        raw=[draft.raw for draft in mine],
    )
    write_table(table[REPORTS.names], request.out / "reports.parquet", REPORTS)


def _write_engine(request: ReportRequest, mine: list[_Draft], llm: Llm, generator: Generator | None) -> None:
    """out/engine.json: what ran, and what became of the distinct prompts of this request."""
    accepted = sum(draft.report is not None for draft in mine)
    content: Mapping[str, object] = {
        "engine": generator.name if generator else "template",
        "engine_version": generator.version if generator else None,
        "model": llm.model if generator else None,
        "prompts_distinct": len(mine),
        "generations": sum(draft.attempts for draft in mine),
        "generated_tokens": sum(draft.tokens for draft in mine),
        "accepted": accepted,
        "template": len(mine) - accepted,
        "codes": dict(sorted(Counter(_all_codes(mine)).items())),
    }
    file = request.out / "engine.json"
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _all_codes(drafts: Sequence[_Draft]) -> Iterator[str]:
    """Every code of every failed attempt."""
    for draft in drafts:
        yield from draft.codes
