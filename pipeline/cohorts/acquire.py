"""Puts an archive in place: writes a synthetic one, or records where a real one is."""

import hashlib
import json
from pathlib import Path
from typing import cast

from pipeline.cohorts.phantom import write_archive
from pipeline.cohorts.phantom_population import Adapter as Synthetic
from pipeline.cohorts.source import SOURCE_FILE, SYNTHETIC_FOLDER, existing_folder
from pipeline.sections import Archive


def acquire(cohort: str, archive: Archive, seed: int, out: Path) -> None:
    """Writes out/source.json and, for a synthetic archive, out/archive.

    Args:
        cohort: Name of the cohort; synthetic cohorts of different names differ.
        archive: Its entry in the profile: `root` or `patients` is given.
        seed: The run's seed.
        out: Folder of the stage.

    Raises:
        InputError: the real archive's folder is missing or empty, or a variable in its path is not set.
    """
    out.mkdir(parents=True, exist_ok=True)
    if archive.root is not None:
        existing_folder(cohort, archive.root)
    if archive.patients is not None:
        write_archive(
            cast(Synthetic, archive.adapter), archive.patients, cohort_seed(cohort, seed), out / SYNTHETIC_FOLDER
        )
    source = {"adapter": archive.adapter, "root": archive.root}
    (out / SOURCE_FILE).write_text(json.dumps(source, indent=1) + "\n")


def cohort_seed(cohort: str, seed: int) -> int:
    """A seed below 2**32 of this cohort's own."""
    return int(hashlib.sha256(f"{cohort}:{seed}".encode()).hexdigest()[:8], 16)
