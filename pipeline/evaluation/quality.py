"""One page per cohort for the eye: what became of every file, and the crops that deserve a look first."""

import json
from html import escape
from pathlib import Path
from string import Template

import pandas as pd

from pipeline.evaluation.flow_html import split_rows
from pipeline.evaluation.html_parts import number, paragraph, picture, section
from pipeline.evaluation.quality_figures import draw_distributions
from pipeline.evaluation.quality_html import contact_sheet, count_tables, problem_table, quality_flow
from pipeline.evaluation.quality_plots import QUANTITIES, write_quality_plots
from pipeline.evaluation.quality_rows import choose, count_all, read_geometry, with_suspicion
from pipeline.evaluation.samples import png_uri
from pipeline.tables import COHORT, FLOW, PROBLEMS, read_table

TEMPLATE = Path(__file__).parent / "quality.html.template"
STYLE = Path(__file__).parent / "page.css"
SHOWN = 120  # crops on the page: the suspicious ones, then others at random
SECTIONS = {
    "flow": "From files to the cohort",
    "problems": "What is wrong with the archive",
    "counts": "Counts",
    "distributions": "Distributions",
    "sheet": "Contact sheet",
}


def check_quality(
    name: str, problems: Path, crops: Path, cohort: Path, out: Path, histograms: Path, counts: Path, seed: int
) -> None:
    """Writes out/quality.html, its figure as PNG, out/quality.json with the counts, and both as tables to plot.

    Args:
        name: The cohort's name.
        problems: What is wrong with the archive (tables.PROBLEMS).
        crops: Folder with part-*.parquet (tables.CROPS).
        cohort: Folder with images.parquet (tables.COHORT, labels of the test split null) and flow.parquet.
        out: Folder to write.
        histograms: Folder to write, see quality_plots.write_quality_plots.
        counts: Likewise.
        seed: Of the draw of crops without a flag.
    """
    rows = with_suspicion(read_geometry(crops))
    images, flow = read_table(cohort / "images.parquet", COHORT), read_table(cohort / "flow.parquet", FLOW)
    trouble = read_table(problems, PROBLEMS)
    out.mkdir(parents=True, exist_ok=True)
    found = count_all(rows, images)
    (out / "quality.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    write_quality_plots(rows, found, histograms, counts)
    figure = png_uri(draw_distributions(rows[rows["status"] == "ingested"], out / "distributions.png").read_bytes())
    blocks = {
        "flow": [quality_flow(pd.concat([flow, split_rows(images)], ignore_index=True), trouble, rows)],
        "problems": [problem_table(trouble)],
        "counts": [count_tables(found)],
        "distributions": [picture(figure, "Histograms: " + "; ".join(each.title for each in QUANTITIES.values()))],
        "sheet": _sheet(choose(rows, SHOWN, seed), found["status"].get("ingested", 0), crops),
    }
    page = Template(TEMPLATE.read_text()).substitute(
        cohort=escape(name),
        style=STYLE.read_text(),
        summary=", ".join(f"{number(count)} {status}" for status, count in sorted(found["status"].items())),
        navigation="".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in SECTIONS.items()),
        sections="".join(section(anchor, title, *blocks[anchor]) for anchor, title in SECTIONS.items()),
    )
    (out / "quality.html").write_text(page)


def _sheet(shown: pd.DataFrame, ingested: int, crops: Path) -> list[str]:
    """The contact sheet of these rows, of so many, with what it shows."""
    explained = paragraph(
        "Left: the whole frame with the box of the breast. Right: the crop as it is stored. Those that deserve"
        f" a look come first; {number(len(shown))} of {number(ingested)} are shown."
    )
    return [explained, contact_sheet(shown, crops)]
