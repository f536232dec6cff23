"""Ingests an archive: every catalogued file becomes one row of data/crops, in processes that may die and be resumed."""

import errno
import hashlib
import json
import shutil
from collections import Counter
from dataclasses import astuple, fields
from functools import partial
from importlib.metadata import version
from pathlib import Path

from pipeline.dicom.image import CataloguedFile, image_row
from pipeline.dicom.pseudonyms import is_encrypted, readable_path, site_key
from pipeline.dicom.store import Row, kept_row, write_parts
from pipeline.dicom.workers import Backend, finish_files
from pipeline.errors import InputError
from pipeline.scratch import scratch_folder
from pipeline.sections import Ingest
from pipeline.tables import CATALOG, read_table

EXAMPLES = 5  # image_ids named in an error


def ingest(root: Path, catalog: Path, out: Path, settings: Ingest, workers: int, backend: Backend = "local") -> None:
    """Reads every file of a catalog once and writes the Parquet parts of its cohort.

    Finished images are kept in the scratch folder, so that a run that was stopped, or one after files were added,
    decodes only what is missing.

    Args:
        root: Folder of the archive; the catalog's paths are relative to it.
        catalog: Folder with images.parquet (tables.CATALOG).
        out: Folder for part-000.parquet, ... (tables.CROPS).
        settings: Section `ingest` of the profile.
        workers: Processes that decode, on this machine.
        backend: `ray` hands the files to a Ray cluster instead (pipeline/dicom/cluster.py).

    Raises:
        InputError: more than settings.max_rejected_fraction of the files are unusable, or the catalog is empty.
    """
    root, files = root.resolve(), _catalogued_files(catalog / "images.parquet")
    # Of the settings, only those that shape a finished row: another limit reads nothing again.
    finished = scratch_folder(
        "ingest", settings=[settings.max_px, *settings.exclude, *_decoders()], inputs=[], code=["dicom"]
    )
    kept = {file.image_id: finished / _kept_name(root, file) for file in files}
    make_row = partial(image_row, root, settings=settings)
    try:
        rejected = finish_files(
            files, kept, make_row, workers, backend, settings.max_rejected_fraction, settings.seconds_per_file
        )
        _refuse_many_rejected(files, rejected, settings.max_rejected_fraction)
        write_parts(
            {file.image_id: file.patient_id for file in files},
            lambda image_id: rejected.get(image_id) or kept_row(kept[image_id]),
            out,
        )
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(_disk_full(finished, out)) from None
        raise


def _decoders() -> list[str]:
    """Versions of the libraries that shape a crop's pixels: another one is another result."""
    return [f"{name} {version(name)}" for name in ("pydicom", "imagecodecs", "opencv-python-headless", "pillow")]


def _disk_full(scratch: Path, out: Path) -> str:
    """What to do when nothing more can be written."""
    free = {folder: shutil.disk_usage(folder).free // 10**6 for folder in (scratch, out.parent) if folder.exists()}
    left = ", ".join(f"{folder}: {megabytes} MB free" for folder, megabytes in free.items())
    return (
        f"ingest: the disk is full ({left}); free some space, or set PIPELINE_SCRATCH to a larger disk (docs/scaling.md"
        " says what is needed); finished images are kept, a rerun goes on from there"
    )


def _catalogued_files(images: Path) -> list[CataloguedFile]:
    """The catalog's files.

    Raises:
        InputError: the catalog is absent or empty.
        ValueError: an image_id occurs twice.
    """
    if not images.is_file():
        raise InputError(f"{images}: there is no catalog; run `dvc repro catalog` first")
    table = read_table(images, CATALOG)
    if table.empty:
        raise InputError(f"{images}: expected at least one image, found none; look at the archive's root and tables")
    if table["image_id"].duplicated().any():
        raise ValueError(f"{images}: image_id {table['image_id'][table['image_id'].duplicated()].iloc[0]} occurs twice")
    key = site_key() if table["path"].map(is_encrypted).any() else None
    columns = table[[field.name for field in fields(CataloguedFile)]].astype(object)  # Python's own integers and None
    rows = columns.where(columns.notna(), None).to_dict("records")
    return [CataloguedFile(**{**row, "path": readable_path(row["path"], key)}) for row in rows]  # type: ignore[arg-type]


def _kept_name(root: Path, file: CataloguedFile) -> str:
    """Where the finished row of this file lies: a hash of its catalog entry and of the file's time of change."""
    try:
        changed = (root / file.path).stat().st_mtime_ns
    except OSError:  # absent or out of reach: image_row says so
        changed = 0
    digest = hashlib.sha256(json.dumps([*astuple(file), changed]).encode()).hexdigest()[:40]
    return f"{digest[:2]}/{digest[2:]}.arrow"


def _refuse_many_rejected(files: list[CataloguedFile], rejected: dict[str, Row], allowed: float) -> None:
    """Raises an InputError if more than the allowed share of the files was rejected."""
    if len(rejected) <= allowed * len(files):
        return
    reasons = Counter(row["reason"].partition(":")[0] for row in rejected.values())
    common = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common(EXAMPLES))
    examples = "; ".join(f"{name}: {rejected[name]['reason']}" for name in sorted(rejected)[:EXAMPLES])
    raise InputError(
        f"ingest: {len(rejected)} of {len(files)} files were rejected, ingest.max_rejected_fraction allows a share of"
        f" {allowed}. Commonest reasons: {common}. For example {examples}. Repair these files, take them out of the"
        " archive's tables, or raise the limit in conf/profile; finished images are kept, a rerun reads the rest."
    )
