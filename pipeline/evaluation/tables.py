"""Tables 1 to 5 of the paper with a row per encoder and method, each an experiment: `make tables`.

Experiments that exist for this commit and these parameters are not run again. The page names those that failed.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from pipeline.errors import InputError, run_stage
from pipeline.evaluation.baselines_html import baseline_origin
from pipeline.evaluation.classification_html import METHOD_NAMES, PAPER_TABLES, PaperTable, setting_title
from pipeline.evaluation.compare import Places
from pipeline.evaluation.differences import differences, differences_table
from pipeline.evaluation.experiments import Experiment, existing, read_metrics, run_missing, wanted
from pipeline.evaluation.html_parts import DASH, Row, plain_heads, section, statistic, table
from pipeline.evaluation.outcomes_html import DIRECTIONS, RISK_COLUMNS, published_retrieval_table, risk_name
from pipeline.evaluation.published import metric, published_table, task_setting
from pipeline.params import Params, read_params
from pipeline.sections import Task

TEMPLATE = Path(__file__).parent / "tables.html.template"
STYLE = Path(__file__).parent / "page.css"
SETTINGS = ("lp_10", "lp_50", "lp_100", "ft_100")
PAPER_PROBE = ("lp_paper_10", "lp_paper_50", "lp_paper_100", "")
OURS, THEIRS = "This project, one experiment per row", "Published, for reference only: MV-MLM, table {}, on {}"
CONVERGED, AS_PUBLISHED = "linear probes to convergence", "linear probes trained as published"
Runs = Sequence[Mapping[str, Any]]  # metrics.json of every experiment


def chosen_methods(names: Sequence[str]) -> list[str]:
    """The methods of these names in the order of the rows; all of them where none is named.

    Raises:
        InputError: a name is no method's.
    """
    if unknown := sorted(set(names) - set(METHOD_NAMES)):
        raise InputError(f"tables: METHODS: {', '.join(unknown)} unknown; allowed: {', '.join(METHOD_NAMES)}")
    return [method for method in METHOD_NAMES if method in names or not names]


def render(runs: Runs, tasks: Mapping[str, Task], missing: Sequence[Experiment] = (), compared: str = "") -> str:
    """The page.

    Args:
        runs: metrics.json in the order of the rows; one at least.
        tasks: Of params.yaml; a table of the paper without a task of its cohort and label has published rows alone.
        missing: To be named as those that have no row.
        compared: HTML of the differences between the rows, where there are two.
    """
    by_target: dict[tuple[str, str], str] = {(task.cohort, task.label): name for name, task in tasks.items()}
    sections = {f"Table {paper.number}": _classification(runs, paper, by_target) for paper in PAPER_TABLES}
    sections |= {"Table 4": _risk(runs), "Table 5": _retrieval(runs)}
    if compared:
        sections["Differences"] = compared
    anchors = {title: title.lower().replace(" ", "-") for title in sections}
    encoders = ", ".join(f"<code>{escape(name)}</code>" for name in dict.fromkeys(run["encoder"] for run in runs))
    return Template(TEMPLATE.read_text()).substitute(
        style=STYLE.read_text(),
        summary=f"Profile <code>{escape(runs[0]['profile'])}</code>, encoder {encoders}",
        missing=_banner(missing) if missing else "",
        navigation="".join(f'<a href="#{anchor}">{title}</a>' for title, anchor in anchors.items()),
        sections="".join(section(anchors[title], title, block) for title, block in sections.items()),
    )


def _banner(missing: Sequence[Experiment]) -> str:
    """A line across the page."""
    names = ", ".join(escape(experiment.label) for experiment in missing)
    remedy = "<code>make tables</code> runs them again."
    return f'<div class="banner">No experiment, hence no row: {names}. <span>{remedy}</span></div>'


def _classification(runs: Runs, paper: PaperTable, by_target: Mapping[tuple[str, str], str]) -> str:
    """Tables 1 to 3."""
    columns = [(name, by_target.get((cohort, label)), cohort, label) for name, cohort, label in paper.columns]
    heads = [
        [("", 2), *((escape(name.capitalize()), len(SETTINGS)) for name, *_ in columns)],
        [("Method", 1), ("Encoder", 1), *((setting_title(setting), 1) for _ in columns for setting in SETTINGS)],
    ]
    tasks = [task for _, task, *_ in columns]
    rows = [Row([f"{OURS}: {CONVERGED}"], "group"), *_own_rows(runs, tasks, SETTINGS)]
    rows += [Row([f"{OURS}: {AS_PUBLISHED}"], "group"), *_own_rows(runs, tasks, PAPER_PROBE)]
    rows.append(Row([THEIRS.format(paper.number, paper.source)], "group"))
    for (model, network), printed in published_table(paper.number, task_setting).items():
        cells = [printed.get(f"{name} {setting}", DASH) for name, *_ in columns for setting in SETTINGS]
        rows.append(Row([escape(model), escape(network), *cells], "published"))
    measured = "; ".join(f"{escape(label)} of cohort {escape(cohort)}" for _, _, cohort, label in columns)
    return table(heads, rows, f"<b>AUC, image level.</b> Ours: {measured}.", words=2)


def _own_rows(runs: Runs, tasks: Sequence[str | None], settings: Sequence[str]) -> list[Row]:
    """A row per experiment, then per baseline, with the AUC of these settings for each task."""
    models = [(METHOD_NAMES[run["method"]], escape(run["encoder"]), run, "pretrained", "ours") for run in runs]
    models += [
        (f"<code>{escape(name)}</code>", baseline_origin(baseline), runs[0], name, "base")  # the same in all
        for name, baseline in runs[0]["baselines"].items()
    ]
    rows = []
    for name, network, metrics, encoder, kind in models:
        tests = [_own_split(metrics, task) for task in tasks]
        cells = [statistic(test.get(setting, {}).get(encoder), "auc") for test in tests for setting in settings]
        rows.append(Row([name, network, *cells], kind))
    return rows


def _own_split(metrics: Mapping[str, Any], task: str | None) -> Mapping[str, Any]:
    """What was measured on a task's own test images; nothing where it is not run, or had too little to learn from."""
    found: Mapping[str, Any] = metrics[task].get("test", {}) if task else {}
    return found


