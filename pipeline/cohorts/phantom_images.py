"""One exam of a synthetic patient -> its images: drawn, with film trouble, and written as DICOM."""

import hashlib
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt16

from pipeline.cohorts.phantom_anatomy import Shape, draw_shapes, project
from pipeline.cohorts.phantom_dicom import Header, write_dicom
from pipeline.cohorts.phantom_film import add_label, add_trouble
from pipeline.cohorts.phantom_look import LOOKS, Look, Machine
from pipeline.cohorts.phantom_population import Adapter, Breast, Exam, Patient
from pipeline.cohorts.phantom_tissue import draw_view

VIEWS = ("CC", "MLO")
FIRST_NAMES = ("ANNA", "BEATE", "CLARA", "DORIS", "ELSA", "FRIDA", "GRETA", "HELGA")
LAST_NAMES = ("PHANTOM", "SAMPLE", "SPECIMEN", "EXEMPLAR", "MUSTER", "TESTCASE")


class Shot(NamedTuple):
    """One image to be: view CC, MLO, or in the rsna archive ML or AT; key: unique text it is named and seeded by."""

    adapter: Adapter
    seed: int
    patient: Patient
    exam: Exam
    breast: Breast
    view: str
    number: int

    @property
    def key(self) -> str:
        """Patient, exam, side, view and running number."""
        return f"{self.patient.number}/{self.exam.number}/{self.breast.laterality}/{self.view}/{self.number}"

    @property
    def image_id(self) -> str:
        """32 hexadecimal digits."""
        return hashed(self.seed, self.adapter, "image", self.key)


def hashed(*parts: object) -> str:
    """32 hexadecimal digits that depend on the parts alone."""
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:32]


def uid(*parts: object) -> str:
    """A UUID-derived UID (PS3.5 B.2) that depends on the parts alone."""
    return f"2.25.{int(hashed(*parts), 16)}"


def shots(adapter: Adapter, seed: int, patient: Patient) -> list[Shot]:
    """Four standard images per exam; in the rsna archive a sixth of the patients has one or two more views."""
    standard = [
        Shot(adapter, seed, patient, exam, breast, view, 1 + 2 * b + v)
        for exam in patient.exams
        for b, breast in enumerate(exam.breasts)
        for v, view in enumerate(VIEWS)
    ]
    if adapter != "rsna" or patient.number % 6:
        return standard
    exam, rng = patient.exams[0], np.random.default_rng([seed, patient.number, 1])
    views = [("ML",), ("AT",), ("ML", "MLO")][int(rng.integers(3))]
    return standard + [Shot(adapter, seed, patient, exam, exam.breasts[0], v, 5 + i) for i, v in enumerate(views)]


def machine_of(shot: Shot) -> Machine:
    """The machine that made all images of this patient."""
    machines = LOOKS[shot.adapter].machines
    return machines[int(shot.patient.machine * len(machines))]


def shapes_of(shot: Shot) -> dict[str, Shape]:
    """Outlines of the shot's breast: the same at all exams, nearly the same on both sides."""
    look = LOOKS[shot.adapter]
    return draw_shapes(look.rows, look.columns, np.random.default_rng([shot.seed, shot.patient.number, 2]))


def place_in_frame(shot: Shot, finding_index: int) -> tuple[float, float]:
    """(row, column) of a finding or decoy in the written frame."""
    row, column = project(shot.breast.findings[finding_index].site, shapes_of(shot), shot.view)
    return row, column if shot.breast.laterality == "L" else LOOKS[shot.adapter].columns - 1 - column


def draw_frame(shot: Shot) -> UInt16[np.ndarray, "rows columns"]:
    """Stored values, MONOCHROME2, of the whole frame as the machine writes it."""
    look = LOOKS[shot.adapter]
    rng = _generator(shot)
    side = "LR".index(shot.breast.laterality)
    anatomy = int(np.random.default_rng([shot.seed, shot.patient.number, 3 + side]).integers(2**31))
    seeds = anatomy, int(rng.integers(2**31))
    view = "MLO" if shot.view == "AT" else shot.view
    image = draw_view(shot.patient, shot.breast, view, shapes_of(shot), look, seeds)
    if rng.random() < 0.7:
        add_label(image, f"{shot.breast.laterality} {shot.view}", rng)
    if rng.random() < look.trouble:
        add_trouble(image, rng)
    return _to_stored(image if side == 0 else image[:, ::-1], look)


def write_shot(shot: Shot, file: Path) -> None:
    """Draws the shot and writes it to file, whose folder is made."""
    rng, look, patient = np.random.default_rng([shot.seed, *_numbers(shot), 9]), LOOKS[shot.adapter], shot.patient
    syntaxes, shares = zip(*look.syntaxes, strict=True)
    inverted, syntax = bool(rng.random() < look.inverted), str(rng.choice(syntaxes, p=shares))
    names = np.random.default_rng([shot.seed, patient.number, 5])
    study = date(2012, 1, 1) + timedelta(days=int(names.integers(0, 1800)) + shot.exam.day)
    age = age_at(shot)
    header = Header(
        patient_id=hashed(shot.seed, shot.adapter, "header", patient.number)[:12].upper(),
        patient_name=f"{names.choice(LAST_NAMES)}^{names.choice(FIRST_NAMES)}",
        birth_date=f"{study.year - age:04d}0101",
        study_date=study.strftime("%Y%m%d"),
        age=age,
        uids=(study_uid(shot), uid(shot.seed, shot.adapter, "series", shot.key), instance_uid(shot)),
        laterality=shot.breast.laterality,
        view=shot.view,
        implant=patient.implant,
        machine=machine_of(shot),
        inverted=inverted,
        syntax=syntax,
        number=shot.number,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_dicom(file, draw_frame(shot), header, look)


def age_at(shot: Shot) -> int:
    """Age in whole years at the exam."""
    return shot.patient.age + shot.exam.day // 365


def study_uid(shot: Shot) -> str:
    """StudyInstanceUID of the shot's exam."""
    return uid(shot.seed, shot.adapter, "study", shot.patient.number, shot.exam.number)


def instance_uid(shot: Shot) -> str:
    """SOPInstanceUID of the shot."""
    return uid(shot.seed, shot.adapter, "instance", shot.key)


def _numbers(shot: Shot) -> list[int]:
    return [shot.patient.number, shot.exam.number, "LR".index(shot.breast.laterality), shot.number]


def _generator(shot: Shot) -> np.random.Generator:
    return np.random.default_rng([shot.seed, *_numbers(shot), 8])


def _to_stored(image: Float[np.ndarray, "rows columns"], look: Look) -> UInt16[np.ndarray, "rows columns"]:
    """Display values 0..1 to the look's range of 12-bit stored values."""
    stored = look.low + 0.5 + np.clip(image, 0, 1) * (look.high - look.low)
    return np.ascontiguousarray(stored.astype(np.uint16))
