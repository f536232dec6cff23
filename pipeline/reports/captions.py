"""MaMA's structured caption: what one row of the cohort table says of its image, a sentence a fact, in fixed order."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from pipeline.reports.prompt import BIRADS_WORDS, DENSITY_WORDS, SIDES

# What is told of patient and image rather than seen in it: each is withheld by chance, so that images and texts are
# not told apart by it. Source: MaMA (arXiv 2409.18119), method.md, MaMA, `Caption`; the order is its released code's.
MASKED = ("age", "race", "ethnicity", "image_type", "side", "view")
# Ages above 89 identify a patient: one category. Source: HIPAA, 45 CFR 164.514(b)(2)(i)(C).
TOP_AGE_YEARS = 90
# Of one caption, at most: one per section, three of findings.
MAX_SENTENCES = 10
_UNKNOWN = "unknown"
_COLUMN_OF = dict(zip(MASKED, ("age_years", "race", "ethnicity", "image_type", "laterality", "view"), strict=True))
# First word of the draws. Seeds are below 2**31 (sections.Run), so that no draw which begins with a seed repeats it.
_DRAW = 2**31 + 1


def caption(row: Mapping[str, Any], masked: Collection[str]) -> list[str]:
    """The sentences of one image's caption, to be joined by spaces.

    Sections in MaMA's order: procedure, reason, patient, image, breast composition, findings, impressions, overall
    assessment (method.md, MaMA, `Caption`). A column that the row lacks is left out. A null says `unknown` of what
    MASKED names and is left out elsewhere: unknown is not negative.

    Other than in MaMA's code, findings are what the table holds of implant, mass and calcification, not what a BI-RADS
    category suggests; they name neither side nor view, so that masking cannot be undone by reading on. The vendor is
    left out, as in MaMA: nothing would mask it.

    Args:
        row: One row of tables.COHORT; an archive that has them may add the columns procedure, reason, race, ethnicity
            and image_type, which hold categories, never free text. Other columns are not read.
        masked: Names in MASKED that are `unknown` this time, from `draw_masked`; none when a model is evaluated.

    Returns:
        One sentence per fact. How many there are, and what those after the image say, does not depend on masked.

    Raises:
        ValueError: masked holds a name that is not in MASKED.
    """
    if strange := set(masked) - set(MASKED):
        raise ValueError(f"cannot mask {sorted(strange)}; allowed: {', '.join(MASKED)}")
    sections = {
        "Procedure": _category(row, "procedure"),
        "Reason": _category(row, "reason"),
        "Patient": _patient(row, masked),
        "Image": _image(row, masked),
        "Breast composition": _composition(row),
        "Findings": _findings(row),
        "Impressions": [f"BI-RADS category {grade}, {words}" for grade, words in _birads(row)],
        "Overall assessment": [words for _, words in _birads(row)],
    }
    return [f"{section}: {sentence}." for section, sentences in sections.items() for sentence in sentences]


def draw_masked(seed: int, epoch: int, key: int, probability: float) -> frozenset[str]:
    """What is `unknown` in one image's caption in one epoch: each name in MASKED with the same probability.

    It depends on (seed, epoch, key) alone: not on the batch, worker or rank the image is in.

    Args:
        seed: Of the run.
        epoch: Number of the epoch.
        key: A number per image that stays the same over epochs and runs.
        probability: Of each name, 0 to 1; MaMA's is 0.8 (method.md, MaMA, `Caption`).
    """
    numbers = np.random.default_rng([_DRAW, seed, epoch, key]).random(len(MASKED))
    return frozenset(name for name, number in zip(MASKED, numbers, strict=True) if number < probability)


def _value(row: Mapping[str, Any], column: str) -> Any:
    """The value of a column; None where it is null, or the row lacks the column."""
    value = row.get(column)
    return None if pd.isna(value) else value


def _category(row: Mapping[str, Any], column: str) -> list[str]:
    """The value as the table writes it."""
    value = _value(row, column)
    return [] if value is None else [str(value)]


def _told(row: Mapping[str, Any], masked: Collection[str], name: str, words: str) -> str:
    """The words with the value of one of MASKED, or with `unknown`; empty if the row lacks its column."""
    column = _COLUMN_OF[name]
    if column not in row:
        return ""
    value = None if name in masked else _value(row, column)
    if value is None:
        return words.format(_UNKNOWN)
    if name == "age":
        return words.format(int(value) if value < TOP_AGE_YEARS else f"{TOP_AGE_YEARS} or more")
    return words.format(SIDES[value] if name == "side" else value)


def _patient(row: Mapping[str, Any], masked: Collection[str]) -> list[str]:
    """Age, race and ethnicity, as far as the row has columns for them."""
    wording = {"age": "{} years old", "race": "race {}", "ethnicity": "ethnicity {}"}
    parts = [told for name, words in wording.items() if (told := _told(row, masked, name, words))]
    return [", ".join(parts)] if parts else []


def _image(row: Mapping[str, Any], masked: Collection[str]) -> list[str]:
    """Image type, side and view, as far as the row has columns for them."""
    kind = _told(row, masked, "image_type", "{} ")
    place = _told(row, masked, "side", " of the {} breast") + _told(row, masked, "view", ", {} view")
    return [f"{kind}mammogram{place}"] if kind or place else []


def _composition(row: Mapping[str, Any]) -> list[str]:
    """Breast density in the words of BI-RADS."""
    density = _value(row, "density")
    if density is None:
        return []
    return [("there are " if density == "B" else "the breast is ") + DENSITY_WORDS[density]]


def _findings(row: Mapping[str, Any]) -> list[str]:
    """What is seen and what is not, one sentence each: local alignment looks for each in the image."""
    phrases = {
        "implant": ("no implant is seen", "an implant is seen"),
        "mass": ("no mass is seen", "a mass is seen"),
        "calcification": ("no calcifications are seen", "calcifications are seen"),
    }
    seen = {column: _value(row, column) for column in phrases}
    return [phrases[column][bool(value)] for column, value in seen.items() if value is not None]


def _birads(row: Mapping[str, Any]) -> list[tuple[int, str]]:
    """The BI-RADS category and its meaning; empty where it is unknown."""
    value = _value(row, "birads")
    return [] if value is None else [(int(value), BIRADS_WORDS[int(value)])]
