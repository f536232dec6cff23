"""Whether a sentence says that a finding is present or absent; ambiguous wording counts as neither."""

import re
from typing import Literal, NamedTuple

from pipeline.reports.cues import ABSENT, BE, BUT, ENDS, FILLERS, FREE, HOLLOW, JOINERS, NO, SEEN, SHOW, WITH
from pipeline.reports.lexicon import FUNCTION
from pipeline.reports.patterns import FINDING_NAMES

_TOKEN = re.compile(r"<\w+>|[a-z]+(?:-[a-z]+)*|\d+|\S")


class Mention(NamedTuple):
    """finding: key of FINDING_NAMES; present: True, False or None (unclear); negations: token positions used up."""

    finding: str
    present: bool | None
    negations: tuple[int, ...]


Before = Literal["no", "present", "listed", "bare", "one_of", "unclear"]
After = Literal["absent", "seen", "bare", "one_of", "unclear"]

# What both sides of a mention say together; every other pair is unclear (`no mass is absent`).
_PRESENT: dict[tuple[Before, After], bool] = {
    ("no", "bare"): False,
    ("no", "seen"): False,
    ("no", "one_of"): False,
    ("bare", "absent"): False,
    ("one_of", "absent"): False,
    ("listed", "absent"): False,
    ("listed", "bare"): True,
    ("listed", "seen"): True,
    ("bare", "seen"): True,
    ("bare", "bare"): True,
    ("present", "bare"): True,
    ("present", "seen"): True,
}


def split_tokens(text: str) -> list[str]:
    """Lower-case words (hyphens kept), numbers, single punctuation marks, and one token per finding.

    >>> split_tokens("No focal mass, 50-59.")
    ['no', '<mass>', ',', '50', '-', '59', '.']
    """
    text = text.lower()
    for key, names in FINDING_NAMES.items():
        text = re.sub(rf"(?<![\w-])(?:{names})(?![\w-])", f"<{key}>", text)
    return _TOKEN.findall(text)


def read_mentions(tokens: list[str]) -> list[Mention]:
    """Every mention of a finding, in order, with what is said of it.

    >>> read_mentions(split_tokens("No mass or calcification is seen."))[1].present
    False
    """
    return [_read_mention(tokens, i) for i, token in enumerate(tokens) if token[1:-1] in FINDING_NAMES]


def _read_mention(tokens: list[str], place: int) -> Mention:
    """What the words on both sides of tokens[place] say of it."""
    before, negations_before = _cue_before(tokens, place)
    after, negations_after = _cue_after(tokens, place)
    return Mention(tokens[place][1:-1], _PRESENT.get((before, after)), negations_before + negations_after)


def _is_finding(token: str) -> bool:
    return token[1:-1] in FINDING_NAMES


def _cue_before(tokens: list[str], place: int) -> tuple[Before, tuple[int, ...]]:
    """Walks left over fillers and listed findings to `no`, `without`, `there is`, `shows`, `with`, ..."""
    i, crossed = place - 1, []
    while i >= 0 and (tokens[i] in FILLERS | JOINERS | {"<meaning>"} or _is_finding(tokens[i])):
        if tokens[i] == "nor":
            break
        crossed.append(tokens[i])
        i -= 1
    cue, earlier, third = (tokens[j] if j >= 0 else "" for j in (i, i - 1, i - 2))
    negation = _negation(tokens, i, crossed)
    if negation is not None:
        # `no mass and calcification`, `no mass, calcification`: how far the negation reaches is not said; nor does
        # `no suspicious mass` say that there is none
        closed = cue in FREE or tokens[negation] in ("lack", "lacks", "absent") or cue == ":" or "or" in crossed
        if cue in FREE and "," in _between(crossed):
            return "unclear", (negation,)
        open_list = not closed and {"and", ",", "plus", "&"} & set(_between(crossed))
        return ("unclear" if open_list or "<meaning>" in crossed else "no"), (negation,)
    if (cue in HOLLOW and {"of", "for"} & set(crossed)) or not _leads_to(tokens, place):
        return "unclear", ()
    if cue == "<density>" and not crossed:  # `extremely dense mass`: says more than the row
        return "unclear", ()
    if {"or", "either"} & set(crossed):
        return "one_of", ()
    listed = any(_is_finding(token) for token in crossed)
    shown = cue in SHOW | WITH and (listed or not {",", "and"} & set(crossed))  # `..., and` starts a new statement
    if shown or (cue in BE and "there" in (earlier, third)) or "presence" in crossed:
        return ("listed" if listed else "present"), ()
    return "bare", ()


def _leads_to(tokens: list[str], place: int) -> bool:
    """Whether nothing narrows the finding down: `an old mass` says more than the row, `no old mass` less."""
    before = tokens[place - 1] if place else "."
    known = FILLERS | JOINERS | NO | FREE | SHOW | WITH | BE | SEEN | FUNCTION
    return before in known or not before[0].isalpha()


