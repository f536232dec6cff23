"""The folder tree and tables of each synthetic archive, exactly as its model publishes them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.cohorts.phantom_images import Shot, age_at, hashed, machine_of, place_in_frame, uid
from pipeline.cohorts.phantom_lesions import CLUSTER_RADIUS_PX, MASS_RADIUS_PX
from pipeline.cohorts.phantom_look import LOOKS
from pipeline.cohorts.phantom_population import Adapter, Finding

CATEGORIES = {"mass": "Mass", "calcification": "Suspicious Calcification"}
RADIUS_PX = {"mass": MASS_RADIUS_PX, "calcification": CLUSTER_RADIUS_PX}
# Of EMBED's patients (README of the release, section III); the others' race is unknown.
RACE_SHARES = {"White": 0.4, "Black or African American": 0.4, "Asian": 0.065}
Row = dict[str, Any]


def image_path(shot: Shot) -> Path:
    """Where the archive keeps an image, relative to its root."""
    if shot.adapter == "table":
        return Path("images") / f"{shot.image_id[:16]}.dcm"
    if shot.adapter == "vindr":
        return Path("images") / _vindr_study(shot) / f"{shot.image_id}.dicom"
    return Path("train_images") / rsna_patient(shot) / f"{rsna_image(shot)}.dcm"


def write_tables(adapter: Adapter, shots: list[Shot], root: Path) -> None:
    """Writes the CSV files of an archive."""
    if adapter == "table":
        _write(map(_table_row, shots), root / "images.csv")
    elif adapter == "vindr":
        _write(map(_vindr_breast_row, shots), root / "breast-level_annotations.csv")
        _write((row for shot in shots for row in _vindr_finding_rows(shot)), root / "finding_annotations.csv")
        _write(map(_vindr_metadata_row, shots), root / "metadata.csv")
    else:
        _write(map(_rsna_row, shots), root / "train.csv")


def rsna_patient(shot: Shot) -> str:
    """RSNA's patients have short numbers."""
    return str(int(hashed(shot.seed, "rsna patient")[:4], 16) % 10000 + 17 * shot.patient.number + 3)


def rsna_image(shot: Shot) -> str:
    """RSNA's images have numbers of up to ten digits."""
    return str(int(shot.image_id[:8], 16))


def _write(rows: Iterable[Row], file: Path) -> None:
    pd.DataFrame(list(rows)).to_csv(file, index=False, lineterminator="\n")


def _table_row(shot: Shot) -> Row:
    """One image of the plain table; follow-up is per exam, cancer per breast, findings per image."""
    patient, exam, breast = shot.patient, shot.exam, shot.breast
    patient_id = f"P{hashed(shot.seed, 'table patient', patient.number)[:8]}"
    return {
        "patient_id": patient_id,
        "exam_id": f"{patient_id}_{exam.number + 1}",
        "exam_date_days": exam.day,
        "image_path": image_path(shot).as_posix(),
        "laterality": breast.laterality,
        "view": shot.view,
        "age": age_at(shot),
        "density": patient.density,
        "birads": breast.birads,
        "mass": int(breast.shows("mass", shot.view)),
        "calcification": int(breast.shows("calcification", shot.view)),
        "cancer": int(breast.cancer),
        "implant": int(patient.implant),
        "vendor": machine_of(shot).manufacturer,
        "years_to_cancer": exam.years_to_cancer,
        "years_followed": exam.years_followed,
        "race": _race(shot),
    }


def _race(shot: Shot) -> str | None:
    """Drawn for the patient apart from all else: no image, label or report depends on it, nor it on them."""
    rng = np.random.default_rng([shot.seed, shot.patient.number, 10])
    bounds = np.cumsum(list(RACE_SHARES.values()))
    return [*RACE_SHARES, None][int(np.searchsorted(bounds, rng.random(), side="right"))]


def _vindr_study(shot: Shot) -> str:
    return hashed(shot.seed, "vindr study", shot.patient.number)


def _vindr_keys(shot: Shot) -> Row:
    return {"study_id": _vindr_study(shot), "series_id": hashed(shot.seed, "vindr series", shot.patient.number)}


