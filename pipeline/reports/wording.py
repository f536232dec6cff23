"""Brings the many ways of wording a mammography report to fewer, before phrases and polarity are read."""

import re

from pipeline.reports.patterns import one_of, read_rewrites, read_turns
from pipeline.reports.prompt import Facts

_UNITS = {word: i for i, word in enumerate("one two three four five six seven eight nine".split(), start=1)}
_TENS = {
    word: 10 * i for i, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
_NUMBER = re.compile(
    rf"\b({'|'.join(_TENS)})[- ]({'|'.join(_UNITS)})\b|\b({'|'.join(_TENS)})(?=[ -](?:to|and|through)\b)"
)
_TURN, _REWRITES = read_turns(), read_rewrites()
_DENSE, _NO_MALIGNANCY, _INCOMPLETE = (one_of("clause", key) for key in ("dense", "no_malignancy", "incomplete"))


def plain(report: str, facts: Facts) -> str:
    """Lower case, plain quotes and dashes, single spaces, numbers as digits, fewer ways to say the same.

    What merely explains the row's density or BI-RADS category is left out.

    >>> plain("It is not without a mass; the patient is forty-five to forty-nine.", {})
    'it is with a mass; the patient is 45 to 49.'
    """
    text = _TURN.sub(" ", _NUMBER.sub(_digits, report.lower()))
    text = _without_standard_clauses(" ".join(text.split()), facts)
    for pattern, words in _REWRITES:
        text = pattern.sub(words, text)
    return " ".join(text.split())


def _without_standard_clauses(text: str, facts: Facts) -> str:
    """Leaves out what merely explains the row's density or BI-RADS category."""
    if facts.get("density") in ("C", "D"):
        text = _DENSE.sub("", text)
    if facts.get("birads") in (1, 2):
        text = _NO_MALIGNANCY.sub("", text)
    return _INCOMPLETE.sub("", text) if facts.get("birads") == 0 else text


def _digits(match: re.Match[str]) -> str:
    """`forty-five` -> 45."""
    tens, unit, alone = match.groups()
    return str(_TENS[tens] + _UNITS[unit]) if tens else str(_TENS[alone])
