import pandas as pd
import pytest

from pipeline.reports.prompt import KEYS, PRE_READING_KEYS, select_facts, short_digest, write_prompt

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
    assert write_prompt(select_facts(ROW, keys)) == (
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


def test_prompt_holds_no_identifier_and_does_not_depend_on_the_order_of_keys() -> None:
    prompt = write_prompt(select_facts(ROW, KEYS))
    assert not any(word in prompt for word in ("p1", "e1", "screening", "train"))
    assert prompt == write_prompt(select_facts(ROW, KEYS[::-1]))
    assert "views = CC and MLO" in prompt
    assert "implant = absent" in prompt
    assert "vendor = ACME" in prompt


@pytest.mark.parametrize("unknown", [None, float("nan"), pd.NA])
def test_keys_without_a_value_are_left_out_never_turned_into_absent(unknown: object) -> None:
    facts = select_facts({**ROW, "mass": unknown, "birads": unknown, "age_band": unknown}, KEYS)
    assert set(facts) == set(KEYS) - {"mass", "birads", "age_band"}
    assert "mass" not in write_prompt(facts)


def test_laterality_is_always_there() -> None:
    assert select_facts(ROW, []) == {"laterality": "R"}
    with pytest.raises(ValueError, match="laterality"):
        select_facts({**ROW, "laterality": None}, [])


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="malignant"):
        select_facts({**ROW, "malignant": True}, ["malignant"])


def test_nothing_a_reader_finds_is_known_before_reading() -> None:
    assert not {"mass", "calcification", "birads"} & set(PRE_READING_KEYS)


def test_digest_is_stable() -> None:
    assert short_digest("abc") == "ba7816bf8f01cfea"
