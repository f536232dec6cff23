"""Draws one synthetic mammogram: fat, fibroglandular tissue, vessels, nodes, muscle, skin line, noise."""

import cv2
import numpy as np
from jaxtyping import Float

from pipeline.cohorts.phantom_anatomy import Shape, muscle_columns, project, skin_columns
from pipeline.cohorts.phantom_lesions import add_calcifications, add_island, add_mass, add_specks
from pipeline.cohorts.phantom_look import Look
from pipeline.cohorts.phantom_population import Breast, Finding, Patient

Image = Float[np.ndarray, "rows columns"]


def draw_view(
    patient: Patient, breast: Breast, view: str, shapes: dict[str, Shape], look: Look, seeds: tuple[int, int]
) -> Image:
    """Display values in 0..1 of a left breast (chest wall at column 0).

    Args:
        patient: Gives tissue score and implant.
        breast: Gives the findings to draw.
        view: CC, MLO or ML.
        shapes: Outlines of this breast.
        look: The archive's look.
        seeds: Seed of the breast's anatomy (same in all its views and exams) and of this image.
    """
    own = np.random.default_rng(seeds[1])
    shape = shapes[view]
    skin, muscle = _outlines(shape, look.rows)
    column = np.arange(look.columns, dtype=np.float32)
    from_skin = (skin[:, None] - column) / np.float32(shape.depth)
    gland = _gland(patient.tissue, shape, from_skin, seeds[0], own, look)
    image = look.fat + look.gland * gland + 0.024 * _pattern(own, look, 7, 7) + 0.010 * _pattern(own, look, 2.5, 2.5)
    _add_vessels(image, shape, own)
    edge = np.clip((muscle[:, None] - column) / 10 + 0.5, 0, 1)
    image += edge * (look.fat + 0.85 * look.gland - image) * 0.8
    if view == "MLO" and own.random() < 0.4:
        _add_node(image, shape, own)
    for finding in breast.findings:
        _add_finding(image, finding, project(finding.site, shapes, view), view, look)
    add_specks(image, from_skin, own)
    if patient.implant:
        _add_implant(image, shape, look)
    image *= np.sqrt(np.clip(from_skin / 0.16, 0, 1))
    image += look.noise * own.standard_normal(image.shape, dtype=np.float32)
    image[from_skin <= 0] = 0
    curve = look.background + (1 - look.background) * np.linspace(0, 1, 4096, dtype=np.float32) ** look.gamma
    return curve[(np.clip(image, 0, 1) * 4095).astype(np.uint16)]


def _outlines(shape: Shape, rows: int) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    row = np.arange(rows, dtype=np.float32)
    return skin_columns(shape, row).astype(np.float32), muscle_columns(shape, row).astype(np.float32)


def _pattern(rng: np.random.Generator, look: Look, height_px: float, width_px: float) -> Image:
    """Smooth noise of about unit variance whose grains have about this size."""
    steps = height_px * look.texture, width_px * look.texture
    coarse = rng.standard_normal((int(look.rows / steps[0]) + 3, int(look.columns / steps[1]) + 3), dtype=np.float32)
    size = (int(coarse.shape[1] * steps[1]) + 1, int(coarse.shape[0] * steps[0]) + 1)
    fine: Image = cv2.resize(1.3 * coarse, size, interpolation=cv2.INTER_CUBIC)[: look.rows, : look.columns]
    return fine


