"""A lying report writer: fluent synthetic reports of one breast, each with one lie (now and then two) about its row.

The audit of written reports must refuse every one of them. `honest` writes the same prose without a lie.
"""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.reports import liar_phrases as words

Facts = dict[str, str | bool | int]
SECTIONS = (("laterality", "age_band", "views", "vendor"), ("density", "implant", "mass", "calcification"), ("birads",))
FINDINGS = ("mass", "calcification", "implant")
SLOT = re.compile(r"\{(\w+)\}")
INDEPENDENT = ("other organ", "person, place or date", "recommendation", "history")  # a second lie undoes no first one
HELD = {0: r"recall|spot", 6: r"biops"}  # what BI-RADS 0 and 6 come close to saying themselves


class Lie(NamedTuple):
    """A row, a report that is not faithful to it, and what is wrong with the report."""

    facts: Facts
    report: str
    kind: str


@dataclass
class Draft:
    """A report in the making: a true wording for every fact, until a lie changes it."""

    facts: Facts
    rng: random.Random
    terse: bool
    parts: dict[str, str] = field(default_factory=dict)
    extras: list[tuple[int, str]] = field(default_factory=list)  # (section, sentence)
    lied: set[str] = field(default_factory=set)
    flipped: bool = False  # every side named is the other one

    def put(self, key: str, wording: str) -> bool:
        """Replaces the sentence of a fact, or adds one the row lacks."""
        self.parts[key] = wording
        self.lied.add(key)
        return True

    def pick(self, wordings: str, named: dict[str, str] | None = None) -> str:
        """One of several wordings, filled."""
        return fill(self.rng.choice(wordings.split("|")).strip(), self.rng, named or {})

    def true(self, key: str, value: str | bool | int) -> str:
        """The plain wordings of any value, in this report's style."""
        return words.TRUE[("present" if value else "absent") if key in FINDINGS else key][self.terse]

    def say(self, key: str, value: str | bool | int) -> str:
        """A plain wording of any value, whether or not it is the row's."""
        return self.pick(self.true(key, value), naming(key, value))

    def other_value(self, key: str, value: str | bool | int) -> str | int:
        """A value that the fact does not have."""
        return self.rng.choice([other for other in words.NAMES[key] if other != value])

    def finding(self, present: bool | None = None) -> str:
        """A finding of the row, present or absent or either; empty where there is none."""
        return self.rng.choice([k for k in FINDINGS if k in self.facts and present in (None, self.facts[k])] or [""])


def lies(seed: int, count: int) -> Iterator[Lie]:
    """Yields lying reports, all kinds in turn, the same for the same seed."""
    rng = random.Random(seed)
    kinds: list[str] = []
    for _ in range(count):
        kinds = kinds or rng.sample(WEIGHTED, len(WEIGHTED))
        kind = kinds.pop()
        draft = _draft(rng)
        while not KINDS[kind](draft):
            draft = _draft(rng)
        if rng.random() < 0.06:
            second = rng.choice([other for other in INDEPENDENT if other != kind])
            kind += f" + {second}" if KINDS[second](draft) else ""
        yield Lie(draft.facts, _render(draft), kind)


def honest(seed: int, count: int) -> Iterator[tuple[Facts, str]]:
    """Yields rows with faithful reports in the liar's prose: an audit that refuses these too has proved nothing."""
    rng = random.Random(seed)
    for _ in range(count):
        draft = _draft(rng)
        yield draft.facts, _render(draft)


def row(rng: random.Random) -> Facts:
    """A clinically coherent row: no finding in BI-RADS 1, a mass or calcification from BI-RADS 3 on."""
    birads = rng.choices(range(7), (2, 4, 4, 2, 3, 2, 1))[0]
    mass, calcification = (False, False) if birads == 1 else (rng.random() < 0.5, rng.random() < 0.5)
    if birads >= 3 and not (mass or calcification):
        mass, calcification = rng.choice(((True, False), (False, True)))
    every: dict[str, tuple[str | bool | int, float]] = {
        "laterality": (rng.choice("LR"), 1.0),
        "age_band": (rng.choice(list(words.NAMES["age_band"])), 0.36),
        "views": (rng.choice(("CC+MLO", "CC+MLO", "CC", "MLO")), 0.36),
        "implant": (birads != 1 and rng.random() < 0.5, 0.2),
        "vendor": (rng.choice(list(words.NAMES["vendor"])), 0.2),
        "density": (rng.choice("ABCD"), 0.93),
        "mass": (mass, 0.85 if calcification or birads < 3 else 1.0),
        "calcification": (calcification, 0.85 if not mass or birads < 3 else 0.9),
        "birads": (birads, 0.93),
    }
    facts = {key: value for key, (value, share) in every.items() if rng.random() < share}
    return facts if birads < 3 or facts.get("mass") or facts.get("calcification") else row(rng)


def naming(key: str, value: str | bool | int) -> dict[str, str]:
    """What a value puts into the slots of its wordings."""
    return words.NOUNS[key] if key in FINDINGS else words.NAMES[key][value]


