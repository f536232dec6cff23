"""The baselines in the report: what each one is, and its rows of the classification tables."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from pipeline.evaluation.html_parts import Row, gain, statistic


def describe_weights(weights: str) -> str:
    """Where an encoder's weights come from, as text."""
    return "random: not pretrained on any images" if weights == "random" else weights


def describe_baseline(baseline: Mapping[str, Any]) -> str:
    """Encoder, weights and what it is fed, as text, of an entry of metrics.json's baselines."""
    size = f"{baseline['height_px']} × {baseline['width_px']} px"
    weights = describe_weights(baseline["encoder_weights"])
    return f"{baseline['encoder']}; weights: {weights}; preparation {baseline['preparation']}, {size}"


def baseline_origin(baseline: Mapping[str, Any]) -> str:
    """HTML of the encoder, and where its weights come from, for a cell."""
    return f"{escape(baseline['encoder'])}<small>weights: {escape(baseline['encoder_weights'])}</small>"


def baseline_rows(baselines: Mapping[str, Mapping[str, Any]], entries: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """A row of AUCs per baseline, and below it how much the pretrained encoder gains over it, paired.

    Args:
        baselines: Of metrics.json: what each one is, by name.
        entries: What metrics.json says of a task and setting, one per column; empty where nothing was measured.
    """
    for name, baseline in baselines.items():
        found = [entry.get(name) for entry in entries]
        names = [f"<code>{escape(name)}</code>", baseline_origin(baseline)]
        yield Row([*names, *(statistic(each, "auc") for each in found)], "base")
        gains = [gain(each and each["gain"]) for each in found]
        yield Row(["Gain of this run over it, paired", "", *gains], "gain")
