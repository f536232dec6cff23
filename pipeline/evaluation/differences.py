"""Which differences between the experiments of `make tables` exceed their intervals: a section of its page."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluation.classification_html import METHOD_NAMES, setting_title
from pipeline.evaluation.compare import RESAMPLES, Places, fetch_experiment, read_experiment
from pipeline.evaluation.comparison import Comparison, compare_scores, corrected
from pipeline.evaluation.experiments import Experiment
from pipeline.evaluation.html_parts import DASH, Row, gain, plain_heads, table
from pipeline.evaluation.scored import Scored

SETTINGS = ("lp_100", "ft_100")
LEVEL = 0.05
Differences = Mapping[str, Mapping[str, Sequence[Comparison]]]  # setting -> experiment's name -> a row per task


def differences(base: Experiment, others: Sequence[Experiment], places: Places) -> Differences:
    """Every other experiment minus the base on the same test images of every task's own cohort.

    Args:
        base, others: That exist.
        places: Of their sealed labels and predictions.

    Returns:
        Rows with Holm's p over all rows of a setting.

    Raises:
        InputError: predictions are neither here nor in DVC's cache, or two experiments have other test images.
    """
    of_base = _scored(base, places)
    # The least p of a bootstrap is 2 / (resamples + 1): half of what Holm's correction asks of the least one.
    resamples = max(RESAMPLES, math.ceil(4 * len(of_base) * len(others) / LEVEL))
    found = {other.name: list(compare_scores(_scored(other, places), of_base, resamples)) for other in others}
    return {setting: in_family(found, setting) for setting in SETTINGS}


def _scored(experiment: Experiment, places: Places) -> list[Scored]:
    """What its pretrained encoder said in the settings that are compared."""
    with tempfile.TemporaryDirectory() as folder:
        images = read_experiment(fetch_experiment(experiment.name, Path(folder), places), places).images
    return [unit for unit in images if unit.split == "test" and unit.setting in SETTINGS]


def in_family(found: Mapping[str, Sequence[Comparison]], setting: str) -> dict[str, list[Comparison]]:
    """The rows of one setting by name, corrected together."""
    own = [(name, row) for name, rows in found.items() for row in rows if row.setting == setting]
    family = corrected([row for _, row in own])
    by_name: dict[str, list[Comparison]] = {}
    for (name, _), row in zip(own, family, strict=True):
        by_name.setdefault(name, []).append(row)
    return by_name


def differences_table(
    base: Experiment, runs: Mapping[str, Mapping[str, Any]], found: Differences, tasks: Sequence[str]
) -> str:
    """The table, coloured where an interval leaves out zero and marked where the corrected p does too.

    Args:
        base: What the others are compared with.
        runs: metrics.json by the name of the experiment.
        found: Of `differences`.
        tasks: Columns.
    """
    rows = []
    for setting, by_name in found.items():
        family = [row for line in by_name.values() for row in line if np.isfinite(row.p_holm)]
        told = sum(row.p_holm < LEVEL for row in family)
        rows.append(Row([f"{setting_title(setting)}: {told} of {len(family)} told from chance (*)"], "group"))
        for name, line in by_name.items():
            cells = {row.task: _cell(row) for row in line}
            names = METHOD_NAMES[runs[name]["method"]], escape(runs[name]["encoder"])
            rows.append(Row([*names, *(cells.get(task, DASH) for task in tasks)]))
    encoder = escape(runs[base.name]["encoder"])
    caption = (
        f"<b>AUC minus that of {METHOD_NAMES[base.method]}</b> ({encoder}), paired on the same test images; mean AUC"
        " over the cut points where a label is ordinal. Coloured: the 95 % interval over patients leaves out zero."
        f" *: p below {LEVEL} after Holm's correction over all differences of the setting (DeLong, clustered by"
        " patient; of ordinal labels by the bootstrap). <b>One pretraining seed each:</b> this tells two trained"
        " models apart, not yet two methods, since another seed moves these numbers too (docs/pretraining.md compares"
        " four methods on three seeds)."
    )
    return table(plain_heads("Method", "Encoder", *tasks), rows, caption, words=2)


def _cell(row: Comparison) -> str:
    """A difference with its interval."""
    if np.isnan(row.difference):
        return gain({"auc": None})
    cell = gain({"auc": row.difference, "low": row.low, "high": row.high})
    return cell.replace("</b>", "*</b>") if row.p_holm < LEVEL else cell
