"""Classification results as the paper lays them out (tables 1 to 3), then transfer, ordinal and zero-shot tables."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, NamedTuple

from pipeline.evaluation.baselines_html import baseline_rows
from pipeline.evaluation.html_parts import DASH, Row, gain, number, own_limits, paragraph, plain_heads, statistic, table
from pipeline.evaluation.published import published_table, task_setting
from pipeline.sections import Task

METHOD_NAMES = {
    "mv_clip_tr": "MV-CLIP + Tr",
    "mv_clip": "MV-CLIP",
    "clip_tr": "CLIP + Tr",
    "clip": "CLIP",
    "siglip": "SigLIP",
    "mama": "MaMA",
    "supervised": "Supervised",
    "simclr": "SimCLR",
    "swav": "SwAV",
    "dino": "DINO",
    "byol": "BYOL",
    "none": "No pretraining",
}
MODELS = ("pretrained", "initial")
PUBLISHED_PERCENTS = {10, 50, 100}
PROMPT_NAMES = {"zero_shot": "reports", "zero_shot_mammo_clip": "Mammo-CLIP's"}  # pipeline/downstream/prompts.py


class PaperTable(NamedTuple):
    """A table of the paper: its number, what it was measured on, and (paper's task, our cohort, our label)."""

    number: int
    source: str
    columns: Sequence[tuple[str, str, str]]


PAPER_TABLES = (
    PaperTable(1, "VinDr-Mammo, image level", [("mass", "vindr", "mass"), ("calcification", "vindr", "calcification")]),
    PaperTable(2, "RSNA-Mammo, image level", [("malignancy", "rsna", "malignant")]),
    PaperTable(3, "a private test set", [("malignancy", "screening", "malignant")]),
)


def paper_tables(metrics: dict[str, Any], tasks: dict[str, Task]) -> list[str]:
    """Tables 1 to 3: this run, its baselines, the published rows as reference; those without a task are left out."""
    by_target: dict[tuple[str, str], str] = {(task.cohort, task.label): name for name, task in tasks.items()}
    found = []
    for paper in PAPER_TABLES:
        columns = [(name, by_target[(c, label)]) for name, c, label in paper.columns if (c, label) in by_target]
        if columns:
            found.append(_paper_table(paper, columns, metrics))
    return found


def _paper_table(paper: PaperTable, columns: list[tuple[str, str]], metrics: dict[str, Any]) -> str:
    tests = {task: metrics[task].get("test", {}) for _, task in columns}
    percents = sorted(PUBLISHED_PERCENTS | {p for test in tests.values() for p in _percents(test)})
    settings = [f"lp_{percent}" for percent in percents] + ["ft_100"]
    names = [f"LP {percent} %" for percent in percents] + ["FT"]
    heads = [
        [
            ("", 2),
            *((f"{escape(name.capitalize())} <code>{escape(task)}</code>", len(names)) for name, task in columns),
        ],
        [("Model", 1), ("Encoder", 1), *((name, 1) for _ in columns for name in names)],
    ]
    rows = list(_own_rows([tests[task] for _, task in columns], percents, metrics))
    rows.append(Row([f"Published, for reference only: MV-MLM, table {paper.number}, on {paper.source}"], "group"))
    for (model, network), cells in published_table(paper.number, task_setting).items():
        values = [cells.get(f"{name} {setting}", DASH) for name, _ in columns for setting in settings]
        rows.append(Row([escape(model), escape(network), *values], "published"))
    counts = "; ".join(f"<code>{escape(task)}</code>: {_counts(tests[task])}" for _, task in columns)
    caption = (
        f"<b>Like table {paper.number}.</b> Unit: image. Test split: {counts}. LP: frozen encoder, percentage of the"
        " training patients, mean over seeds. FT: the whole encoder, all training patients. Baselines have LP alone."
    )
    return table(heads, rows, caption, words=2)


def _own_rows(tests: Sequence[dict[str, Any]], percents: Sequence[int], metrics: dict[str, Any]) -> Iterator[Row]:
    """Initial encoder, pretrained encoder and their paired difference, then the baselines, for both probes."""
    encoder = escape(metrics["encoder"])
    for probe, name in (("lp", "L2 logistic regression, converged"), ("lp_paper", "the paper's optimiser and epochs")):
        yield Row([f"This run, AUC with 95 % interval over patients. LP: {name}"], "group")
        settings = [f"{probe}_{percent}" for percent in percents] + (["ft_100"] if probe == "lp" else [""])
        entries = [test.get(setting, {}) for test in tests for setting in settings]
        initial, trained = ([statistic(e.get(name), "auc") for e in entries] for name in ("initial", "pretrained"))
        yield Row(["Before pretraining", encoder, *initial], "base")
        yield Row([METHOD_NAMES[metrics["method"]], encoder, *trained], "ours")
        yield Row(["Gain, paired", "", *(gain(entry.get("gain")) for entry in entries)], "gain")
        yield from baseline_rows(metrics["baselines"], entries)


def transfer_table(metrics: dict[str, Any], tasks: dict[str, Task]) -> str:
    """Every task's probes and fine-tuned model scored, untrained, on the cohorts of score_on."""
    rows = [
        Row([_code(name), task.cohort, split.removeprefix("transfer_"), setting_title(setting), *_comparison(entry)])
        for name, task in tasks.items()
        for split, settings in metrics[name].items()
        if split != "test"
        for setting, entry in settings.items()
        if setting in ("lp_100", "lp_paper_100", "ft_100", "zero_shot")
    ]
    heads = plain_heads(
        "Task", "Trained on", "Scored on", "Setting", "Pretrained", "Before", "Gain, paired", "n", "pos."
    )
    caption = "<b>Transfer.</b> AUC on test patients of a cohort that the task was not trained on. Unit: image."
    return table(heads, rows, caption, words=4)


def ordinal_table(metrics: dict[str, Any], tasks: dict[str, Task]) -> str:
    """Graded labels: mean AUC over the cut points, quadratic kappa."""
    rows = [
        Row([_code(name), _split(split), setting_title(setting), *_comparison(entry)[:-1], *_kappas(entry)])
        for name, task in tasks.items()
        if task.kind == "ordinal"
        for split, settings in metrics[name].items()
        for setting, entry in settings.items()
        if not setting.startswith("lp_paper") or setting == "lp_paper_100"
    ]
    heads = plain_heads(
        "Task", "Split", "Setting", "Pretrained", "Before", "Gain, paired", "n", "κ pretrained", "κ before"
    )
    caption = (
        "<b>Ordinal labels.</b> AUC: mean over the cut points (grade at least k) with ten patients on both sides."
        " κ: quadratic kappa of the rounded expected grade; one grade for all has κ 0 and no interval. Unit: image."
    )
    return table(heads, rows, caption, words=3)


def zero_shot_table(metrics: dict[str, Any], tasks: dict[str, Task]) -> str:
    """Prompts against images, without a single label."""
    found = [
        (name, split, PROMPT_NAMES[setting], entry["pretrained"])
        for name in tasks
        for split, settings in metrics[name].items()
        for setting, entry in settings.items()
        if setting in PROMPT_NAMES
    ]
    rows = [
        Row([_code(name), _split(split), said, statistic(e, "auc"), number(e["n"]), number(e.get("positives"))])
        for name, split, said, e in found
    ]
    caption = (
        "<b>Zero-shot.</b> The image is compared with prompts for and prompts against the finding; 0.5 is chance."
        " Reports: whole reports that differ in the finding alone. Mammo-CLIP's: “no mass” and “mass”, and the like."
        " The paper reports no zero-shot classification. Unit: image."
    )
    return table(plain_heads("Task", "Split", "Prompts", "AUC", "n", "positives"), rows, caption, words=3)


def note() -> str:
    """Why the published rows are not a comparison."""
    return paragraph(
        "Published rows stand here for reference only: datasets, splits, image sizes and units differ between papers,"
        " and the demo profile's archives are <b>synthetic phantoms</b>. No row of one group can be ranked against a"
        " row of the other."
    )


def _comparison(entry: dict[str, Any]) -> list[str]:
    """Pretrained, initial, gain, n, positives."""
    size = entry.get("pretrained") or entry["initial"]
    models = [statistic(entry.get(name), "auc") for name in MODELS]
    return [*models, gain(entry.get("gain")), number(size["n"]), number(size.get("positives"))]


def _kappas(entry: dict[str, Any]) -> list[str]:
    return [statistic(own_limits(entry[n], "kappa"), "kappa") if n in entry else DASH for n in MODELS]


def _percents(test: dict[str, Any]) -> set[int]:
    """Percentages of the converged probe."""
    return {int(tail) for head, _, tail in (name.rpartition("_") for name in test) if head == "lp"}


def _counts(test: dict[str, Any]) -> str:
    """Sizes of the test split, of any setting."""
    for entry in test.values():
        size = entry.get("pretrained") or entry["initial"]
        return f"{size['n']} images of {size['patients']} patients, {size.get('positives')} positive"
    return "nothing scored"


def setting_title(name: str) -> str:
    """HTML of a setting of metrics.json: `LP 10 %` for lp_10."""
    head, _, percent = name.rpartition("_")
    known = {"lp": f"LP {percent} %", "lp_paper": f"LP {percent} %, paper's recipe", "ft": "FT", "zero": "zero-shot"}
    return known.get(head, escape(name))


def _split(name: str) -> str:
    """`test of screening` for transfer_screening."""
    return escape(name if name == "test" else f"test of {name.removeprefix('transfer_')}")


def _code(name: str) -> str:
    return f"<code>{escape(name)}</code>"
