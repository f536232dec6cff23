"""What fine-tuning leaves of zero-shot and retrieval, as one table of the report."""

from collections.abc import Iterator
from html import escape
from typing import Any

from pipeline.evaluation.html_parts import Row, gain, number, plain_heads, statistic, table
from pipeline.evaluation.outcomes_html import DIRECTIONS


def forgetting_table(metrics: dict[str, Any]) -> str:
    """Before and after fine-tuning on each task, and the paired difference."""
    rows = [
        Row([f"<code>{escape(task)}</code>", *cells], "ours")
        for task, left in metrics["forgetting"].items()
        for cells in _task_cells(left)
    ]
    caption = (
        "<b>What fine-tuning leaves.</b> The fine-tuned encoder under the Tr module, and against the text tower, of"
        " pretraining; test images of the cohort it was fine-tuned on. Zero-shot: AUC over images. Retrieval: recall at"
        " 1, as in the section above, of distinct reports; n: its queries. One fine-tuning each: the intervals know how"
        " patients vary, not training."
    )
    heads = plain_heads("Fine-tuned on", "Measured", "Before", "After", "Difference, paired", "n")
    return table(heads, rows, caption, words=2)


def _task_cells(left: dict[str, Any]) -> Iterator[list[str]]:
    """Measured, before, after, difference, n."""
    for task, entry in left["zero_shot"].items():
        yield [f"zero-shot <code>{escape(task)}</code>", *_change(entry, "auc"), number(entry["after"]["n"])]
    for way, entry in left["retrieval"].items():
        yield [DIRECTIONS[way], *_change(entry, "recall_at_1"), number(entry["after"]["queries"])]


def _change(entry: dict[str, Any], key: str) -> list[str]:
    """Before, after, difference."""
    return [statistic(entry["before"], key), statistic(entry["after"], key), gain(entry["difference"], key)]
