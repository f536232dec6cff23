"""Draws masses, calcification clusters and what resembles them. Sizes in pixels of the written frame.

At 256 x 160 after cropping a frame pixel is about half a pixel: a mass is 12-30 px wide there, a cluster 12-25 px, and
a single dot still covers about one pixel.
"""

import numpy as np
from jaxtyping import Float

from pipeline.cohorts.phantom_population import Finding

Image = Float[np.ndarray, "rows columns"]
# Sizes and contrasts (of display values 0..1) are set by measurement: bench/results/phantom_difficulty.json.
MASS_RADIUS_PX = (12.0, 26.0)
MASS_CONTRAST = 0.205
ISLAND_CONTRAST = 0.10
CLUSTER_RADIUS_PX = (11.0, 22.0)
DOT_CONTRAST = 0.62


def add_mass(image: Image, finding: Finding, at: tuple[float, float], rng: np.random.Generator) -> None:
    """A benign-looking mass is round or oval and sharp; a suspicious one irregular with spicules."""
    radius = MASS_RADIUS_PX[0] + finding.size * (MASS_RADIUS_PX[1] - MASS_RADIUS_PX[0])
    reach = int(radius * 2.1) + 3
    angle, distance = _polar(reach, at, rng.uniform(0, np.pi), rng.uniform(1.0, 1.25))
    wobble = (0.16 if finding.suspicious else 0.05) * rng.standard_normal(4) / np.array([1, 1.3, 1.6, 2])
    phase = rng.uniform(0, 2 * np.pi, 4)
    edge = radius * (1 + sum(w * np.cos(k * angle + p) for k, w, p in zip((2, 3, 5, 7), wobble, phase, strict=True)))
    body = 1 / (1 + np.exp((distance - edge) / (2.2 if finding.suspicious else 1.4)))
    body *= 0.75 + 0.25 * np.sqrt(np.clip(1 - (distance / (1.2 * edge)) ** 2, 0, 1))
    if finding.suspicious:
        body = np.maximum(body, _spicules(angle, distance, edge, rng))
    _add_patch(image, MASS_CONTRAST * finding.contrast * body, at)


def add_island(image: Image, finding: Finding, at: tuple[float, float], rng: np.random.Generator) -> None:
    """A decoy mass: an elongated patch of dense tissue that fades out without an edge."""
    radius = MASS_RADIUS_PX[0] + finding.size * (MASS_RADIUS_PX[1] - MASS_RADIUS_PX[0])
    _, distance = _polar(int(radius * 3), at, rng.uniform(0, np.pi), rng.uniform(1.3, 2.2))
    _add_patch(image, ISLAND_CONTRAST * finding.contrast * np.exp(-((distance / radius) ** 2)), at)


def add_calcifications(image: Image, finding: Finding, at: tuple[float, float], rng: np.random.Generator) -> None:
    """A cluster of small bright dots; a suspicious one has more, smaller and more varied dots; a decoy one to three."""
    spread = CLUSTER_RADIUS_PX[0] + finding.size * (CLUSTER_RADIUS_PX[1] - CLUSTER_RADIUS_PX[0])
    fewest, most = (1, 3) if finding.decoy else (16, 26) if finding.suspicious else (9, 15)
    for _ in range(int(rng.integers(fewest, most + 1))):
        place = np.array(at) + spread * 0.55 * np.clip(rng.standard_normal(2), -1.8, 1.8)
        dot = (float(place[0]), float(place[1]))
        width, stretch, turn, peak = rng.uniform(1.5, 2.2), 1.0, rng.uniform(0, np.pi), rng.uniform(0.6, 1.2)
        if finding.suspicious:
            width, stretch, peak = rng.uniform(1.2, 2.0), rng.uniform(1.0, 2.2), 0.85 * peak
        _, distance = _polar(8, dot, turn, stretch)
        peak *= DOT_CONTRAST * finding.contrast
        _add_patch(image, peak * np.exp(-((distance / width) ** 2)), dot)


def add_specks(image: Image, from_skin: Image, rng: np.random.Generator) -> None:
    """Up to three single benign calcifications anywhere in the breast: bright, and never a cluster."""
    for _ in range(int(rng.integers(0, 4))):
        row, column = int(rng.integers(image.shape[0])), int(rng.integers(image.shape[1]))
        if from_skin[row, column] > 0.1:
            _, distance = _polar(6, (row, column), 0.0, 1.0)
            peak, width = rng.uniform(0.15, 0.4), rng.uniform(1.0, 1.9)
            _add_patch(image, peak * np.exp(-((distance / width) ** 2)), (row, column))


def _polar(
    reach: int, at: tuple[float, float], turn: float, stretch: float
) -> tuple[Float[np.ndarray, "side side"], Float[np.ndarray, "side side"]]:
    """Angle and distance from `at` on a square patch around it, the distance squeezed along one turned axis."""
    offset = np.arange(-reach, reach + 1, dtype=np.float64)
    row = offset[:, None] - (at[0] - round(at[0]))
    column = offset[None] - (at[1] - round(at[1]))
    along, across = row * np.cos(turn) + column * np.sin(turn), column * np.cos(turn) - row * np.sin(turn)
    return np.arctan2(along, across), np.hypot(along / np.sqrt(stretch), across * np.sqrt(stretch))


def _spicules(
    angle: Float[np.ndarray, "side side"],
    distance: Float[np.ndarray, "side side"],
    edge: Float[np.ndarray, "side side"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "side side"]:
    """Thin rays that start at the edge and fade out at about twice the radius."""
    rays = np.zeros_like(distance)
    for direction in rng.uniform(-np.pi, np.pi, int(rng.integers(9, 15))):
        turn = np.angle(np.exp(1j * (angle - direction)))
        across = np.abs(np.sin(turn)) * distance / rng.uniform(1.0, 1.7)
        length = edge * rng.uniform(1.4, 2.0)
        fade = np.clip((length - distance) / (length - 0.8 * edge), 0, 1) * (np.abs(turn) < np.pi / 2)
        rays = np.maximum(rays, 0.75 * fade * np.exp(-(across**2)))
    return rays


def _add_patch(image: Image, patch: Float[np.ndarray, "side side"], at: tuple[float, float]) -> None:
    """Adds a square patch centred on the pixel nearest to `at`, cut off at the frame."""
    reach = patch.shape[0] // 2
    top, left = round(at[0]) - reach, round(at[1]) - reach
    r0, c0 = max(0, top), max(0, left)
    r1, c1 = min(image.shape[0], top + patch.shape[0]), min(image.shape[1], left + patch.shape[1])
    if r0 < r1 and c0 < c1:
        image[r0:r1, c0:c1] += patch[r0 - top : r1 - top, c0 - left : c1 - left].astype(np.float32)
