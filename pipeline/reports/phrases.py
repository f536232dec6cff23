"""Reads what a report says of BI-RADS, density, age, views, side and vendor, and puts a token in each one's place."""

import re
from collections.abc import Callable
from typing import NamedTuple

from pipeline.reports.patterns import one_of
from pipeline.reports.prompt import KEYS, Facts, view_names
from pipeline.reports.wording import plain

Ages = tuple[int, int]
_Reader = Callable[[re.Match[str]], object]

_MEANING, _BIRADS, _DENSITY, _AGE = one_of("meaning"), one_of("birads", "any"), one_of("density"), one_of("age")
_VIEW, _NO_VIEW = one_of("view"), one_of("place", "absent_view")
_SIDE, _PLACE = one_of("side", "any"), one_of("place", "any")
_VENDORS = {key: one_of("vendor", key).pattern for key in ("ge", "fuji")}
_GRADES = {
    "i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6,
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6,
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6,
}  # fmt: skip
_DECADES = {
    "twent": 20, "thirt": 30, "fort": 40, "fift": 50, "sixt": 60, "sevent": 70, "eight": 80, "ninet": 90,
    "third": 20, "fourth": 30, "fifth": 40, "sixth": 50, "seventh": 60, "eighth": 70, "ninth": 80, "tenth": 90,
    "quadra": 40, "quinqua": 50, "sexa": 60, "septua": 70, "octo": 80, "nona": 90,
}  # fmt: skip


class Phrases(NamedTuple):
    """text: the report with tokens such as <density> in the place of what was read; found: values by key.

    A value of age_band is (least, greatest age); `meaning` holds the categories whose words are used.
    """

    text: str
    found: dict[str, set[object]]


def read_phrases(report: str, facts: Facts) -> Phrases:
    """Recognises every way of stating a key other than a finding, in lower case, in an order that matters."""
    text = plain(report, facts)
    found: dict[str, set[object]] = {}
    text = _take_views(text, facts, found)
    text = _take(text, "laterality", _SIDE, found, _side)
    if isinstance(vendor := facts.get("vendor"), str):
        words = _VENDORS.get(vendor.lower(), re.escape(vendor.lower()))
        text = _take(text, "vendor", re.compile(rf"(?<![\w-]){words}(?![\w-])"), found, lambda _: vendor.lower())
    text = _take_extra(text, facts, found)
    text = _take(text, "meaning", _MEANING, found, lambda match: int(str(match.lastgroup)[1:]))
    text = _take(text, "birads", _BIRADS, found, _grade)
    text = _take(text, "density", _DENSITY, found, _density)
    return Phrases(_take(text, "age_band", _AGE, found, _age), found)


def without_places(text: str) -> str:
    """The text without `in the left breast` and the like, which stand between a finding and what is said of it."""
    return " ".join(_PLACE.sub(" ", text).split())


def stated_ages(facts: Facts, found: set[object]) -> tuple[bool, bool]:
    """Whether the row's age band is stated, and whether something that does not hold it is."""
    low, high = (int(end) for end in str(facts["age_band"]).split("-"))
    ranges = [each for each in found if isinstance(each, tuple)]
    return (low, high) in found, any(not (each[0] <= low and high <= each[1]) for each in ranges)


def _take(text: str, key: str, pattern: re.Pattern[str], found: dict[str, set[object]], value: _Reader) -> str:
    """Notes every match in found and puts <key> in its place."""

    def note(match: re.Match[str]) -> str:
        found.setdefault(key, set()).add(value(match))
        return f" <{key}> "

    return " ".join(pattern.sub(note, text).split())


def _take_extra(text: str, facts: Facts, found: dict[str, set[object]]) -> str:
    """Annotations of an archive's own: the value as the table spells it, with or without the key before it."""
    for key in sorted(set(facts) - set(KEYS)):
        name, value = re.escape(key.lower()).replace("_", "[ _]"), re.escape(str(facts[key]).lower())
        pattern = re.compile(rf"(?:\b{name}(?:\s?[:=]| is| of| was)? )?(?<![\w-]){value}(?![\w-])")
        if pattern.search(text):
            found[key], text = {facts[key]}, " ".join(pattern.sub(" <extra> ", text).split())
    return text


def _take_views(text: str, facts: Facts, found: dict[str, set[object]]) -> str:
    """Views and their absence: `no MLO view` is true of a breast with a CC view alone."""
    text = re.sub(r"\bone (?=cc\b|mlo\b|cranio|medio)", "", text)
    text = " ".join(_VIEW.sub(lambda match: f" <{str(match.lastgroup)[1:]}> ", text).split())
    held = view_names(str(facts["views"])) if "views" in facts else []
    text = _NO_VIEW.sub(lambda match: match[0] if not held or match[1][1:-1].upper() in held else "", text)
    said = {name.upper() for name in ("cc", "mlo") if f"<{name}>" in text}
    if "<both>" in text:
        said |= {"CC", "MLO"}
    if said:
        found["views"] = set(said)
    return " ".join(text.split())


def _said(match: re.Match[str]) -> list[str]:
    """What the unnamed groups of a match hold."""
    named = set(match.re.groupindex.values())
    return [text for i, text in enumerate(match.groups(), start=1) if text and i not in named]


def _grade(match: re.Match[str]) -> int:
    """Of `BI-RADS 4`, `category four`, `the fourth BI-RADS category`."""
    word = _said(match)[0]
    return int(word) if word.isdigit() else _GRADES[word]


def _density(match: re.Match[str]) -> str:
    """The letter, stated or meant."""
    return (_said(match) or [str(match.lastgroup)[1:]])[0].upper()


def _age(match: re.Match[str]) -> Ages:
    """Least and greatest age of `50-59`, `fifties`, `late forties`, `sixth decade`."""
    kind, said = str(match.lastgroup)[1:], _said(match)
    if kind in ("range", "below"):
        return int(said[0]), int(said[1]) - (kind == "below")
    first = int(said[0]) * 10 if kind == "tens" else _DECADES[said[0]]
    return (first + 5 if kind == "late" else first), (first + 4 if kind == "early" else first + 9)


def _side(match: re.Match[str]) -> str:
    """L or R."""
    return _said(match)[0][0].upper()
