"""What surrounds the breast on a real frame: corner labels, white borders, digitiser glow, dust."""

import cv2
import numpy as np
from jaxtyping import Float

Image = Float[np.ndarray, "rows columns"]


def add_label(image: Image, text: str, rng: np.random.Generator) -> None:
    """Writes the marker (such as `R MLO`) near an upper or lower corner away from the chest wall at column 0."""
    size = rng.uniform(0.55, 0.85)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 2)
    left = image.shape[1] - width - int(rng.integers(12, 30))
    base = int(rng.integers(30, 60)) if rng.random() < 0.6 else image.shape[0] - int(rng.integers(14, 40))
    grey = float(rng.uniform(0.7, 1.0))
    # Right breasts are mirrored afterwards, and their text must stay readable: it is mirrored here.
    letters = np.zeros((height + 12, width + 12), np.uint8)
    cv2.putText(letters, text, (6, height + 5), cv2.FONT_HERSHEY_SIMPLEX, size, 255, 2, cv2.LINE_AA)
    if rng.random() < 0.3:
        cv2.rectangle(letters, (0, 0), (width + 11, height + 11), 255, 1)
    patch = letters.astype(np.float32) * np.float32(grey / 255)
    if text.startswith("R"):
        patch = patch[:, ::-1]
    top = max(0, base - height - 6)
    view = image[top : top + patch.shape[0], left - 6 : left - 6 + patch.shape[1]]
    np.maximum(view, patch[: view.shape[0], : view.shape[1]], out=view)


def add_trouble(image: Image, rng: np.random.Generator) -> None:
    """One or two of: bright borders, digitiser glow along one side, dust."""
    kinds = rng.permutation(3)[: int(rng.integers(1, 3))]
    if 0 in kinds:
        _add_borders(image, rng)
    if 1 in kinds:
        _add_glow(image, rng)
    if 2 in kinds:
        for _ in range(int(rng.integers(2, 9))):
            row, column = int(rng.integers(image.shape[0])), int(rng.integers(image.shape[1]))
            cv2.circle(image, (column, row), 1, float(rng.uniform(0.5, 1.0)), -1)


def _add_borders(image: Image, rng: np.random.Generator) -> None:
    """White film edges, 2-9 px, on some sides (sides average up to 200 of 255 on real films)."""
    for side in range(4):
        if rng.random() < 0.5:
            turned = np.rot90(image, side)
            turned[: int(rng.integers(2, 10))] = rng.uniform(0.6, 1.0)


def _add_glow(image: Image, rng: np.random.Generator) -> None:
    """Stray light that fades out from the upper or lower edge, or from the side away from the chest wall."""
    side = int(rng.choice([0, 1, 2]))
    turned = np.rot90(image, side)
    fade = np.exp(-np.arange(turned.shape[0], dtype=np.float32) / rng.uniform(8, 28))
    np.maximum(turned, np.float32(rng.uniform(0.15, 0.4)) * fade[:, None], out=turned)