def _risk(runs: Runs) -> str:
    """Table 4: the rows of every method for one kind of risk model, then for the next."""
    rows = []
    for kind in dict.fromkeys(kind for metrics in runs for kind in metrics["risk"]):
        own = [metrics for metrics in runs if kind in metrics["risk"]]
        rows.append(Row([escape(f"{OURS}: {risk_name(kind, own[0]['risk'][kind])}")], "group"))
        for metrics in own:
            cells = [statistic(metrics["risk"][kind].get(column), "value") for column in RISK_COLUMNS]
            rows.append(Row([METHOD_NAMES[metrics["method"]], escape(metrics["encoder"]), *cells], "ours"))
    rows.append(Row([THEIRS.format(4, "a private set of 2,245 exams")], "group"))
    for (model, network), printed in published_table(4, metric).items():
        rows.append(Row([escape(model), escape(network), *(printed.get(c, DASH) for c in RISK_COLUMNS)], "published"))
    heads = plain_heads("Method", "Encoder", "c-index", "Uno's c", "2-year AUC", "5-year AUC")
    return table(heads, rows, "<b>Risk, exam level.</b>", words=2)


def _retrieval(runs: Runs) -> str:
    """Table 5: ours by cohort and direction, then the published numbers on their three sets."""
    places = [(cohort, way) for cohort in runs[0]["retrieval"] for way in DIRECTIONS]
    rows = [
        Row(
            [METHOD_NAMES[metrics["method"]], escape(metrics["encoder"])]
            + [statistic(metrics["retrieval"][cohort].get(way), "recall_at_1") for cohort, way in places],
            "ours",
        )
        for metrics in runs
    ]
    heads = plain_heads("Method", "Encoder", *(f"{cohort}: {DIRECTIONS[way]}" for cohort, way in places))
    caption = (
        "<b>Recall at 1, zero-shot.</b> Queries: images (image → report), distinct reports (report → image), one CC"
        " view of each breast (CC → MLO). Equal reports are one. Methods without text have CC → MLO alone."
        " Intervals are over patients, of reports as queries over the facts they state."
    )
    return table(heads, rows, caption, words=2) + published_retrieval_table()


def _differences(rows: Sequence[Experiment], metrics: Runs, params: Params, places: Places) -> str:
    """All others against the method of params.yaml, with its encoder or else the first, or else the first row."""
    if len(rows) < 2:
        return ""
    own = sorted((row for row in rows if row.method == params.run.pretrain.method), key=lambda row: row.encoder or "")
    base = own[0] if own else rows[0]
    found = differences(base, [row for row in rows if row != base], places)
    by_name = {row.name: run for row, run in zip(rows, metrics, strict=True)}
    return differences_table(base, by_name, found, list(params.run.tasks))


def main(out: str, methods: str, encoders: str, sealed: str, predictions: str) -> None:
    """Runs what is missing and writes the page.

    Args:
        out: The page.
        methods: Their names, with spaces between; all where there is none.
        encoders: The same; that of params.yaml where there is none.
        sealed: Folder of the sealed test labels in an experiment.
        predictions: Folder of its predictions.

    Raises:
        InputError: a name is no method's; or, when the page is written, an experiment failed, or the predictions of one
            cannot be read, without which there are no differences.
    """
    params = read_params()
    rows = wanted(params, chosen_methods(methods.split()), encoders.split())
    run_missing(rows)
    done = existing(rows)
    missing = [experiment for experiment in rows if experiment not in done]
    names = ", ".join(experiment.label for experiment in missing)
    if not done:
        raise InputError(f"tables: no experiment of {names}: no page; the output above tells why")
    page = Path(out)
    page.parent.mkdir(parents=True, exist_ok=True)
    metrics = [read_metrics(experiment) for experiment in done]
    page.write_text(render(metrics, params.run.tasks, missing))  # in case predictions have gone since
    compared = _differences(done, metrics, params, Places(Path(sealed), Path(predictions)))
    page.write_text(render(metrics, params.run.tasks, missing, compared))
    print(f"Tables: {out}. Experiments: {' '.join(experiment.name for experiment in done)}")
    if missing:
        raise InputError(
            f"tables: no experiment of {names}; the output above tells why. {out} holds the others, and make tables"
            " runs these again"
        )


if __name__ == "__main__":
    run_stage(main)
