"""Sentence pairs: what must pass and, worded closely, what must not."""

import pytest

from pipeline.reports.audit import audit
from pipeline.reports.polarity import read_mentions, split_tokens
from pipeline.reports.prompt import Facts

RIGHT: Facts = {
    "laterality": "R",
    "age_band": "50-59",
    "density": "C",
    "mass": True,
    "calcification": False,
    "birads": 4,
}
START = "The right breast of a patient aged 50-59 years is heterogeneously dense. "
FINDINGS = "A mass is seen. No calcifications are seen. "
END = "BI-RADS category 4, suspicious."


@pytest.mark.parametrize(
    "report",
    [
        START + FINDINGS + END,
        START + "There is a mass without calcifications. " + END,
        START + "A mass is present and no calcification is identified. " + END,
        START + "Mass is present. Calcifications are absent. " + END,
        START + "The breast shows a mass but does not show calcifications. " + END,
        START + "There is no calcification. A mass is visible. " + END,
        "The patient's right breast is heterogeneously dense. The patient is 50-59 years old. " + FINDINGS + END,
        START + "Mass: present. Calcification: absent. " + END,
        START + "Mass = present; calcification = absent. " + END,
        START + "A mass is seen and there is no evidence of calcification. " + END,
        START + "Mass, no calcifications. " + END,
        START + "A suspicious mass is seen. No calcifications are seen. " + END,
        START + "The breast is not without a mass; calcifications are likewise not shown. " + END,
        START + "There is one finding, a mass. No calcifications are seen. " + END,
        "In this woman of fifty to fifty-nine the right breast is heterogeneously dense. " + FINDINGS + END,
        START + FINDINGS + "Assessment: BI-RADS 4.",
        START + FINDINGS + "The BI-RADS category is 4.",
        START + FINDINGS + "The final assessment is category 4, suspicious.",
        START.replace("50-59", "50 to 59") + FINDINGS + END,
        START.replace("aged 50-59 years", "aged between 50 and 59") + FINDINGS + END,
        "Mammogram of the right breast, patient 50–59 years old. Density: C. " + FINDINGS + END,
        START + "Calcification: none - mass: seen. " + END,
        START + "A mass is shown with calcification absent. " + END,
        START + "It shows no calcification, and a mass is demonstrated. " + END,
        START + "While there is no calcification, a mass is demonstrated. " + END,
        START + "A mass is there; the search for calcifications was fruitless. " + END,
        START + "Of mass and calcification, only the former is seen. " + END,
        START + "A mass is revealed; calcifications are not revealed. " + END,
        START + "The findings include a mass; they do not include calcium deposits. " + END,
        START + "Mass plus, calcification minus. " + END,
        START + "A mass on a background of dense tissue; it is calcification-free. " + END,
        START + FINDINGS + "A fourth-category study.",
        START + FINDINGS + "Graded 4 on the BI-RADS scale.",
        "RIGHT BREAST. AGE 50-59 YEARS. BREAST DENSITY CATEGORY C. " + FINDINGS.upper() + END.upper(),
    ],
)
def test_says_what_the_row_holds(report: str) -> None:
    assert audit(report, RIGHT) == []


