"""`make tables`: a row per method in each of the paper's tables, from experiments that are run once."""

import copy
import json
import re
import subprocess
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.evaluation import tables
from pipeline.evaluation.classification_html import METHOD_NAMES
from pipeline.evaluation.published import FILE

WRITES = """
import json, pathlib
from ruamel.yaml import YAML
method = YAML(typ="safe").load(pathlib.Path("params.yaml"))["pretrain"]["method"]
with open(pathlib.Path(%r), "a") as log: log.write(method + "\\n")
assert method != "byol", "as if it failed"
pathlib.Path("metrics.json").write_text(json.dumps({"method": method}))
"""
DAG = {
    "stages": {
        "evaluate": {
            "cmd": "python evaluate.py",
            "deps": ["evaluate.py"],
            "params": ["pretrain.method"],
            "metrics": [{"metrics.json": {"cache": False}}],
        }
    }
}


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project of one stage, which notes every method that it is run for."""
    folder, log = tmp_path / "project", tmp_path / "log"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("params.yaml").write_text("pretrain:\n  method: mv_clip_tr\n")
    Path("evaluate.py").write_text(WRITES % str(log))
    Path("dvc.yaml").write_text(json.dumps(DAG))
    for command in (
        ["git", "init", "--quiet"],
        ["git", "config", "user.email", "someone@example.org"],
        ["git", "config", "user.name", "Someone"],
        ["dvc", "init", "--quiet"],
        ["git", "add", "."],
        ["git", "commit", "--quiet", "-m", "first"],
    ):
        subprocess.run(command, check=True, capture_output=True)
    return log


def test_every_method_is_run_once_and_its_metrics_are_read(log: Path) -> None:
    tables.run_missing(["clip", "simclr"])
    assert sorted(log.read_text().split()) == ["clip", "simclr"]
    assert [tables.read_metrics(method) for method in ("clip", "simclr")] == [{"method": "clip"}, {"method": "simclr"}]
    tables.run_missing(["clip", "simclr", "none"])
    assert log.read_text().split()[2:] == ["none"]


def test_a_failed_method_is_named(log: Path) -> None:
    tables.run_missing(["byol", "clip"])
    assert log.read_text().split() == ["byol", "clip"]  # one after it is run all the same
    with pytest.raises(InputError, match=r"tables: table-byol: expected an experiment .* make tables runs it again"):
        tables.read_metrics("byol")


def runs_of(metrics: dict) -> dict:
    """The same metrics for every method, but for one number and the retrieval of those without text."""
    runs = {}
    for number, method in enumerate(METHOD_NAMES):
        runs[method] = copy.deepcopy(metrics) | {"method": method}
        runs[method]["mass_vindr"]["test"]["lp_100"]["pretrained"]["auc"] = 0.1 + 0.01 * number
    for ways in runs["simclr"]["retrieval"].values():
        for way in ("image_to_text", "text_to_image"):
            del ways[way]
    return runs


def test_every_row_and_column_of_the_paper_and_of_every_method(evaluated) -> None:
    page = tables.render(runs_of(evaluated.metrics), evaluated.run.tasks)
    parts = re.split(r'<section id="table-\d">', page)[1:]
    assert len(parts) == 5
    for number, part in enumerate(parts, start=1):
        own = part.count('<tr class="ours">')
        assert own == len(METHOD_NAMES) * (2 if number == 4 else 1)
        for name in METHOD_NAMES.values():
            assert f">{name}" in part
        printed = {
            line.split(",")[9] for line in FILE.read_text().splitlines()[1:] if line.split(",")[1] == str(number)
        }
        cells = re.findall(r"<td[^>]*>([\d.]+)</td>", part)
        assert printed <= set(cells), number
    for part in parts[:3]:
        baseline = next(row for row in re.findall(r"<tr.*?</tr>", part) if ">mirai_resnet18<" in row)
        assert "weights: random" in baseline and "–" in baseline  # nothing is fine-tuned
    for number in range(len(METHOD_NAMES)):
        assert f"<b>{0.1 + 0.01 * number:.3f}</b>" in parts[0]


def test_a_method_without_text_has_dashes(evaluated) -> None:
    page = tables.render(runs_of(evaluated.metrics), evaluated.run.tasks)
    rows = re.findall(r'<tr class="ours">.*?</tr>', re.split(r'<section id="table-5">', page)[1])
    simclr = next(row for row in rows if "SimCLR" in row)
    assert simclr.count("–") == 2 * len(evaluated.metrics["retrieval"])


def test_a_paper_s_task_that_is_not_run_keeps_its_published_rows(evaluated) -> None:
    tasks = {name: task for name, task in evaluated.run.tasks.items() if task.label != "calcification"}
    page = tables.render(runs_of(evaluated.metrics), tasks)
    first = re.split(r'<section id="table-\d">', page)[1]
    row = next(r for r in re.findall(r'<tr class="ours">.*?</tr>', first))
    assert row.count("–") >= 4 and "Calcification" in first
