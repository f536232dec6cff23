"""The metric table at the end of a run: `python -m pipeline.evaluation.summary metrics.json report.html`."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

OTHER_SECTIONS = {"baselines", "risk", "retrieval", "forgetting", "fusion", "reports", "pretrain", "splits"}
SHOWN = ("lp_100", "ft_100", "zero_shot")
BASELINE_COLUMNS = ("baseline", "weights", "task", "split", "setting", "AUC", "gain over it")
COLUMNS = ("task", "split", "setting", "pretrained", "initial", "gain", "n")


def print_summary(metrics: dict[str, Any]) -> None:
    """Prints the main settings of every task, then baselines, risk and so on; metrics.json holds the rest."""
    origin = f"{metrics['method']}, {metrics['encoder']} (weights: {metrics['encoder_weights']})"
    print(f"Profile {metrics['profile']}: {origin}. 95 % intervals in brackets.")
    print_table(COLUMNS, list(_task_rows(metrics)))
    if rows := list(_baseline_rows(metrics)):
        print()
        print_table(BASELINE_COLUMNS, rows)
    print()
    for line in _other_lines(metrics):
        print(line)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows of cells in aligned columns."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, ["-" * width for width in widths], *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def bracketed(entry: dict[str, Any] | None, key: str, signed: bool = False) -> str:
    """`0.712 [0.650, 0.771]`; n/a where too few patients support a number; a dash where there is nothing."""
    if entry is None:
        return "-"
    if entry[key] is None:
        return "n/a"
    spec = "+.3f" if signed else ".3f"
    value = format(entry[key], spec)
    return value if entry["low"] is None else f"{value} [{entry['low']:{spec}}, {entry['high']:{spec}}]"


def _tasks(metrics: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The tasks, each with split -> setting -> encoder."""
    return [(name, each) for name, each in metrics.items() if name not in OTHER_SECTIONS and isinstance(each, dict)]


def _task_rows(metrics: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Cells of the tasks' table."""
    for task, splits in _tasks(metrics):
        for split, settings in splits.items():
            for setting in (name for name in SHOWN if name in settings):
                entry = settings[setting]
                size = entry.get("pretrained") or entry["initial"]
                count = f"{size['n']}" + (f" ({size['positives']} pos.)" if "positives" in size else "")
                models = [bracketed(entry.get(name), "auc") for name in ("pretrained", "initial")]
                yield task, split, setting, *models, bracketed(entry.get("gain"), "auc", signed=True), count


def _baseline_rows(metrics: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Cells of the baselines' table: linear probes on all training patients."""
    for name, baseline in metrics["baselines"].items():
        for task, splits in _tasks(metrics):
            for split, settings in splits.items():
                if entry := settings.get("lp_100", {}).get(name):
                    cells = bracketed(entry, "auc"), bracketed(entry["gain"], "auc", signed=True)
                    yield name, baseline["encoder_weights"], task, split, "lp_100", *cells


def _other_lines(metrics: dict[str, Any]) -> Iterator[str]:
    """Risk, fusion (AUCs, then gains, by label), retrieval, forgetting, reports: one line each."""
    for method, measured in metrics["risk"].items():
        values = [f"{name} {bracketed(e, 'value')}" for name, e in measured.items() if name in _RISK_METRICS]
        yield f"risk by {method}: " + ", ".join(values)
    for label, measured in metrics["fusion"].items():
        for signed in (False, True):
            own = {name: entry for name, entry in measured.items() if name.startswith("gain") == signed}
            values = [f"{name} {bracketed(entry, 'auc', signed)}" for name, entry in own.items()]
            yield f"fusion, {label}: " + ", ".join(values)
    for cohort, directions in metrics["retrieval"].items():
        for direction, entry in directions.items():
            yield (
                f"retrieval {cohort} {direction}: recall at 1 {bracketed(entry, 'recall_at_1')},"
                f" gallery {entry['gallery']}"
            )
    for task, left in metrics["forgetting"].items():
        for name, entry in left["zero_shot"].items():
            yield f"fine-tuning on {task} changes zero-shot {name} {bracketed(entry['difference'], 'auc', True)}"
        for way, entry in left["retrieval"].items():
            yield f"fine-tuning on {task} changes {way} {bracketed(entry['difference'], 'recall_at_1', True)}"
    for cohort, rates in metrics["reports"]["pretrain"].items():
        yield (
            f"reports {cohort}: {rates['breasts']} breasts, {rates['distinct']} distinct,"
            f" {rates['prompts_generated']} prompts answered by {rates['engine']},"
            f" share accepted by the audit {rates['accepted_share']}, of breasts with the template"
            f" {rates['template_share']}"
        )


_RISK_METRICS = ("c_index", "auc_2y", "auc_5y")

if __name__ == "__main__":
    print_summary(json.loads(Path(sys.argv[1]).read_text()))
    print(f"Report: {sys.argv[2]}")
