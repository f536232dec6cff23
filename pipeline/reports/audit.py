"""Whether a report says what its row holds, all of it and nothing else; in doubt it is refused.

A report is read three times: recognised phrases (age band, BI-RADS, density, side, views, vendor) are compared with
the row and replaced by tokens; mentions of findings are read with their polarity; every word left must be in
`lexicon.ALLOWED`. A false refusal costs a template, a false acceptance teaches the model something untrue.
"""

import re
from collections.abc import Iterator

from pipeline.reports.lexicon import ALLOWED, CLAIMS, NEGATIONS
from pipeline.reports.polarity import FINDING_WORDS, read_mentions, split_tokens
from pipeline.reports.prompt import BIRADS_WORDS, SIDES, Facts, view_names

_BIRADS = re.compile(
    r"\bbi-?\s?rads(?:(?: (?:category|score|assessment|classification|rating|final|overall|is|of|a|as)|\s?[:=]))*\s*"
    r"([0-6])(?![\w-]|\.\d)|(?<!density )(?<!density is )\bcategory(?: (?:is|of))? ([0-6])(?![\w-]|\.\d)"
)
# Longest first, so that `probably benign` is not read as `benign`.
_MEANT = sorted(BIRADS_WORDS, key=lambda grade: len(BIRADS_WORDS[grade]), reverse=True)
_MEANING = re.compile("|".join(rf"\b({re.escape(BIRADS_WORDS[grade])})\b" for grade in _MEANT))
_DENSITY = re.compile(
    r"(almost entirely fatty)|(scattered areas of fibroglandular density|scattered fibroglandular densit(?:y|ies))"
    r"|(heterogeneously dense)|(extremely dense)"
    r"|\bdensity(?: (?:category|type|grade|is|of)|\s?[:=])* ([a-d])(?=[.,;)]|$| and\b)"
)
_AGE = re.compile(r"(?:between )?\b(\d+)\s?(?:-|–|to|and)\s?(\d+)\b(?:-year-old| years old)?")
_VIEWS = {"cc": "CC", "craniocaudal": "CC", "mlo": "MLO"}
_SIDE_STATED = re.compile(
    r"\b(left|right)(?:-sided)? (?:breast|mammogram|side)\b|\blaterality(?: is|\s?[:=]) (left|right)\b"
)
_FINDINGS = {word for words in FINDING_WORDS.values() for word in words}
_LINKS = {"is", "are", "was", "were", "of", "as"}
_SUBJECTS = {
    "breast",
    "tissue",
    "density",
    "composition",
    "parenchyma",
    "pattern",
    "category",
    "assessment",
    "<birads>",
}
_PUNCTUATION = set(".,;:()-=!")


def audit(report: str, facts: Facts) -> list[str]:
    """Codes of what is wrong with a report; empty if it may be used.

    Args:
        report: One paragraph.
        facts: What the row holds, from `prompt.select_facts`.

    Returns:
        Sorted, distinct codes. missing_<key>: the row holds it, the report does not say so; wrong_<key>: it says
        otherwise; asserted_<key>: the row does not hold the key at all; unclear_<finding>, unclear_negation,
        unclear_density, unclear_subject: not to be decided by these rules; number, unlisted_word and the keys of
        lexicon.CLAIMS: something else is said.
    """
    text = " ".join(report.lower().replace("’", "'").replace("–", "-").replace("'s ", " ").split())
    found: dict[str, set[object]] = {key: set() for key in ("age_band", "vendor", "birads", "density", "meaning")}
    text = _take_phrases(text, facts, found)
    tokens = split_tokens(text)
    found["laterality"] = {"LR"[word == "right"] for word in tokens if word in ("left", "right")}
    found["views"] = {_VIEWS[word] for word in tokens if word in _VIEWS}
    codes = [*_compare(found, facts), *_check_findings(tokens, facts), *_check_subjects(tokens), *_check_words(tokens)]
    if not _SIDE_STATED.search(text):
        codes.append("missing_laterality")
    return sorted(set(codes))


