"""The report that stands in where the LLM's fails: a small seeded grammar over the facts, and nothing but the facts."""

import random

from pipeline.reports.prompt import BIRADS_WORDS, DENSITY_WORDS, KEYS, SIDES, Facts, view_names

_MASS = {
    True: ("There is a mass", "A mass is seen", "A mass is present"),
    False: ("There is no mass", "No mass is seen", "No mass is present"),
}
_CALCIFICATION = {
    True: ("There are calcifications", "Calcifications are seen", "Calcifications are present"),
    False: ("There are no calcifications", "No calcifications are seen", "No calcifications are present"),
}
_IMPLANT = {
    True: ("There is an implant", "An implant is seen", "An implant is present"),
    False: ("There is no implant", "No implant is seen", "No implant is present"),
}


def write_template(facts: Facts, seed: str) -> str:
    """A short report that states every fact, worded by chance but the same for the same seed.

    Args:
        facts: What the row holds, from `prompt.select_facts`.
        seed: Of the choice of words: the prompt's id and the number of the variant.

    Returns:
        One to five sentences that pass `audit.audit` by construction, fewer than 90 word pieces for the demo's C.
    """
    rng = random.Random(seed)  # noqa: S311 -- wording, not secrets
    findings = [
        rng.choice(phrases[bool(facts[key])])
        for key, phrases in (("implant", _IMPLANT), ("mass", _MASS), ("calcification", _CALCIFICATION))
        if key in facts
    ]
    sentences = [_subject(facts, rng), *_machine(facts), *_density(facts, rng), *_join(findings, rng)]
    further = [f"{key.capitalize()}: {value}." for key, value in facts.items() if key not in KEYS]
    return " ".join([*sentences, *further, *_assessment(facts, rng)])


def _subject(facts: Facts, rng: random.Random) -> str:
    """Side, age and views."""
    side, age = SIDES[str(facts["laterality"])], facts.get("age_band")
    views = " and ".join(view_names(str(facts["views"]))) + " views" if "views" in facts else ""
    opening = rng.choice((f"Mammogram of the {side} breast", f"Mammographic examination of the {side} breast"))
    patient = rng.choice((f" of a patient aged {age} years", f" in a patient of {age} years")) if age else ""
    return opening + patient + (f" with {views}." if views else ".")


def _machine(facts: Facts) -> list[str]:
    """The vendor, as the dataset writes it."""
    return [f"The images were acquired with a {facts['vendor']} machine."] if "vendor" in facts else []


def _density(facts: Facts, rng: random.Random) -> list[str]:
    """Breast composition in the words of BI-RADS."""
    if "density" not in facts:
        return []
    words = DENSITY_WORDS[str(facts["density"])]
    if facts["density"] == "B":
        return [rng.choice((f"There are {words}.", f"The breast shows {words}."))]
    return [rng.choice((f"The breast is {words}.", f"The breast tissue is {words}.", f"Breast composition: {words}."))]


def _join(findings: list[str], rng: random.Random) -> list[str]:
    """One sentence or one per finding. A semicolon ends the reach of a `no`; a comma would leave it open."""
    if len(findings) > 1 and rng.random() < 0.5:
        return ["; ".join([findings[0], *(f[0].lower() + f[1:] for f in findings[1:])]) + "."]
    return [f"{finding}." for finding in findings]


def _assessment(facts: Facts, rng: random.Random) -> list[str]:
    """BI-RADS category with its meaning."""
    if "birads" not in facts:
        return []
    grade = int(facts["birads"])
    name, words = f"BI-RADS category {grade}", BIRADS_WORDS[grade]
    return [rng.choice((f"{name}, {words}.", f"{name}: {words}.", f"The assessment is {name}, {words}."))]
