"""The report's account of the data: where everything came from, who was kept, which texts pretraining read."""

from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd

from pipeline.evaluation.flow_html import flow_figure
from pipeline.evaluation.html_parts import Row, definitions, number, plain_heads, share, table
from pipeline.evaluation.samples import Sample

VIEW_SIDES = {"L": "Left", "R": "Right"}


def provenance(metrics: dict[str, Any], config: dict[str, Any], engine: dict[str, Any]) -> str:
    """Encoder, weights, method, text model, LLM engine.

    Args:
        metrics: metrics.json.
        config: config.json of the pretrained model.
        engine: engine.json of the pretrained model: what trained it, by name.
    """
    reports = metrics["reports"]["pretrain"]
    engines = sorted({f"{rates['engine']}: {rates['model']}" for rates in reports.values()})
    weights = metrics["encoder_weights"]
    pairs = [
        ("Profile", metrics["profile"]),
        ("Pretraining method", metrics["method"]),
        ("Image encoder", metrics["encoder"]),
        ("Its weights before", "random: not pretrained on any images" if weights == "random" else weights),
        ("Image size", f"{config['height_px']} × {config['width_px']} px"),
        ("Pseudo reports by", "; ".join(engines)),
        ("Pretrained on", ", ".join(reports)),
        *((name.replace("_", " ").capitalize(), str(value)) for name, value in engine.items()),
    ]
    return definitions(pairs)


def flow_table(cohort: str, flow: pd.DataFrame) -> str:
    """What each exclusion left of a cohort, then its splits: as a figure, and folded below it as a table.

    Args:
        cohort: Its name.
        flow: step, images, breasts, exams, patients and left_out (images; null where nothing can be left out).
    """
    rows = []
    for step in flow.to_dict("records"):
        lost = step["left_out"]
        excluded = "" if pd.isna(lost) or lost == 0 else f"−{number(int(lost))}"
        counts = [number(int(step[name])) for name in ("images", "breasts", "exams", "patients")]
        kind = "split" if str(step["step"]).startswith("split: ") else ""
        rows.append(Row([escape(str(step["step"])), f'<span class="down">{excluded}</span>', *counts], kind))
    heads = plain_heads("Step", "Images left out", "Images", "Breasts", "Exams", "Patients")
    caption = f"<b>{escape(cohort)}.</b>"
    folded = table(heads, rows, f"{caption} Each line counts what is left after its step.")
    figure = flow_figure(flow, uncatalogued=[], rejected={}, caption=caption)
    return f"<div>{figure}<details><summary>{escape(cohort)} as a table</summary>{folded}</details></div>"


def report_rates_table(reports: dict[str, dict[str, Any]]) -> str:
    """How the pseudo reports came about, per pretraining cohort."""
    rows = [
        Row(
            [
                escape(cohort),
                number(rates["breasts"]),
                number(rates["distinct"]),
                number(rates["prompts"]),
                number(rates["prompts_generated"]),
                share(rates["accepted_share"]),
                share(rates["llm_share"]),
                number(rates["generated_tokens"]),
            ]
        )
        for cohort, rates in reports.items()
    ]
    heads = plain_heads(
        "Cohort",
        "Breasts",
        "Distinct reports",
        "Prompts",
        "Answered by the LLM",
        "Survived the audit",
        "Breasts with LLM text",
        "Tokens generated",
    )
    failed = "; ".join(
        f"{cohort}: " + (", ".join(f"{code} {count}" for code, count in rates["codes"].items()) or "none")
        for cohort, rates in reports.items()
    )
    caption = (
        "<b>Pseudo reports.</b> Every text is checked against the row it was written from; where the check fails, a"
        " fixed template stands in. The template also serves prompts beyond the cap on generations. Texts that failed,"
        f" in prompts per audit code: {escape(failed)}."
    )
    return table(heads, rows, caption)


def sample_cards(samples: Sequence[Sample]) -> str:
    """Both views of each breast beside its report."""
    return '<div class="samples">' + "".join(_card(sample) for sample in samples) + "</div>"


def _card(sample: Sample) -> str:
    """One breast; no identifier is shown."""
    side = VIEW_SIDES[sample.laterality]
    views = "".join(
        f'<figure><img src="{uri}" alt="{side} breast, {view}"><figcaption>{side} {view}</figcaption></figure>'
        for view, uri in sample.views.items()
    )
    names = {"llm": "written by the LLM", "template": "template"}
    badge = f'<span class="badge {escape(sample.origin)}">{names.get(sample.origin, escape(sample.origin))}</span>'
    return f'<article class="sample"><div class="views">{views}</div>{badge}<p>{escape(sample.report)}</p></article>'