def _take_phrases(text: str, facts: Facts, found: dict[str, set[object]]) -> str:
    """Notes every recognised phrase in `found` and puts a token such as <density> in its place."""

    def take(key: str, pattern: re.Pattern[str], text: str) -> str:
        def note(match: re.Match[str]) -> str:
            group = next(i for i, value in enumerate(match.groups()) if value is not None)
            found[key].add(_meaning(key, group, match))
            return f"<{key}>"

        return pattern.sub(note, text)

    if isinstance(vendor := facts.get("vendor"), str):
        text = take("vendor", re.compile(rf"(?<!\w)({re.escape(vendor.lower())})(?!\w)"), text)
    for key, pattern in (("birads", _BIRADS), ("meaning", _MEANING), ("density", _DENSITY), ("age_band", _AGE)):
        text = take(key, pattern, text)
    return text.replace("mediolateral oblique", "mlo")


def _meaning(key: str, group: int, match: re.Match[str]) -> object:
    """The value, in the row's terms, that the group-th alternative of a pattern stands for."""
    if key == "birads":
        return int(match[group + 1])
    if key == "meaning":
        return _MEANT[group]
    if key == "density":
        return "ABCD"[group] if group < len("ABCD") else match[group + 1].upper()
    return f"{match[1]}-{match[2]}" if key == "age_band" else match[1]


def _compare(found: dict[str, set[object]], facts: Facts) -> Iterator[str]:
    """Recognised values against the row's."""
    expected: dict[str, set[object]] = {key: {value} for key, value in facts.items()}
    if "views" in facts:
        expected["views"] = set(view_names(str(facts["views"])))
    if "vendor" in facts:
        expected["vendor"] = {str(facts["vendor"]).lower()}
    for key in ("laterality", "age_band", "views", "vendor", "density", "birads"):
        if key not in expected and found[key]:
            yield f"asserted_{key}"
        elif found[key] - expected.get(key, set()):
            yield f"wrong_{key}"
        elif expected.get(key, set()) - found[key]:
            yield f"missing_{key}"
    if found["meaning"]:
        if "birads" not in facts:
            yield "asserted_birads"
        elif found["meaning"] != {facts["birads"]}:
            yield "wrong_birads"


def _check_findings(tokens: list[str], facts: Facts) -> Iterator[str]:
    """Presence and absence of every finding, and negations that belong to none."""
    mentions = read_mentions(tokens)
    for key in FINDING_WORDS:
        said = {mention.present for mention in mentions if mention.finding == key}
        if key not in facts:
            yield from [f"asserted_{key}"] if said else []
        elif not said:
            yield f"missing_{key}"
        elif None in said:
            yield f"unclear_{key}"
        elif said != {facts[key]}:
            yield f"wrong_{key}"
    used = {place for mention in mentions for place in mention.negations}
    if any(token in NEGATIONS and i not in used for i, token in enumerate(tokens)):
        yield "unclear_negation"


def _check_subjects(tokens: list[str]) -> Iterator[str]:
    """Density and assessment belong to the breast: `a mass is seen and is extremely dense` says something else."""
    for i, token in enumerate(tokens):
        if token not in ("<density>", "<meaning>", "<birads>") or tokens[max(i - 1, 0)] not in _LINKS:
            continue
        nouns = [word for word in tokens[: i - 1] if word in _FINDINGS | _SUBJECTS | {"."}]
        if (nouns and nouns[-1] in _FINDINGS) or tokens[max(i - 2, 0)] == "patient":
            yield "unclear_subject"


def _check_words(tokens: list[str]) -> Iterator[str]:
    """Every token that is no recognised phrase, finding, side, view or allowed word."""
    known = ALLOWED | _FINDINGS | set(_VIEWS) | set(SIDES.values()) | _PUNCTUATION
    for token in tokens:
        if token in ("dense", "fatty", "fibroglandular", "scattered"):
            yield "unclear_density"
        elif token.isdigit():
            yield "number"
        elif token not in known and not token.startswith("<"):
            yield next((code for code, words in CLAIMS.items() if token in words), "unlisted_word")