def _negation(tokens: list[str], i: int, crossed: list[str]) -> int | None:
    """Where the negation stands that the cue at i is or belongs to."""
    cue, earlier, third = (tokens[j] if j >= 0 else "" for j in (i, i - 1, i - 2))
    if cue in ("no", "absent", "nil", "none") and tokens[i + 1] == "," and i > 0 and _is_finding(tokens[i - 1]):
        return None  # `mass no, calcification no`
    if (
        cue in NO
        or (cue == "lack" and "of" not in crossed)
        or (cue == "not" and ((crossed and crossed[-1] in FILLERS) or earlier in BUT))
    ):
        return i
    if cue in FREE and {"of", "from", "for"} & set(crossed):
        return i
    if cue in SHOW and {",", "and"} & set(crossed) and not any(_is_finding(token) for token in crossed):
        return None  # `a mass is not shown, and calcification ...`
    if cue in SHOW and earlier in ("not", "never"):
        return i - 1
    if cue in SHOW and earlier == "to" and third in ("fails", "failed", "fail"):
        return i - 2
    stated = _stated_before(tokens, i) if cue in (":", "-", "is", "are", "absent") else None
    return stated if stated is not None or cue not in BE | SHOW | {"there"} else _inverted_nor(tokens, i)


def _between(crossed: list[str]) -> list[str]:
    """What stands between the listed findings; without another finding, only a joining `and`."""
    last = max((i for i, token in enumerate(crossed) if _is_finding(token)), default=-1)
    return crossed[: last + 1] if last >= 0 else [word for word in crossed if word == "and"]


def _stated_before(tokens: list[str], i: int) -> int | None:
    """The place of the negation in `not seen is any mass`, `absent: calcification`."""
    while i > 0 and tokens[i] in ("is", "are", ":", "-"):
        i -= 1
    if i >= 0 and tokens[i] == "absent" and tokens[i + 1] != ",":
        return i
    return i - 1 if i > 0 and tokens[i] in SEEN and tokens[i - 1] == "not" else None


def _inverted_nor(tokens: list[str], i: int) -> int | None:
    """The place of `nor` in `nor is there any calcification`, `nor does it show calcifications`."""
    while i >= 0 and tokens[i] in BE | SHOW | {"there", "it", "i", "we"}:
        i -= 1
    return i if i >= 0 and tokens[i] in ("nor", "neither") else None


def _cue_after(tokens: list[str], place: int) -> tuple[After, tuple[int, ...]]:
    """Walks right over listed findings and verbs to `present`, `not seen`, `absent`, ..."""
    i = _end_of_list(tokens, place)
    one_of: After = "one_of" if {"or", "nor"} & set(tokens[place + 1 : i]) else "bare"
    start = i
    while i < len(tokens) and tokens[i] in BE:
        i += 1
    word, following = (*tokens[i : i + 2], "", "")[:2]
    cannot = "cannot" in tokens[start:i]
    if i > start and word in HOLLOW and tokens[i + 1 : i + 3] not in (["as", "<birads>"], ["as", "<meaning>"]):
        return "unclear", ()
    if word in ("not", "never") and following in BE | SEEN:
        seen = next((token for token in tokens[i + 1 : i + 4] if token not in BE), "")
        return ("absent" if seen in SEEN else "unclear"), (i,)
    if cannot:
        return ("absent" if word in SEEN or word in ENDS else "unclear"), (tokens.index("cannot", start),)
    if word in ("+", "-") and following in (".", ",", ";", ""):
        return ("seen" if word == "+" else "absent"), ()
    third = tokens[i + 2] if i + 2 < len(tokens) else ""
    if word == "," and (following in ("none", "nil") or (following in ("no", "absent") and third in ENDS)):
        return "absent", (i + 1,)
    if word == "," and following in ("yes", "present") and third in ENDS:
        return "seen", ()
    if word == "absent" or (
        word in ABSENT and following in ENDS and (i > start or word != "not" or following in (".", ";", ""))
    ):
        return "absent", (i,)
    stands = i > start or word in ("present", "seen") or following in ENDS | {"in", "within", "on", "at"}
    if word in SEEN and stands:
        return ("seen" if one_of == "bare" else "one_of"), ()
    return one_of, ()


def _end_of_list(tokens: list[str], place: int) -> int:
    """The token after the list of findings that tokens[place] stands in."""
    i = place + 1
    while i < len(tokens) and (tokens[i] in JOINERS | {"a", "an", "any"} or _is_finding(tokens[i])):
        i += 1
    return i if any(_is_finding(token) for token in tokens[place + 1 : i]) else place + 1
