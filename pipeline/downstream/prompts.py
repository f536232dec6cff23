"""Zero-shot prompts: per method, label and grade an ensemble of sentences, phrased like the reports."""

# label -> grade -> sentences; {side} is the laterality of the image itself, `left` or `right`.
Ensembles = dict[str, dict[int, list[str]]]

# Reports open with the side and then state every finding and the category (pipeline/reports/template.py, and the LLM's
# habit). A prompt that leaves a fact out lies far from all of them: prompts are whole reports, and what else they say
# is the same on both sides of the question.
OPENING = "Mammogram of the {side} breast."
OPENINGS = (OPENING, "The {side} breast is shown.")
MASS = (
    ("No mass is seen.", "There is no mass.", "No mass is present."),
    ("A mass is seen.", "There is a mass.", "A mass is present."),
)
CALCIFICATION = (
    ("No calcifications are seen.", "There are no calcifications.", "No calcifications are present."),
    ("Calcifications are seen.", "There are calcifications.", "Calcifications are present."),
)
# ACR BI-RADS Atlas, 5th edition: assessment categories.
ASSESSMENTS = (
    "BI-RADS category 1, negative.",
    "BI-RADS category 2, benign.",
    "BI-RADS category 3, probably benign.",
    "BI-RADS category 4, suspicious.",
    "BI-RADS category 5, highly suggestive of malignancy.",
)


def _whole_reports(mass: tuple[int, ...], calcification: tuple[int, ...]) -> list[str]:
    """Every report with these findings (0 absent, 1 present), in three wordings and with every category."""
    return [
        f"{opening} {MASS[m][wording]} {CALCIFICATION[c][wording]} {assessment}"
        for opening in OPENINGS
        for m in mass
        for c in calcification
        for wording in range(len(MASS[0]))
        for assessment in ASSESSMENTS
    ]


OWN: Ensembles = {
    "mass": {present: _whole_reports((present,), (0, 1)) for present in (0, 1)},
    "calcification": {present: _whole_reports((0, 1), (present,)) for present in (0, 1)},
    # Malignancy is not a word of the reports; the assessment is (ACR BI-RADS Atlas, 5th edition: categories 1 and 2
    # against 4 and 5).
    "malignant": {
        0: [
            f"{OPENING} BI-RADS category 1, negative.",
            f"{OPENING} BI-RADS category 2, benign.",
            f"{OPENING} No mass is seen. No calcifications are seen. BI-RADS category 1, negative.",
        ],
        1: [
            f"{OPENING} BI-RADS category 5, highly suggestive of malignancy.",
            f"{OPENING} BI-RADS category 4, suspicious.",
            f"{OPENING} A mass is seen. BI-RADS category 5, highly suggestive of malignancy.",
        ],
    },
    # ACR BI-RADS Atlas, 5th edition: breast composition.
    "density": {
        0: [f"{OPENING} The breast is almost entirely fatty."],
        1: [f"{OPENING} There are scattered areas of fibroglandular density."],
        2: [f"{OPENING} The breast is heterogeneously dense."],
        3: [f"{OPENING} The breast is extremely dense."],
    },
    "birads": {grade: [f"{OPENING} {words}"] for grade, words in enumerate(ASSESSMENTS, start=1)},
}

# Mammo-CLIP's zero-shot prompts (method.md, Mammo-CLIP).
MAMMO_CLIP: Ensembles = {
    "mass": {0: ["no mass"], 1: ["mass"]},
    "calcification": {0: ["no suspicious calcification"], 1: ["suspicious calcification"]},
    "malignant": {0: ["no malignancy"], 1: ["malignancy"]},
}

METHODS = {"zero_shot": OWN, "zero_shot_mammo_clip": MAMMO_CLIP}
