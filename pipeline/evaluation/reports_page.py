"""One page on the pseudo reports of all cohorts: how they came about, why texts were refused, what they look like."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from string import Template

from pipeline.evaluation.html_parts import number, paragraph, picture, section
from pipeline.evaluation.reports_figures import draw_lengths
from pipeline.evaluation.reports_html import RatesBySet, codes_table, finding_tables, provenance, rates_table
from pipeline.evaluation.reports_rates import rate_reports
from pipeline.evaluation.reports_rows import PURPOSES, ReportSet, choose_drafts, read_sets
from pipeline.evaluation.reports_sample_html import sample_section
from pipeline.evaluation.samples import png_uri

TEMPLATE = Path(__file__).parent / "reports.html.template"
STYLE = Path(__file__).parent / "page.css"
SCRIPT = Path(__file__).parent / "reports.js"
SHOWN = 200  # drafts on the page
SECTIONS = {
    "rates": "How the reports came about",
    "codes": "Why texts were refused",
    "findings": "By what the row holds",
    "lengths": "Lengths",
    "sample": "Sample",
}


def review_reports(reports: Path, out: Path) -> None:
    """Writes out/reports.html, out/reports.json with its numbers and out/lengths/*.png.

    Args:
        reports: Folder with pretrain/<cohort>, evaluate/full/<cohort> and evaluate/pre_reading/<cohort>, each as the
            write_reports stages leave it: reports.parquet, drafts.parquet, engine.json.
        out: Folder to write.

    Raises:
        InputError: there are no reports.
        ValueError: the files of a set disagree, or are not as the contract says.
    """
    sets = read_sets(reports)
    rates = {(each.purpose, each.cohort): rate_reports(each.rows, each.drafts, each.engine) for each in sets}
    out.mkdir(parents=True, exist_ok=True)
    content = {purpose: {c: r for (p, c), r in rates.items() if p == purpose} for purpose in PURPOSES}
    (out / "reports.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    pictures = _draw(sets, max(each["words_max"] for each in rates.values()), out / "lengths")
    (out / "reports.html").write_text(_render(sets, rates, pictures), encoding="utf-8")


def _draw(sets: Sequence[ReportSet], longest: int, folder: Path) -> list[str]:
    """One figure per set."""
    figures = []
    for purpose, cohort, rows, *_ in sets:
        title = f"{PURPOSES[purpose]}, {cohort}"
        file = draw_lengths(title, rows, longest, folder / f"{purpose.replace('/', '_')}_{cohort}.png")
        figures.append(picture(png_uri(file.read_bytes()), f"Histogram of the words per report: {title}"))
    return figures


def _render(sets: Sequence[ReportSet], rates: RatesBySet, pictures: Sequence[str]) -> str:
    """The page."""
    drafts, total = choose_drafts(sets, SHOWN), sum(each["drafts"] for each in rates.values())
    blocks = {
        "rates": [rates_table(rates), provenance(rates)],
        "codes": [codes_table(rates)],
        "findings": [paragraph(_FINDINGS), finding_tables(rates)],
        "lengths": ['<div class="lengths">', *pictures, "</div>"],
        "sample": [paragraph(_SAMPLE.format(shown=number(len(drafts)), total=number(total))), sample_section(drafts)],
    }
    script = SCRIPT.read_text(encoding="utf-8")
    breasts, cohorts = sum(each["breasts"] for each in rates.values()), {cohort for _, cohort in rates}
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=STYLE.read_text(encoding="utf-8"),
        script=script,
        # Nothing but the page's own script may run, whatever a model wrote.
        script_hash=b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        summary=f"{number(breasts)} reports in {number(len(rates))} sets, cohorts: {', '.join(sorted(cohorts))}",
        navigation="".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in SECTIONS.items()),
        sections="".join(section(anchor, title, *blocks[anchor]) for anchor, title in SECTIONS.items()),
    )


_FINDINGS = (
    "Whether the LLM fails more often where there is something to see. <b>Accepted</b>: of the drafts put to the LLM;"
    " <b>template</b>: of the breasts. How many breasts hold a value is not told: labels of the test split are among"
    " them."
)
_SAMPLE = (
    "{shown} of {total} drafts, in turn from every set and origin: what the row holds, what the LLM was asked, what it"
    " wrote in each attempt with the codes of the refusal, and the report that the breasts carry."
)
