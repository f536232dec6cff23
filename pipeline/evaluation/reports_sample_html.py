"""The searchable sample of the reports page: what the row holds, prompt, raw outputs and report side by side."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from pipeline.evaluation.html_parts import folded, number
from pipeline.evaluation.reports_html import badges, title_of
from pipeline.evaluation.reports_rates import facts_in_words
from pipeline.evaluation.reports_rows import BUDGET, PURPOSES, codes_by_attempt

WRITERS = {"llm": "written by the LLM", "template": "template"}
# What the drop-downs filter by: name of a facet -> its title. Names and tags are what reports.js compares.
FACETS = {"set": "Set", "cohort": "Cohort", "origin": "Final report", "code": "Failure code", "fact": "Row"}
# Where the search looks: the class of a cell -> its name in the drop-down.
CELLS = {"draft": "all", "prompt": "prompt", "raw": "raw output", "report": "report"}
SEPARATOR = "|"  # between the tags of a draft


def sample_section(drafts: Sequence[dict[str, Any]]) -> str:
    """Controls, then one card per draft (reports_rows.choose_drafts); everything a model wrote is escaped."""
    cards = "".join(_card(draft) for draft in drafts)
    return f"{_controls(drafts)}{cards}" + '<p id="nothing" hidden>No draft of the sample fits.</p>'


def _controls(drafts: Sequence[dict[str, Any]]) -> str:
    """The search box and the drop-downs; hidden until the page's script shows them."""
    found = dict.fromkeys(tag for draft in drafts for tag in _tags(draft))
    selects = "".join(_select(facet, [value for name, value in found if name == facet]) for facet in FACETS)
    where = "".join(f'<option value="{cell}">{title}</option>' for cell, title in CELLS.items())
    return (
        '<div class="controls" id="controls" hidden><label class="wide">Search'
        '<input type="search" id="search" placeholder="a phrase"></label>'
        f'<label>In<select id="where">{where}</select></label>{selects}<p><output id="shown"></output>'
        ' <button type="button" id="reset">Reset</button></p></div>'
    )


def _select(facet: str, values: Sequence[str]) -> str:
    """One drop-down."""
    options = "".join(f'<option value="{escape(_tag(facet, v))}">{escape(v)}</option>' for v in sorted(values))
    return f'<label>{FACETS[facet]}<select class="facet"><option value="">all</option>{options}</select></label>'


def _tags(draft: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Facet and value of everything that a draft can be filtered by."""
    yield "set", PURPOSES[draft["purpose"]]
    yield "cohort", draft["cohort"]
    yield "origin", WRITERS[draft["origin"]]
    yield from (("code", code) for code in sorted(set(draft["codes"])))
    yield from (("fact", f"{title_of(key)}: {value}") for key, value in facts_in_words(draft["facts"]).items())


def _tag(facet: str, value: str) -> str:
    """As the page's script compares it."""
    return f"{facet}={value.replace(SEPARATOR, '/')}"


def _card(draft: dict[str, Any]) -> str:
    """One draft in four cells; no identifier is shown."""
    tags = SEPARATOR.join(["", *(_tag(facet, value) for facet, value in _tags(draft)), ""])
    held = "".join(
        f"<div><dt>{escape(title_of(key))}</dt><dd>{escape(value)}</dd></div>"
        for key, value in facts_in_words(draft["facts"]).items()
    )
    words = number(len(draft["prompt"].split()))
    prompt = folded(f"{words} words", f"<pre>{escape(draft['prompt'])}</pre>")
    place = escape(f"{PURPOSES[draft['purpose']]}, {draft['cohort']}")
    return (
        f'<article class="draft" data-tags="{escape(tags)}">'
        f'<div><h3>Row</h3><dl>{held}</dl><p class="place">{place}</p></div>'
        f'<div class="prompt"><h3>Prompt</h3>{prompt}</div>'
        f'<div class="raw"><h3>Raw output</h3>{_attempts(draft)}</div>'
        f'<div class="report"><h3>Report</h3><p>{escape(draft["report"])}</p>'
        f'<span class="badge {escape(draft["origin"])}">{WRITERS[draft["origin"]]}</span></div></article>'
    )


def _attempts(draft: dict[str, Any]) -> str:
    """What the LLM wrote in each attempt, and why it was refused; codes together where they cannot be told apart."""
    raws, codes = list(draft["raws"]), [code for code in draft["codes"] if code != BUDGET]
    failed = len(raws) - (draft["origin"] == "llm")
    parts = codes_by_attempt(codes, failed)
    verdicts = [badges(part) for part in parts] if parts is not None else [""] * failed
    verdicts += [badges(["accepted"], "accepted")] * (len(raws) - failed)
    html = "".join(f"<pre>{escape(raw)}</pre>{verdict}" for raw, verdict in zip(raws, verdicts, strict=True))
    if not raws:
        html = '<p class="none">The LLM was not asked.</p>'
    if parts is None:
        html += f'<p class="place">Codes of the {number(failed)} failed attempts:</p>{badges(codes)}'
    if BUDGET in draft["codes"]:
        html += badges([BUDGET])
    return html
