"""Every word of a report that is no recognised phrase: neutral, a count of what is there, or the code of a claim."""

from collections.abc import Iterator

from pipeline.reports.lexicon import CLAIMS, NEUTRAL
from pipeline.reports.patterns import FINDING_NAMES, read_refused
from pipeline.reports.prompt import Facts, view_names

_FINDINGS = {f"<{key}>" for key in FINDING_NAMES}
_TOKENS = _FINDINGS | {
    "<birads>", "<meaning>", "<density>", "<age_band>", "<vendor>", "<laterality>", "<cc>", "<mlo>", "<both>",
    "<extra>",
}  # fmt: skip
# Words that repeat a density in part.
_DENSITY_WORDS = {"dense": "CD", "fatty": "AB", "fat": "AB", "scattered": "B", "fibroglandular": "ABCD"}
_BOTH_WORDS = {"both"}
_BOTH = {"<cc>", "<mlo>", "views", "projections", "present", "seen", "visible", "absent", "lacking", "are", "were"}
_COUNTS = {"one": 1, "two": 2, "three": 3}
_PRESENT_NOUNS = {"finding", "findings", "observation", "observations", "feature", "features", "things"}
_COUNTABLE = _PRESENT_NOUNS | set("view views projection projections image images plane planes pictures films".split())
_WHAT_ONE_DOES = {
    "sees", "finds", "notes", "identifies", "observes", "reads", "recognises", "recognizes", "is",
    "discerns", "perceives", "encounters", "detects", "can", "cannot",
}  # fmt: skip
_COMPLETE = {"complete", "completed"}
_ONLY = {"only", "alone", "solely", "sole", "single"}
# What is neutral of an age alone: `the age group 50-59`, not `a group of calcifications`.
_AGE_WORDS = set("year years old older decade decades group groups bracket brackets band bands".split())
_REFUSED = read_refused()
_KNOWN = NEUTRAL | _TOKENS | set(".,;:()-=!/&'\"[]+*#|•")


def check_words(tokens: list[str], facts: Facts) -> Iterator[str]:
    """Codes of the tokens that say, or could say, something that the row does not hold."""
    numbering = _numbering(tokens)
    for i, token in enumerate(tokens):
        following = tokens[i + 1 : i + 6]
        if i in numbering or (token in _BOTH_WORDS and _both_of_what_is_there(tokens, i)):
            continue
        if token in _COUNTS and _counts_what_is_there(token, following[:2], facts):
            continue
        if token in _ONLY and not (_all_views(tokens[max(i - 6, 0) : i + 7], facts) or _is_only(following, facts)):
            yield "hedge"  # `only the mass is seen` says something of the rest
        if (
            token in _COMPLETE
            and facts.get("birads") == 0
            and {"assessment", "evaluation"} & set(tokens[max(i - 6, 0) : i])
        ):
            yield "wrong_birads"
        if token in _AGE_WORDS and "<age_band>" in tokens[max(i - 6, 0) : i + 7]:
            continue
        if token in _DENSITY_WORDS:
            if str(facts.get("density", "-")) not in _DENSITY_WORDS[token]:
                yield "unclear_density"
        elif token.isdigit():
            yield "number"
        else:
            yield from _check_word(token)


def check_phrases(report: str) -> Iterator[str]:
    """Codes of phrases that say more than their words do."""
    text = " ".join(report.lower().replace("n't", " not").split())
    yield from (code for code, pattern in _REFUSED if pattern.search(text))


def _numbering(tokens: list[str]) -> set[int]:
    """Places of the numbers that merely number the statements: `1. ... 2. ...`."""
    places = [
        i
        for i, token in enumerate(tokens[:-1])
        if token.isdigit() and tokens[i + 1] in (".", ")") and (i == 0 or tokens[i - 1] in (".", ";", ":", "("))
    ]
    counted = [tokens[i] for i in places]
    return set(places) if len(places) > 1 and counted == [str(n + 1) for n in range(len(places))] else set()


def _counts_what_is_there(token: str, following: list[str], facts: Facts) -> bool:
    """`two findings`, `one view`, `one sees`: a number that the row holds, or no number at all."""
    counted = next((word for word in following[:2] if word in _COUNTABLE), None)
    if counted in _PRESENT_NOUNS:
        return sum(facts.get(key) is True for key in FINDING_NAMES) == _COUNTS[token]
    if counted:
        return "views" in facts and len(view_names(str(facts["views"]))) == _COUNTS[token]
    pronoun = following[:1] in ([word] for word in _WHAT_ONE_DOES) or following == ["of", "<density>"]
    return _COUNTS[token] == 1 and pronoun


def _all_views(around: list[str], facts: Facts) -> bool:
    """`only the CC view`, of a breast with that view alone."""
    held = {f"<{view.lower()}>" for view in view_names(str(facts.get("views", "none")))}
    return held <= set(around) or "<both>" in around


def _is_only(following: list[str], facts: Facts) -> bool:
    """`only calcifications`: of the findings in C, the row holds this one alone."""
    held = [f"<{key}>" for key in FINDING_NAMES if facts.get(key) is True]
    return len(held) == 1 and held[0] in following


def _both_of_what_is_there(tokens: list[str], place: int) -> bool:
    """Both views or both findings, not both breasts."""
    named = [token for token in tokens[max(place - 10, 0) : place] if token in _FINDINGS | {"<cc>", "<mlo>"}]
    for token in tokens[place + 1 : place + 5]:
        if token in ("breast", "breasts", "side", "sides", "<laterality>"):
            return False
        if token in _BOTH or token in _FINDINGS:
            return True
    return len(named) == 2


def _check_word(token: str) -> Iterator[str]:
    """A word, or the parts of one with hyphens."""
    if token in _KNOWN:
        return
    for part in token.split("-"):
        if part not in NEUTRAL:
            yield next((code for code, words in CLAIMS.items() if token in words or part in words), "unlisted_word")
