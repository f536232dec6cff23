"""Reads the lesion masks of CBIS-DDSM in processes of their own, so that no decoder can end or hold up the catalog."""

from collections.abc import Sequence
from pathlib import Path

from joblib import cpu_count
from tqdm import tqdm

from pipeline.cohorts.adapters.cbis_ddsm_files import Box, lesion_box
from pipeline.dicom.deidentify import silenced
from pipeline.dicom.guarded import Ending, guarded

SECONDS_PER_LESION = 120  # as ingest.seconds_per_file of the profiles; a mask of 15 megapixels takes 10 ms
Lesion = tuple[Path | None, Sequence[Path]]


def lesion_boxes(lesions: Sequence[Lesion], shown: str) -> tuple[list[Box | None], list[bool]]:
    """The box of every lesion, and whether reading its files ended its process or had to be ended.

    Args:
        lesions: The mammogram, and the files among which its lesion's mask is.
        shown: What the progress bar is called.
    """
    boxes: list[Box | None] = [None] * len(lesions)
    ended = [False] * len(lesions)
    there = [number for number, (image, files) in enumerate(lesions) if image is not None and files]
    read = guarded(_read, [lesions[number] for number in there], cpu_count(), SECONDS_PER_LESION)
    for which, box in tqdm(read, total=len(there), desc=shown, unit="mask", mininterval=1):
        if isinstance(box, Ending):
            ended[there[which]] = True
        else:
            boxes[there[which]] = box
    return boxes, ended


def _read(lesion: Lesion) -> Box | None:
    """What a process runs."""
    with silenced():
        return lesion_box(*lesion)
