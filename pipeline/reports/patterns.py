"""The regular expressions of the report audit, read from phrases, rewrites and refused.toml, macros filled in."""

import re
import tomllib
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
# How each finding is called; every name becomes one token <key>.
FINDING_NAMES = {
    "mass": r"(?:focal )?mass(?:es)?(?: lesions?)?|space[- ]occupying lesions?",
    "calcification": r"(?:micro-?)?calcifications?|calcs?"
    r"|(?:micro-?)?calcifi(?:c|ed) (?:deposits?|foci|particles|densities)|calcium(?: deposits?)?|deposits? of calcium",
    "implant": r"(?:breast )?implants?|(?:breast )?prosthes[ie]s",
}
_MACRO = re.compile("@([A-Z_]+)@")
_PHRASES = tomllib.loads((_FOLDER / "phrases.toml").read_text(encoding="utf-8"))


def one_of(table: str, *keys: str) -> re.Pattern[str]:
    """The alternatives of some keys of a table of phrases.toml, in that order.

    Args:
        table: Its name.
        *keys: Which of its lists; none: all of them, each as a group of its own name.
    """
    lists: dict[str, list[str]] = _PHRASES[table]
    if keys:
        return re.compile("|".join(_fill(each, _PHRASES["macros"]) for key in keys for each in lists[key]))
    named = (f"(?P<k{key}>{'|'.join(_fill(each, _PHRASES['macros']) for each in lists[key])})" for key in lists)
    return re.compile("|".join(named))


def read_rewrites() -> list[tuple[re.Pattern[str], str]]:
    """The rules of rewrites.toml: a pattern and what takes its place, in order."""
    rules, macros = _read("rewrites.toml", "rules")
    return [(re.compile(_fill(pattern, macros)), words) for pattern, words in rules]


def read_refused() -> list[tuple[str, re.Pattern[str]]]:
    """Codes of refused.toml with the patterns that give them."""
    lists, macros = _read("refused.toml", "refused")
    return [(code, re.compile("|".join(_fill(each, macros) for each in patterns))) for code, patterns in lists.items()]


def read_turns() -> re.Pattern[str]:
    """Turns of phrase that say nothing, though some of their words alone would; the longer ones first."""
    turns = (_FOLDER / "neutral_phrases.txt").read_text(encoding="utf-8").splitlines()
    return re.compile(rf"\b(?:{'|'.join(sorted(turns, key=len, reverse=True))})\b,?")


def _read(file: str, part: str) -> tuple[Any, dict[str, str]]:
    """One part of a file, and its macros with FINDING, every name of a finding."""
    content = tomllib.loads((_FOLDER / file).read_text(encoding="utf-8"))
    return content[part], {**content["macros"], "FINDING": "|".join(FINDING_NAMES.values())}


def _fill(pattern: str, macros: dict[str, str]) -> str:
    """The pattern with every @MACRO@ replaced, also within macros."""
    while _MACRO.search(pattern):
        pattern = _MACRO.sub(lambda match: macros[match[1]], pattern)
    return pattern
