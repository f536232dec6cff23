"""Two experiments, paired by patient: from DVC's cache to the corrected p values."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pipeline.errors import InputError
from pipeline.evaluation.compare import (
    WORKSPACE,
    Comparison,
    Places,
    compare,
    fetch_experiment,
    main,
    print_comparison,
    read_scored,
)
from pipeline.metrics.bootstrap import paired_auc_gain
from pipeline.params import read_params
from pipeline.tables import PREDICTIONS, read_table, write_table
from tests.evaluation.fake_project import ROOT, write_project

TASK = "mass_vindr"
PLACES = Places(Path("data/sealed"), Path("results/predictions"))
FILE = f"results/predictions/probe/{TASK}/predictions.parquet"


def write_experiment(folder: Path) -> Path:
    """Everything that `compare` reads."""
    folder.mkdir(exist_ok=True)
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copytree(ROOT / "conf", folder / "conf")
    write_project(folder, read_params(ROOT).run)
    return folder


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("project") / "a")


@pytest.fixture
def other(experiment: Path, tmp_path: Path) -> Path:
    """The same experiment, whose mass probe knows nothing of the pretrained encoder."""
    copied = tmp_path / "b"
    shutil.copytree(experiment, copied)
    rows = read_table(copied / FILE, PREDICTIONS)
    noise = np.random.default_rng(1).random(len(rows))
    write_table(rows.assign(score=rows["score"].where(rows["encoder"] == "initial", noise)), copied / FILE, PREDICTIONS)
    return copied


def row(found: list[Comparison], task: str, setting: str, split: str = "test") -> Comparison:
    return next(r for r in found if (r.task, r.setting, r.split) == (task, setting, split))


def test_equal_experiments_do_not_differ(experiment: Path) -> None:
    found = compare(experiment, experiment, PLACES, resamples=20)
    assert {r.task for r in found} == {*read_params(ROOT).run.tasks, "fuse_malignant", "fuse_calcification"}
    assert all((r.difference, r.low, r.high) == (0, 0, 0) for r in found)
    assert all(r.p_holm == 1 for r in found if not np.isnan(r.p))
    assert all(np.isnan(r.p) == r.task.startswith(("density", "birads")) for r in found)


def test_the_difference_is_that_of_the_same_units(experiment: Path, other: Path) -> None:
    found = row(compare(experiment, other, PLACES, resamples=200), TASK, "lp_10")
    a, b = (
        next(u for u in read_scored(folder, PLACES) if (u.task, u.split, u.setting) == (TASK, "test", "lp_10"))
        for folder in (experiment, other)
    )
    auc_a, auc_b = (np.mean([roc_auc_score(unit.grades, seed) for seed in unit.scores]) for unit in (a, b))
    assert (found.auc_a, found.auc_b) == (pytest.approx(auc_a), pytest.approx(auc_b))
    gain = paired_auc_gain(a.grades == 1, a.scores, b.scores, a.patients, 200, 0)
    assert (found.difference, found.low, found.high) == pytest.approx(tuple(gain))
    assert found.difference == pytest.approx(auc_a - auc_b) and found.low > 0
    z = found.difference / ((found.high - found.low) / 2 / norm.ppf(0.975))
    assert np.isclose(norm.isf(found.p / 2), z, rtol=0.25)  # DeLong and the bootstrap see the same spread
    assert found.n == len(a.grades)


def test_swapping_turns_the_sign(experiment: Path, other: Path) -> None:
    there, back = (
        row(compare(*pair, PLACES, resamples=20), TASK, "lp_100") for pair in ((experiment, other), (other, experiment))
    )
    assert there.difference == pytest.approx(-back.difference) and there.p == pytest.approx(back.p)


def test_p_values_are_corrected_over_the_tasks_of_a_setting(experiment: Path, other: Path) -> None:
    found = compare(experiment, other, PLACES, resamples=2)
    family = [r for r in found if (r.setting, r.split) == ("lp_100", "test") and not np.isnan(r.p)]
    changed = row(found, TASK, "lp_100")
    assert changed.p_holm == pytest.approx(min(1.0, changed.p * len(family)))
    assert all(r.p_holm == 1 for r in family if r.task != TASK)


def test_other_test_patients_are_refused(experiment: Path, other: Path) -> None:
    rows = read_table(other / FILE, PREDICTIONS)
    left_out = rows.loc[rows["split"] == "test", "patient_id"].iloc[0]
    write_table(rows[rows["patient_id"] != left_out], other / FILE, PREDICTIONS)
    with pytest.raises(InputError, match="mass_vindr, test: expected the same test units"):
        compare(experiment, other, PLACES, resamples=2)


def test_nothing_in_common_is_refused(experiment: Path, other: Path) -> None:
    for file in (other / "results/predictions").rglob("predictions.parquet"):
        rows = read_table(file, PREDICTIONS)
        write_table(rows[rows["encoder"] == "initial"], file, PREDICTIONS)
    with pytest.raises(InputError, match="both experiments have, found none"):
        compare(experiment, other, PLACES, resamples=2)


@pytest.fixture
def repository(experiment: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project whose tag `old` is one experiment and whose workspace is the other."""
    folder = tmp_path / "repository"
    shutil.copytree(experiment, folder)
    monkeypatch.chdir(folder)

    def run(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True)

    run("git", "init", "--quiet")
    run("git", "config", "user.email", "someone@example.org")
    run("git", "config", "user.name", "Someone")
    run("dvc", "init", "--quiet")
    run("dvc", "add", "--quiet", "data/sealed", "results/predictions")
    run("git", "add", "params.yaml", "conf", "data/sealed.dvc", "results/predictions.dvc", ".dvc/config")
    run("git", "commit", "--quiet", "-m", "first")
    run("git", "tag", "old")
    shutil.rmtree("results/predictions")
    shutil.copytree(other / "results/predictions", "results/predictions")
    return folder


@pytest.mark.usefixtures("repository")
def test_experiments_come_from_the_cache(capsys: pytest.CaptureFixture[str]) -> None:
    main(WORKSPACE, "old", *map(str, PLACES))
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.split()[:3] == [TASK, "test", "lp_100"])
    assert "-0." in line and "A: workspace, B: old" in printed
    assert "differences are told from chance" in printed.splitlines()[-1]


@pytest.mark.usefixtures("repository")
def test_an_unknown_experiment_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="compare: nowhere: expected an experiment"):
        fetch_experiment("nowhere", tmp_path / "out", PLACES)


def test_a_number_that_too_few_patients_support_is_not_printed(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = Comparison("mass", "test", "lp_100", *[np.nan] * 7, 12)
    print_comparison([nothing], "A", "B")
    assert capsys.readouterr().out.splitlines()[3].split() == ["mass", "test", "lp_100", *["n/a"] * 5, "12"]
