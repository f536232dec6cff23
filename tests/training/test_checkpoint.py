"""Checkpoints: the newest comes back, two are kept, a torn one is named."""

from pathlib import Path

import pytest
import torch

from pipeline.errors import InputError
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint


def test_the_newest_of_two_is_loaded(tmp_path: Path):
    assert load_checkpoint(tmp_path) is None
    for step in (9, 10, 100):
        save_checkpoint(tmp_path, step, {"steps": step, "weight": torch.full((2,), float(step)), "rows": [[1, None]]})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["step-000000010.pt", "step-000000100.pt"]
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["steps"] == 100
    assert state["weight"].tolist() == [100.0, 100.0]
    assert state["rows"] == [[1, None]]


def test_a_file_left_by_a_kill_while_writing_is_ignored(tmp_path: Path):
    save_checkpoint(tmp_path, 1, {"steps": 1})
    (tmp_path / "step-000000002.tmp").write_bytes(b"half")
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["steps"] == 1


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_torn_checkpoint_is_named(tmp_path: Path, content: bytes | None):
    save_checkpoint(tmp_path, 3, {"weight": torch.zeros(1000)})
    file = tmp_path / "step-000000003.pt"
    file.write_bytes(file.read_bytes()[:2000] if content is None else content)
    with pytest.raises(InputError, match=r"step-000000003\.pt: not a whole checkpoint"):
        load_checkpoint(tmp_path)
