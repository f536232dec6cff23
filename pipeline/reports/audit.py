"""Whether a report says what its row holds, all of it and nothing else; in doubt it is refused.

A report is read three times: recognised phrases (age band, BI-RADS, density, side, views, vendor) are compared with
the row and replaced by tokens; mentions of findings are read with their polarity; every word left must be in
`lexicon.NEUTRAL`. A false refusal costs a template, a false acceptance teaches the model something untrue.
"""

from collections.abc import Iterator

from pipeline.reports.lexicon import NEGATIONS
from pipeline.reports.patterns import FINDING_NAMES
from pipeline.reports.phrases import read_phrases, stated_ages, without_places
from pipeline.reports.polarity import read_mentions, split_tokens
from pipeline.reports.prompt import KEYS, Facts, view_names
from pipeline.reports.vocabulary import check_phrases, check_words

_STATED = ("laterality", "age_band", "views", "vendor", "density", "birads")
_LINKS = {"is", "are", "was", "were", "of", "as"}
_SUBJECTS = {
    "breast", "tissue", "density", "composition", "parenchyma", "pattern", "category", "assessment", "<birads>",
    "mammogram", "it", "study", "examination",
}  # fmt: skip
_MACHINES = {"machine", "unit", "system", "<vendor>"}
_PERSONS = {"patient", "woman", "lady"}
_IMAGES = {"image", "images", "view", "views", "projection"}
# What these cannot be said of: images may be suspicious and a patient may be BI-RADS 4, neither is extremely dense.
_NO_SUBJECTS = {
    "<density>": _MACHINES | _PERSONS | _IMAGES,
    "<meaning>": _MACHINES | _PERSONS,
    "<birads>": _MACHINES,
}
_SURROUNDINGS = {"background", "within", "amid", "amidst"}  # a mass on a background of <density>
_CLAUSE = {".", ";", ",", "(", ":", "-"}
_FINDINGS = {f"<{key}>" for key in FINDING_NAMES}


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
    text, found = read_phrases(report, facts)
    tokens = split_tokens(text)
    codes = [
        *_compare(found, facts),
        *_check_findings(split_tokens(without_places(text)), facts),
        *_check_subjects(tokens),
        *check_words(tokens, facts),
        *check_phrases(report),
    ]
    return sorted(set(codes))


def _compare(found: dict[str, set[object]], facts: Facts) -> Iterator[str]:
    """Recognised values against the row's."""
    expected: dict[str, set[object]] = {key: {value} for key, value in facts.items()}
    if "views" in facts:
        expected["views"] = set(view_names(str(facts["views"])))
    if "vendor" in facts:
        expected["vendor"] = {str(facts["vendor"]).lower()}
    for key in (*_STATED, *sorted(set(facts) - set(KEYS))):
        if code := _compare_key(key, expected.get(key), found.get(key, set()), facts):
            yield f"{code}_{key}"
    if meant := found.get("meaning"):
        if "birads" not in facts:
            yield "asserted_birads"
        elif meant != {facts["birads"]}:
            yield "wrong_birads"


def _compare_key(key: str, expected: set[object] | None, said: set[object], facts: Facts) -> str | None:
    """`asserted`, `wrong` or `missing`; None where the report says what the row holds."""
    if expected is None:
        return "asserted" if said else None
    stated, wrong = not expected - said, bool(said - expected)
    if key == "age_band":
        stated, wrong = stated_ages(facts, said)
    return "wrong" if wrong else None if stated else "missing"


def _check_findings(tokens: list[str], facts: Facts) -> Iterator[str]:
    """Presence and absence of every finding, and negations that belong to none."""
    mentions = read_mentions(tokens)
    for key in FINDING_NAMES:
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
    """Density belongs to the breast: `a mass is seen and is extremely dense` says something else."""
    for i, word in enumerate(tokens):
        if word not in _NO_SUBJECTS:
            continue
        nouns, linked = _nouns_before(tokens, i), tokens[max(i - 1, 0)] in _LINKS
        if linked and nouns and nouns[-1] in _NO_SUBJECTS[word] and not set(nouns) & _SUBJECTS:
            yield "unclear_subject"
        following = next((word for word in tokens[i + 1 : i + 3] if word != "<laterality>"), "")
        around = _SURROUNDINGS & set(tokens[max(i - 3, 0) : i])
        if word == "<density>" and nouns and nouns[-1] in _FINDINGS and following not in _SUBJECTS and not around:
            yield "unclear_subject"


def _nouns_before(tokens: list[str], place: int) -> list[str]:
    """What a statement at this place could be about, back to where its clause begins."""
    before = _without_brackets(tokens[:place])
    start = max((i for i, token in enumerate(before) if token in _CLAUSE), default=-1)
    return [word for word in before[start + 1 :] if word in _FINDINGS | _SUBJECTS | _NO_SUBJECTS["<density>"]]


def _without_brackets(tokens: list[str]) -> list[str]:
    """The tokens but for what stands in closed brackets."""
    kept: list[str] = []
    for word in tokens:
        if word == ")" and "(" in kept:
            del kept[len(kept) - 1 - kept[::-1].index("(") :]
        else:
            kept.append(word)
    return kept
