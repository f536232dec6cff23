"""The report's account of the data: where everything came from, who was kept, which texts pretraining read."""

from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd

from pipeline.evaluation.baselines_html import describe_baseline, describe_weights
from pipeline.evaluation.flow_html import flow_figure
from pipeline.evaluation.html_parts import Row, definitions, folded, number, plain_heads, share, table
from pipeline.evaluation.samples import Sample

VIEW_SIDES = {"L": "Left", "R": "Right"}


def provenance(metrics: dict[str, Any], config: dict[str, Any], engine: dict[str, Any]) -> str:
    """Encoder, weights, method, text model, LLM engine, baselines.

    Args:
        metrics: metrics.json.
        config: config.json of the pretrained model.
        engine: engine.json of the pretrained model: what trained it, by name.
    """
    reports = metrics["reports"]["pretrain"]
    engines = sorted({f"{r['engine']}: {r['model']}, prompt {r['prompt_version']}" for r in reports.values()})
    pairs = [
        ("Profile", metrics["profile"]),
        ("Pretraining method", metrics["method"]),
        ("Image encoder", metrics["encoder"]),
        ("Its weights before", describe_weights(metrics["encoder_weights"])),
        ("Image size", f"{config['height_px']} × {config['width_px']} px"),
        ("Pseudo reports by", "; ".join(engines)),
        ("Pretrained on", ", ".join(reports)),
        *((f"Baseline {name}", describe_baseline(baseline)) for name, baseline in metrics["baselines"].items()),
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
    steps = table(heads, rows, f"{caption} Each line counts what is left after its step.")
    figure = flow_figure(flow, uncatalogued=[], rejected={}, caption=caption)
    return f"<div>{figure}{folded(f'{escape(cohort)} as a table', steps)}</div>"


def report_rates_table(reports: dict[str, dict[str, Any]]) -> str:
    """How the pseudo reports came about, per pretraining cohort."""
    rows = [
        Row(
            [
                escape(cohort),
                *(number(rates[key]) for key in ("breasts", "prompts", "drafts", "generations", "generated_tokens")),
                *(share(rates[key]) for key in ("accepted_share", "llm_share", "template_share")),
                number(rates["distinct"]),
                *(share(rates[key]) for key in ("duplicate_share", "equal_pair_share")),
                f"{rates['words_median']:g}",
            ]
        )
        for cohort, rates in reports.items()
    ]
    heads = plain_heads(
        "Cohort",
        "Breasts",
        "Prompts",
        "Drafts",
        "Generations",
        "Tokens",
        "Accepted",
        "LLM text",
        "Template",
        "Distinct",
        "Duplicates",
        "Equal pairs",
        "Words",
    )
    failed = "; ".join(
        f"{cohort}: " + (", ".join(f"{code} {count}" for code, count in rates["codes"].items()) or "none")
        for cohort, rates in reports.items()
    )
    caption = (
        "<b>Pseudo reports.</b> Every text is checked against the row it was written from; where the check fails, a"
        " fixed template stands in, as for prompts beyond the cap on generations. Accepted: drafts with a text that"
        " survived the check, of those put to the LLM. LLM text and template: of the breasts. Duplicates: 1 − distinct"
        " reports / breasts. Equal pairs: how likely two random breasts carry the same report. Words: median of a"
        f" report. Failed attempts by audit code: {escape(failed)}. <code>reports.html</code> has more, and samples."
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
