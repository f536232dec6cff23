"""The table's facts as short texts, from patient to images, a text each."""

from pipeline.reports.prompt import PRE_READING_KEYS, select_facts
from pipeline.reports.tabular import LEVELS, fact_texts
from tests.reports.test_prompt import ROW


def test_every_fact_known_before_reading_has_one_level() -> None:
    keys = [key for level in LEVELS.values() for key in level]
    assert sorted(keys) == sorted(PRE_READING_KEYS)


def test_a_text_per_fact_from_the_whole_to_its_parts() -> None:
    assert fact_texts(select_facts(ROW, PRE_READING_KEYS)) == [
        "patient, age band: 50-59",
        "exam, vendor: ACME",
        "breast, laterality: right",
        "breast, density: scattered areas of fibroglandular density",
        "breast, implant: absent",
        "images, views: CC and MLO",
    ]


def test_an_unknown_fact_has_no_text() -> None:
    unknown = {**ROW, "age_band": None, "implant": None}
    told = fact_texts(select_facts(unknown, PRE_READING_KEYS))
    assert [text.split(":")[0] for text in told] == [
        "exam, vendor",
        "breast, laterality",
        "breast, density",
        "images, views",
    ]
