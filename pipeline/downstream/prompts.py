"""Zero-shot prompts: per method, label and grade an ensemble of sentences, phrased like the reports."""

# label -> grade -> sentences; {side} is the laterality of the image itself, `left` or `right`.
Ensembles = dict[str, dict[int, list[str]]]

# Reports open with the side and then state findings (pipeline/reports/template.py).
OPENING = "Mammogram of the {side} breast."

OWN: Ensembles = {
    "mass": {
        0: [
            f"{OPENING} No mass is seen.",
            f"{OPENING} There is no mass.",
            f"{OPENING} No mass is present.",
            "No mass is seen in the {side} breast.",
            "There is no mass in the {side} breast.",
        ],
        1: [
            f"{OPENING} A mass is seen.",
            f"{OPENING} There is a mass.",
            f"{OPENING} A mass is present.",
            "A mass is seen in the {side} breast.",
            "There is a mass in the {side} breast.",
        ],
    },
    "calcification": {
        0: [
            f"{OPENING} No calcifications are seen.",
            f"{OPENING} There are no calcifications.",
            f"{OPENING} No calcifications are present.",
            "No calcifications are seen in the {side} breast.",
            "There are no calcifications in the {side} breast.",
        ],
        1: [
            f"{OPENING} Calcifications are seen.",
            f"{OPENING} There are calcifications.",
            f"{OPENING} Calcifications are present.",
            "Calcifications are seen in the {side} breast.",
            "There are calcifications in the {side} breast.",
        ],
    },
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
    # ACR BI-RADS Atlas, 5th edition: assessment categories.
    "birads": {
        1: [f"{OPENING} BI-RADS category 1, negative."],
        2: [f"{OPENING} BI-RADS category 2, benign."],
        3: [f"{OPENING} BI-RADS category 3, probably benign."],
        4: [f"{OPENING} BI-RADS category 4, suspicious."],
        5: [f"{OPENING} BI-RADS category 5, highly suggestive of malignancy."],
    },
}

# Mammo-CLIP's zero-shot prompts (method.md, Mammo-CLIP).
MAMMO_CLIP: Ensembles = {
    "mass": {0: ["no mass"], 1: ["mass"]},
    "calcification": {0: ["no suspicious calcification"], 1: ["suspicious calcification"]},
    "malignant": {0: ["no malignancy"], 1: ["malignancy"]},
}

METHODS = {"zero_shot": OWN, "zero_shot_mammo_clip": MAMMO_CLIP}
