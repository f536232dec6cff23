"""Whether a sentence says that a finding is present or absent; ambiguous wording counts as neither."""

import re
from typing import Literal, NamedTuple

FINDING_WORDS = {
    "mass": ("mass", "masses"),
    "calcification": ("calcification", "calcifications"),
    "implant": ("implant", "implants"),
}
_FINDING_OF = {word: key for key, words in FINDING_WORDS.items() for word in words}

# Words that may stand between a cue and its finding, and words that join findings into one list.
_FILLERS = {"a", "an", "any", "visible", "evidence", "sign", "signs", "of", "breast", "presence"}
_ARTICLES = {"a", "an", "any"}
_JOINERS = {"and", "or", "nor", ","}
_NEGATIVE = {"no", "without", "neither", "absence", "lack"}
_STRONG = {
    "shows", "show", "showing", "reveals", "reveal", "demonstrates", "demonstrate", "contains", "contain",
    "has", "have", "displays", "display", "exhibits", "exhibit",
}  # fmt: skip
_WEAK = {"with", "includes", "including"}
_VERBS = {"is", "are", "was", "were", "=", ":", "also", "been", "has", "have"}
_SEEN = {
    "present", "seen", "visible", "noted", "identified", "detected", "observed", "found", "visualized",
    "visualised", "evident",
}  # fmt: skip


class Mention(NamedTuple):
    """finding: key of FINDING_WORDS; present: True, False or None (unclear); negations: token positions used up."""

    finding: str
    present: bool | None
    negations: tuple[int, ...]


Before = Literal["no", "strong", "weak", "nothing", "unclear"]
After = Literal["absent", "seen", "one_of_several", "nothing", "unclear"]

# What both sides of a mention say together; every other pair is unclear (`no mass is absent`).
_PRESENT: dict[tuple[Before, After], bool] = {
    ("no", "nothing"): False,
    ("no", "seen"): False,
    ("no", "one_of_several"): False,
    ("nothing", "absent"): False,
    ("weak", "absent"): False,
    ("nothing", "seen"): True,
    ("weak", "nothing"): True,
    ("weak", "seen"): True,
    ("strong", "nothing"): True,
    ("strong", "seen"): True,
}


def split_tokens(text: str) -> list[str]:
    """Lower-case words (hyphens kept), numbers and single punctuation marks.

    >>> split_tokens("No mass, 50-59.")
    ['no', 'mass', ',', '50', '-', '59', '.']
    """
    return re.findall(r"<\w+>|[a-z]+(?:-[a-z]+)*|\d+|\S", text.lower())


def read_mentions(tokens: list[str]) -> list[Mention]:
    """Every mention of a finding, in order, with what is said of it.

    >>> read_mentions(split_tokens("No mass or calcification is seen."))[1].present
    False
    """
    return [_read_mention(tokens, i) for i, token in enumerate(tokens) if token in _FINDING_OF]


def _read_mention(tokens: list[str], place: int) -> Mention:
    """What the words on both sides of tokens[place] say of it."""
    before, negations_before = _cue_before(tokens, place)
    after, negations_after = _cue_after(tokens, place)
    return Mention(_FINDING_OF[tokens[place]], _PRESENT.get((before, after)), negations_before + negations_after)


def _cue_before(tokens: list[str], place: int) -> tuple[Before, tuple[int, ...]]:
    """Walks left over fillers and listed findings to `no`, `without`, `there is`, `shows`, `with`, ..."""
    i = place - 1
    while i >= 0 and (tokens[i] in _FILLERS | _JOINERS or tokens[i] in _FINDING_OF):
        i -= 1
    crossed = tokens[i + 1 : place]
    cue, earlier = tokens[i] if i >= 0 else "", tokens[i - 1] if i >= 1 else ""
    does_not_show = cue in _STRONG and earlier == "not"
    if cue in _NEGATIVE or does_not_show:
        # `no mass and calcification`, `no mass, calcification`: how far the negation reaches is not said
        return ("unclear" if {"and", ","} & set(crossed) else "no"), (i - 1 if does_not_show else i,)
    if cue.startswith("<") and not crossed:  # `suspicious mass`, `extremely dense mass`: says more than the row
        return "unclear", ()
    there_is = earlier == "there" and cue in ("is", "are", "was", "were")
    if there_is or cue in _STRONG or "presence" in crossed:
        return ("unclear" if {"or", "nor"} & set(crossed) else "strong"), ()
    return ("weak" if cue in _WEAK and not {"or", "nor"} & set(crossed) else "nothing"), ()


def _cue_after(tokens: list[str], place: int) -> tuple[After, tuple[int, ...]]:
    """Walks right over listed findings and verbs to `present`, `not seen`, `absent`, ..."""
    i = place + 1
    while i < len(tokens) and (tokens[i] in _JOINERS | _ARTICLES or tokens[i] in _FINDING_OF):
        i += 1
    crossed = set(tokens[place + 1 : i])
    while i < len(tokens) and tokens[i] in _VERBS:
        i += 1
    word, following = (*tokens[i : i + 2], "", "")[:2]
    if word == "absent":
        return "absent", (i,)
    if word == "not" and following in _SEEN:  # `a mass and calcifications are not seen`: both, or not both?
        return ("unclear" if crossed & _JOINERS else "absent"), (i,)
    if crossed & {"or", "nor"}:
        return "one_of_several", ()
    return ("seen" if word in _SEEN else "nothing"), ()
