"""Zero-shot prompts: per method, label and grade sentences; our own are reports that differ in one fact."""

import random
from collections.abc import Mapping, Sequence

from pipeline.reports.captions import MASKED, caption
from pipeline.reports.prompt import KEYS, Facts
from pipeline.reports.template import write_template

# label -> grade -> sentences; {side} is the laterality of the image itself, `left` or `right`.
Ensembles = Mapping[str, Mapping[int, Sequence[str]]]

# What each grade of a label says of a breast; of several, one prompt says one. Malignancy is no fact of the reports;
# the assessment is (ACR BI-RADS Atlas, 5th edition: categories 1 and 2 against 4 and 5).
GRADES: Mapping[str, Mapping[int, Sequence[tuple[str, str | bool | int]]]] = {
    "mass": {0: [("mass", False)], 1: [("mass", True)]},
    "calcification": {0: [("calcification", False)], 1: [("calcification", True)]},
    "malignant": {0: [("birads", 1), ("birads", 2)], 1: [("birads", 4), ("birads", 5)]},
    "density": {grade: [("density", letter)] for grade, letter in enumerate("ABCD")},
    "birads": {grade: [("birads", grade)] for grade in range(1, 6)},
}
# What else reports may tell, evenly. A machine's maker and an archive's own columns have no values that hold
# everywhere.
ELSE: Mapping[str, Sequence[str | bool | int]] = {
    "age_band": ("40-49", "50-59", "60-69", "70-79"),
    "views": ("CC+MLO",),
    "density": tuple("ABCD"),
    "implant": (False,),
    "mass": (False, True),
    "calcification": (False, True),
    "birads": (1, 2, 3, 4, 5),
}
PROMPTS = 64  # per grade

# Mammo-CLIP's zero-shot prompts (method.md, Mammo-CLIP).
MAMMO_CLIP: Ensembles = {
    "mass": {0: ["no mass"], 1: ["mass"]},
    "calcification": {0: ["no suspicious calcification"], 1: ["suspicious calcification"]},
    "malignant": {0: ["no malignancy"], 1: ["malignancy"]},
}


def prompt_methods(keys: Sequence[str]) -> dict[str, Ensembles]:
    """Every set of prompts by the method's name.

    Args:
        keys: What the reports of pretraining speak of (the annotation subset C), in any order.
    """
    own = {label: {grade: _reports(label, grade, keys) for grade in grades} for label, grades in GRADES.items()}
    return {"zero_shot": own, "zero_shot_mammo_clip": MAMMO_CLIP}


def caption_methods() -> dict[str, Ensembles]:
    """As `prompt_methods`, for a model that met captions: whole captions that differ in one fact."""
    own = {label: {grade: _captions(label, grade) for grade in grades} for label, grades in GRADES.items()}
    return {"zero_shot": own, "zero_shot_mammo_clip": MAMMO_CLIP}


def _captions(label: str, grade: int) -> list[str]:
    """Captions that tell what is seen and nothing of patient and image, as half of those in training.

    Caption k of one grade and of another differ in the label's fact alone.
    """
    captions = []
    for number in range(PROMPTS):
        row = {"age_years": None, "laterality": None, "view": None, **_drawn_facts(label, grade, number)}
        captions.append(" ".join(caption(row, MASKED)))
    return list(dict.fromkeys(captions))


def _drawn_facts(label: str, grade: int, number: int) -> dict[str, str | bool | int]:
    """The label's fact, and others drawn from number."""
    rng = random.Random(f"{label}-{number}")  # noqa: S311 -- wording, not secrets
    drawn = {key: rng.choice(values) for key, values in ELSE.items()}
    said = GRADES[label][grade]
    key, value = said[number % len(said)]
    return {**drawn, key: value}


def _reports(label: str, grade: int, keys: Sequence[str]) -> list[str]:
    """Whole reports in the template's words: a prompt that leaves out what reports tell lies far from all of them.

    Report k of one grade and of another differ in the label's fact alone: what else they tell and their wording are
    drawn from k.
    """
    reports = []
    for number in range(PROMPTS):
        known = {"laterality": "L", **_drawn_facts(label, grade, number)}
        key = GRADES[label][grade][number % len(GRADES[label][grade])][0]
        told: Facts = {name: known[name] for name in KEYS if name in known and name in {*keys, key, "laterality"}}
        reports.append(write_template(told, str(number)).replace(" left ", " {side} "))
    return list(dict.fromkeys(reports))
