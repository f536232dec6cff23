"""Synthetic mammography archives for the demo, byte-identical for a seed; no file tells where the lesions are.

Three layouts: `table` (a plain table with follow-up), `vindr` (VinDr-Mammo 1.0) and `rsna` (RSNA 2022). Their machines
and looks differ, so that transfer between them is tested. How hard they are is measured by bench/phantom_difficulty.py.
"""

from pathlib import Path

import cv2
import pandas as pd
from joblib import Parallel, delayed

from pipeline.cohorts.phantom_archives import image_path, write_tables
from pipeline.cohorts.phantom_images import VIEWS, Shot, place_in_frame, shots, write_shot
from pipeline.cohorts.phantom_population import LAWS, Adapter, draw_patients


def write_archive(adapter: Adapter, patients: int, seed: int, root: Path, processes: int = 2) -> None:
    """Writes one archive.

    Args:
        adapter: Which layout.
        patients: How many patients, > 0.
        seed: Decides every byte.
        root: Folder to fill; made if needed.
        processes: Parallel writers; does not change the result.
    """
    root.mkdir(parents=True, exist_ok=True)
    planned = archive_shots(adapter, patients, seed)
    batches = [planned[start : start + 16] for start in range(0, len(planned), 16)]
    Parallel(n_jobs=processes)(delayed(_write_batch)(batch, root) for batch in batches)
    write_tables(adapter, planned, root)


def archive_shots(adapter: Adapter, patients: int, seed: int) -> list[Shot]:
    """Every image of an archive, in the order of its tables, without drawing anything."""
    return [shot for patient in draw_patients(LAWS[adapter], patients, seed) for shot in shots(adapter, seed, patient)]


def lesion_maps(adapter: Adapter, patients: int, seed: int) -> pd.DataFrame:
    """Where the lesions and decoys of the CC and MLO images are: for measuring difficulty only, never written.

    Returns:
        One row per image and kind of finding: path, patient, split key, view, kind, row and column in pixels of the
        written frame, `present` (the image shows such a lesion there), malignant (of the breast), density.
    """
    return pd.DataFrame(
        [
            {
                "path": image_path(shot).as_posix(),
                "patient": shot.patient.number,
                "laterality": shot.breast.laterality,
                "view": shot.view,
                "kind": finding.kind,
                "row": place_in_frame(shot, index)[0],
                "column": place_in_frame(shot, index)[1],
                "present": shot.breast.shows(finding.kind, shot.view),
                "malignant": shot.breast.cancer,
                "density": shot.patient.density,
            }
            for shot in archive_shots(adapter, patients, seed)
            for index, finding in enumerate(shot.breast.findings)
            if shot.view in VIEWS
        ]
    )


def _write_batch(batch: list[Shot], root: Path) -> None:
    """Writes some images; one thread, so that processes do not fight for cores and sums keep their order."""
    cv2.setNumThreads(1)
    for shot in batch:
        write_shot(shot, root / image_path(shot))
