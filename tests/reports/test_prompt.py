import pandas as pd
import pytest

from pipeline.reports.prompt import (
    BIRADS_WORDS,
    DENSITY_WORDS,
    KEYS,
    PRE_READING_KEYS,
    select_facts,
    short_digest,
    write_prompt,
)

ROW = {
    "cohort": "screening",
    "patient_id": "p1",
    "exam_id": "e1",
    "breast_id": "e1_R",
    "split": "train",
    "laterality": "R",
    "views": "CC+MLO",
    "age_band": "50-59",
    "implant": False,
    "vendor": "ACME",
    "density": "B",
    "birads": 4,
    "mass": True,
    "calcification": False,
}


def test_golden_prompt() -> None:
    keys = ["density", "birads", "mass", "calcification", "age_band"]
    assert write_prompt(select_facts(ROW, keys), "v1") == (
        "Write a mammogram report.\n\n"
        "laterality = right\n"
        "age_band = 50-59\n"
        "density = scattered areas of fibroglandular density\n"
        "mass = present\n"
        "calcification = absent\n"
        "birads = 4 (suspicious)\n\n"
        "Rewrite the following as one fluent paragraph: The right breast is shown. The patient is 50-59 years old."
        " The breast has scattered areas of fibroglandular density. A mass is seen. No calcifications are seen."
        " The BI-RADS category is 4, suspicious."
    )


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_prompt_holds_no_identifier_and_does_not_depend_on_the_order_of_keys(version: str) -> None:
    prompt = write_prompt(select_facts(ROW, KEYS), version)
    assert not any(word in prompt for word in ("p1", "e1", "screening", "train"))
    assert prompt == write_prompt(select_facts(ROW, KEYS[::-1]), version)
    assert "views = CC and MLO" in prompt
    assert "implant = absent" in prompt
    assert "vendor = ACME" in prompt


@pytest.mark.parametrize("unknown", [None, float("nan"), pd.NA])
def test_keys_without_a_value_are_left_out_never_turned_into_absent(unknown: object) -> None:
    facts = select_facts({**ROW, "mass": unknown, "birads": unknown, "age_band": unknown}, KEYS)
    assert set(facts) == set(KEYS) - {"mass", "birads", "age_band"}
    assert "mass =" not in write_prompt(facts, "v2")
    assert "A mass" not in write_prompt(facts, "v2")


def test_laterality_is_always_there() -> None:
    assert select_facts(ROW, []) == {"laterality": "R"}
    with pytest.raises(ValueError, match="laterality"):
        select_facts({**ROW, "laterality": None}, [])


def test_a_label_that_is_no_key_stays_out_of_prompts() -> None:
    row = {**ROW, "malignant": True, "extra": '{"shape": "oval", "reader": "2"}'}
    assert select_facts(row, ["malignant", "shape"]) == {"laterality": "R", "shape": "oval"}


def test_the_second_version_summarises_the_table_explains_its_keys_and_repeats_the_instruction() -> None:
    prompt = write_prompt(select_facts({**ROW, "extra": '{"shape": "oval"}'}, ["birads", "mass", "shape"]), "v2")
    table = "laterality = right\nmass = present\nbirads = 4 (suspicious)\nshape = oval"
    assert table in prompt
    summary = "The right breast is shown. A mass is seen. The BI-RADS category is 4, suspicious. The shape is oval."
    assert summary in prompt
    explained = prompt.partition("What the keys mean:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split(" = ")[0] for line in explained] == ["laterality", "mass", "birads", "shape"]
    assert prompt.count("report of one mammogram") == 1
    assert "Write the report as one fluent paragraph" in prompt.partition("What the keys mean")[2]
    assert "{" not in prompt


@pytest.mark.parametrize("letter", ["A", "B", "C", "D"])
@pytest.mark.parametrize("grade", range(7))
def test_values_are_spelled_in_the_words_of_the_lexicon(letter: str, grade: int) -> None:
    facts = select_facts({**ROW, "density": letter, "birads": grade}, ["density", "birads"])
    prompt = write_prompt(facts, "v2")
    assert f"density = {DENSITY_WORDS[letter]}" in prompt
    assert f"birads = {grade} ({BIRADS_WORDS[grade]})" in prompt


def test_nothing_a_reader_finds_is_known_before_reading() -> None:
    assert not {"mass", "calcification", "birads"} & set(PRE_READING_KEYS)


def test_digest_is_stable() -> None:
    assert short_digest("abc") == "ba7816bf8f01cfea"
