"""Two experiments, paired by patient: from DVC's cache to the corrected p values."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from lifelines.utils import concordance_index
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pipeline.errors import InputError
from pipeline.evaluation.compare import (
    WORKSPACE,
    Places,
    compare,
    fetch_experiment,
    main,
    print_comparison,
    read_experiment,
)
from pipeline.evaluation.comparison import Comparison, compare_exams
from pipeline.metrics.paired import auc_difference, concordance_difference, paired_auc_gain
from pipeline.params import read_params
from pipeline.tables import PREDICTIONS, read_table, write_table
from tests.evaluation.fake_project import ROOT, write_project

RESAMPLES = 200
TASK = "mass_vindr"
PLACES = Places(Path("data/sealed"), Path("results/predictions"))
FILE = f"results/predictions/probe/{TASK}/predictions.parquet"
ORDINAL = "density_vindr"
ORDINAL_FILE = f"results/predictions/probe/{ORDINAL}/predictions.parquet"
RISK_FILE = "results/predictions/risk/predictions.parquet"


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


@pytest.fixture(scope="module")
def other(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same experiment, whose mass and density probes know nothing of the pretrained encoder, nor its risk."""
    copied = tmp_path_factory.mktemp("other") / "b"
    shutil.copytree(experiment, copied)
    rng = np.random.default_rng(1)
    for file in (FILE, ORDINAL_FILE, RISK_FILE):
        rows = read_table(copied / file, PREDICTIONS)
        noise = rng.random(len(rows))
        scores = rows["score"].where(rows["encoder"] == "initial", noise)
        write_table(rows.assign(score=scores), copied / file, PREDICTIONS)
    return copied


@pytest.fixture(scope="module")
def compared(experiment: Path, other: Path) -> list[Comparison]:
    return compare(experiment, other, PLACES, RESAMPLES)


@pytest.fixture
def changed(other: Path, tmp_path: Path) -> Path:
    """A copy of the other experiment that a test may change."""
    shutil.copytree(other, tmp_path / "c")
    return tmp_path / "c"


def row(found: list[Comparison], task: str, setting: str, split: str = "test") -> Comparison:
    return next(r for r in found if (r.task, r.setting, r.split) == (task, setting, split))


def test_equal_experiments_do_not_differ(experiment: Path) -> None:
    found = compare(experiment, experiment, PLACES, resamples=20)
    assert {r.task for r in found} == {*read_params(ROOT).run.tasks, "fuse_malignant", "fuse_calcification", "risk"}
    assert all((r.difference, r.low, r.high, r.p, r.p_holm) == (0, 0, 0, 1, 1) for r in found)
    for r in found:
        is_ordinal = r.task.startswith(("density", "birads"))
        assert r.statistic == ("mean AUC" if is_ordinal else "c" if r.task == "risk" else "AUC")


def test_the_difference_is_that_of_the_same_units(experiment: Path, other: Path, compared: list[Comparison]) -> None:
    found, names = row(compared, TASK, "lp_10"), (TASK, "test", "lp_10")
    a, b = (
        next(u for u in read_experiment(folder, PLACES).images if (u.task, u.split, u.setting) == names)
        for folder in (experiment, other)
    )
    auc_a, auc_b = (np.mean([roc_auc_score(unit.grades, seed) for seed in unit.scores]) for unit in (a, b))
    assert (found.a, found.b) == (pytest.approx(auc_a), pytest.approx(auc_b))
    gain = paired_auc_gain(a.grades == 1, a.scores, b.scores, a.patients, RESAMPLES, 0)
    assert (found.difference, found.low, found.high) == pytest.approx(tuple(gain))
    assert found.difference == pytest.approx(auc_a - auc_b) and found.low > 0
    z = found.difference / ((found.high - found.low) / 2 / norm.ppf(0.975))
    assert np.isclose(norm.isf(found.p / 2), z, rtol=0.25)  # DeLong and the bootstrap see the same spread
    assert found.n == len(a.grades)


def test_swapping_turns_the_sign(experiment: Path, other: Path, compared: list[Comparison]) -> None:
    there, back = (row(rows, TASK, "lp_100") for rows in (compared, compare(other, experiment, PLACES, resamples=2)))
    assert there.difference == pytest.approx(-back.difference) and there.p == pytest.approx(back.p)


def test_an_ordinal_label_is_tested_by_the_bootstrap_of_its_mean_auc(
    experiment: Path, other: Path, compared: list[Comparison]
) -> None:
    found, names = row(compared, ORDINAL, "lp_50"), (ORDINAL, "test", "lp_50")
    a, b = (
        next(u for u in read_experiment(folder, PLACES).images if (u.task, u.split, u.setting) == names)
        for folder in (experiment, other)
    )
    means = [
        np.mean([roc_auc_score(unit.grades >= cut, seed) for seed in unit.scores for cut in (1, 2, 3)])
        for unit in (a, b)
    ]
    assert (found.a, found.b) == (pytest.approx(means[0]), pytest.approx(means[1]))
    assert found[6:10] == auc_difference(a.grades, a.scores, b.scores, a.patients, RESAMPLES, 0)
    assert found.low > 0 and found.p == pytest.approx(2 / (RESAMPLES + 1))


