"""Who is in a synthetic archive: patients, exams, breasts and findings, tied as in (enriched) screening.

Order of causes: age -> density; findings -> BI-RADS; suspicious findings -> cancer seen at the exam; age, density and
benign findings -> later cancer; censoring by the end of follow-up. Cancers are far more frequent than in screening
(about 5 per 1000 there), as in a case-control sample, so that few patients give narrow intervals.
"""

from typing import Literal, NamedTuple

import numpy as np

Adapter = Literal["table", "vindr", "rsna"]
Kind = Literal["mass", "calcification"]
DAYS_PER_YEAR = 365.25
# Shares of density A, B, C, D in US screening: 10, 40, 40, 10 % (BI-RADS atlas, 5th ed.): normal quantiles.
DENSITY_CUTS = (-1.28, 0.0, 1.28)


class Law(NamedTuple):
    """Frequencies of one archive, all enriched.

    detected: share of patients with a cancer seen at their last exam, at age 58; benign_mass, benign_calcification:
    share of breasts; second_exam: share of patients; yearly_hazard: of later cancer at density B, age 58, no finding.
    """

    detected: float
    benign_mass: float
    benign_calcification: float
    second_exam: float
    yearly_hazard: float


LAWS: dict[Adapter, Law] = {
    "table": Law(0.28, 0.16, 0.15, 0.2, 0.016),
    "vindr": Law(0.26, 0.18, 0.18, 0.0, 0.016),
    "rsna": Law(0.56, 0.10, 0.10, 0.0, 0.016),
}
IMPLANT_SHARE = 0.01
# Shares chosen with the contrasts of phantom_lesions for the difficulty that bench/phantom_difficulty.py measures:
# lesions that one view alone shows, lesions too faint for most readers, and places without a lesion left empty.
HIDDEN_IN_ONE_VIEW = 0.06
OCCULT = 0.12
EMPTY_DECOY = 0.5


class Site(NamedTuple):
    """A place in the breast: depth from chest wall (0) to skin (1); lateral and vertical in -1..1 of the half size."""

    depth: float
    lateral: float
    vertical: float


class Finding(NamedTuple):
    """A lesion, or a decoy: what looks a little like one and is none.

    suspicious: drawn irregular and spiculated, or pleomorphic; malignant: the cancer; size: 0..1 of the kind's range;
    contrast: multiplies the kind's typical contrast, 0 draws nothing; views: where it can be seen.
    """

    kind: Kind
    site: Site
    decoy: bool
    suspicious: bool
    malignant: bool
    size: float
    contrast: float
    views: tuple[str, ...]
    seed: int


class Breast(NamedTuple):
    """One breast at one exam; findings holds one entry (lesion or decoy) per kind."""

    laterality: str
    findings: tuple[Finding, ...]
    cancer: bool
    birads: int

    def shows(self, kind: Kind, view: str) -> bool:
        """Whether a lesion of this kind can be seen in this view."""
        return any(f.kind == kind and not f.decoy and view in f.views for f in self.findings)


class Exam(NamedTuple):
    """One visit; both times are counted from it.

    number: 0, 1; day: days since the first exam; years_to_cancer: None without a known cancer.
    """

    number: int
    day: int
    breasts: tuple[Breast, Breast]
    years_to_cancer: float | None
    years_followed: float


class Patient(NamedTuple):
    """One woman.

    age: at the first exam; tissue: standard normal score that `density` grades; machine: 0..1, picks the machine.
    """

    number: int
    age: int
    density: str
    tissue: float
    implant: bool
    machine: float
    exams: tuple[Exam, ...]


def draw_patients(law: Law, patients: int, seed: int) -> list[Patient]:
    """Draws patients; patient i depends on (law, seed, i) alone."""
    return [draw_patient(law, number, np.random.default_rng([seed, number, 0])) for number in range(patients)]