def fill(template: str, rng: random.Random, named: dict[str, str]) -> str:
    """Fills a wording from named words, random terms and random numbers; a slot nothing fills stays."""
    used: set[str] = set()

    def word(slot: re.Match[str]) -> str:
        name = slot[1]
        if name in words.NUMBERS:
            return str(rng.randint(*words.NUMBERS[name]))
        terms = [term.strip() for term in words.SLOTS.get(name, named.get(name, slot[0])).split("|")]
        term = rng.choice([term for term in terms if term not in used] or terms)
        used.add(term)
        return term if term == slot[0] else SLOT.sub(word, term)

    return SLOT.sub(word, template)


def _draft(rng: random.Random) -> Draft:
    draft = Draft(row(rng), rng, terse=rng.random() < 0.3)
    draft.parts = {key: draft.say(key, value) for key, value in draft.facts.items()}
    return draft


def _opposite(draft: Draft, key: str, plain: float) -> str:
    """A wording of a finding that contradicts the row; plain is the share of everyday wordings."""
    present = bool(draft.facts.get(key, False))
    if draft.rng.random() < plain:
        return draft.say(key, not present)
    return draft.pick(words.DENIED if present else f"{words.CLAIMED}|{words.SYNONYMS[key]}", words.NOUNS[key])


def _inverted(draft: Draft) -> bool:
    facts, key = draft.facts, draft.finding()
    if key and key != "implant" and {"mass", "calcification"} <= facts.keys() and draft.rng.random() < 0.25:
        truth = (facts["mass"], facts["calcification"])
        draft.parts.pop("calcification")
        return draft.put("mass", draft.pick(words.PAIRS[draft.rng.choice([p for p in words.PAIRS if p != truth])]))
    return bool(key) and draft.put(key, _opposite(draft, key, plain=0.25))


def _contradiction(draft: Draft) -> bool:
    """Says the truth and, elsewhere, something else."""
    key = draft.rng.choice([*FINDINGS, "mass", "calcification", "density", "birads"])
    if key not in draft.facts:
        return False
    if key not in FINDINGS:
        wording = draft.say(key, draft.other_value(key, draft.facts[key]))
    elif draft.facts[key] or draft.rng.random() < 0.4:
        wording = _opposite(draft, key, plain=0.5)
    else:
        wording = draft.pick(words.REFERRED, words.NOUNS[key])
    draft.extras.append((draft.rng.choice((1, 2)), wording))
    draft.lied.add(key)
    return True


def _swapped_side(draft: Draft) -> bool:
    way = draft.rng.random()
    if way < 0.35:
        draft.flipped = True
        return True
    if way < 0.65:
        key = draft.rng.choice([key for key, part in draft.parts.items() if "{side}" in part])
        return draft.put(key, draft.parts[key].replace("{side}", "{other}"))
    table = draft.rng.choice(list(words.SIDES))
    key = draft.finding() if table == "finding" else table
    if key not in draft.facts:
        return False
    named = naming(key, draft.facts[key]) | {"finding": "{a}" if draft.facts[key] else "no {n}"}
    return draft.put(key, draft.pick(words.SIDES[table], named))


def _left_out(draft: Draft) -> bool:
    """Leaves a fact out, in silence or behind a sentence that says nothing."""
    key = draft.rng.choice(list(draft.facts))
    draft.parts.pop(key)
    draft.lied.add(key)
    if key == "laterality":
        draft.parts = {k: re.sub(r" on the \{side\}|\{side\}", "", part) for k, part in draft.parts.items()}
    if draft.rng.random() < 0.45:
        wording = draft.pick(words.EMPTY["finding" if key in FINDINGS else key], words.NOUNS.get(key))
        draft.put(key, wording)
    return True


def _wrong_subject(draft: Draft) -> bool:
    key = draft.rng.choice(list(draft.facts))
    if key == "laterality":
        return False
    value = draft.facts[key]
    table = ("present" if value else "absent") if key in FINDINGS else key
    seen = f"the {draft.finding(present=True)}"
    named = naming(key, value) | {"subject": draft.pick(words.SUBJECTS)}
    if seen != "the " and key not in FINDINGS and draft.rng.random() < 0.6:
        named["subject"] = seen
    return draft.put(key, draft.pick(words.WRONG_SUBJECT[table], named))


def _changed(key: str) -> Callable[[Draft], bool]:
    """Another value, a value the row does not hold, or (where a letter or number comes with words) half of one."""

    def tell(draft: Draft) -> bool:
        if key not in draft.facts and draft.rng.random() < 0.7:
            return False
        value = draft.facts.get(key, draft.rng.choice(list(words.NAMES[key])))
        other = draft.other_value(key, value)
        true, false, way = naming(key, value), naming(key, other), draft.rng.random()
        worded = "|".join(text for text in draft.true(key, value).split("|") if "{w}" in text and text.count("{") > 1)
        if way < 0.3:
            return draft.put(key, draft.say(key, other))
        if way < 0.6 and worded:
            half = draft.rng.choice([{"w": false["w"]}, {slot: word for slot, word in false.items() if slot != "w"}])
            return draft.put(key, draft.pick(worded, true | half))
        special = words.CHANGED.get(f"{key}={value}")
        table = special if special and draft.rng.random() < 0.4 else words.CHANGED[key]
        return draft.put(key, draft.pick(table, true | {f"{slot}2": word for slot, word in false.items()}))

    return tell