def _vindr_common(shot: Shot) -> Row:
    look = LOOKS["vindr"]
    return {
        "laterality": shot.breast.laterality,
        "view_position": shot.view,
        "height": look.rows,
        "width": look.columns,
        "breast_birads": f"BI-RADS {shot.breast.birads}",
        "breast_density": f"DENSITY {shot.patient.density}",
    }


def _vindr_split(shot: Shot) -> str:
    """Half of the studies, so that the test split gives narrow intervals (the original: a fifth)."""
    return "test" if int(_vindr_study(shot)[:8], 16) % 2 else "training"


def _vindr_breast_row(shot: Shot) -> Row:
    return {**_vindr_keys(shot), "image_id": shot.image_id, **_vindr_common(shot), "split": _vindr_split(shot)}


def _vindr_finding_rows(shot: Shot) -> list[Row]:
    """One row per finding of the image, with its box; one row `No Finding` without a box if there is none."""
    head = {"image_id": shot.image_id, **_vindr_keys(shot), **_vindr_common(shot)}
    seen = [(i, f) for i, f in enumerate(shot.breast.findings) if not f.decoy and shot.view in f.views]
    if not seen:
        nothing = {"finding_categories": "['No Finding']", "finding_birads": None}
        box = dict.fromkeys(("xmin", "ymin", "xmax", "ymax"))
        return [{**head, **nothing, **box, "split": _vindr_split(shot)}]
    return [
        {
            **head,
            "finding_categories": f"['{CATEGORIES[finding.kind]}']",
            "finding_birads": f"BI-RADS {max(3, shot.breast.birads) if finding.suspicious else 3}",
            **_box(finding, place_in_frame(shot, index)),
            "split": _vindr_split(shot),
        }
        for index, finding in seen
    ]


def _box(finding: Finding, at: tuple[float, float]) -> Row:
    """The annotated rectangle: the lesion and a small margin, inside the frame."""
    look, (low, high) = LOOKS["vindr"], RADIUS_PX[finding.kind]
    reach = 1.15 * (low + finding.size * (high - low))
    return {
        "xmin": round(max(0.0, at[1] - reach), 1),
        "ymin": round(max(0.0, at[0] - reach), 1),
        "xmax": round(min(look.columns - 1.0, at[1] + reach), 1),
        "ymax": round(min(look.rows - 1.0, at[0] + reach), 1),
    }


def _vindr_metadata_row(shot: Shot) -> Row:
    look, machine = LOOKS["vindr"], machine_of(shot)
    return {
        "SOP Instance UID": shot.image_id,
        "Series Instance UID": uid(shot.seed, shot.adapter, "series", shot.key),
        "Patient's Age": f"{age_at(shot):03d}Y",
        "View Position": shot.view,
        "Image Laterality": shot.breast.laterality,
        "Imager Pixel Spacing": str([look.spacing_mm, look.spacing_mm]),
        "Rows": look.rows,
        "Columns": look.columns,
        "Manufacturer": machine.manufacturer,
        "Manufacturer's Model Name": machine.model,
    }


def _rsna_row(shot: Shot) -> Row:
    """One image; what RSNA leaves out (BI-RADS of old exams, density of one site) is left out."""
    breast = shot.breast
    rng = np.random.default_rng([shot.seed, shot.patient.number, 6 + "LR".index(breast.laterality)])
    site = 1 + int(shot.patient.machine * 2)
    recalled = breast.birads >= 4
    biopsy = breast.cancer or (recalled and rng.random() < 0.6)
    return {
        "site_id": site,
        "patient_id": rsna_patient(shot),
        "image_id": rsna_image(shot),
        "laterality": breast.laterality,
        "view": shot.view,
        "age": None if shot.patient.number % 97 == 96 else age_at(shot),
        "cancer": int(breast.cancer),
        "biopsy": int(biopsy),
        "invasive": int(breast.cancer and rng.random() < 0.7),
        "BIRADS": None if rng.random() < 0.3 else 0 if recalled else min(2, breast.birads),
        "implant": int(shot.patient.implant),
        "density": shot.patient.density if site == 1 else None,
        "machine_id": {1: 49, 2: 21}[site],
        "difficult_negative_case": bool(not breast.cancer and (biopsy or recalled)),
    }
