"""Whole runs: what they write, that they learn, that they survive being killed, and that two ranks equal one."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.errors import InputError
from pipeline.models.methods import METHODS
from pipeline.models.two_tower import load_model
from pipeline.sections import Compute
from pipeline.training import live, loop
from pipeline.training.loop import pretrain
from pipeline.training.record import HistoryRow

Arguments = Callable[..., dict[str, Any]]
PATIENCE_S = 120
RESULT = ("history.csv", "validation.csv", "model.safetensors", "config.json", "engine.json")


def run(inputs: Path, out: Path, arguments: dict[str, Any]) -> Path:
    pretrain(inputs / "shards", inputs / "text", inputs / "initial", out, **arguments)
    return out


def history(out: Path) -> list[dict[str, str]]:
    with (out / "history.csv").open() as stream:
        return list(csv.DictReader(stream))


def column(out: Path, name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in history(out)])


@pytest.mark.parametrize(
    "method", [method for method, traits in METHODS.items() if traits.text and not traits.captions]
)
def test_every_method_with_text_runs_and_its_model_loads(
    method: str, inputs: Path, tmp_path: Path, arguments: Arguments
):
    out = run(inputs, tmp_path / "out", arguments(method))
    model, config = load_model(out)
    assert config.method == method
    assert config.encoder_weights == "package:test"
    output = model(torch.zeros(1, 1, 32, 32), torch.zeros(1, 8, 6), torch.ones(1, 8).bool())
    assert output.image.embedding.shape == output.text.shape
    rows = history(out)
    assert list(rows[0]) == list(HistoryRow._fields)
    units = 18 if method.startswith("mv_") else 36
    assert [int(row["step"]) for row in rows] == list(range(1, 2 * -(-units // 4) + 1))
    assert all(bool(row["loss_views"]) == method.startswith("mv_") for row in rows)
    engine = json.loads((out / "engine.json").read_text())
    images = 2 * 35 if method.startswith("mv_") else 2 * 36
    assert (engine["images_read"], engine["shards"], engine["steps"]) == (images, 2, len(rows))
    assert engine["optimizer"] == "AdamW"
    validation = list(csv.DictReader((out / "validation.csv").open()))
    assert [(row["epoch"], row["n"]) for row in validation] == [("1", "8"), ("2", "8")]
    assert all(0 <= float(row["recall_at_1"]) <= 1 for row in validation)


@pytest.mark.parametrize("method", ["supervised", "simclr", "swav", "dino", "byol"])
def test_every_method_without_text_runs_and_its_encoder_loads(
    method: str, inputs: Path, tmp_path: Path, arguments: Arguments
):
    out = run(inputs, tmp_path / "out", arguments(method))
    model, config = load_model(out)
    assert (config.method, config.text_width, config.temperatures) == (method, None, None)
    assert model(torch.zeros(1, 1, 32, 32)).image.embedding is None
    before, after = (load_file(folder / "model.safetensors") for folder in (inputs / "initial", out))
    assert set(after) == set(before)
    learned = [name for name in before if name.endswith("weight")]
    assert all(not torch.equal(after[name], before[name]) for name in learned)
    rows = history(out)
    assert len(rows) == 2 * -(-(33 if method == "supervised" else 36) // 4)
    assert all(np.isfinite(float(row["loss"])) and row["temperature"] == row["duplicate_rate"] == "" for row in rows)
    assert all(bool(row["alignment"]) == (method != "supervised") for row in rows)
    assert (out / "validation.csv").read_text() == "epoch,recall_at_1,n\n"


def test_no_pretraining_keeps_the_encoder(inputs: Path, tmp_path: Path, arguments: Arguments):
    out = run(inputs, tmp_path / "out", arguments("none"))
    for name in ("model.safetensors", "config.json"):
        assert (out / name).read_bytes() == (inputs / "initial" / name).read_bytes()
    assert history(out) == []


def test_it_learns_and_the_temperature_moves(inputs: Path, tmp_path: Path, arguments: Arguments):
    out = run(inputs, tmp_path / "out", arguments(epochs={"default": 8}, learning_rate=3e-3))
    loss = column(out, "loss")
    assert loss[-5:].mean() < 0.7 * loss[:5].mean()
    assert column(out, "temperature")[0] == pytest.approx(0.07)
    assert column(out, "temperature")[-1] != pytest.approx(0.07, rel=1e-4)


def test_a_method_learns_at_its_own_rate(inputs: Path, tmp_path: Path, arguments: Arguments):
    own = {"clip": {"learning_rate": 2e-3}, "mv_clip": {"learning_rate": 5e-4}}
    rates = [
        column(run(inputs, tmp_path / name, arguments("clip", by_method=changed)), "learning_rate")
        for name, changed in (("plain", {}), ("own", own))
    ]
    assert rates[0].max() > 0 and np.allclose(rates[1], 2 * rates[0])


def test_batch_norm_is_held_for_pretrained_weights_only(inputs: Path, tmp_path: Path, arguments: Arguments):
    start = load_file(inputs / "initial/model.safetensors")
    name = next(key for key in start if key.endswith("running_mean"))
    held = load_file(run(inputs, tmp_path / "held", arguments()) / "model.safetensors")
    assert torch.equal(held[name], start[name])
    scratch_initial = tmp_path / "initial"
    scratch_initial.mkdir()
    for file in (inputs / "initial").iterdir():
        (scratch_initial / file.name).write_bytes(file.read_bytes().replace(b"package:test", b"random"))
    pretrain(inputs / "shards", inputs / "text", scratch_initial, tmp_path / "free", **arguments())
    assert not torch.equal(load_file(tmp_path / "free/model.safetensors")[name], start[name])


def test_two_ranks_equal_one_with_twice_the_batch(inputs: Path, tmp_path: Path, arguments: Arguments):
    """The whole path: launch, DDP, gathered negatives with gradient, uneven ranks, clipping, AdamW."""
    one = run(inputs, tmp_path / "one", arguments(batch=10))
    two = run(inputs, tmp_path / "two", arguments(batch=5, processes=2))
    for name in ("loss", "loss_image_text", "loss_views", "temperature", "learning_rate", "duplicate_rate"):
        # Rounding grows about fifteenfold per step: AdamW's first updates are as large for a small gradient.
        np.testing.assert_allclose(column(two, name)[:2], column(one, name)[:2], rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(column(two, name), column(one, name), rtol=2e-3, err_msg=name)
    expected, found = (load_file(out / "model.safetensors") for out in (one, two))
    for name, value in expected.items():  # a wrong gradient moves a weight of scale 0.05 by up to 0.008 in these steps
        assert (found[name] - value).double().norm() <= 0.02 * value.double().norm() + 1e-3, name
    assert json.loads((two / "engine.json").read_text())["processes"] == 2
    assert json.loads((two / "engine.json").read_text())["images_read"] == 70


def test_shuffled_reports_and_positives_change_the_run(inputs: Path, tmp_path: Path, arguments: Arguments):
    plain, shuffled, multi = (
        column(run(inputs, tmp_path / name, arguments(**changed)), "loss_image_text")
        for name, changed in {
            "plain": {},
            "shuffled": {"shuffle_reports": True},
            "multi": {"positives": "multi_positive", "batch": 8},
        }.items()
    )
    assert plain[0] != shuffled[0]
    assert np.isfinite(multi).all()


SCRIPT = """
import sys
from pathlib import Path
from tests.training.conftest import pretrain_arguments
from pipeline.training.loop import pretrain
inputs, out = map(Path, sys.argv[1:])
pretrain(inputs / "shards", inputs / "text", inputs / "initial", out, **pretrain_arguments(epochs={"default": 6}))
"""


def kill_at_step(inputs: Path, out: Path, scratch: Path, step: int) -> None:
    """Starts a run in a process of its own and kills it once its live curve has that many steps."""
    command = [sys.executable, "-c", SCRIPT, str(inputs), str(out)]
    process = subprocess.Popen(command, env={**os.environ, "PIPELINE_SCRATCH": str(scratch)})
    deadline = time.monotonic() + PATIENCE_S
    while not any(len(f.read_text().splitlines()) > step for f in scratch.glob("pretrain/*/live.csv")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_a_killed_run_ends_with_the_same_bits(
    inputs: Path, tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
):
    kill_at_step(inputs, tmp_path / "killed", tmp_path / "killed_scratch", 12)  # in an epoch of 5 steps
    assert not (tmp_path / "killed").exists()
    whole = run(inputs, tmp_path / "whole", arguments(epochs={"default": 6}))
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "killed_scratch"))
    before = {file.name for file in (tmp_path / "killed_scratch").glob("pretrain/*/*.pt")}
    assert before and "step-000000030.pt" not in before
    killed = run(inputs, tmp_path / "killed", arguments(epochs={"default": 6}))
    for name in RESULT:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name


def test_sigterm_saves_and_ends(
    inputs: Path, tmp_path: Path, arguments: Arguments, scratch: Path, monkeypatch: pytest.MonkeyPatch
):
    def terminate_at_step_3(path: Path, row: list[float]) -> None:
        if row[0] == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(live, "append_row", terminate_at_step_3)
    with pytest.raises(SystemExit) as ended:
        run(inputs, tmp_path / "out", arguments())
    assert ended.value.code == 143
    assert list(scratch.glob("pretrain/*/step-000000003.pt"))
    assert not (tmp_path / "out").exists()


def test_sigterm_at_the_end_of_an_epoch_does_not_wait_for_its_validation(
    inputs: Path, tmp_path: Path, arguments: Arguments, scratch: Path, monkeypatch: pytest.MonkeyPatch
):
    def terminate_at_step_5(path: Path, row: list[float]) -> None:
        if row[0] == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(live, "append_row", terminate_at_step_5)
        patch.setattr(loop, "validate", None)
        with pytest.raises(SystemExit):
            run(inputs, tmp_path / "out", arguments())
    assert list(scratch.glob("pretrain/*/step-000000005.pt"))
    assert_goes_on(inputs, tmp_path, arguments(), monkeypatch)


def test_a_run_that_is_killed_while_it_validates_loses_no_step(
    inputs: Path, tmp_path: Path, arguments: Arguments, scratch: Path, monkeypatch: pytest.MonkeyPatch
):
    def killed(*given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "validate", killed)
        with pytest.raises(KeyboardInterrupt):
            run(inputs, tmp_path / "out", arguments())
    assert list(scratch.glob("pretrain/*/step-000000005.pt"))
    assert_goes_on(inputs, tmp_path, arguments(), monkeypatch)


def assert_goes_on(inputs: Path, tmp_path: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes on from what is in the scratch folder, to the bits of a run that was never interrupted."""
    again = run(inputs, tmp_path / "again", given)
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "whole_scratch"))
    whole = run(inputs, tmp_path / "whole", given)
    for name in RESULT:
        assert (again / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_finished_run_is_not_trained_again(inputs: Path, tmp_path: Path, arguments: Arguments, scratch: Path):
    first = run(inputs, tmp_path / "a", arguments())
    (folder,) = (scratch / "pretrain").iterdir()
    before = {file.name: file.stat().st_mtime_ns for file in folder.glob("*.pt")}
    second = run(inputs, tmp_path / "b", arguments())
    assert {file.name: file.stat().st_mtime_ns for file in folder.glob("*.pt")} == before
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


def test_a_diverging_run_stops(inputs: Path, tmp_path: Path, arguments: Arguments):
    with pytest.raises(InputError, match=r"step \d+: loss .*last good checkpoint is that of step .*learning_rate"):
        run(inputs, tmp_path / "out", arguments(learning_rate=1e30, warmup_epochs=0))
    assert not (tmp_path / "out").exists()


def test_a_gpu_profile_without_a_gpu(inputs: Path, tmp_path: Path, arguments: Arguments, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    given = arguments() | {"compute": Compute(device="cuda", precision="bf16", workers=1, backend="local", processes=8)}
    with pytest.raises(InputError, match=r"found 0 usable GPUs.*profile: demo"):
        run(inputs, tmp_path / "out", given)
