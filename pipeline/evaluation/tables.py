"""Tables 1 to 5 of the paper with a row per method, each an experiment: `make tables`.

Experiments are named table-<method>; those that exist for this commit are not run again.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from pipeline.errors import InputError, run_stage
from pipeline.evaluation.baselines_html import baseline_origin
from pipeline.evaluation.classification_html import METHOD_NAMES, PAPER_TABLES, PaperTable, setting_title
from pipeline.evaluation.html_parts import DASH, Row, plain_heads, section, statistic, table
from pipeline.evaluation.outcomes_html import DIRECTIONS, RISK_COLUMNS, published_retrieval_table, risk_name
from pipeline.evaluation.published import metric, published_table, task_setting
from pipeline.params import read_params
from pipeline.sections import Task

TEMPLATE = Path(__file__).parent / "tables.html.template"
STYLE = Path(__file__).parent / "page.css"
SETTINGS = ("lp_10", "lp_50", "lp_100", "ft_100")
OURS, THEIRS = "This project, one experiment per method", "Published, for reference only: MV-MLM, table {}, on {}"
Runs = Mapping[str, Mapping[str, Any]]  # method -> its metrics.json


def experiment_name(method: str) -> str:
    """What `make tables` calls the experiment of a method."""
    return f"table-{method}"


def run_missing(methods: Sequence[str]) -> None:
    """Runs the methods that have no experiment on this commit, one after the other, each in a folder of its own.

    One that fails does not stop the others: `read_metrics` names it. Not by DVC's queue: its worker may end on a
    half-written message, and then leaves the other methods waiting.
    """
    known = set(_dvc("exp", "list", "--name-only").split())
    missing = [method for method in methods if experiment_name(method) not in known]
    for number, method in enumerate(missing, start=1):
        print(f"Method {number} of {len(missing)} without an experiment: {method}", flush=True)
        try:
            _dvc(
                "exp", "run", "--temp", "--name", experiment_name(method), "-S", f"pretrain.method={method}", shown=True
            )
        except InputError as error:
            print(error, file=sys.stderr)


def read_metrics(method: str) -> dict[str, Any]:
    """metrics.json of a method's experiment.

    Raises:
        InputError: there is none.
    """
    from dvc.api import read  # seconds, and for this alone
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    name = experiment_name(method)
    try:
        metrics: dict[str, Any] = json.loads(read("metrics.json", rev=name))
    except (DvcException, SCMError, OSError) as error:
        raise InputError(
            f"tables: {name}: expected an experiment with metrics.json, found {error}; its output above tells why, and"
            " make tables runs it again"
        ) from error
    return metrics


def render(runs: Runs, tasks: Mapping[str, Task]) -> str:
    """The page.

    Args:
        runs: metrics.json by method, in the order of the rows.
        tasks: Of params.yaml; a table of the paper without a task of its cohort and label has published rows alone.
    """
    by_target: dict[tuple[str, str], str] = {(task.cohort, task.label): name for name, task in tasks.items()}
    sections = {f"Table {paper.number}": _classification(runs, paper, by_target) for paper in PAPER_TABLES}
    sections |= {"Table 4": _risk(runs), "Table 5": _retrieval(runs)}
    anchors = {title: title.lower().replace(" ", "-") for title in sections}
    first = next(iter(runs.values()))
    return Template(TEMPLATE.read_text()).substitute(
        style=STYLE.read_text(),
        summary=f"Profile <code>{escape(first['profile'])}</code>, encoder <code>{escape(first['encoder'])}</code>",
        navigation="".join(f'<a href="#{anchor}">{title}</a>' for title, anchor in anchors.items()),
        sections="".join(section(anchors[title], title, block) for title, block in sections.items()),
    )


def _classification(runs: Runs, paper: PaperTable, by_target: Mapping[tuple[str, str], str]) -> str:
    """Tables 1 to 3."""
    columns = [(name, by_target.get((cohort, label)), cohort, label) for name, cohort, label in paper.columns]
    heads = [
        [("", 2), *((escape(name.capitalize()), len(SETTINGS)) for name, *_ in columns)],
        [("Method", 1), ("Encoder", 1), *((setting_title(setting), 1) for _ in columns for setting in SETTINGS)],
    ]
    rows = [Row([OURS], "group")]
    for method, metrics in runs.items():
        tests = [metrics[task]["test"] if task else {} for _, task, *_ in columns]
        cells = [statistic(test.get(setting, {}).get("pretrained"), "auc") for test in tests for setting in SETTINGS]
        rows.append(Row([METHOD_NAMES[method], escape(metrics["encoder"]), *cells], "ours"))
    first = next(iter(runs.values()))  # baselines are the same with every method
    for name, baseline in first["baselines"].items():
        tests = [first[task]["test"] if task else {} for _, task, *_ in columns]
        cells = [statistic(test.get(setting, {}).get(name), "auc") for test in tests for setting in SETTINGS]
        rows.append(Row([f"<code>{escape(name)}</code>", baseline_origin(baseline), *cells], "base"))
    rows.append(Row([THEIRS.format(paper.number, paper.source)], "group"))
    for (model, network), printed in published_table(paper.number, task_setting).items():
        cells = [printed.get(f"{name} {setting}", DASH) for name, *_ in columns for setting in SETTINGS]
        rows.append(Row([escape(model), escape(network), *cells], "published"))
    measured = "; ".join(f"{escape(label)} of cohort {escape(cohort)}" for _, _, cohort, label in columns)
    return table(heads, rows, f"<b>AUC, image level.</b> Ours: {measured}.", words=2)


def _risk(runs: Runs) -> str:
    """Table 4."""
    rows = [Row([OURS], "group")]
    for method, metrics in runs.items():
        for kind, measured in metrics["risk"].items():
            cells = [statistic(measured.get(column), "value") for column in RISK_COLUMNS]
            name = f"{METHOD_NAMES[method]}, {risk_name(kind, measured)}"
            rows.append(Row([escape(name), escape(metrics["encoder"]), *cells], "ours"))
    rows.append(Row([THEIRS.format(4, "a private set of 2,245 exams")], "group"))
    for (model, network), printed in published_table(4, metric).items():
        rows.append(Row([escape(model), escape(network), *(printed.get(c, DASH) for c in RISK_COLUMNS)], "published"))
    heads = plain_heads("Method", "Encoder", "c-index", "Uno's c", "2-year AUC", "5-year AUC")
    return table(heads, rows, "<b>Risk, exam level.</b>", words=2)


def _retrieval(runs: Runs) -> str:
    """Table 5: ours by cohort and direction, then the published numbers on their three sets."""
    places = [(cohort, way) for cohort, ways in next(iter(runs.values()))["retrieval"].items() for way in DIRECTIONS]
    rows = [
        Row(
            [METHOD_NAMES[m], escape(metrics["encoder"])]
            + [statistic(metrics["retrieval"][cohort].get(way), "recall_at_1") for cohort, way in places],
            "ours",
        )
        for m, metrics in runs.items()
    ]
    heads = plain_heads("Method", "Encoder", *(f"{cohort}: {DIRECTIONS[way]}" for cohort, way in places))
    caption = "<b>Recall at 1, zero-shot, breast level.</b> Methods without text have CC → MLO alone."
    return table(heads, rows, caption, words=2) + published_retrieval_table()


def _dvc(*arguments: str, shown: bool = False) -> str:
    """Runs DVC; with shown, its output is the user's."""
    command = [sys.executable, "-m", "dvc", *arguments]  # words of this module and names of methods
    done = subprocess.run(command, capture_output=not shown, text=True)  # noqa: S603
    if done.returncode:
        raise InputError(f"tables: dvc {' '.join(arguments)} failed: {(done.stderr or 'see above').strip()[-500:]}")
    return done.stdout or ""


def main(out: str) -> None:
    """Runs what is missing and writes the page."""
    run_missing(list(METHOD_NAMES))
    page = Path(out)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render({method: read_metrics(method) for method in METHOD_NAMES}, read_params().run.tasks))
    print(f"Tables: {out}")


if __name__ == "__main__":
    run_stage(main)
