"""`make tables`: a row per method in each of the paper's tables, from experiments that are run once."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.evaluation import differences, experiments, tables
from pipeline.evaluation.classification_html import METHOD_NAMES
from pipeline.evaluation.comparison import Comparison
from pipeline.evaluation.published import FILE
from pipeline.params import read_params
from pipeline.tables import PREDICTIONS, read_table, write_table
from tests.yaml_file import edit_yaml

ROOT = Path(__file__).parents[2]
WRITES = """
import json, pathlib, shutil
from ruamel.yaml import YAML
params = YAML(typ="safe").load(pathlib.Path("params.yaml"))
method, encoder = params["pretrain"]["method"], params["model"]["encoder"]
outside = pathlib.Path(%r)
with open(outside / "log", "a") as log: log.write(method + "\\n")
assert not (outside / method).exists(), "as if it failed"
metrics = json.loads((outside / "metrics.json").read_text())
pathlib.Path("metrics.json").write_text(json.dumps(metrics | {"method": method, "encoder": encoder}))
shutil.copytree(outside / "sealed", "data/sealed")
shutil.copytree(outside / "predictions", "results/predictions")
if (outside / f"{method}.parquet").exists(): shutil.copy(outside / f"{method}.parquet", %r)
"""
PLACES = "data/sealed", "results/predictions"
CHANGED = "results/predictions/probe/mass_vindr/predictions.parquet"
DAG = {
    "stages": {
        "evaluate": {
            "cmd": "python evaluate.py",
            "deps": ["evaluate.py"],
            "params": ["pretrain.method", "model.encoder"],
            "metrics": [{"metrics.json": {"cache": False}}],
            "outs": list(PLACES),
        }
    }
}


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluated) -> Path:
    """Beside a DVC project of one stage, which notes in `log` every method that it is run for.

    It fails for a method after which a file is named here. SigLIP's mass probe knows nothing; apart
    from that all score alike.
    """
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copytree(ROOT / "conf", folder / "conf")
    (tmp_path / "metrics.json").write_text(json.dumps(evaluated.metrics))
    shutil.copytree(evaluated.root / "data" / "sealed", tmp_path / "sealed")
    shutil.copytree(evaluated.root / "results" / "predictions", tmp_path / "predictions")
    rows = read_table(evaluated.root / CHANGED, PREDICTIONS)
    noise = np.random.default_rng(1).random(len(rows))
    write_table(rows.assign(score=noise), tmp_path / "siglip.parquet", PREDICTIONS)
    Path("evaluate.py").write_text(WRITES % (str(tmp_path), CHANGED))
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
    return tmp_path


def methods_run(outside: Path) -> list[str]:
    return (outside / "log").read_text().split()


def own_rows(page: Path) -> list[str]:
    """The methods of table 1, with probes to convergence."""
    first = page.read_text().split('<tr class="group">')[1]
    return re.findall(r'<tr class="ours"><th[^>]*>(.*?)</th>', first)


def of(*methods: str, encoders: tuple[str, ...] = ()) -> list[experiments.Experiment]:
    """Those of the parameters in the working folder."""
    return experiments.wanted(read_params(), methods, encoders)


def test_every_method_is_run_once_and_its_metrics_are_read(outside: Path) -> None:
    experiments.run_missing(of("clip"))
    experiments.run_missing(of("clip", "simclr"))
    assert methods_run(outside) == ["clip", "simclr"]
    assert [experiments.read_metrics(row)["method"] for row in of("clip", "simclr")] == ["clip", "simclr"]


def test_an_experiment_of_another_commit_is_not_taken(outside: Path) -> None:
    experiments.run_missing(of("clip"))
    assert experiments.existing(of("clip", "byol")) == of("clip")
    subprocess.run(["git", "commit", "--quiet", "--allow-empty", "-m", "second"], check=True)
    assert experiments.existing(of("clip", "byol")) == []


@pytest.mark.parametrize(("file", "key"), [("params.yaml", "probe"), ("conf/profile/demo.yaml", "augment")])
def test_an_experiment_of_other_parameters_is_not_taken(outside: Path, file: str, key: str) -> None:
    experiments.run_missing(of("clip"))
    change = {"probe": {"paper_epochs": 3}, "augment": {"scale": [0.5, 2.0]}}[key]
    edit_yaml(Path(file), lambda content: content[key].update(change))
    assert experiments.existing(of("clip")) == []
    experiments.run_missing(of("clip"))
    assert experiments.existing(of("clip")) == of("clip")


def test_other_encoders_are_rows_of_their_own(outside: Path) -> None:
    default = read_params().encoder
    rows = of("clip", encoders=("resnet34", default))
    assert [(row.encoder, row.label) for row in rows] == [("resnet34", "clip with resnet34"), (None, "clip")]
    assert rows[1:] == of("clip")
    experiments.run_missing(rows)
    tables.main("tables.html", "clip", f"resnet34 {default}", *PLACES)
    assert methods_run(outside) == ["clip", "clip"]
    assert [experiments.read_metrics(row)["encoder"] for row in rows] == ["resnet34", "auto"]
    assert own_rows(Path("tables.html")) == ["CLIP", "CLIP"]
    assert "encoder <code>resnet34</code>, <code>auto</code>" in Path("tables.html").read_text()


def test_the_page_has_every_method_that_ran_and_names_one_that_failed(outside: Path) -> None:
    page = outside / "results" / "tables.html"
    command = [sys.executable, "-m", "pipeline.evaluation.tables", str(page), "clip byol", "", *PLACES]
    (outside / "byol").touch()
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"error: tables: no experiment of byol; the output above tells why. {page} holds the others" in done.stderr
    assert methods_run(outside) == ["clip", "byol"]
    assert own_rows(page) == ["CLIP"]
    assert '<div class="banner">No experiment, hence no row: byol.' in page.read_text()
    (outside / "byol").unlink()
    tables.main(str(page), "clip byol", "", *PLACES)
    assert methods_run(outside) == ["clip", "byol", "byol"]
    assert own_rows(page) == ["CLIP", "BYOL"]
    assert "No experiment" not in page.read_text()


def test_differences_that_exceed_their_intervals_are_told(outside: Path) -> None:
    page = outside / "tables.html"
    tables.main(str(page), "mv_clip_tr clip siglip", "", *PLACES)
    part = page.read_text().split('<section id="differences">')[1]
    assert "<b>AUC minus that of MV-CLIP + Tr</b>" in part
    heads = re.findall(r'<th colspan="1" scope="col"[^>]*>(.*?)</th>', part)
    assert heads == ["Method", "Encoder", *read_params().run.tasks]
    lines = re.findall(r"<tr[^>]*>(.*?)</tr>", part)[1:]
    probe, clip, siglip, tuned, *_ = lines
    many = len(read_params().run.tasks)
    assert f"LP 100 %: 1 of {2 * many} told from chance" in probe and "FT: 0 of " in tuned
    assert clip.count('<span class="level"><b>+0.000</b>') == many
    cells = dict(zip(heads[2:], re.findall(r"<td>(.*?)</td>", siglip), strict=True))
    assert re.match(r'<span class="down"><b>−0\.\d{3}\*</b>', cells.pop("mass_vindr"))
    assert not any("*" in cell for cell in cells.values())
    tables.main(str(page), "clip", "", *PLACES)
    assert "differences" not in page.read_text()


def test_the_base_of_the_differences_is_the_method_of_the_parameters(outside: Path) -> None:
    tables.main("tables.html", "clip siglip", "", *PLACES)
    assert "<b>AUC minus that of CLIP</b> (auto)" in Path("tables.html").read_text()  # mv_clip_tr has no row
    edit_yaml(Path("params.yaml"), lambda content: content["pretrain"].update(method="siglip"))
    tables.main("tables.html", "clip siglip", "", *PLACES)
    assert "<b>AUC minus that of SigLIP</b> (auto)" in Path("tables.html").read_text()


def test_without_predictions_in_the_cache_the_page_is_there(outside: Path) -> None:
    experiments.run_missing(of("clip", "siglip"))
    for folder in Path(".dvc/cache").rglob("*.dir"):
        folder.unlink()
    with pytest.raises(InputError, match=r"compare: table-.*: expected an experiment.* whose predictions are in the"):
        tables.main("tables.html", "clip siglip", "", *PLACES)
    assert own_rows(Path("tables.html")) == ["CLIP", "SigLIP"]


def compared(task: str, setting: str, p: float) -> Comparison:
    return Comparison(task, "test", setting, "AUC", 0.7, 0.6, 0.1, 0.05, 0.15, p, np.nan, 40)


def test_the_differences_of_a_setting_are_one_family() -> None:
    lost = compared("birads", "lp_100", np.nan)._replace(difference=np.nan)
    rows = {
        "one": [compared("mass", "lp_100", 0.02), lost, compared("mass", "ft_100", 0.04)],
        "two": [compared("mass", "lp_100", 0.03)],
    }
    family = {setting: differences.in_family(rows, setting) for setting in ("lp_100", "ft_100")}
    ps = {name: [row.p_holm for row in line] for name, line in family["lp_100"].items()}
    np.testing.assert_array_equal([*ps["one"], *ps["two"]], [0.04, np.nan, 0.04])  # 0.02 x 2, and not below it
    assert family["ft_100"]["one"][0].p_holm == 0.04
    base, *others = of("clip", "byol", "dino")
    runs = {name: {"method": row.method, "encoder": "net"} for name, row in zip(rows, others, strict=True)}
    page = differences.differences_table(base, runs | {base.name: {"encoder": "net"}}, family, ["mass", "birads"])
    assert "LP 100 %: 2 of 2 told from chance" in page and "FT: 1 of 1 told" in page
    first, second = (re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r'<tr class="">.*?</tr>', page)[:2])
    assert "*</b>" in first[0] and "n/a" in first[1]
    assert "*</b>" in second[0] and "–" in second[1]


def test_without_any_experiment_there_is_no_page(outside: Path) -> None:
    (outside / "byol").touch()
    with pytest.raises(InputError, match="tables: no experiment of byol: no page"):
        tables.main(str(outside / "tables.html"), "byol", "", *PLACES)
    assert not (outside / "tables.html").exists()


def test_an_unknown_method_stops_before_anything_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)  # no project of DVC, so that the next step would be another error
    with pytest.raises(InputError, match=r"tables: METHODS: clop, simclear unknown; allowed: mv_clip_tr, .*, none"):
        tables.main(str(tmp_path / "tables.html"), "simclear clip clop", "", *PLACES)


def test_methods_are_all_or_those_named_in_the_order_of_the_rows() -> None:
    assert tables.chosen_methods([]) == list(METHOD_NAMES)
    assert tables.chosen_methods(["none", "clip", "none"]) == ["clip", "none"]


def test_the_minutes_of_each_experiment_are_told(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def dvc(*arguments: str, shown: bool = False) -> str:
        if "pretrain.method=byol" in arguments:
            raise InputError("as if it failed")
        return ""

    monkeypatch.setattr(experiments, "_dvc", dvc)
    monkeypatch.setattr(experiments, "monotonic", iter([1000.0, 1090.0, 2000.0, 3500.0]).__next__)
    monkeypatch.chdir(ROOT)
    experiments.run_missing(of("byol", "clip"))
    told = capsys.readouterr().out.splitlines()
    assert told[1] == "byol: failed after 1.5 minutes"
    assert told[3] == "clip: done after 25.0 minutes"


def runs_of(metrics: dict) -> list[dict]:
    """The same metrics for every method, but for one number and the retrieval of those without text."""
    runs = {}
    for number, method in enumerate(METHOD_NAMES):
        runs[method] = copy.deepcopy(metrics) | {"method": method}
        runs[method]["mass_vindr"]["test"]["lp_100"]["pretrained"]["auc"] = 0.1 + 0.01 * number
    for ways in runs["simclr"]["retrieval"].values():
        for way in ("image_to_text", "text_to_image"):
            del ways[way]
    return list(runs.values())


def test_every_row_and_column_of_the_paper_and_of_every_method(evaluated) -> None:
    page = tables.render(runs_of(evaluated.metrics), evaluated.run.tasks)
    parts = re.split(r'<section id="table-\d">', page)[1:]
    assert len(parts) == 5
    for number, part in enumerate(parts, start=1):
        own = part.count('<tr class="ours">')
        assert own == len(METHOD_NAMES) * (1 if number == 5 else 2)
        for name in METHOD_NAMES.values():
            assert f">{name}" in part
        printed = {
            line.split(",")[9] for line in FILE.read_text().splitlines()[1:] if line.split(",")[1] == str(number)
        }
        cells = re.findall(r"<td[^>]*>([\d.]+)</td>", part)
        assert printed <= set(cells), number
    kinds = re.findall(r'<tr class="group"><th[^>]*>This project[^:]*: (\w+) aggregator', parts[3])
    assert kinds == ["with", "without"]
    for part in parts[:3]:
        groups = re.findall(r'<tr class="group"><th[^>]*>This project[^:]*: ([^<]*)<', part)
        assert groups == [tables.CONVERGED, tables.AS_PUBLISHED]
        baselines = [row for row in re.findall(r"<tr.*?</tr>", part) if ">mirai_resnet18<" in row]
        assert len(baselines) == 2  # nothing is fine-tuned
        assert all("weights: random" in row and "–" in row for row in baselines)
    shorter = evaluated.metrics["mass_vindr"]["test"]["lp_paper_100"]["pretrained"]["auc"]
    assert f"<b>{shorter:.3f}</b>" in parts[0].split('<tr class="group">')[2]
    for number in range(len(METHOD_NAMES)):
        assert f"<b>{0.1 + 0.01 * number:.3f}</b>" in parts[0]


def test_a_method_without_text_has_dashes(evaluated) -> None:
    page = tables.render(runs_of(evaluated.metrics), evaluated.run.tasks)
    rows = re.findall(r'<tr class="ours">.*?</tr>', re.split(r'<section id="table-5">', page)[1])
    simclr = next(row for row in rows if "SimCLR" in row)
    assert simclr.count("–") == 2 * len(evaluated.metrics["retrieval"])


def test_a_task_that_nothing_was_scored_of_has_dashes(evaluated) -> None:
    runs = runs_of(evaluated.metrics)
    runs[0]["mass_vindr"] = {}
    row = re.search(r'<tr class="ours">.*?</tr>', tables.render(runs, evaluated.run.tasks))
    assert row and row[0].count("–") == 4


def test_a_paper_s_task_that_is_not_run_keeps_its_published_rows(evaluated) -> None:
    tasks = {name: task for name, task in evaluated.run.tasks.items() if task.label != "calcification"}
    page = tables.render(runs_of(evaluated.metrics), tasks)
    first = re.split(r'<section id="table-\d">', page)[1]
    row = next(r for r in re.findall(r'<tr class="ours">.*?</tr>', first))
    assert row.count("–") >= 4 and "Calcification" in first
