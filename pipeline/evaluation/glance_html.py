"""The handful of numbers at the top of the report."""

from html import escape
from typing import Any

from pipeline.sections import Task


def glance_cards(metrics: dict[str, Any], tasks: dict[str, Task]) -> str:
    """One card per binary task (linear probe on all training patients), then risk, retrieval and reports."""
    cards = []
    for name, task in tasks.items():
        entry = metrics[name].get("test", {}).get("lp_100")
        if task.kind == "binary" and entry:
            title = f"{task.label.capitalize()}, {task.cohort}"
            cards.append(_card(title, "AUC, linear probe", entry.get("pretrained"), "auc", _gain(entry.get("gain"))))
    if exam := metrics["risk"].get("exam"):
        cards.append(
            _card("Risk", "c-index, per exam", exam["c_index"], "value", f"{exam['c_index']['events']} cancers")
        )
    for cohort, directions in metrics["retrieval"].items():
        if entry := directions.get("image_to_text"):
            note = f"gallery of {entry['gallery']}"
            cards.append(_card(f"Retrieval, {cohort}", "recall at 1, image → report", entry, "recall_at_1", note))
    return f'<div class="cards">{"".join(cards)}</div>'


def _card(title: str, measure: str, entry: dict[str, Any] | None, key: str, note: str) -> str:
    """A number with its interval, or why there is none, and one remark."""
    value, interval = "n/a", escape(entry.get("flag", "")) if entry else ""
    if entry and entry.get(key) is not None:
        value = f"{entry[key]:.3f}"
        if entry.get("low") is not None:
            interval = f"{entry['low']:.3f} to {entry['high']:.3f}"
    return (
        f'<div class="card"><h3>{escape(title)}</h3><p class="measure">{escape(measure)}</p>'
        f'<p class="value">{value}</p><p class="interval">{interval}</p><p class="remark">{note}</p></div>'
    )


def _gain(entry: dict[str, Any] | None) -> str:
    """The paired gain over the encoder before pretraining, coloured where it is beyond doubt."""
    if entry is None or entry["auc"] is None:
        return ""
    kind = "up" if entry["low"] > 0 else "down" if entry["high"] < 0 else "level"
    interval = f"({entry['low']:.3f} to {entry['high']:.3f})".replace("-", "−")
    value = f"{entry['auc']:+.3f}".replace("-", "−")
    return f'<span class="{kind}">{value}</span> by pretraining {interval}'
