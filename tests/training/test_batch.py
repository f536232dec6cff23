"""Views, swaps and shared work as promised."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.models.methods import METHODS
from pipeline.tables import SHARD, read_table
from pipeline.training.batch import collate, draw_units
from pipeline.training.dataset import PairedImages, read_pairs
from pipeline.training.reader import ImageReader


@pytest.fixture(scope="module")
def pairs(inputs: Path) -> PairedImages:
    return read_pairs(inputs / "shards", inputs / "text", ["screening"], "train")


def test_breasts_show_their_views(pairs: PairedImages):
    draw = draw_units(pairs, METHODS["mv_clip"], 0.5, seed=0, epoch=0)
    image = pairs.images
    assert len(draw.paired) == 18
    for unit in range(18):
        rows = [draw.paired[unit], draw.first[unit], draw.second[unit]]
        assert image["breast_id"][rows].nunique() == 1
        if image["breast_id"][rows[0]] == "b003":
            assert not draw.both[unit]
            assert rows[0] == rows[1] == rows[2]
        else:
            assert draw.both[unit]
            assert image["view"][rows[1:]].tolist() == ["CC", "MLO"]
            assert rows[0] in rows[1:]
    assert len(set(image["view"][draw.paired])) == 2


@pytest.mark.parametrize(("probability", "view"), [(0.0, "CC"), (1.0, "MLO")])
def test_swap_probability(pairs: PairedImages, probability: float, view: str):
    draw = draw_units(pairs, METHODS["mv_clip"], probability, seed=0, epoch=0)
    assert set(pairs.images["view"][draw.paired[draw.both]]) == {view}


def test_one_of_several_images_per_view_is_drawn(pairs: PairedImages):
    seen = set()
    for epoch in range(12):
        draw = draw_units(pairs, METHODS["mv_clip"], 0.5, seed=0, epoch=epoch)
        unit = int(np.flatnonzero(pairs.images["breast_id"][draw.first] == "b005")[0])
        seen.add(pairs.images["image_id"][draw.first[unit]])
    assert seen == {"i005CC0", "i005CC1"}


def test_units_of_clip_are_images(pairs: PairedImages):
    draw = draw_units(pairs, METHODS["clip"], 0.5, seed=0, epoch=0)
    assert draw.paired.tolist() == list(range(36))
    assert not draw.both.any()


def test_collate_reads_images_and_reports_once(pairs: PairedImages, inputs: Path):
    draw = draw_units(pairs, METHODS["mv_clip"], 0.5, seed=0, epoch=0)
    units = np.array([0, 7, 14, 3])  # breasts 0, 7 and 14 share report r0; breast 3 has one view
    batch = collate(pairs, ImageReader(inputs / "shards"), draw, units, text_tokens=8)
    assert len(batch.images) == 7
    assert len(batch.states) == 2
    assert batch.both.tolist() == [True, True, True, False]
    shards = [read_table(inputs / f"shards/screening/shard-00{n}.parquet", SHARD) for n in range(2)]
    stored = {i: b for shard in shards for i, b in zip(shard["image_id"], shard["image"], strict=True)}
    for places, rows in ((batch.paired, draw.paired), (batch.first, draw.first), (batch.second, draw.second)):
        for place, row in zip(places.tolist(), rows[units], strict=True):
            assert batch.keys[place] == row
            png = stored[pairs.images["image_id"][row]]
            expected = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(batch.images[place].numpy(), expected)
    for unit, row in enumerate(draw.paired[units]):
        state = pairs.states[pairs.report[row]]
        assert np.array_equal(batch.states[batch.text[unit], : len(state)].numpy(), state)
        assert batch.report[unit] == pairs.report[row]
        assert batch.breast[unit] == pairs.breast[row]


def test_images_that_are_compared_with_themselves_come_twice(inputs: Path):
    pairs = read_pairs(inputs / "shards", None, ["screening"], "train")
    draw = draw_units(pairs, METHODS["simclr"], 0.5, seed=0, epoch=0)
    assert draw.both.all()
    units = np.array([7, 2, 30])
    batch = collate(pairs, ImageReader(inputs / "shards"), draw, units, text_tokens=8)
    assert len(batch.images) == 3
    assert batch.keys.tolist() == [2, 2, 7, 7, 30, 30]
    assert batch.copies.tolist() == [0, 1, 0, 1, 0, 1]
    assert batch.shown.tolist() == [0, 0, 1, 1, 2, 2]
    for unit, row in enumerate(units):
        first, second = int(batch.first[unit]), int(batch.second[unit])
        assert (batch.keys[first], batch.copies[first]) == (row, 0)
        assert (batch.keys[second], batch.copies[second]) == (row, 1)
    assert batch.states.shape == (0, 8, 1)
