"""A text encoder that learns along with any method that reads reports."""

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.errors import InputError
from pipeline.models.text_encoder import load_text_encoder
from pipeline.models.two_tower import load_model
from pipeline.tables import TEXTS, read_table, write_table
from pipeline.training import live
from pipeline.training.loop import _batches, pretrain
from pipeline.training.run import Recipe
from pipeline.training.setup import prepare
from pipeline.training.validate import validate

Arguments = Callable[..., dict[str, Any]]
ONE_EPOCH = {"default": 1}


def run(inputs: Path, out: Path, arguments: dict[str, Any]) -> Path:
    pretrain(inputs / "shards", inputs / "text", inputs / "initial", out, **arguments)
    return out


def recipe(inputs: Path, arguments: dict[str, Any]) -> Recipe:
    return Recipe(inputs / "shards", inputs / "text", inputs / "initial", inputs, **arguments)


def test_at_first_the_states_are_those_of_the_frozen_encoder(inputs: Path, arguments: Arguments):
    given = arguments("mv_clip", text_encoder="lora")
    training = prepare(recipe(inputs, given))
    frozen = load_text_encoder(given["text_model"])
    said = dict(zip(range(len(training.pairs.texts)), training.pairs.texts, strict=True))
    batch = next(_batches(training, epoch=0))
    with torch.no_grad():
        states = training.tower.eval().language(batch.states, batch.mask)
    assert len(batch.states) == len(set(batch.report.tolist())) <= len(batch.report)
    for text, report in zip(batch.text.tolist(), batch.report.tolist(), strict=True):
        expected = frozen.encode([said[report]])[0]
        np.testing.assert_allclose(states[text][batch.mask[text]], expected, atol=1e-5)


def test_every_image_meets_the_text_of_its_own_report(inputs: Path, arguments: Arguments):
    learned = prepare(recipe(inputs, arguments("clip", text_encoder="lora"))).pairs
    frozen = prepare(recipe(inputs, arguments("clip"))).pairs
    said = dict(
        zip(["a mass", "no mass", "a cyst", "a large mass", "two cysts", "implant", "normal"], range(7), strict=True)
    )
    numbers = [said[learned.texts[report]] for report in learned.report]
    assert numbers == [int(breast[1:]) % 7 for breast in learned.images["breast_id"]]
    assert (learned.report == frozen.report).all() and (learned.prompt == frozen.prompt).all()
    assert not learned.states and not frozen.texts


@pytest.mark.parametrize(("method", "mode"), [("clip_tr", "lora"), ("mv_clip", "full"), ("siglip", "full")])
def test_it_learns_and_comes_back(method: str, mode: str, inputs: Path, tmp_path: Path, arguments: Arguments):
    given = arguments(method, batch=9, text_encoder=mode, epochs=ONE_EPOCH)
    out = run(inputs, tmp_path / "out", given)
    model, config = load_model(out)
    assert (config.method, config.language.mode, config.text_width) == (method, mode, None)
    weights, base = load_file(out / "model.safetensors"), prepare(recipe(inputs, given)).tower.state_dict()
    kept = [name for name in weights if name.startswith("language.") and weights[name].is_floating_point()]
    moved = [name for name in kept if not torch.equal(weights[name], base[name])]
    assert len(moved) >= len(kept) / 2 and all(("lora_" in name) == (mode == "lora") for name in kept)
    with (out / "validation.csv").open() as stream:
        found = next(csv.DictReader(stream))
    training = prepare(recipe(inputs, given))
    again = validate(model, training.validation, training.reader, 4, 8, 1, training.accelerator)
    assert (again.recall_at_1, again.n) == (float(found["recall_at_1"]), 8)


def test_an_interrupted_run_ends_with_the_same_bits(
    inputs: Path, tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
):
    def terminate_at_step_3(path: Path, row: list[float]) -> None:
        if row[0] == 3:
            os.kill(os.getpid(), 15)

    given = arguments("clip_tr", batch=9, text_encoder="lora")
    with monkeypatch.context() as patch:
        patch.setattr(live, "append_row", terminate_at_step_3)
        with pytest.raises(SystemExit):
            run(inputs, tmp_path / "ended", given)
    ended = run(inputs, tmp_path / "ended", given)
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "other_scratch"))
    whole = run(inputs, tmp_path / "whole", given)
    for name in ("history.csv", "validation.csv", "model.safetensors", "config.json", "engine.json"):
        assert (ended / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_report_without_text_is_refused(inputs: Path, tmp_path: Path, arguments: Arguments):
    for name in ("shards", "initial"):
        (tmp_path / name).symlink_to(inputs / name)
    (tmp_path / "text").mkdir()
    for file in (inputs / "text").iterdir():
        (tmp_path / "text" / file.name).write_bytes(file.read_bytes())
    texts = tmp_path / "text/texts.parquet"
    rows = read_table(texts, TEXTS)
    write_table(rows[rows["report_id"] != "r2"], texts, TEXTS)
    with pytest.raises(InputError, match="nothing for report r2; rerun encode_text_pretrain"):
        prepare(recipe(tmp_path, arguments("clip", text_encoder="lora")))