def draw_patient(law: Law, number: int, rng: np.random.Generator) -> Patient:
    """Draws one patient with exams, findings and what became of her."""
    age = int(np.clip(rng.normal(58, 10), 40, 84))
    tissue = float((rng.normal() - 0.05 * (age - 58)) / np.hypot(1, 0.5))
    density = "ABCD"[int(np.searchsorted(DENSITY_CUTS, tissue))]
    days = [0, int(rng.integers(330, 800))] if rng.random() < law.second_exam else [0]
    detected = rng.random() < law.detected * np.exp(0.015 * (age - 58))
    side = "LR"[int(rng.integers(2))]
    benign = {s: tuple(_draw_finding(k, p, False, rng) for k, p in _benign(law)) for s in "LR"}
    cancer = _draw_cancer(benign[side], rng) if detected else benign[side]
    last = len(days) - 1
    per_exam = [{**benign, side: cancer} if detected and i == last else benign for i in range(len(days))]
    breasts = [(_breast("L", f["L"], rng), _breast("R", f["R"], rng)) for f in per_exam]
    event, end = _outcome(law, detected, days[-1], age, tissue, benign, rng)
    exams = tuple(
        Exam(i, day, breasts[i], None if event is None else _years(event - day), _years(end - day))
        for i, day in enumerate(days)
    )
    return Patient(number, age, density, tissue, bool(rng.random() < IMPLANT_SHARE), float(rng.random()), exams)


def _benign(law: Law) -> tuple[tuple[Kind, float], ...]:
    return ("mass", law.benign_mass), ("calcification", law.benign_calcification)


def _draw_finding(kind: Kind, probability: float, malignant: bool, rng: np.random.Generator) -> Finding:
    """A lesion with this probability, else a decoy at a place drawn by the same law."""
    site = Site(*(float(v) for v in (rng.uniform(0.3, 0.8), rng.uniform(-0.55, 0.55), rng.uniform(-0.55, 0.5))))
    decoy = rng.random() >= probability
    suspicious = rng.random() < (0.95 if malignant else 0.10)
    occult = rng.random() < OCCULT
    contrast = float(np.exp(rng.normal(0, 0.22)) * (0.3 if occult else 1.0))
    hidden, other = rng.random() < HIDDEN_IN_ONE_VIEW, "CC" if rng.random() < 0.5 else "MLO"
    views = (other,) if hidden and not decoy else ("CC", "MLO")
    size, code = float(rng.beta(2, 2)), int(rng.integers(2**31))
    if decoy and rng.random() < EMPTY_DECOY:
        contrast = 0.0
    return Finding(kind, site, decoy, bool(suspicious), malignant, size, contrast, views, code)


def _draw_cancer(benign: tuple[Finding, ...], rng: np.random.Generator) -> tuple[Finding, ...]:
    """Replaces a mass (45 %), a calcification (25 %) or both (30 %) of one breast by malignant ones."""
    kind = rng.choice(["mass", "calcification", "both"], p=[0.45, 0.25, 0.3])
    drawn = tuple(_draw_finding(f.kind, 1.0, True, rng) for f in benign)
    return tuple(new if kind in (new.kind, "both") else old for new, old in zip(drawn, benign, strict=True))


def _breast(laterality: str, findings: tuple[Finding, ...], rng: np.random.Generator) -> Breast:
    """BI-RADS follows the look of the findings: suspicious 4 or 5, benign 2 or 3, none 1 or 2."""
    lesions = [f for f in findings if not f.decoy]
    malignant, suspicious = any(f.malignant for f in lesions), any(f.suspicious for f in lesions)
    low = 4 if suspicious else 2 if lesions else 1
    upper = rng.random() < (0.6 if suspicious and malignant else 0.1 if suspicious else 0.4)
    return Breast(laterality, findings, malignant, low + int(upper))


def _outcome(
    law: Law,
    detected: bool,
    last_day: int,
    age: int,
    tissue: float,
    benign: dict[str, tuple[Finding, ...]],
    rng: np.random.Generator,
) -> tuple[float | None, float]:
    """Day of diagnosis (None: not known) and day when follow-up ends, counted from the first exam.

    Follow-up ends at the diagnosis. Log hazard: 0.8 per standard deviation of density, 0.02 per year of age, 1.5 for
    a benign mass, 1.2 for benign calcifications: stronger than in life, so that a c-index near 0.7 is within reach.
    """
    delay, until = rng.exponential(), last_day + DAYS_PER_YEAR * rng.uniform(2, 8)
    if detected:
        day = last_day + DAYS_PER_YEAR * rng.uniform(0.02, 0.5)
        return day, day
    kinds = {f.kind for findings in benign.values() for f in findings if not f.decoy}
    log_hazard = 0.8 * tissue + 0.02 * (age - 58) + 1.5 * ("mass" in kinds) + 1.2 * ("calcification" in kinds)
    day = last_day + DAYS_PER_YEAR * (0.5 + delay / (law.yearly_hazard * np.exp(log_hazard)))
    return (day, day) if day < until else (None, until)


def _years(days: float) -> float:
    return round(days / DAYS_PER_YEAR, 3)
