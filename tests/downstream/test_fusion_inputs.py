"""The tokens of a breast are its own images' positions and texts; neither segment tells what only a reader knows."""

import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from pipeline.downstream.fusion_inputs import (
    Sources,
    breast_labels,
    breasts_of,
    read_inputs,
    standardise_images,
    tokens_of,
)
from pipeline.models.co_attention import Tokens
from pipeline.models.two_tower import load_model
from pipeline.reports.prompt import KEYS, PRE_READING_KEYS, select_facts
from pipeline.reports.tabular import fact_texts
from pipeline.reports.template import write_template
from pipeline.sections import Fuse
from pipeline.shards.read import iterate
from pipeline.tables import COHORT, EXAM_LABELS, IMAGE_LABELS, SPLITS, read_table, write_table
from tests.downstream.test_fusion import CPU, Archive, Write, write_text

ROOT = Path(__file__).resolve().parents[2]
READ = re.compile(r"mass|calcif|bi-?rads|suspicious|malignan|cancer|benign|negative|categor|assess|follow", re.I)
ROW = {
    "laterality": "L",
    "views": "CC+MLO",
    "age_band": "50-59",
    "implant": False,
    "vendor": "vendor",
    "density": "C",
    "birads": 5,
    "mass": True,
    "calcification": True,
}


@pytest.fixture
def sources(tmp_path: Path, write_archive: Archive, write_shards: Write, write_model: Write) -> Sources:
    images = write_archive(tmp_path, patients=10)
    write_shards(tmp_path / "shards", images)
    write_model(tmp_path / "model")
    for segment in ("table", "report"):
        write_text(tmp_path / segment, images.drop_duplicates("breast_id")[int(segment == "report") :], "mass")
    return Sources(*(tmp_path / part for part in ("cohort", "shards", "model", "table", "report")))


def test_image_tokens_are_averages_of_the_frozen_feature_map(sources: Sources) -> None:
    inputs = read_inputs(sources, [1, 2], {"default": 7}, CPU)
    ((ids, pixels),) = iterate(sources.shards, SPLITS, 1000)
    model, _ = load_model(sources.model)
    with torch.inference_mode():
        maps = model.image.encoder(torch.from_numpy(pixels)[:, None])
    half = maps.shape[3] // 2
    assert maps.shape[3] == 2 * half > 0
    expected = torch.stack([maps[..., :half].mean(dim=(2, 3)), maps[..., half:].mean(dim=(2, 3))], dim=1)
    rows = inputs.images.set_index("image_id").loc[ids["image_id"], "row"].to_numpy()
    torch.testing.assert_close(inputs.banks.image.states[torch.tensor(rows)], expected, rtol=1e-4, atol=1e-5)
    assert len({tuple(p) for p in inputs.banks.image.place[1:].tolist()}) == 4  # 2 views of 2 sides
    assert len(set(inputs.banks.image.place[1:].flatten().tolist())) == inputs.banks.image_sizes[1] == 8


def test_a_breast_has_the_rows_of_its_own_images_and_texts(sources: Sources) -> None:
    inputs = read_inputs(sources, [1, 1], {"default": 64}, CPU)
    single = inputs.images.drop(inputs.images.index[inputs.images["breast_id"] == "small-p003-e0-L"][0])
    found = breasts_of(inputs._replace(images=single), ["small-p003-e0-L", "small-p002-e0-R", "small-p000-e0-L"])
    assert found.ids["breast_id"].tolist() == ["small-p000-e0-L", "small-p002-e0-R", "small-p003-e0-L"]
    image_of = inputs.images.set_index("row")["breast_id"]
    for breast, rows in zip(found.ids["breast_id"], found.image.tolist(), strict=True):
        assert {image_of[row] for row in rows if row} == {breast}
    assert (found.image > 0).sum(dim=1).tolist() == [2, 2, 1]
    assert found.report[0] == 0 < found.table[0]  # the first breast has no report
    assert not any(bank.present[0].any() for bank in inputs.banks)
    assert set(inputs.banks.table.place[1:].flatten().tolist()) == {0}
    assert set(inputs.banks.report.place[1:].flatten().tolist()) == {1}


def test_images_are_standardised_by_the_training_images_alone(sources: Sources) -> None:
    inputs = read_inputs(sources, [2, 1], {"default": 64}, CPU)
    before = inputs.banks.image.states.clone()
    ids = inputs.images.loc[inputs.images["split"] == "train", "breast_id"]
    rows = inputs.images.loc[inputs.images["split"] == "train", "row"].to_list()
    standardise_images(inputs.banks, breasts_of(inputs, list(ids)))
    known = before[rows].flatten(0, 1).double().numpy()
    scale = np.where(known.std(axis=0) > 0, known.std(axis=0), 1)
    expected = (before[1:].double().numpy() - known.mean(axis=0)) / scale
    np.testing.assert_allclose(inputs.banks.image.states[1:].numpy(), expected, rtol=1e-3, atol=1e-3)


