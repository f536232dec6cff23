"""How far the AUC of a setting varies from one training seed to the next, beside its interval over patients."""

from collections.abc import Iterable
from html import escape
from typing import Any

from pipeline.evaluation.classification_html import setting_title
from pipeline.evaluation.html_parts import DASH, Row, folded, plain_heads, statistic, table

ENCODERS = {"pretrained": "Pretrained", "initial": "Before"}


def seed_blocks(metrics: dict[str, Any], tasks: Iterable[str], seeds: int) -> list[str]:
    """A folded table of the settings that were trained more than once; none where there is no such setting.

    Args:
        metrics: metrics.json.
        tasks: Names.
        seeds: Number of seeds of a probe.
    """
    encoders = ENCODERS | {name: escape(name) for name in metrics["baselines"]}
    found = [
        ([f"<code>{escape(task)}</code>", escape(split), setting_title(setting)], entry)
        for task in tasks
        for split, settings in metrics[task].items()
        for setting, entry in settings.items()
    ]
    spreads = [
        (entry[encoder]["seed_std"], ", ".join([*names, title]))
        for names, entry in found
        for encoder, title in encoders.items()
        if "seed_std" in entry.get(encoder, {})
    ]
    if not spreads:
        return []
    lines = [(names, [_cell(entry.get(encoder)) for encoder in encoders]) for names, entry in found]
    rows = [Row([*names, *cells]) for names, cells in lines if set(cells) != {DASH}]
    caption = (
        f"<b>Spread over training seeds.</b> Mean AUC over {seeds} seeds with its 95 % interval over patients, ± the"
        " standard deviation of the seeds' AUCs: other draws of the patients and orders of the batches, not another"
        " pretraining. Not here: what was trained once (the converged probe on all patients, which leaves a seed"
        " nothing to draw, fine-tuning, zero-shot), and what has too few patients for an AUC. Unit: image."
    )
    largest, where = max(spreads)
    summary = f"<b>Spread over training seeds.</b> Settings: {len(rows)}. Largest: ± {largest:.3f} ({where})."
    return [folded(summary, table(plain_heads("Task", "Split", "Setting", *encoders.values()), rows, caption, words=3))]


def _cell(entry: dict[str, Any] | None) -> str:
    """AUC, interval and spread."""
    if entry is None or "seed_std" not in entry:
        return DASH
    return f"{statistic(entry, 'auc')}<small>seeds ± {entry['seed_std']:.3f}</small>"
