"""Checkpoints: the newest comes back, two are kept, a torn one is named."""

from pathlib import Path

import pytest
import torch

from pipeline.errors import InputError
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint


def test_the_newest_of_two_is_loaded(tmp_path: Path):
    assert load_checkpoint(tmp_path) is None
    for step in (9, 10, 100):
        save_checkpoint(
            tmp_path, step, {"steps": step, "weight": torch.full((2,), float(step)), "rows": [[1, None]]}, 2
        )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["step-000000010.pt", "step-000000100.pt"]
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["steps"] == 100
    assert state["weight"].tolist() == [100.0, 100.0]
    assert state["rows"] == [[1, None]]


def test_a_file_left_by_a_kill_while_writing_is_ignored(tmp_path: Path):
    save_checkpoint(tmp_path, 1, {"steps": 1}, 2)
    (tmp_path / "step-000000002.tmp").write_bytes(b"half")
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["steps"] == 1


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_torn_checkpoint_is_named(tmp_path: Path, content: bytes | None):
    save_checkpoint(tmp_path, 3, {"weight": torch.zeros(1000)}, 2)
    file = tmp_path / "step-000000003.pt"
    file.write_bytes(file.read_bytes()[:2000] if content is None else content)
    with pytest.raises(InputError, match=r"step-000000003\.pt: not a whole checkpoint"):
        load_checkpoint(tmp_path)


def test_a_full_disk_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save_checkpoint(tmp_path, 3, {"steps": 3}, 2)

    def full(state: object, stream: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc] . PytorchStreamWriter failed writing file data/0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match=r"step-000000004\.pt.*make room.*continues from step-000000003\.pt"):
        save_checkpoint(tmp_path, 4, {"steps": 4}, 2)
    assert [file.name for file in tmp_path.iterdir()] == ["step-000000003.pt"]


def test_on_a_disk_that_is_really_full(tmp_path: Path):
    """/dev/full refuses every byte: what torch makes of that is what the error above is raised from."""
    with pytest.raises((OSError, RuntimeError)), Path("/dev/full").open("wb") as stream:
        torch.save({"weight": torch.zeros(100_000)}, stream)