def test_tokens_of_keeps_every_present_token_in_its_place() -> None:
    present = torch.tensor([[False] * 3, [True, True, False], [True, False, False]])
    bank = Tokens(torch.arange(18.0).view(3, 3, 2), present, torch.arange(9).view(3, 3))
    found = tokens_of(bank, torch.tensor([[1, 2], [2, 0]]))
    assert found.present.tolist() == [[True, True, True], [True, False, False]]
    assert found.place[0].tolist() == [3, 4, 6]
    assert found.states[0].tolist() == [[6.0, 7.0], [8.0, 9.0], [12.0, 13.0]]
    assert tokens_of(bank, torch.tensor([[0], [0]])).states.shape == (2, 1, 2)


def test_a_breast_label_is_any_images_and_unknown_as_it_is_scored(tmp_path: Path, write_archive: Archive) -> None:
    write_archive(tmp_path, patients=4)
    file = tmp_path / "cohort" / "images.parquet"
    images = read_table(file, COHORT).sort_values("image_id", ignore_index=True)
    images["malignant"] = images["calcification"] = None
    one, two = images.index[images["breast_id"] == "small-p001-e0-L"]
    images.loc[one, "malignant"] = True
    images.loc[[one, two], "calcification"] = False
    write_table(images, file, COHORT)
    found = breast_labels(tmp_path / "cohort", ["malignant", "calcification"])
    assert found.reset_index().to_dict("records") == [
        {"breast_id": "small-p001-e0-L", "split": "train", "malignant": 1.0, "calcification": 0.0}
    ]
    images.loc[one, "calcification"] = None  # the other image's is negative: that of the breast is not known
    write_table(images, file, COHORT)
    found = breast_labels(tmp_path / "cohort", ["malignant", "calcification"])
    assert found["malignant"].tolist() == [1] and found["calcification"].isna().all()
    images.loc[images.index != one, "malignant"] = False
    images["calcification"] = None
    write_table(images, file, COHORT)
    found = breast_labels(tmp_path / "cohort", ["malignant", "calcification"])
    assert found.loc["small-p001-e0-L", "malignant"] == 1
    assert found["calcification"].isna().all()


def test_dvc_hands_fuse_texts_of_what_is_known_before_reading_only() -> None:
    stages = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
    text = [word for word in stages["fuse"]["cmd"].split() if "text" in word or "report" in word]
    assert text == ["data/text/evaluate/tabular", "data/text/evaluate/pre_reading"]
    assert [d for d in stages["fuse"]["deps"] if re.match("data/(text|reports|annotations|sealed)", d)] == text
    assert set(text) < set(stages["encode_text_evaluate"]["outs"])


def test_the_keys_of_both_segments_are_no_label_but_density() -> None:
    assert set(PRE_READING_KEYS) & {*IMAGE_LABELS, *EXAM_LABELS} == {"density"}
    labels = set(get_args(get_args(Fuse.model_fields["labels"].annotation)[0]))
    assert labels == {"malignant", "mass", "calcification"}  # density can be no label of fusion


@pytest.mark.parametrize("label", ["mass", "calcification", "birads", "malignant"])
def test_neither_segment_changes_with_a_label_or_what_readers_know(label: str) -> None:
    """malignant: no table of annotations has the column; where one had, it would change nothing."""
    one, other = ({**ROW, label: value} for value in (1, 0))
    told, changed = (select_facts(row, PRE_READING_KEYS) for row in (one, other))
    assert fact_texts(told) == fact_texts(changed)
    assert write_template(told, "prompt") == write_template(changed, "prompt")


def test_neither_segment_speaks_of_a_finding_or_an_assessment() -> None:
    facts = select_facts(ROW, PRE_READING_KEYS)
    texts = [write_template(facts, f"prompt-{number}") for number in range(40)]
    assert not [text for text in texts + fact_texts(facts) if READ.search(text)]


@pytest.mark.parametrize("key", sorted({*KEYS} - {*PRE_READING_KEYS} | {"malignant"}))
def test_a_label_in_the_facts_is_refused(key: str) -> None:
    """The label column in the fusion text: whoever points the stage at the full reports gets no further."""
    with pytest.raises(ValueError, match=f"{key}: not known before reading"):
        fact_texts({**select_facts(ROW, PRE_READING_KEYS), key: True})
