"""Ingests an archive: every catalogued file becomes one row of data/crops, in processes that may die and be resumed."""

import errno
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import astuple, fields
from functools import partial
from pathlib import Path
from typing import Literal

from joblib import Parallel, delayed
from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from pipeline.dicom.image import CataloguedFile, image_row, rejected_row
from pipeline.dicom.pseudonyms import is_encrypted, readable_path, site_key
from pipeline.dicom.store import Row, keep_row, kept_row, write_parts
from pipeline.errors import InputError
from pipeline.scratch import scratch_folder
from pipeline.sections import Ingest
from pipeline.tables import CATALOG, read_table

EXAMPLES = 5  # image_ids named in an error

MakeRow = Callable[[CataloguedFile], Row]
Backend = Literal["local", "ray"]


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
    finished = scratch_folder("ingest", settings=[settings.max_px, *settings.exclude], inputs=[], code=["dicom"])
    kept = {file.image_id: finished / _kept_name(root, file) for file in files}
    make_row = partial(image_row, root, settings=settings)
    try:
        rejected = ingest_missing(files, kept, make_row, workers, backend)
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


def _disk_full(scratch: Path, out: Path) -> str:
    """What to do when nothing more can be written."""
    free = {folder: shutil.disk_usage(folder).free // 10**6 for folder in (scratch, out.parent) if folder.exists()}
    left = ", ".join(f"{folder}: {megabytes} MB free" for folder, megabytes in free.items())
    return (
        f"ingest: the disk is full ({left}); free some space, or set PIPELINE_SCRATCH to a larger disk (docs/scaling.md"
        " says what is needed); finished images are kept, a rerun goes on from there"
    )


def ingest_missing(
    files: list[CataloguedFile], kept: dict[str, Path], make_row: MakeRow, workers: int, backend: Backend = "local"
) -> dict[str, Row]:
    """Makes the rows that are not kept yet; keeps all but the rejected ones, which a later run tries again.

    A file whose decoder ends the process (native decoders do, on broken streams) leaves its mark behind: it is tried
    once more in a process of its own, and rejected if that dies too.

    Returns:
        Rows of the rejected files by image_id.
    """
    rejected: dict[str, Row] = {}
    with tqdm(total=len(files), desc="ingest", unit="image", mininterval=1) as progress:
        while missing := [file for file in files if not (file.image_id in rejected or kept[file.image_id].exists())]:
            progress.update(len(files) - len(missing) - progress.n)
            suspects = [file for file in missing if _mark(kept[file.image_id]).exists()]
            if suspects:
                rows = _alone(suspects, kept, make_row)
            elif backend == "ray":
                rows = _in_cluster(missing, kept, make_row)
            else:
                rows = _in_parallel(missing, kept, make_row, workers)
            try:
                for row in rows:
                    progress.update()
                    if row is not None:
                        rejected[row["image_id"]] = row
                        progress.set_postfix(rejected=len(rejected), refresh=False)
            except TerminatedWorkerError:
                if not any(_mark(kept[file.image_id]).exists() for file in missing):
                    raise
    return rejected


def _in_parallel(
    files: list[CataloguedFile], kept: dict[str, Path], make_row: MakeRow, workers: int
) -> Iterator[Row | None]:
    """Runs the files through worker processes; yields in the order in which they finish."""
    pool = Parallel(n_jobs=min(workers, len(files)), return_as="generator_unordered")
    yield from pool(delayed(_finish)(file, kept[file.image_id], make_row) for file in files)


def _in_cluster(files: list[CataloguedFile], kept: dict[str, Path], make_row: MakeRow) -> Iterator[Row | None]:
    """Runs the files on a Ray cluster, which is imported only here; yields in the order in which they finish."""
    from pipeline.dicom.cluster import in_cluster

    places = [(file, kept[file.image_id]) for file in files]
    yield from in_cluster(partial(_finish_at, make_row=make_row), places)


def _alone(files: list[CataloguedFile], kept: dict[str, Path], make_row: MakeRow) -> Iterator[Row | None]:
    """Runs every file in a process of its own and rejects those that end it."""
    for file in files:
        with ProcessPoolExecutor(max_workers=1) as pool:
            try:
                yield pool.submit(_finish, file, kept[file.image_id], make_row).result()
            except TerminatedWorkerError:
                _mark(kept[file.image_id]).unlink()
                yield rejected_row(file, "decoder_crash: the decoder ended its process")


def _finish(file: CataloguedFile, kept: Path, make_row: MakeRow) -> Row | None:
    """Makes one row; keeps it and returns None, or returns it if the file is rejected."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    _mark(kept).touch()
    row = make_row(file)
    rejected = row["status"] == "rejected"
    if not rejected:
        keep_row(row, kept)
    _mark(kept).unlink()
    return row if rejected else None


def _finish_at(place: tuple[CataloguedFile, Path], make_row: MakeRow) -> Row | None:
    """_finish of one file and where its row goes."""
    return _finish(*place, make_row)


def _mark(kept: Path) -> Path:
    """Exists while a file is being read; what is left of it after a crash names the file that may be to blame."""
    return kept.with_suffix(".open")


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
    path = root / file.path
    changed = path.stat().st_mtime_ns if path.is_file() else 0
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
