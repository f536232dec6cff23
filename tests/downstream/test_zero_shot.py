"""Zero-shot scores by hand, prompts that exist for every label, and the real text encoder once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.downstream import zero_shot as module
from pipeline.downstream.predictions import Origin, prediction_rows
from pipeline.downstream.prompts import MAMMO_CLIP, caption_methods, prompt_methods
from pipeline.downstream.zero_shot import ensemble_mean, image_scores, prompt_scores, text_side, zero_shot
from pipeline.errors import InputError
from pipeline.models.two_tower import load_model
from pipeline.reports.audit import audit
from pipeline.sections import Task, Text
from pipeline.tables import PREDICTIONS, read_table

Write = Callable[..., pd.DataFrame]
TASKS = {
    "mass_small": Task(cohort="small", label="mass", unit="image", kind="binary", score_on=["other"]),
    "density_small": Task(cohort="small", label="density", unit="image", kind="ordinal", score_on=["other"]),
}
KEYS = ("birads", "mass", "calcification")
TEXT = Text(model="none", revision=None, max_tokens=12)
# Sentence -> direction, for a text tower that is known by heart.
DIRECTIONS = {"yes left": [1, 0, 0], "yes right": [0, 1, 0], "no left": [0, 0, 1], "no right": [0, 0, 1]}


class LetterEncoder:
    """States of width 6 that depend on the words."""

    def encode(self, texts: list[str]) -> list[np.ndarray]:
        return [np.array([[len(w), ord(w[0]), *[0.5] * 4] for w in t.split()[:12]], np.float32) for t in texts]


def embed(sentences: list[str]) -> np.ndarray:
    return np.array([DIRECTIONS[s] for s in sentences], dtype=np.float32)


def test_scores_by_hand_with_the_side_of_the_image() -> None:
    vectors = np.array([[0.8, 0.0, 0.6], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], dtype=np.float32)
    images = pd.DataFrame({"image_id": list("abc"), "laterality": list("LRR"), "embedding": list(vectors)})
    found = image_scores(images, {0: ["no {side}"], 1: ["yes {side}"]}, embed, temperature=0.5)
    np.testing.assert_allclose(found, [0.2 / 0.5, 1.0 / 0.5, 0.0], rtol=1e-6)


def test_a_low_temperature_ties_no_two_images() -> None:
    """At the paper's 0.007 a probability of cosines that differ by 0.2 and by 0.3 would be 1 to the last digit kept."""
    anchors = np.eye(2, dtype=np.float32)
    vectors = np.array([[0.5, 0.7], [0.5, 0.8], [0.7, 0.5]], dtype=np.float32)
    scores = prompt_scores(vectors, anchors, np.array([0, 1]), temperature=0.007)
    kept = prediction_rows(pd.DataFrame({"image_id": list("abc")}), scores, Origin("t", "m", "e", 0.0, 0, "test"))
    assert kept["score"].rank().tolist() == [2, 3, 1]


def test_ensemble_is_the_unit_mean_in_any_order() -> None:
    mean = ensemble_mean(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], dtype=np.float32))
    np.testing.assert_allclose(mean, np.array([1.0, 2.0]) / np.sqrt(5), rtol=1e-6)


def test_more_than_two_grades_give_the_expected_grade() -> None:
    anchors = np.eye(3, dtype=np.float32)
    found = prompt_scores(anchors[[2, 0]], anchors, np.array([0, 1, 2]), temperature=1e-3)
    np.testing.assert_allclose(found, [2, 0], atol=1e-6)
    tied = np.full((1, 3), 3**-0.5, dtype=np.float32)
    np.testing.assert_allclose(prompt_scores(tied, anchors, np.array([1, 2, 6]), 1.0), [3.0], rtol=1e-6)


def test_every_label_has_prompts_and_no_two_grades_share_one() -> None:
    own = prompt_methods(KEYS)["zero_shot"]
    assert set(own) == {"mass", "calcification", "malignant", "density", "birads"}
    assert set(own["density"]) == {0, 1, 2, 3} and set(own["birads"]) == {1, 2, 3, 4, 5}
    assert MAMMO_CLIP["mass"] == {0: ["no mass"], 1: ["mass"]}
    for ensembles in prompt_methods(KEYS).values():
        for prompts in ensembles.values():
            raw = [s for sentences in prompts.values() for s in sentences]
            assert len(raw) == len(set(raw))
            assert not any("{" in s.format(side="left") for s in raw)


def test_prompts_are_true_reports_that_differ_in_the_label_alone() -> None:
    own = prompt_methods(KEYS)["zero_shot"]["mass"]
    assert len(own[0]) == len(own[1]) > 40
    without = [s.replace("no mass", "a mass").replace("No mass", "A mass") for s in own[0]]
    assert without == own[1]
    rests = [dict(laterality="R", calcification=c, birads=b) for c in (False, True) for b in range(1, 6)]
    for grade, prompts in own.items():
        for prompt in prompts:
            report = prompt.format(side="right")
            assert sum(not audit(report, {**rest, "mass": bool(grade)}) for rest in rests) == 1
    assert sum("No calcifications" in s or "no calcifications" in s for s in own[1]) in range(20, 45)


