"""The annotation subset C of one breast, and the prompt made of it: prefix, key = value, suffix."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

Facts = Mapping[str, str | bool | int]

# Every key a report may speak of, in the order in which prompts and reports state them. No identifier, no date. What a
# private archive names under `extra` (docs/datasets.md) follows, in alphabetical order.
KEYS = ("laterality", "age_band", "views", "implant", "vendor", "density", "mass", "calcification", "birads")
# What is known before anyone reads the images: the annotation set `pre_reading` (design.md, `write_reports`).
PRE_READING_KEYS = ("age_band", "views", "laterality", "density", "implant", "vendor")
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
        keys: Keys of C, in any order: KEYS, or names in the row's `extra`.

    Raises:
        ValueError: the row has no laterality.
    """
    extra = {key for key in keys if key not in KEYS}
    chosen = {key: row[key] for key in KEYS if key == "laterality" or key in keys}
    if extra and pd.notna(row["extra"]):
        told = json.loads(str(row["extra"]))
        chosen |= {key: told[key] for key in sorted(extra & set(told))}
    known = {key: _plain(key, value) for key, value in chosen.items() if pd.notna(value)}
    if "laterality" not in known:
        raise ValueError("a breast without laterality cannot have a report; `filter` should have left it out")
    return known


def write_prompt(facts: Facts, version: str) -> str:
    """The prompt of one breast; the same for every breast with the same facts. Source: MV-MLM, section 3.1.

    Args:
        facts: From `select_facts`.
        version: Which wording of prefix and suffix, prompts/<version>_*.txt: `v1` is short, for small models; `v2`
            summarises the table, explains the keys present and repeats the instruction in detail, as the paper says.
    """
    table = "\n".join(f"{key} = {spell_value(key, value)}" for key, value in facts.items())
    summary = " ".join(_sentence(key, value) for key, value in facts.items())
    keys = "\n".join(f"{key} = {_explanations(version).get(key, 'a further finding')}" for key in facts)
    suffix = _read_part(version, "suffix").replace("{summary}", summary).replace("{keys}", keys)
    return f"{_read_part(version, 'prefix')}\n\n{table}\n\n{suffix}"


def short_digest(text: str) -> str:
    """The first 16 hexadecimal digits of SHA-256: the id of a prompt or of a report."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def view_names(views: str) -> list[str]:
    """`CC+MLO` -> ["CC", "MLO"]."""
    return views.split("+")


def spell_value(key: str, value: str | bool | int) -> str:
    """The right side of `key = value`, in the words of the BI-RADS lexicon."""
    if isinstance(value, bool):
        return "present" if value else "absent"
    if isinstance(value, int):
        return f"{value} ({BIRADS_WORDS[value]})"
    words = {"laterality": SIDES.get(value), "density": DENSITY_WORDS.get(value), "views": value.replace("+", " and ")}
    return words.get(key) or value


def _plain(key: str, value: object) -> str | bool | int:
    """The value as Python's own type, so that equal rows give equal prompts whatever table library read them."""
    if key in ("implant", "mass", "calcification"):
        return bool(value)
    return int(str(value)) if key == "birads" else str(value)


def _sentence(key: str, value: str | bool | int) -> str:
    """The same in words: the summary of the table that the suffix gives."""
    words = spell_value(key, value)
    if isinstance(value, bool):
        name = {"mass": "mass", "calcification": "calcifications", "implant": "implant"}[key]
        verb = "are" if key == "calcification" else "is"
        present = name.capitalize() if key == "calcification" else f"{'An' if key == 'implant' else 'A'} {name}"
        return f"{present} {verb} seen." if value else f"No {name} {verb} seen."
    known = {
        "laterality": f"The {words} breast is shown.",
        "age_band": f"The patient is {words} years old.",
        "views": f"The views are {words}.",
        "vendor": f"The machine is {words}.",
        "density": f"The breast {'has' if value == 'B' else 'is'} {words}.",
        "birads": f"The BI-RADS category is {str(words).replace(' (', ', ').rstrip(')')}.",
    }
    return known.get(key) or f"The {key} is {words}."


@cache
def _explanations(version: str) -> dict[str, str]:
    """What each key means; none are given in v1."""
    file = _FOLDER / f"{version}_keys.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return dict(line.split(" = ", 1) for line in lines)


@cache
def _read_part(version: str, part: str) -> str:
    """One part of the prompt's text, from prompts/<version>_<part>.txt."""
    return (_FOLDER / f"{version}_{part}.txt").read_text(encoding="utf-8").strip()