def _invented(kind: str) -> Callable[[Draft], bool]:
    """Something no row holds; of a finding only where the row has one."""
    section, wordings = words.INVENTED[kind]

    def tell(draft: Draft) -> bool:
        key = draft.finding(present=True)
        never = [HELD.get(int(draft.facts.get("birads", -1)), "$^"), *([] if key else [r"\{(a|n)\}"])]
        fit = [text.strip() for text in wordings.split("|") if not re.search("|".join(never), text)]
        if not fit:
            return False
        template = draft.rng.choice(fit)
        wording = draft.pick(template, words.NOUNS.get(key, {}) | naming("density", draft.facts.get("density", "B")))
        if "{a}" in template and key not in draft.lied:
            return draft.put(key, wording)
        draft.extras.append((section, wording))
        return True

    return tell


def _unheld(kind: str, share: float, claim: Callable[[Draft, str], str]) -> Callable[[Draft], bool]:
    """A finding the row is silent on, or else one that no row mentions; "negative" does say that there is none."""

    def tell(draft: Draft) -> bool:
        silent = [key for key in FINDINGS if key not in draft.facts]
        key = draft.rng.choice(silent or [""])
        if kind == "unsupported negative" and draft.facts.get("birads") == 1:
            return False
        return draft.put(key, claim(draft, key)) if key and draft.rng.random() < share else _invented(kind)(draft)

    return tell


KINDS: dict[str, Callable[[Draft], bool]] = {kind: _invented(kind) for kind in words.INVENTED} | {
    "inverted finding": _inverted,
    "contradiction": _contradiction,
    "swapped side": _swapped_side,
    "left-out fact": _left_out,
    "wrong subject": _wrong_subject,
    "changed category": _changed("birads"),
    "changed density": _changed("density"),
    "changed age": _changed("age_band"),
    "changed views": _changed("views"),
    "changed vendor": _changed("vendor"),
    "added finding": _unheld("added finding", 0.4, lambda draft, key: _opposite(draft, key, plain=0.3)),
    "unsupported negative": _unheld("unsupported negative", 0.25, lambda draft, key: draft.say(key, False)),
}
OFTEN = ("swapped side", "added finding", "left-out fact", "changed category", "contradiction")
WEIGHTED = [*KINDS, *OFTEN, *["inverted finding"] * 3]


def _render(draft: Draft) -> str:
    """Orders the sentences, joins some of them and lays the report out."""
    rng, parts, facts = draft.rng, draft.parts, draft.facts
    plain = set(parts) - draft.lied
    if {"mass", "calcification"} <= plain and not draft.terse and rng.random() < 0.45:
        pairs = words.PAIRS[bool(facts["mass"]), bool(facts["calcification"])]
        known = "laterality" in plain
        parts["mass"] = draft.pick("|".join(text for text in pairs.split("|") if known or "{side}" not in text))
        parts.pop("calcification")
    elsewhere = any("{side}" in parts[key] for key in plain & parts.keys() - {"laterality"})
    if "laterality" in plain and elsewhere and rng.random() < 0.4:
        parts.pop("laterality")
    right = (facts["laterality"] == "R") != draft.flipped
    sides = {"side": "right" if right else "left", "other": "left" if right else "right"}
    done: list[str] = []
    for number, keys in enumerate(SECTIONS):
        order = [key for key in keys if key in parts]
        kept = 1 if number == 0 and rng.random() < 0.75 else 0
        texts = [parts[key] for key in order[:kept] + rng.sample(order[kept:], len(order[kept:]))]
        for _, wording in (extra for extra in draft.extras if extra[0] == number):
            texts.insert(rng.randint(min(1, len(texts)), len(texts)), wording)
        done.append(_sentences([fill(text, rng, sides) for text in texts], draft.terse, rng))
    layout = rng.random()
    if layout < 0.3:
        lines = [f"{head}: {text}" for head, text in zip(rng.choice(words.HEADINGS), done, strict=True) if text]
        return rng.choice(("\n", " ", "\n\n")).join(lines)
    return " ".join(text for text in (done if layout < 0.85 else done[2:] + done[:2]) if text)


def _sentences(texts: list[str], terse: bool, rng: random.Random) -> str:
    """Sentences of clauses, with an opener or a conjunction here and there; semicolons between some terse ones."""
    joined: list[str] = []
    for text in (re.sub(r"\s+", " ", text).strip(" ,") for text in texts):
        simple = not terse and not re.search("[,:;]", text)
        if joined and simple and not re.search("[,:;]", joined[-1]) and rng.random() < 0.25:
            joined[-1] += rng.choice((", and ", "; ", ", while ")) + text
        elif simple and " is seen" in text and rng.random() < 0.3:
            joined.append(rng.choice(words.OPENERS) + text)
        else:
            joined.append(text)
    if terse and joined and rng.random() < 0.4:
        joined = ["; ".join(joined)]
    return " ".join(text[:1].upper() + text[1:] + "." for text in joined)
