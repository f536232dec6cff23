"""Subgroup results: per variable a sentence on the largest gap, which opens a table of every group."""

from collections.abc import Hashable, Mapping
from html import escape
from typing import Any

import pandas as pd

from pipeline.evaluation.classification_html import setting_title
from pipeline.evaluation.html_parts import Row, folded, number, paragraph, plain_heads, statistic, table
from pipeline.evaluation.rounding import interval_metrics
from pipeline.metrics.bootstrap import MIN_PATIENTS, Interval

VARIABLES = {"density": "Density", "age_band": "Age in years", "vendor": "Vendor", "race": "Race", "cohort": "Cohort"}


def subgroup_blocks(subgroups: pd.DataFrame, gaps: pd.DataFrame) -> list[str]:
    """What the choice of a gap does to it, then for every variable the largest gap and all groups.

    Args:
        subgroups: Of `subgroups.score_subgroups`.
        gaps: Of `subgroups.largest_gaps`.
    """
    found = [
        paragraph(
            "AUC of the pretrained encoder's models within groups of test images. Each gap is between the groups of"
            " largest and smallest AUC, and the largest over tasks and settings: a choice made on the same images."
            " <b>It is too large on average, and its interval does not account for the choice</b>; it says where to"
            " look, not that the groups differ."
        )
    ]
    for variable, title in VARIABLES.items():
        rows = subgroups[subgroups["variable"] == variable]
        if len(rows):
            counted = f"<b>{title}.</b> Groups: {rows['group'].nunique()}. "
            gap = _largest_gap(gaps[gaps["variable"] == variable])
            found.append(folded(counted + gap, _group_table(title, rows)))
    return found


def _largest_gap(gaps: pd.DataFrame) -> str:
    """The sentence above a table."""
    if gaps.empty:
        return "Largest gap: n/a, since no task has two groups with patients enough for an AUC."
    gap = gaps.sort_values("difference", kind="stable").iloc[-1]
    groups = f"{escape(gap['highest'])} above {escape(gap['lowest'])}"
    numbers = f"{gap['difference']:.3f} ({gap['low']:.3f} to {gap['high']:.3f})".replace("-", "−")
    return f"Largest gap: {_model(gap['task'], gap['setting'])}, {groups} by {numbers}."


def _group_table(title: str, rows: pd.DataFrame) -> str:
    """A group of rows per task and setting."""
    body = []
    for (task, setting), groups in rows.groupby(["task", "setting"], sort=False):
        body.append(Row([_model(str(task), str(setting))], "group"))
        body += [_group_row(row) for row in groups.to_dict("records")]
    caption = (
        f"<b>By {title.lower()}.</b> AUC with 95 % interval over the patients of the group. Unit: image. n/a: fewer"
        f" than {MIN_PATIENTS} patients with a positive, or with a negative. Intervals are not adjusted for the number"
        " of groups."
    )
    return table(plain_heads(title, "AUC", "n", "patients", "positives"), body, caption)


def _group_row(row: Mapping[Hashable, Any]) -> Row:
    """One group."""
    auc = statistic(interval_metrics("auc", Interval(row["auc"], row["low"], row["high"])), "auc")
    return Row([escape(row["group"]), auc, *(number(row[name]) for name in ("n", "patients", "positives"))])


def _model(task: str, setting: str) -> str:
    return f"<code>{escape(task)}</code>, {setting_title(setting)}"
