"""The annotation subset C of one breast, and the prompt made of it: prefix, key = value, suffix."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

Facts = Mapping[str, str | bool | int]

# Every key a report may speak of, in the order in which prompts and reports state them. No identifier, no date.
KEYS = ("laterality", "age_band", "views", "implant", "vendor", "density", "mass", "calcification", "birads")
# What is known before anyone reads the images: the annotation set `pre_reading` (design.md, `write_reports`).
PRE_READING_KEYS = ("age_band", "views", "laterality", "density", "implant", "vendor")
PROMPT_VERSION = "v1"
SIDES = {"L": "left", "R": "right"}
# The words of BI-RADS, 5th edition (mammography: breast composition; assessment categories).
DENSITY_WORDS = {
    "A": "almost entirely fatty",
    "B": "scattered areas of fibroglandular density",
    "C": "heterogeneously dense",
    "D": "extremely dense",
}
BIRADS_WORDS = {
    0: "incomplete",
    1: "negative",
    2: "benign",
    3: "probably benign",
    4: "suspicious",
    5: "highly suggestive of malignancy",
    6: "known biopsy-proven malignancy",
}
_FOLDER = Path(__file__).parent / "prompts"


def select_facts(row: Mapping[str, Any], keys: Sequence[str]) -> Facts:
    """What C holds of one breast: laterality always, a key without a value never.

    Args:
        row: One row of tables.ANNOTATIONS.
        keys: Keys of C, in any order.

    Raises:
        ValueError: a key is not in KEYS, or the row has no laterality.
    """
    if unknown := sorted(set(keys) - set(KEYS)):
        raise ValueError(f"keys of C: {unknown} unknown; allowed: {KEYS}")
    chosen = {key: row[key] for key in KEYS if key == "laterality" or key in keys}
    known = {key: _plain(key, value) for key, value in chosen.items() if pd.notna(value)}
    if "laterality" not in known:
        raise ValueError("a breast without laterality cannot have a report; `filter` should have left it out")
    return known


def write_prompt(facts: Facts) -> str:
    """The prompt of one breast; the same for every breast with the same facts. Source: MV-MLM, section 3.1."""
    table = "\n".join(f"{key} = {_value(key, facts[key])}" for key in KEYS if key in facts)
    summary = " ".join(_sentence(key, facts[key]) for key in KEYS if key in facts)
    prefix, suffix = _read_part("prefix"), _read_part("suffix").replace("{summary}", summary)
    return f"{prefix}\n\n{table}\n\n{suffix}"


def short_digest(text: str) -> str:
    """The first 16 hexadecimal digits of SHA-256: the id of a prompt or of a report."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def view_names(views: str) -> list[str]:
    """`CC+MLO` -> ["CC", "MLO"]."""
    return views.split("+")


def _plain(key: str, value: object) -> str | bool | int:
    """The value as Python's own type, so that equal rows give equal prompts whatever table library read them."""
    if key in ("implant", "mass", "calcification"):
        return bool(value)
    return int(str(value)) if key == "birads" else str(value)


def _value(key: str, value: str | bool | int) -> str:
    """The right side of `key = value`."""
    if isinstance(value, bool):
        return "present" if value else "absent"
    if isinstance(value, int):
        return f"{value} ({BIRADS_WORDS[value]})"
    words = {"laterality": SIDES.get(value), "density": DENSITY_WORDS.get(value), "views": value.replace("+", " and ")}
    return words.get(key) or value


def _sentence(key: str, value: str | bool | int) -> str:
    """The same in words: the summary of the table that the suffix gives."""
    words = _value(key, value)
    if isinstance(value, bool):
        name = {"mass": "mass", "calcification": "calcifications", "implant": "implant"}[key]
        verb = "are" if key == "calcification" else "is"
        present = name.capitalize() if key == "calcification" else f"{'An' if key == 'implant' else 'A'} {name}"
        return f"{present} {verb} seen." if value else f"No {name} {verb} seen."
    return {
        "laterality": f"The {words} breast is shown.",
        "age_band": f"The patient is {words} years old.",
        "views": f"The views are {words}.",
        "vendor": f"The machine is {words}.",
        "density": f"The breast {'has' if value == 'B' else 'is'} {words}.",
        "birads": f"The BI-RADS category is {str(words).replace(' (', ', ').rstrip(')')}.",
    }[key]


def _read_part(name: str) -> str:
    """One part of the prompt's text, from prompts/<part>_<version>.txt."""
    return (_FOLDER / f"{name}_{PROMPT_VERSION}.txt").read_text(encoding="utf-8").strip()
