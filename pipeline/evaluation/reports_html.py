"""The tables of the reports page: rates, failure codes and findings."""

from collections.abc import Callable, Sequence
from html import escape
from itertools import groupby

from pipeline.evaluation.html_parts import DASH, Row, definitions, number, paragraph, share, table
from pipeline.evaluation.reports_rates import TITLES, Rates
from pipeline.evaluation.reports_rows import BUDGET, PURPOSES

# (purpose, cohort) -> its rates (reports_rates.rate_reports), in the order of the page.
RatesBySet = dict[tuple[str, str], Rates]
# Title, what it means (pipeline/reports/audit.py, parse.py), and which of the codes left are of the family.
FAMILIES: list[tuple[str, str, Callable[[str], bool]]] = [
    (
        "No text to judge",
        "the LLM wrote nothing (empty), only the prompt again (prompt_repeated), ran into its token limit or ended"
        " without a full stop (cut_off), said a sentence twice (repetitive), or wrote too much (overlong)",
        lambda code: code in ("empty", "prompt_repeated", "cut_off", "repetitive", "overlong"),
    ),
    (
        "Nothing new",
        "the text is that of another variant of the same prompt (same_as_variant)",
        lambda code: code == "same_as_variant",
    ),
    ("missing_…", "the row holds it; the text does not say so", lambda code: code.startswith("missing_")),
    ("wrong_…", "the text says otherwise than the row", lambda code: code.startswith("wrong_")),
    ("asserted_…", "the text speaks of what the row does not hold", lambda code: code.startswith("asserted_")),
    (
        "unclear_…",
        "what the text says of it cannot be decided, so it is refused",
        lambda code: code.startswith("unclear_"),
    ),
    (
        "Something else is said",
        "a word of which the row says nothing: another finding or organ, malignancy, a place in the breast, a"
        " measurement, a number, a date, a name, a history, a recommendation, a hedge; or one that no list has"
        " (unlisted_word)",
        lambda code: code != BUDGET,
    ),
    (
        "Cap on generations",
        "no failed attempt: the cap was used up before the draft had an accepted text; share of the drafts",
        lambda code: code == BUDGET,
    ),
]


def provenance(sets: RatesBySet) -> str:
    """Engine, model, revision, version of the prompt and number of variants, and which sets they wrote."""
    writers: dict[str, list[str]] = {}
    for (purpose, cohort), rates in sets.items():
        model = f"{rates['engine']}, model {rates['model']}, revision {rates['revision']}"
        asked = f"prompt {rates['prompt_version']}, variants per prompt: {rates['variants']}"
        writers.setdefault(f"{model}, {asked}", []).append(f"{PURPOSES[purpose]}, {cohort}")
    return definitions([("; ".join(names), writer) for writer, names in writers.items()])


def rates_table(sets: RatesBySet) -> str:
    """One line per set."""
    rows = []
    for purpose, members in groupby(sets.items(), key=lambda item: item[0][0]):
        rows.append(Row([f"{escape(PURPOSES[purpose])} <code>{escape(purpose)}</code>"], "group"))
        rows += [_rates_row(cohort, rates) for (_, cohort), rates in members]
    heads = [
        [("", 2), ("From prompt to text", 5), ("Share of the breasts", 2), ("Variety", 3), ("Words", 1)],
        [
            (name, 1)
            for name in (
                *("Cohort", "Breasts", "Prompts", "Drafts", "Generations", "Tokens", "Accepted"),
                *("LLM text", "Template", "Distinct", "Duplicates", "Equal pairs", "Median"),
            )
        ],
    ]
    caption = (
        "<b>Prompts</b> are distinct; a <b>draft</b> is one of the reports wanted of the same prompt. <b>Accepted</b>:"
        " drafts with a text that survived the audit, of those put to the LLM. For every other breast a fixed"
        " <b>template</b> stands in. <b>Duplicates</b>: 1 − distinct reports / breasts. <b>Equal pairs</b>: how likely"
        " two random breasts carry the same report, and so are false negatives of each other in a batch."
    )
    return table(heads, rows, caption)


def _rates_row(cohort: str, rates: Rates) -> Row:
    counts = [number(rates[key]) for key in ("breasts", "prompts", "drafts", "generations", "generated_tokens")]
    parts = [bar(rates["accepted_share"], "good"), share(rates["llm_share"]), bar(rates["template_share"], "poor")]
    variety = [number(rates["distinct"]), share(rates["duplicate_share"]), share(rates["equal_pair_share"])]
    words = f"{rates['words_median']:g}<small>{rates['words_min']} to {rates['words_max']}</small>"
    return Row([escape(cohort), *counts, *parts, *variety, words])


def codes_table(sets: RatesBySet) -> str:
    """Attempts that failed, by family and code, one column per set."""
    rows = [Row(["generations", *(number(rates["generations"]) for rates in sets.values())], "split")]
    left = sorted({code for rates in sets.values() for code in rates["codes"]})
    for title, meaning, is_member in FAMILIES:
        members = [code for code in left if is_member(code)]
        left = [code for code in left if code not in members]
        if members:
            rows.append(Row([f"{escape(title)} <span>{escape(meaning)}</span>"], "group"))
            rows += [
                Row([f"<code>{escape(code)}</code>", *(_code(code, r) for r in sets.values())]) for code in members
            ]
    if len(rows) == 1:
        return paragraph("No attempt failed.")
    purposes = [(purpose, len(list(each))) for purpose, each in groupby(sets, key=lambda each: each[0])]
    heads = [
        [("", 1), *((escape(PURPOSES[purpose]), cohorts) for purpose, cohorts in purposes)],
        [("Code", 1), *((escape(cohort), 1) for _, cohort in sets)],
    ]
    caption = "Attempts that failed for each code, and their share of the generations. One may fail for several."
    return table(heads, rows, caption)


def _code(code: str, rates: Rates) -> str:
    """How many attempts failed for one code; of drafts for the budget, which no attempt failed for."""
    count, of = rates["codes"].get(code, 0), rates["drafts" if code == BUDGET else "generations"]
    return bar(count / of, "poor", number(count)) if count else DASH


def finding_tables(sets: RatesBySet) -> str:
    """One table per set: every value that rows hold."""
    tables = [_finding_table(f"{PURPOSES[purpose]}, {cohort}", rates) for (purpose, cohort), rates in sets.items()]
    return f'<div class="flows">{"".join(tables)}</div>'


def _finding_table(name: str, rates: Rates) -> str:
    rows = []
    for key, values in rates["findings"].items():
        rows.append(Row([escape(title_of(key))], "group"))
        rows += [
            Row([escape(v), number(r["prompts"]), bar(r["accepted_share"], "good"), bar(r["template_share"], "poor")])
            for v, r in values.items()
        ]
    heads = [[(escape(name), 4)], [("Held", 1), ("Prompts", 1), ("Accepted", 1), ("Template", 1)]]
    return table(heads, rows, f"{number(rates['drafts'])} drafts of {number(rates['prompts'])} prompts.")


def title_of(key: str) -> str:
    """The name of a key of the facts."""
    return TITLES.get(key, key.replace("_", " ").capitalize())


def bar(value: float | None, kind: str, text: str | None = None) -> str:
    """A share as a bar with its text on it; kind: good or poor."""
    if value is None:
        return DASH
    width, told = f"--share:{100 * value:.1f}%", share(value)
    return f'<span class="bar {kind}" style="{width}" title="{told}">{text or told}</span>'


def badges(codes: Sequence[str], kind: str = "flagged") -> str:
    """Codes as small labels."""
    return "".join(f'<span class="badge {kind}">{escape(code)}</span> ' for code in codes)
