"""Scratch folders: the same for the same work, another for other settings, inputs or code; found from queued copies."""

from pathlib import Path

import pytest

from pipeline.scratch import scratch_folder, scratch_root
from pipeline.sections import Ingest


@pytest.fixture(autouse=True)
def own_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "scratch"))


def folder_of(content: str, tmp_path: Path, max_px: int = 100, code: str = "dicom") -> Path:
    file = tmp_path / "input.bin"
    file.write_text(content)
    settings = [Ingest(max_px=max_px, exclude=[], max_rejected_fraction=0.0, seconds_per_file=120)]
    return scratch_folder("ingest", settings=settings, inputs=[file], code=[code])


def test_the_same_work_has_the_same_folder(tmp_path: Path) -> None:
    assert folder_of("a", tmp_path) == folder_of("a", tmp_path)


def test_other_settings_inputs_or_code_have_another(tmp_path: Path) -> None:
    folders = {
        folder_of("a", tmp_path),
        folder_of("b", tmp_path),
        folder_of("a", tmp_path, max_px=200),
        folder_of("a", tmp_path, code="shards"),
    }
    assert len(folders) == 4


def test_a_queued_experiments_copy_uses_the_main_checkouts_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIPELINE_SCRATCH")
    copy = tmp_path / "checkout/.dvc/tmp/exps/tmpabc"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert scratch_root() == (tmp_path / "checkout/.scratch").resolve()
    monkeypatch.chdir(tmp_path)
    assert scratch_root() == (tmp_path / ".scratch").resolve()