def test_prompts_tell_what_the_reports_of_pretraining_tell() -> None:
    told = prompt_methods(["density", "age_band", "mass"])["zero_shot"]["mass"][1]
    assert all("years" in s and "mass" in s and "BI-RADS" not in s for s in told)
    assert all("dense" in s or "fat" in s or "fibroglandular" in s for s in told)
    assert all("dense" in s for s in prompt_methods(["mass"])["zero_shot"]["density"][3])  # asked for, though not told


def test_rows_of_the_test_split_by_method(
    tmp_path: Path, write_archive: Write, write_model: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = write_archive(tmp_path / "small", patients=12, width=256)
    (tmp_path / "all").mkdir()
    (tmp_path / "small" / "features").rename(tmp_path / "all" / "small")
    write_model(tmp_path / "model")

    monkeypatch.setattr(module, "load_text_encoder", lambda _: LetterEncoder())
    for out in ("one", "two"):
        zero_shot(
            tmp_path / "all", tmp_path / "model", TASKS, ["mass_small", "density_small"], KEYS, TEXT, tmp_path / out
        )
    one, two = (tmp_path / out / "predictions.parquet" for out in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    rows = read_table(one, PREDICTIONS)
    test = truth[truth["split"] == "test"]
    assert rows.groupby(["task", "method"]).size().to_dict() == {
        ("mass_small", "zero_shot"): len(test),
        ("mass_small", "zero_shot_mammo_clip"): len(test),
        ("density_small", "zero_shot"): len(test),
    }
    assert set(rows["image_id"]) == set(test["image_id"])
    assert rows[["split", "fraction", "seed", "encoder"]].drop_duplicates().to_numpy().tolist() == [
        ["test", 0.0, 0, "pretrained"]
    ]
    assert rows.groupby(["task", "method"])["score"].nunique().min() > 1


def test_another_text_encoder_than_that_of_pretraining_is_refused(tmp_path: Path, write_model: Write) -> None:
    """One of equal width would score without an error."""
    write_model(tmp_path)
    other = TEXT.model_copy(update={"model": "another"})
    with pytest.raises(
        InputError, match=r"expected the text encoder of pretraining .*model='none'.*, found .*'another'"
    ):
        text_side(tmp_path, KEYS, other)


def test_caption_prompts_differ_in_the_label_alone() -> None:
    own = caption_methods()["zero_shot"]
    assert {label: len(grades) for label, grades in own.items()} == {
        "mass": 2, "calcification": 2, "malignant": 2, "density": 4, "birads": 5
    }  # fmt: skip
    assert len(own["mass"][0]) == len(own["mass"][1]) > 25
    assert [text.replace("no mass is", "a mass is") for text in own["mass"][0]] == own["mass"][1]
    assert all("unknown years old" in text and "unknown breast" in text for text in own["mass"][0])
    assert all("BI-RADS category 4" in text or "BI-RADS category 5" in text for text in own["malignant"][1])


def test_a_model_that_met_captions_needs_no_frozen_encoder(
    tmp_path: Path, write_archive: Write, write_model: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = write_archive(tmp_path / "small", patients=12, width=256)
    (tmp_path / "all").mkdir()
    (tmp_path / "small" / "features").rename(tmp_path / "all" / "small")
    write_model(tmp_path / "model", method="mama")
    monkeypatch.setattr(module, "load_text_encoder", lambda _: pytest.fail("the frozen encoder was read"))
    zero_shot(tmp_path / "all", tmp_path / "model", TASKS, ["mass_small"], KEYS, TEXT, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "predictions.parquet", PREDICTIONS)
    test = truth[truth["split"] == "test"]
    assert rows.groupby("method").size().to_dict() == {"zero_shot": len(test), "zero_shot_mammo_clip": len(test)}
    assert rows.groupby("method")["score"].nunique().min() > 1


def test_a_text_encoder_that_learned_along_embeds_prompts_in_the_words_of_reports(
    tmp_path: Path, write_model: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path, method="mv_clip", learned="lora")
    monkeypatch.setattr(module, "load_text_encoder", lambda _: pytest.fail("the frozen encoder was read"))
    side = text_side(tmp_path, KEYS, TEXT)
    assert side is not None and side.methods == prompt_methods(KEYS)
    model = load_model(tmp_path)[0]
    with torch.no_grad():
        expected = model.embed_texts([["A mass."], ["No mass is seen."]]).numpy()
    found = side.embed(["A mass.", "No mass is seen."])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-5)
    assert found[0] @ found[1] < 0.9999


def test_an_encoder_that_met_no_text_has_no_scores(tmp_path: Path, write_model: Write) -> None:
    write_model(tmp_path / "model", method="none")
    zero_shot(tmp_path, tmp_path / "model", TASKS, ["mass_small"], KEYS, TEXT, tmp_path / "out")
    assert read_table(tmp_path / "out/predictions.parquet", PREDICTIONS).empty
