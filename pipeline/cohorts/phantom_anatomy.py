"""Where things are in a synthetic mammogram: outline of the breast per view, pectoral muscle, lesions of both views.

Everything is drawn as a left breast: chest wall along column 0, head up; right breasts are mirrored at the end. A site
keeps its distance from the chest wall in both views; its lateral place gives the row in CC, a mix of vertical and
lateral place the row in MLO (an oblique projection at 45 degrees).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pipeline.cohorts.phantom_population import Site


class Shape(NamedTuple):
    """One view's outline in pixels.

    centre: row of the nipple; half: rows from there to the lower end; depth: columns from chest wall to nipple;
    power: exponent of the outline, 2 is an ellipse; tail: share of the depth that reaches the upper frame edge (0: the
    outline closes below it, as in CC); pectoral: (rows, columns) of the triangle.
    """

    centre: float
    half: float
    depth: float
    power: float
    tail: float
    pectoral: tuple[float, float]


def draw_shapes(rows: int, columns: int, rng: np.random.Generator) -> dict[str, Shape]:
    """Outlines of CC, MLO and of a true lateral (ML) view of one breast that fits a frame of rows x columns."""
    size, long = rng.uniform(0.0, 1.0), rng.uniform(-0.03, 0.03)
    depth, half = columns * (0.48 + 0.32 * size), rows * (0.30 + 0.13 * size + long)
    power = rng.uniform(2.0, 2.6)
    shift = rng.uniform(-0.02, 0.02, 3) * rows
    muscle = rng.uniform(0.45, 0.7) * rows, min(rng.uniform(0.25, 0.42) * columns, 0.55 * depth)
    tail = rng.uniform(0.35, 0.5)
    return {
        "CC": Shape(rows * 0.5 + shift[0], half, depth * rng.uniform(0.95, 1.05), power, 0.0, (0.0, 0.0)),
        "MLO": Shape(rows * 0.56 + shift[1], min(half * 1.02, rows * 0.41), depth, power, tail, muscle),
        "ML": Shape(rows * 0.54 + shift[2], min(half, rows * 0.42), depth * 0.96, power, 0.3 * tail, (0.0, 0.0)),
    }


def skin_columns(shape: Shape, row: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
    """Columns from the chest wall to the skin at each row; 0 outside the breast."""
    t = (row - shape.centre) / shape.half
    profile = np.sqrt(np.clip(1 - np.abs(t) ** shape.power, 0, None))
    if shape.tail:
        rise = np.clip((shape.centre - row) / shape.centre, 0, 1)
        profile = np.where(t < 0, 1 - (1 - shape.tail) * rise**1.7, profile)
    nipple = 0.04 * np.exp(-((t / 0.07) ** 2))
    return shape.depth * profile * (1 + nipple)


def muscle_columns(shape: Shape, row: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
    """Columns that the pectoral muscle covers at each row; its edge is slightly convex."""
    if not shape.pectoral[0]:
        return np.zeros_like(row)
    rest = np.clip(1 - row / shape.pectoral[0], 0, 1)
    return np.minimum(shape.pectoral[1] * rest**0.85, 0.8 * skin_columns(shape, row))


def project(site: Site, shapes: dict[str, Shape], view: str) -> tuple[float, float]:
    """(row, column) of a site in the frame of one view of a left breast, always inside the skin.

    Args:
        site: Place in the breast.
        shapes: Outlines of this breast, see draw_shapes.
        view: CC or MLO; others project like MLO.
    """
    rows = {"CC": site.lateral, "MLO": 0.75 * site.vertical - 0.35 * site.lateral}
    at = {v: np.array([shapes[v].centre + rows[v] * shapes[v].half]) for v in rows}
    depth = site.depth * min(float(skin_columns(shapes[v], at[v])[0]) for v in at)
    if view == "CC":
        return float(at["CC"][0]), depth
    row = at["MLO"] if view == "MLO" else np.array([shapes[view].centre + rows["MLO"] * shapes[view].half])
    skin, muscle = float(skin_columns(shapes[view], row)[0]), float(muscle_columns(shapes[view], row)[0])
    return float(row[0]), min(max(depth, muscle + 0.1 * skin), 0.85 * skin)
