"""Wrong input, through the stage scripts as DVC calls them: one screen, exit code 1, no traceback."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pipeline.cohorts.phantom import write_archive
from tests.yaml_file import set_value

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project whose `screening` cohort is a real archive in the folder `archive`."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    known = {"columns": {}, "extra": [], "identifiers": "published", "fatal": ["unknown_value"]}
    set_profile(tmp_path, "archives.screening", {"adapter": "table", "root": "archive", "patients": None, **known})
    return tmp_path


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive") / "archive"
    write_archive("table", 4, 3, root)
    return root


def set_profile(project: Path, key: str, value: object) -> None:
    set_value(project / "conf/profile/demo.yaml", key, value)


def run_stage(project: Path, stage: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PIPELINE_SCRATCH": str(project / "scratch")}
    command = [sys.executable, "-m", f"stages.{stage}", *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=120)


def assert_one_screen_error(result: subprocess.CompletedProcess[str], *words: str) -> None:
    said = result.stderr[result.stderr.rfind("error: ") :]
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert len(said.splitlines()) <= 24
    for word in words:
        assert word in said, f"{word!r} not in {said}"


def up_to_catalog(project: Path, archive: Path) -> None:
    shutil.copytree(archive, project / "archive")
    assert run_stage(project, "acquire", "screening", "raw").returncode == 0


def test_an_empty_cohort_root(project: Path) -> None:
    (project / "archive").mkdir()
    assert_one_screen_error(run_stage(project, "acquire", "screening", "raw"), "screening", "archive", "empty")


def test_a_table_without_a_needed_column(project: Path, archive: Path) -> None:
    up_to_catalog(project, archive)
    table = project / "archive/images.csv"
    pd.read_csv(table, dtype=str).drop(columns="laterality").to_csv(table, index=False)
    assert_one_screen_error(run_stage(project, "catalog", "screening", "raw", "out"), "images.csv", "laterality")


def test_a_label_outside_its_range(project: Path, archive: Path) -> None:
    up_to_catalog(project, archive)
    table = project / "archive/images.csv"
    rows = pd.read_csv(table, dtype=str)
    rows.loc[2, "birads"] = "9"
    rows.to_csv(table, index=False)
    assert_one_screen_error(run_stage(project, "catalog", "screening", "raw", "out"), "images.csv", "birads", "9", "0")


def test_a_dicom_that_is_a_text_file(project: Path, archive: Path) -> None:
    up_to_catalog(project, archive)
    victim = sorted((project / "archive").rglob("*.dcm"))[0]
    victim.write_text("this is not an image\n" * 50)
    set_profile(project, "ingest.max_rejected_fraction", 0.0)
    assert run_stage(project, "catalog", "screening", "raw", "catalog").returncode == 0
    result = run_stage(project, "ingest", "raw", "catalog", "crops")
    assert_one_screen_error(result, "not", "DICOM", "1 of", "max_rejected_fraction")
    assert "this is not an image" not in result.stderr


@pytest.mark.parametrize("stage", ["pretrain", "finetune", "embed"])
def test_a_gpu_profile_without_a_gpu(project: Path, stage: str) -> None:
    set_profile(project, "compute.device", "cuda")
    arguments = {
        "pretrain": ["a", "b", "c", "d", "e"],
        "finetune": ["mass_vindr", "a", "b", "c", "d", "e", "f"],
        "embed": ["a", "b", "c"],
    }
    result = run_stage(project, stage, *arguments[stage])
    assert_one_screen_error(result, "compute.device", "cuda", "cpu")


def test_a_misspelt_key_stops_before_any_work(project: Path) -> None:
    file = project / "params.yaml"
    file.write_text(file.read_text().replace("  method: mv_clip_tr", "  metod: mv_clip_tr"))
    assert_one_screen_error(
        run_stage(project, "acquire", "screening", "raw"), "params.yaml", "pretrain.metod", "method"
    )
    assert not (project / "raw").exists()


def test_an_unset_variable_in_a_root(project: Path) -> None:
    set_profile(project, "archives.screening.root", "${NO_SUCH_VARIABLE_SET}")
    assert_one_screen_error(run_stage(project, "acquire", "screening", "raw"), "screening", "NO_SUCH_VARIABLE_SET")