def test_risk_is_compared_by_harrells_c_of_the_same_exams(
    experiment: Path, other: Path, compared: list[Comparison]
) -> None:
    found = row(compared, "risk", "exam")
    a, b = (read_experiment(folder, PLACES).exams["exam"] for folder in (experiment, other))
    assert a.index.equals(b.index) and found.n == len(a)
    years, events = a["years_to_cancer"].fillna(a["years_followed"]), a["years_to_cancer"].notna()
    values = [concordance_index(years, -exams[5], events) for exams in (a, b)]
    assert (found.a, found.b) == (pytest.approx(values[0]), pytest.approx(values[1]))
    assert found.difference == pytest.approx(values[0] - values[1]) and found.low > 0
    outcome = years.to_numpy(np.float64), events.to_numpy(bool)
    risks = (exams[5].to_numpy(np.float64) for exams in (a, b))
    gain = concordance_difference(*outcome, *risks, a["patient_id"].to_numpy(str), RESAMPLES, 0)
    assert found[6:10] == gain


def test_p_values_are_corrected_over_the_tasks_of_a_setting(compared: list[Comparison]) -> None:
    family = [r for r in compared if (r.setting, r.split) == ("lp_100", "test")]
    assert len(family) == len(read_params(ROOT).run.tasks)
    lost = row(compared, TASK, "lp_100")
    assert lost.p < min(r.p for r in family if r.task != TASK)
    assert lost.p_holm == pytest.approx(lost.p * len(family))
    assert all(r.p_holm == 1 for r in family if r.task not in (TASK, ORDINAL))
    assert row(compared, ORDINAL, "lp_100").p_holm == pytest.approx((len(family) - 1) * 2 / (RESAMPLES + 1))


def test_fusion_and_risk_are_one_family(compared: list[Comparison]) -> None:
    family = [r for r in compared if r.task in ("fuse_malignant", "fuse_calcification", "risk")]
    assert {r.setting for r in family} == {"image", "text", "fusion", "fusion_without_text", "exam", "view"}
    least = min(family, key=lambda r: r.p)
    assert least.task == "risk" and 0 < least.p_holm < 1
    assert least.p_holm == pytest.approx(10 * least.p)
    assert row(compared, "fuse_malignant", "fusion").p_holm == 1


def test_other_follow_up_is_refused(experiment: Path) -> None:
    exams = read_experiment(experiment, PLACES).exams["exam"]
    longer = exams.assign(years_followed=exams["years_followed"] + 1)
    with pytest.raises(InputError, match="compare: risk, exam: expected the same test units, found 60 of A and 60"):
        compare_exams("exam", exams, longer, resamples=2)


def test_other_test_patients_are_refused(experiment: Path, changed: Path) -> None:
    rows = read_table(changed / FILE, PREDICTIONS)
    left_out = rows.loc[rows["split"] == "test", "patient_id"].iloc[0]
    write_table(rows[rows["patient_id"] != left_out], changed / FILE, PREDICTIONS)
    with pytest.raises(InputError, match="mass_vindr, test: expected the same test units"):
        compare(experiment, changed, PLACES, resamples=2)


def test_nothing_in_common_is_refused(experiment: Path, changed: Path) -> None:
    for file in (changed / "results/predictions").rglob("predictions.parquet"):
        rows = read_table(file, PREDICTIONS)
        write_table(rows[rows["encoder"] == "initial"], file, PREDICTIONS)
    with pytest.raises(InputError, match="both experiments have, found none"):
        compare(experiment, changed, PLACES, resamples=2)


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
    line = next(line for line in printed.splitlines() if line.split()[:4] == ["risk", "test", "exam", "c"])
    assert "-0." in line
    assert "Retrieval is not compared" in printed
    assert "differences are told from chance" in printed.splitlines()[-1]
    assert max(map(len, printed.splitlines())) < 160


@pytest.mark.usefixtures("repository")
def test_an_unknown_experiment_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="compare: nowhere: expected an experiment"):
        fetch_experiment("nowhere", tmp_path / "out", PLACES)


def test_a_number_that_too_few_patients_support_is_not_printed(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = Comparison("mass", "test", "lp_100", "AUC", *[np.nan] * 7, 12)
    print_comparison([nothing], "A", "B")
    assert capsys.readouterr().out.splitlines()[4].split() == ["mass", "test", "lp_100", "AUC", *["n/a"] * 5, "12"]
