"""Runs files through worker processes, on this machine or on a cluster, that may die and be resumed."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from joblib import Parallel, delayed
from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from pipeline.dicom.image import CataloguedFile, rejected_row
from pipeline.dicom.store import Row, keep_row
from pipeline.errors import InputError

MakeRow = Callable[[CataloguedFile], Row]
Backend = Literal["local", "ray"]


def finish_files(
    files: list[CataloguedFile],
    kept: dict[str, Path],
    make_row: MakeRow,
    workers: int,
    backend: Backend = "local",
    most_rejected: float = 1.0,
) -> dict[str, Row]:
    """Makes the rows that are not kept yet; keeps all but the rejected ones, which a later run tries again.

    A file whose decoder ends the process (native decoders do, on broken streams) leaves its mark behind: it is tried
    once more in a process of its own, and rejected if that dies too.

    Args:
        files: All files.
        kept: Where the row of each finished image lies, by image_id.
        make_row: Makes the row of a file.
        workers: Processes on this machine.
        backend: Where they run.
        most_rejected: Share of rejected files beyond which the rest is not read.

    Returns:
        Rows of the rejected files by image_id.

    Raises:
        InputError: a whole round finished nothing.
    """
    rejected: dict[str, Row] = {}
    missing = _missing(files, kept, rejected)
    with tqdm(total=len(files), desc="ingest", unit="image", mininterval=1) as progress:
        while missing and len(rejected) <= most_rejected * len(files):
            progress.update(len(files) - len(missing) - progress.n)
            for row in _round(missing, kept, make_row, workers, backend):
                progress.update()
                if row is not None:
                    rejected[row["image_id"]] = row
                    progress.set_postfix(rejected=len(rejected), refresh=False)
                if len(rejected) > most_rejected * len(files):
                    break
            before, missing = missing, _missing(files, kept, rejected)
            _refuse_standstill(before, missing, kept)
    return rejected


def _missing(files: list[CataloguedFile], kept: dict[str, Path], rejected: dict[str, Row]) -> list[CataloguedFile]:
    """The files that are neither kept nor rejected."""
    return [file for file in files if not (file.image_id in rejected or kept[file.image_id].exists())]


def _refuse_standstill(before: list[CataloguedFile], missing: list[CataloguedFile], kept: dict[str, Path]) -> None:
    """Raises an InputError if a round finished nothing and left no mark: it would do so for ever."""
    if missing and len(missing) == len(before) and not any(_mark(kept[file.image_id]).exists() for file in missing):
        raise InputError(
            f"ingest: a round over {len(missing)} images finished none of them; does every worker write to"
            f" {kept[missing[0].image_id].parents[1]}? On a cluster, scratch must lie on a file system that all nodes"
            " share (docs/scaling.md)"
        )


def _round(
    missing: list[CataloguedFile], kept: dict[str, Path], make_row: MakeRow, workers: int, backend: Backend
) -> Iterator[Row | None]:
    """Runs all missing files, or, if some left a mark behind, those alone; ends early if a process dies."""
    suspects = [file for file in missing if _mark(kept[file.image_id]).exists()]
    try:
        if suspects:
            yield from _alone(suspects, kept, make_row)
        elif backend == "ray":
            yield from _in_cluster(missing, kept, make_row)
        else:
            yield from _in_parallel(missing, kept, make_row, workers)
    except TerminatedWorkerError:
        if not any(_mark(kept[file.image_id]).exists() for file in missing):
            raise


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
