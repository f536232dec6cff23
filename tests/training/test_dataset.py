"""The join of images and reports, and the control that breaks it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import InputError
from pipeline.models.methods import METHODS
from pipeline.tables import SHARD, TEXT_KEYS, TEXT_STATES, read_table, write_table
from pipeline.training.batch import draw_units
from pipeline.training.dataset import label_images, read_pairs, shuffle_reports
from pipeline.training.run import Recipe
from pipeline.training.setup import prepare

Arguments = Callable[..., dict[str, Any]]


def test_every_image_meets_the_report_of_its_breast(inputs: Path):
    pairs = read_pairs(inputs / "shards", inputs / "text", ["screening"], "train")
    keys = read_table(inputs / "text/keys.parquet", TEXT_KEYS).set_index("breast_id")["report_id"]
    states = read_table(inputs / "text/states.parquet", TEXT_STATES).set_index("report_id")["states"]
    assert len(pairs.images) == 36
    assert set(pairs.images["split"]) == {"train"}
    for row, breast in enumerate(pairs.images["breast_id"]):
        assert pairs.states[pairs.report[row]].tobytes() == states[keys[breast]]
    assert len(pairs.prompt) == len(pairs.states) == 7
    assert len(np.unique(pairs.prompt)) == 6  # r0 and r3 are wordings of the same facts
    assert pairs.prompt[0] == pairs.prompt[3]
    assert pairs.images.groupby("breast_id").ngroups == len(np.unique(pairs.breast)) == 18
    assert pd.Series(pairs.breast).groupby(pairs.images["breast_id"].to_numpy()).nunique().eq(1).all()


def test_row_numbers_do_not_depend_on_the_shards(inputs: Path):
    pairs = read_pairs(inputs / "shards", inputs / "text", ["screening"], "train")
    assert pairs.images["image_id"].is_monotonic_increasing
    assert pairs.images.index.tolist() == list(range(36))


@pytest.mark.parametrize("text", ["text", None])
def test_breasts_without_a_view_are_dropped_when_asked_to(text: str | None, inputs: Path):
    """Breast 3 has no MLO view; breast 5 has both, one of them twice."""
    folder = text and inputs / text
    kept, dropped = (
        read_pairs(inputs / "shards", folder, ["screening"], "train", None, incomplete)
        for incomplete in ("keep", "drop")
    )
    assert set(kept.images["breast_id"]) - set(dropped.images["breast_id"]) == {"b003"}
    assert dropped.images["image_id"].tolist() == [name for name in kept.images["image_id"] if "003" not in name]
    assert dropped.images.index.tolist() == list(range(35)) == list(range(len(dropped.report)))
    assert len(np.unique(dropped.breast)) == 17
    drawn = draw_units(dropped, METHODS["mv_clip"], 0.5, seed=0, epoch=0)
    assert drawn.both.all() and len(drawn.both) == 17


def test_validation_keeps_the_breasts_that_training_drops(inputs: Path, tmp_path: Path, arguments: Arguments):
    shutil.copytree(inputs, tmp_path / "one_view")
    for shard in sorted((tmp_path / "one_view/shards/screening").glob("shard-*")):
        rows = read_table(shard, SHARD)
        write_table(rows[~rows["image_id"].isin(["i020MLO0"])], shard, SHARD, row_group_size=8)
    folders = [tmp_path / "one_view" / name for name in ("shards", "text", "initial")]
    training = prepare(Recipe(*folders, tmp_path, **arguments("clip", incomplete="drop")))
    assert "b003" not in set(training.pairs.images["breast_id"])
    assert "b020" in set(training.validation.images["breast_id"])


def test_dropping_all_breasts_is_refused(inputs: Path, tmp_path: Path):
    for shard in sorted((inputs / "shards/screening").glob("shard-*")):
        rows = read_table(shard, SHARD)
        write_table(rows[rows["view"] == "CC"], tmp_path / "screening" / shard.name, SHARD)
    with pytest.raises(InputError, match=r"pretrain\.incomplete: drop, but no breast .* set it to keep"):
        read_pairs(tmp_path, None, ["screening"], "train", incomplete="drop")


def test_mirrored_images_are_refused(inputs: Path, tmp_path: Path):
    shutil.copytree(inputs / "shards", tmp_path / "shards")
    shard = tmp_path / "shards/screening/shard-000.parquet"
    rows = read_table(shard, SHARD)
    write_table(rows.assign(mirrored=rows["image_id"] == rows["image_id"].iloc[3]), shard, SHARD, row_group_size=8)
    with pytest.raises(InputError, match=f"1 images are mirrored .first: {rows['image_id'].iloc[3]}.*left and right"):
        read_pairs(tmp_path / "shards", inputs / "text", ["screening"], "train")


def two_breasts_each(patients: int) -> pd.DataFrame:
    rows = [(f"b{p}{side}", f"p{p}", f"r{p}{side}") for p in range(patients) for side in "LR"]
    return pd.DataFrame([*rows, ("b0Z", "p0", "r0Z")], columns=["breast_id", "patient_id", "report_id"])


@pytest.mark.parametrize("patients", [2, 3, 9])
@pytest.mark.parametrize("seed", range(5))
def test_no_patient_keeps_a_report(patients: int, seed: int):
    keys = two_breasts_each(patients)
    dealt = shuffle_reports(keys, seed).set_index("breast_id")
    assert sorted(dealt.index) == sorted(keys["breast_id"])
    donor = dealt["report_id"].str[:2].str.replace("r", "p")
    assert (donor != dealt["patient_id"]).all()
    assert donor.groupby(dealt["patient_id"]).nunique().eq(1).all()  # one donor each
    assert sorted(donor.groupby(dealt["patient_id"]).first()) == sorted(set(keys["patient_id"]))  # each gives once
    side = dealt.index.str[-1]
    kept = side.isin(["L", "R"])
    assert (dealt["report_id"].str[-1].to_numpy()[kept] == side[kept]).all()


def test_the_deal_depends_on_the_seed_alone():
    keys = two_breasts_each(9)
    first = shuffle_reports(keys, 1)
    pd.testing.assert_frame_equal(first, shuffle_reports(keys.sample(frac=1, random_state=0), 1))
    assert not first["report_id"].equals(shuffle_reports(keys, 2)["report_id"])
    with pytest.raises(InputError, match="two patients"):
        shuffle_reports(keys[:2], 0)


def test_missing_reports_are_named(inputs: Path, tmp_path: Path):
    keys = read_table(inputs / "text/keys.parquet", TEXT_KEYS)
    states = read_table(inputs / "text/states.parquet", TEXT_STATES)
    write_table(keys[keys["breast_id"] != "b004"], tmp_path / "a/keys.parquet", TEXT_KEYS)
    write_table(states, tmp_path / "a/states.parquet", TEXT_STATES)
    with pytest.raises(InputError, match=r"1 breasts .*b004"):
        read_pairs(inputs / "shards", tmp_path / "a", ["screening"], "train")
    write_table(keys, tmp_path / "b/keys.parquet", TEXT_KEYS)
    write_table(states[states["report_id"] != "r2"], tmp_path / "b/states.parquet", TEXT_STATES)
    with pytest.raises(InputError, match="nothing for report r2"):
        read_pairs(inputs / "shards", tmp_path / "b", ["screening"], "train")


def test_labels_keep_the_images_whose_malignancy_is_known(inputs: Path):
    pairs = read_pairs(inputs / "shards", None, ["screening"], "train")
    assert pairs.states == []
    assert np.isnan(pairs.label).all()
    found = label_images(pairs, inputs / "shards", ["screening"])
    assert "b004" in set(pairs.images["breast_id"])
    assert "b004" not in set(found.images["breast_id"])
    assert len(found.images) == len(found.label) == len(found.breast) == len(pairs.images) - 2
    assert dict(zip(found.images["breast_id"], found.label, strict=True))["b002"] == 1
    assert found.label.tolist() == [float(breast < "b008") for breast in found.images["breast_id"]]
    assert found.images.index.tolist() == list(range(len(found.images)))


def test_labels_of_one_kind_alone_are_refused(inputs: Path):
    pairs = read_pairs(inputs / "shards", None, ["screening"], "validation")
    with pytest.raises(InputError, match="found 0 malignant among 8 with a known label"):
        label_images(pairs, inputs / "shards", ["screening"])