@pytest.mark.parametrize(
    ("report", "code"),
    [
        # the wrong side, or the other breast
        (START + "Of mass and calcification, only the latter is seen. " + END, "wrong_mass"),
        (START + "Neither the CC nor the MLO view shows a mass or calcification. " + END, "wrong_mass"),
        (START + "The same holds for calcification: a mass is seen. " + END, "wrong_calcification"),
        (START + "A mass plus, calcification plus. " + END, "wrong_calcification"),
        (START.replace("heterogeneously dense", "fatty") + FINDINGS + END, "wrong_density"),
        (START.replace("right", "left") + FINDINGS + END, "wrong_laterality"),
        (START + FINDINGS + END + " The left breast is shown.", "wrong_laterality"),
        (START.replace("right ", "") + FINDINGS + END, "missing_laterality"),
        (START + FINDINGS + END + " Both breasts are imaged.", "other_breast"),
        (START + FINDINGS + END + " The contralateral breast is seen.", "other_breast"),
        # density
        (START.replace("heterogeneously", "extremely") + FINDINGS + END, "wrong_density"),
        (START + "The breast is almost entirely fatty. " + FINDINGS + END, "wrong_density"),
        (START.replace("heterogeneously dense", "imaged") + FINDINGS + END, "missing_density"),
        (START.replace("heterogeneously dense", "dense") + FINDINGS + END, "missing_density"),
        (START.replace("is heterogeneously", "is not heterogeneously") + FINDINGS + END, "unclear_negation"),
        (START + "Density: D. " + FINDINGS + END, "wrong_density"),
        # BI-RADS
        (START + FINDINGS + "BI-RADS category 2, benign.", "wrong_birads"),
        (START + FINDINGS + "BI-RADS category 4, benign.", "wrong_birads"),
        (START + FINDINGS + "BI-RADS category 4, probably benign.", "wrong_birads"),
        (START + FINDINGS + END + " BI-RADS category 5.", "wrong_birads"),
        (START + FINDINGS + "BI-RADS 4A.", "missing_birads"),
        (START + FINDINGS + "The assessment is suspicious.", "missing_birads"),
        (START + FINDINGS + END + " Malignancy is present.", "malignancy"),
        # presence and negation of findings
        (START + "No mass is seen. No calcifications are seen. " + END, "wrong_mass"),
        (START + "A mass is not seen. No calcifications are seen. " + END, "wrong_mass"),
        (START + "A mass and calcifications are seen. " + END, "wrong_calcification"),
        (START + "A mass with calcifications is seen. " + END, "wrong_calcification"),
        (START + "No mass or calcification is seen. " + END, "wrong_mass"),
        (START + "Neither mass nor calcification is seen. " + END, "wrong_mass"),
        (START + "A mass is seen. " + END, "missing_calcification"),
        (START + "No calcifications are seen. " + END, "missing_mass"),
        (START + "A mass or calcification is seen. " + END, "unclear_mass"),
        (START + "No mass and calcifications are seen. " + END, "unclear_calcification"),
        (START + "Mass, calcifications not shown. " + END.replace("4, s", "3, s"), "wrong_birads"),
        (START + "No mass is absent. No calcifications are seen. " + END, "unclear_mass"),
        (START + "There is a mass absent. No calcifications are seen. " + END, "unclear_mass"),
        (START + "A mass and calcifications are not seen. " + END, "wrong_mass"),
        (START + "A benign mass is seen. No calcifications are seen. " + END, "wrong_birads"),
        (START + FINDINGS + "No mass is seen. " + END, "wrong_mass"),
        (START + "A mass may be present. No calcifications are seen. " + END, "hedge"),
        (START + FINDINGS + "Nothing is seen. " + END, "unclear_negation"),
        # wording that SmolLM2 produced
        (START + "An absence of mass is not visible. No calcifications are seen. " + END, "unclear_mass"),
        (START + "The breast has a mass that is absent. No calcifications are seen. " + END, "unclear_negation"),
        (START.replace("50-59", "70 years old, 50-59") + FINDINGS + END, "number"),
        (START + FINDINGS + END + " The patient appears to be a benign male.", "sex"),
        (START + FINDINGS + END + " Indicating no breast cancer.", "malignancy"),
        # said of the wrong thing
        (START + "A mass is seen and is extremely dense. No calcifications are seen. " + END, "wrong_density"),
        (START + "A mass is seen and is heterogeneously dense. No calcifications are seen. " + END, "unclear_subject"),
        (START + "A mass is present and is benign. No calcifications are seen. " + END, "wrong_birads"),
        (START + FINDINGS + "The patient is suspicious. " + END, "unclear_subject"),
        (START + FINDINGS + "Breast density category 4.", "missing_birads"),
        # age and other numbers
        (START.replace("50-59", "40-49") + FINDINGS + END, "wrong_age_band"),
        (START.replace("50-59", "54") + FINDINGS + END, "number"),
        (START.replace(" of a patient aged 50-59 years", "") + FINDINGS + END, "missing_age_band"),
        (START + FINDINGS + "The mass is 12 mm. " + END, "measurement"),
        (START + FINDINGS.replace("A mass is", "Two masses are") + END, "number"),
        # what no row holds
        (START + FINDINGS + "Architectural distortion is seen. " + END, "other_finding"),
        (START + FINDINGS + "There is no asymmetry. " + END, "other_finding"),
        (START + FINDINGS + "Lymph nodes are present. " + END, "other_finding"),
        (START + FINDINGS + "Skin thickening is noted. " + END, "other_finding"),
        (START + FINDINGS + "The mass is in the upper outer quadrant. " + END, "location"),
        (START + FINDINGS + "Bone sclerosis is seen. " + END, "other_organ"),
        (START + FINDINGS + "Ultrasound was performed. " + END, "modality"),
        (START + FINDINGS + "Biopsy was performed. " + END, "treatment"),
        (START + FINDINGS + "Annual screening is recommended. " + END, "recommendation"),
        (START + FINDINGS + "The mass is unchanged. " + END, "history"),
        (START.replace("patient", "man") + FINDINGS + END, "sex"),
        (START + FINDINGS + "Obtained in March. " + END, "date"),
        (START + FINDINGS + "Acquired at the hospital. " + END, "name"),
        (START + FINDINGS + "The machine is zebra. " + END, "unlisted_word"),
        # keys that the row does not hold
        (START + FINDINGS + "CC and MLO views. " + END, "asserted_views"),
        (START + FINDINGS + "No implant is seen. " + END, "asserted_implant"),
    ],
)
def test_says_something_else(report: str, code: str) -> None:
    assert code in audit(report, RIGHT)


@pytest.mark.parametrize(
    ("report", "code"),
    [
        ("Mammogram of the left breast. No mass is seen.", "asserted_mass"),
        ("Mammogram of the left breast. BI-RADS category 1.", "asserted_birads"),
        ("Mammogram of the left breast. The assessment is benign.", "asserted_birads"),
        ("Mammogram of the left breast, extremely dense.", "asserted_density"),
        ("Mammogram of the left breast of a patient aged 50-59 years.", "asserted_age_band"),
    ],
)
def test_a_key_outside_c_is_never_spoken_of(report: str, code: str) -> None:
    assert audit("Mammogram of the left breast.", {"laterality": "L"}) == []
    assert code in audit(report, {"laterality": "L"})


def test_what_is_known_before_reading() -> None:
    facts: Facts = {"laterality": "L", "views": "CC+MLO", "implant": False, "vendor": "GE 2000D"}
    good = "Left breast, CC and MLO views, GE 2000D machine. No implant is seen."
    assert audit(good, facts) == []
    assert audit(good.replace("CC and MLO views", "CC view"), facts) == ["missing_views"]
    assert "missing_vendor" in audit(good.replace("GE 2000D", "the"), facts)
    assert audit(good.replace("No implant", "An implant"), facts) == ["wrong_implant"]


def test_polarity_of_a_list() -> None:
    said = read_mentions(split_tokens("There is a mass and calcification but no implant."))
    assert [(mention.finding, mention.present) for mention in said] == [
        ("mass", True),
        ("calcification", True),
        ("implant", False),
    ]
