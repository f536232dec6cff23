"""Zero-shot prompts: per method, label and grade sentences; our own are reports that differ in one fact."""

import random
from collections.abc import Mapping, Sequence

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


def _reports(label: str, grade: int, keys: Sequence[str]) -> list[str]:
    """Whole reports in the template's words: a prompt that leaves out what reports tell lies far from all of them.

    Report k of one grade and of another differ in the label's fact alone: what else they tell and their wording are
    drawn from k.
    """
    reports = []
    for number in range(PROMPTS):
        rng = random.Random(f"{label}-{number}")  # noqa: S311 -- wording, not secrets
        drawn = {key: rng.choice(values) for key, values in ELSE.items()}
        said = GRADES[label][grade]
        key, value = said[number % len(said)]
        known = {"laterality": "L", **drawn, key: value}
        told: Facts = {name: known[name] for name in KEYS if name in known and name in {*keys, key, "laterality"}}
        reports.append(write_template(told, str(number)).replace(" left ", " {side} "))
    return list(dict.fromkeys(reports))
