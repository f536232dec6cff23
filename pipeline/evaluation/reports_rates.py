"""How the pseudo reports of one cohort and annotation set came about, in numbers: the LLM's part, variety, lengths."""

import json
import math
from collections.abc import Hashable
from typing import Any

import pandas as pd

from pipeline.evaluation.rounding import rounded

Rates = dict[str, Any]
# The keys that a row may hold, findings first; any other key comes after them.
TITLES = {
    "mass": "Mass",
    "calcification": "Calcifications",
    "birads": "BI-RADS",
    "density": "Density",
    "implant": "Implant",
    "laterality": "Side",
    "age_band": "Age, years",
    "views": "Views",
    "vendor": "Manufacturer",
}
_SIDES = {"L": "left", "R": "right"}


def rate_reports(rows: pd.DataFrame, drafts: pd.DataFrame, engine: dict[str, Any]) -> Rates:
    """Everything that `metrics.json` and the page say of one set of reports.

    Args:
        rows: tables.REPORTS.
        drafts: tables.DRAFTS of the same breasts.
        engine: engine.json: what wrote them.

    Returns:
        breasts, distinct (reports), prompts (distinct), prompts_generated (of those, put to the LLM), variants (of
        each prompt), drafts (distinct prompts and variants), generations, generated_tokens. accepted_share: of the
        drafts put to the LLM, how many got a text that survived the audit. Of the breasts: llm_share, template_share,
        whose text they carry; duplicate_share, 1 - distinct / breasts; equal_pair_share, see `equal_pair_share`;
        words_median, words_min, words_max of their reports. codes: failed attempts by audit code. findings: see
        `rate_findings`. engine with its version, model, revision, prompt_version. A share of nothing is null.

    Raises:
        ValueError: the drafts are not those of the reports.
    """
    if int(drafts["breasts"].sum()) != len(rows):
        raise ValueError(
            f"drafts of {drafts['breasts'].sum()} breasts beside reports of {len(rows)}; expected the same"
        )
    asked, words = drafts[drafts["attempts"] > 0], count_words(rows["report"])
    return {
        "breasts": len(rows),
        "distinct": int(rows["report_id"].nunique()),
        "prompts": int(drafts["prompt_id"].nunique()),
        "prompts_generated": int(asked["prompt_id"].nunique()),
        "variants": int(engine["variants"]),
        "drafts": len(drafts),
        "generations": int(drafts["attempts"].sum()),
        "generated_tokens": int(drafts["tokens"].sum()),
        "accepted_share": _share(asked["origin"] == "llm"),
        "llm_share": _share(rows["origin"] == "llm"),
        "template_share": _share(rows["origin"] == "template"),
        "duplicate_share": _share(rows["report_id"].duplicated()),
        "equal_pair_share": rounded(equal_pair_share(rows["report_id"])),
        "words_median": rounded(float(words.median())),
        "words_min": int(words.min()),
        "words_max": int(words.max()),
        "codes": count_codes(drafts),
        "findings": rate_findings(drafts),
        "engine": " ".join(str(engine[key]) for key in ("engine", "engine_version") if engine[key]),
        **{key: engine[key] or "none" for key in ("model", "revision", "prompt_version")},
    }


def count_words(reports: pd.Series) -> pd.Series:
    """Words of each report, separated by white space."""
    return reports.map(lambda report: len(report.split()))


def equal_pair_share(report_ids: pd.Series) -> float:
    """The probability that two breasts, drawn without replacement, carry the same report.

    This share of a batch's pairs of breasts is to be expected to be equal, hence false negatives of the contrastive
    loss (method.md, `identical reports in one batch`). NaN for fewer than two breasts.
    """
    counts, breasts = report_ids.value_counts(), len(report_ids)
    return float((counts * (counts - 1)).sum() / (breasts * (breasts - 1))) if breasts > 1 else math.nan


def count_codes(drafts: pd.DataFrame) -> dict[str, int]:
    """How many attempts failed for each audit code; `budget`: how many drafts met the cap on generations."""
    codes = drafts["codes"].explode().dropna().value_counts().sort_index()
    return {str(code): int(count) for code, count in codes.items()}


def rate_findings(drafts: pd.DataFrame) -> dict[str, dict[str, Rates]]:
    """Acceptance and fallback by what the row holds.

    Labels of the test split are among it, so how many breasts have a finding is not told.

    Returns:
        key -> value -> prompts (distinct), accepted_share (of the drafts put to the LLM), template_share (of the
        breasts), with keys in the order of TITLES and present before absent. Values lose their dots, which `dvc
        metrics diff` would take for levels.
    """
    facts = drafts["facts"].map(facts_in_words)
    keys = sorted({key for held in facts for key in held}, key=_place)
    found: dict[str, dict[str, Rates]] = {}
    for key in keys:
        values = facts.map(lambda held, key=key: held.get(key)).str.replace(".", "", regex=False)
        groups = drafts.groupby(values, sort=False)
        found[key] = {str(value): _rate_finding(groups.get_group(value)) for value in sorted(groups.groups, key=_order)}
    return found


def facts_in_words(facts: str) -> dict[str, str]:
    """What a row holds, as words by key, in the order of TITLES.

    >>> facts_in_words('{"birads": 4, "laterality": "L", "mass": false}')
    {'mass': 'absent', 'birads': '4', 'laterality': 'left'}
    """
    held = json.loads(facts)
    return {key: _in_words(held[key]) for key in sorted(held, key=_place)}


def _share(flags: pd.Series) -> float | None:
    """How many are set, of all; None if there is none."""
    return rounded(int(flags.sum()) / len(flags)) if len(flags) else None


def _in_words(value: object) -> str:
    """One value."""
    if isinstance(value, bool):
        return "present" if value else "absent"
    return _SIDES.get(str(value), str(value))


def _place(key: str) -> tuple[int, str]:
    """Sorts keys as in TITLES, others after them."""
    return (list(TITLES).index(key) if key in TITLES else len(TITLES), key)


def _order(value: Hashable) -> tuple[bool, str]:
    """Sorts values, present before absent."""
    return value == "absent", str(value)


def _rate_finding(drafts: pd.DataFrame) -> Rates:
    """Of the drafts whose rows hold the same value."""
    asked = drafts[drafts["attempts"] > 0]
    breasts, templates = drafts["breasts"].sum(), drafts.loc[drafts["origin"] == "template", "breasts"].sum()
    return {
        "prompts": int(drafts["prompt_id"].nunique()),
        "accepted_share": _share(asked["origin"] == "llm"),
        "template_share": rounded(float(templates / breasts)),
    }
