"""Captions: MaMA's order, masks that touch nothing but what they name, and draws that repeat."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.reports.captions import MASKED, MAX_SENTENCES, caption, draw_masked
from pipeline.tables import COHORT, read_table, write_table

ROW: dict[str, Any] = {
    "laterality": "L", "view": "MLO", "age_years": 52.9, "implant": False, "vendor": "hologic", "density": "C",
    "birads": 4, "mass": True, "calcification": False,
}  # fmt: skip
MORE = {"procedure": "MG Screen Bilat", "reason": "screening", "race": "Asian", "ethnicity": None, "image_type": "2D"}
SECTIONS = (
    "Procedure", "Reason", "Patient", "Image", "Breast composition", "Findings", "Impressions", "Overall assessment",
)  # fmt: skip
# Of what is seen or concluded; MASKED may not touch them.
SEEN = ("Breast composition", "Findings", "Impressions", "Overall assessment")

NULLS = st.sampled_from([None, pd.NA, float("nan")])
FACTS = {
    "laterality": st.sampled_from("LR"),
    "view": st.sampled_from(["CC", "MLO"]),
    "age_years": st.floats(20, 120),
    "implant": st.booleans(),
    "vendor": st.sampled_from(["ge", "hologic"]),
    "density": st.sampled_from("ABCD"),
    "birads": st.integers(0, 6),
    "mass": st.booleans(),
    "calcification": st.booleans(),
    "procedure": st.sampled_from(["MG Screen", "MG Diag"]),
    "reason": st.sampled_from(["screening", "diagnostic"]),
    "race": st.sampled_from(["Asian", "White"]),
    "ethnicity": st.sampled_from(["Hispanic", "not Hispanic"]),
    "image_type": st.sampled_from(["2D", "cview"]),
}
ROWS = st.fixed_dictionaries({}, optional={name: NULLS | values for name, values in FACTS.items()})
MASKS = st.frozensets(st.sampled_from(MASKED))


def sections(sentences: list[str]) -> list[str]:
    return [sentence.split(": ")[0] for sentence in sentences]


def of(sentences: list[str], names: tuple[str, ...]) -> list[str]:
    return [sentence for sentence in sentences if sentence.split(": ")[0] in names]


def test_a_row_of_the_cohort_table():
    assert caption(ROW, ()) == [
        "Patient: 52 years old.",
        "Image: mammogram of the left breast, MLO view.",
        "Breast composition: the breast is heterogeneously dense.",
        "Findings: no implant is seen.",
        "Findings: a mass is seen.",
        "Findings: no calcifications are seen.",
        "Impressions: BI-RADS category 4, suspicious.",
        "Overall assessment: suspicious.",
    ]


def test_an_archive_that_knows_more():
    assert caption({**ROW, **MORE}, ())[:4] == [
        "Procedure: MG Screen Bilat.",
        "Reason: screening.",
        "Patient: 52 years old, race Asian, ethnicity unknown.",
        "Image: 2D mammogram of the left breast, MLO view.",
    ]
    assert len(caption({**ROW, **MORE}, ())) == MAX_SENTENCES  # every column is known


def test_what_is_masked_is_unknown():
    assert caption({**ROW, **MORE}, MASKED)[2:4] == [
        "Patient: unknown years old, race unknown, ethnicity unknown.",
        "Image: unknown mammogram of the unknown breast, unknown view.",
    ]
    assert caption(ROW, ["side"])[:2] == [*caption(ROW, ())[:1], "Image: mammogram of the unknown breast, MLO view."]


def test_only_what_is_asked_can_be_masked():
    with pytest.raises(ValueError, match=r"\['mass'\]"):
        caption(ROW, ["mass", "age"])


def test_one_fact_alone_is_one_caption():
    """As zero-shot prompts need it: columns that are not there are not spoken of."""
    assert caption({"mass": True}, MASKED) == ["Findings: a mass is seen."]
    assert caption({"density": "B"}, ()) == ["Breast composition: there are scattered areas of fibroglandular density."]
    assert caption({"birads": 0}, ()) == [
        "Impressions: BI-RADS category 0, incomplete.",
        "Overall assessment: incomplete.",
    ]
    assert caption({}, MASKED) == []


@pytest.mark.parametrize(("years", "words"), [(89.9, "89"), (90.0, "90 or more"), (104.0, "90 or more")])
def test_ages_above_89_are_one_category(years: float, words: str):
    assert caption({"age_years": years}, ()) == [f"Patient: {words} years old."]


@given(row=ROWS, masked=MASKS)
@settings(deadline=None)
def test_masks_change_nothing_that_is_seen(row: Mapping[str, Any], masked: frozenset[str]):
    told, plain = caption(row, masked), caption(row, ())
    assert len(told) == len(plain)
    assert of(told, SEEN) == of(plain, SEEN)
    assert of(told, ("Procedure", "Reason")) == of(plain, ("Procedure", "Reason"))


@given(row=ROWS, masked=MASKS)
@settings(deadline=None)
def test_sections_come_in_order_and_every_sentence_is_one(row: Mapping[str, Any], masked: frozenset[str]):
    places = [SECTIONS.index(name) for name in sections(caption(row, masked))]
    assert places == sorted(places)
    assert all(sentence.endswith(".") and sentence.count(".") == 1 for sentence in caption(row, masked))


@given(row=ROWS, column=st.sampled_from(sorted(FACTS)), null=NULLS)
@settings(deadline=None)
def test_unknown_is_not_negative(row: Mapping[str, Any], column: str, null: object):
    """A null adds no statement: what is left is what the row says without the column, or the word unknown."""
    without = caption({name: value for name, value in row.items() if name != column}, ())
    added = [sentence for sentence in caption({**row, column: null}, ()) if sentence not in without]
    assert all("unknown" in sentence for sentence in added)
    if column not in ("laterality", "view", "age_years", "race", "ethnicity", "image_type"):
        assert not added


@given(row=ROWS)
@settings(deadline=None)
def test_a_masked_value_cannot_be_read_anywhere(row: dict[str, Any]):
    """Two rows that differ in masked columns alone have the same caption."""
    changed = {"laterality": "R", "view": "CC", "age_years": 33.0, "race": "White", "ethnicity": "x", "image_type": "y"}
    same = {**row, **{name: value for name, value in changed.items() if name in row}}
    assert caption(row, MASKED) == caption(same, MASKED)


def test_rows_read_from_the_table_and_no_identifier_in_a_caption(tmp_path: Path):
    ids = {"cohort": "zz-c", "patient_id": "zz-p", "exam_id": "zz-e", "breast_id": "zz-b", "image_id": "zz-i"}
    rest = {"split": "train", "malignant": True, "years_to_cancer": 2.5, "years_followed": 7.5, "exam_day": 4711}
    null = dict.fromkeys(("age_years", "implant", "density", "birads", "mass", "calcification", "vendor"))
    rows = pd.DataFrame([{**ROW, **ids, **rest}, {**ROW, **ids, **rest, **null}])
    write_table(rows.astype({"birads": "Int8", "implant": "boolean"}), tmp_path / "images.parquet", COHORT)
    first, second = read_table(tmp_path / "images.parquet", COHORT).to_dict("records")
    assert caption(first, ()) == caption(ROW, ())
    assert caption(second, ()) == ["Patient: unknown years old.", "Image: mammogram of the left breast, MLO view."]
    text = " ".join(caption(first, ()))
    assert not any(str(value) in text for value in (*ids.values(), *rest.values()))


def test_draws_depend_on_seed_epoch_and_key_alone():
    keys = range(200)
    draws = [draw_masked(3, 1, key, 0.8) for key in keys]
    assert draws == [draw_masked(3, 1, key, 0.8) for key in reversed(keys)][::-1]
    for other in ([draw_masked(4, 1, key, 0.8) for key in keys], [draw_masked(3, 2, key, 0.8) for key in keys]):
        assert 20 < sum(a != b for a, b in zip(draws, other, strict=True)) < 200
    assert len(set(draws)) > 10


def test_a_draw_repeats_no_other_one_of_the_run():
    """Those of order.py, batch.py and augment.py begin with the seed, which is below 2**31."""
    ours = {name: name in draw_masked(0, 0, 1, 0.5) for name in MASKED}
    for words in ([0, 0], [0, 0, 1], [0, 0, 1, 0], [1, 0, 0]):
        numbers = np.random.default_rng(words).random(len(MASKED)) < 0.5
        assert list(ours.values()) != numbers.tolist()


def test_each_is_masked_with_the_probability_independently_of_the_others():
    draws = [draw_masked(7, epoch, key, 0.8) for epoch in range(4) for key in range(1000)]
    table = np.array([[name in draw for name in MASKED] for draw in draws])
    np.testing.assert_allclose(table.mean(axis=0), 0.8, atol=0.025)  # 4 standard deviations
    correlation = np.corrcoef(table.T) - np.eye(len(MASKED))
    assert np.abs(correlation).max() < 0.065


def test_probability_0_masks_nothing_and_1_everything():
    assert draw_masked(0, 0, 0, 0.0) == frozenset()
    assert draw_masked(0, 0, 0, 1.0) == frozenset(MASKED)