def _gland(tissue: float, shape: Shape, from_skin: Image, anatomy: int, own: np.random.Generator, look: Look) -> Image:
    """Share of fibroglandular tissue, 0..1, per pixel: clouds common to both views, plus strands of this view.

    The share of the breast that is dense rises from about 6 % (tissue -2) to 85 % (tissue 2): BI-RADS quartiles.
    """
    t = (np.arange(look.rows, dtype=np.float32) - shape.centre) / shape.half
    d = np.arange(look.columns, dtype=np.float32) / shape.depth
    places = np.random.default_rng(anatomy).uniform((-0.7, 0.1, 0.10, -0.9), (0.7, 0.8, 0.25, 0.9), (9, 4))
    places = np.vstack([places, [0.0, 0.5, 0.45, 1.4]]).astype(np.float32)
    down = places[:, 3] * np.exp(-(((t[:, None] - places[:, 0]) / (1.3 * places[:, 2])) ** 2))
    along = np.exp(-(((d[:, None] - places[:, 1]) / places[:, 2]) ** 2))
    field: Image = down @ along.T
    field += 0.45 * _pattern(own, look, 34, 34) + 0.30 * _pattern(own, look, 12, 30) + 0.22 * _pattern(own, look, 7, 9)
    field -= 1.2 * np.clip(1 - from_skin / 0.18, 0, 1)
    share = 1 / (1 + np.exp(-(tissue * 1.25 - 0.55)))
    inside = from_skin[::6, ::6] > 0.03
    cut = float(np.quantile(field[::6, ::6][inside], 1 - np.clip(share, 0.03, 0.92)))
    gland: Image = 1 / (1 + np.exp((cut - field) / 0.30))
    return gland


def _add_vessels(image: Image, shape: Shape, rng: np.random.Generator) -> None:
    """Two to five thin, bright, winding lines from the chest wall towards the nipple."""
    lines = np.zeros(image.shape, np.uint8)
    for _ in range(int(rng.integers(2, 6))):
        start, mid, end = rng.uniform(-0.7, 0.7), rng.uniform(-0.6, 0.6), rng.uniform(-0.4, 0.4)
        u = np.linspace(0, 1, 24)
        row = shape.centre + shape.half * ((1 - u) ** 2 * start + 2 * u * (1 - u) * mid + u**2 * end)
        points = np.stack([u * 0.9 * shape.depth, row + 3 * np.sin(u * rng.uniform(8, 20))], 1)
        cv2.polylines(lines, [np.round(points).astype(np.int32)], False, 255, int(rng.integers(1, 4)), cv2.LINE_AA)
    image += cv2.GaussianBlur(lines, (0, 0), 1.0).astype(np.float32) * np.float32(rng.uniform(0.04, 0.08) / 255)


def _add_node(image: Image, shape: Shape, rng: np.random.Generator) -> None:
    """A lymph node near the muscle: a smooth oval with a darker, fatty centre."""
    row = 0.22 * image.shape[0] * rng.uniform(0.5, 1.5)
    centre = (int(shape.pectoral[1] * rng.uniform(0.3, 1.0)), int(row))
    axes, angle = (int(rng.integers(8, 14)), int(rng.integers(5, 8))), float(rng.uniform(20, 70))
    mask = np.zeros(image.shape, np.uint8)
    cv2.ellipse(mask, centre, axes, angle, 0, 360, 255, -1)
    cv2.ellipse(mask, centre, (axes[0] // 2, axes[1] // 3), angle, 0, 360, 90, -1)
    image += cv2.GaussianBlur(mask, (0, 0), 1.6).astype(np.float32) * np.float32(0.14 / 255)


def _add_implant(image: Image, shape: Shape, look: Look) -> None:
    mask = np.zeros(image.shape, np.uint8)
    axes = (int(0.55 * shape.depth), int(0.7 * shape.half))
    cv2.ellipse(mask, (int(0.1 * shape.depth), int(shape.centre)), axes, 0, 0, 360, 255, -1)
    share = cv2.GaussianBlur(mask, (0, 0), 2.0).astype(np.float32) / 255
    image += share * (0.92 - image)


def _add_finding(image: Image, finding: Finding, at: tuple[float, float], view: str, look: Look) -> None:
    """Draws a lesion or decoy, if this view can show it."""
    visible = view in finding.views or (view not in ("CC", "MLO") and len(finding.views) > 1)
    if not visible or finding.contrast == 0:
        return
    rng = np.random.default_rng(finding.seed)
    if finding.kind == "mass":
        (add_island if finding.decoy else add_mass)(image, finding, at, rng)
    else:
        add_calcifications(image, finding, at, rng)
