"""Runs files through worker processes, on this machine or on a cluster, that may die and be resumed."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import TIMEOUT_MAX
from typing import Literal

from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from pipeline.dicom.guarded import Ending, all_alone, ending_of, in_processes, marked
from pipeline.dicom.image import CataloguedFile, rejected_row
from pipeline.dicom.store import Row, keep_row
from pipeline.errors import InputError

MakeRow = Callable[[CataloguedFile], Row]
Backend = Literal["local", "ray"]
REASONS = {
    Ending.CRASH: "decoder_crash: the decoder ended its process",
    Ending.TIMEOUT: "timeout: the decoder was still at work after ingest.seconds_per_file",
}
NO_LIMIT = int(TIMEOUT_MAX)  # seconds: the longest wait there is, centuries
Place = tuple[CataloguedFile, Path]  # a file, and where its finished row is kept


def finish_files(
    files: list[CataloguedFile],
    kept: dict[str, Path],
    make_row: MakeRow,
    workers: int,
    backend: Backend = "local",
    most_rejected: float = 1.0,
    seconds_per_file: int = NO_LIMIT,
) -> dict[str, Row]:
    """Makes the rows that are not kept yet; keeps all but the rejected ones, which a later run tries again.

    A file whose decoder ends the process (native decoders do, on broken streams), or is still at work when its time is
    over, leaves its mark behind: it is tried once more in a process of its own, and rejected if that ends too.

    Args:
        files: All files.
        kept: Where the row of each finished image lies, by image_id.
        make_row: Makes the row of a file.
        workers: Processes on this machine.
        backend: Where they run.
        most_rejected: Share of rejected files beyond which the rest is not read.
        seconds_per_file: Time that reading one file and keeping its row may take; then its process is ended.

    Returns:
        Rows of the rejected files by image_id.

    Raises:
        InputError: a whole round finished nothing.
    """
    rejected: dict[str, Row] = {}
    work = partial(_finish, make_row=make_row, seconds=seconds_per_file)
    missing = _missing(files, kept, rejected)
    with tqdm(total=len(files), desc="ingest", unit="image", mininterval=1) as progress:
        while missing and len(rejected) <= most_rejected * len(files):
            progress.update(len(files) - len(missing) - progress.n)
            places = [(file, kept[file.image_id]) for file in missing]
            _collect(_round(places, work, workers, backend), rejected, most_rejected * len(files), progress)
            before, missing = missing, _missing(files, kept, rejected)
            _refuse_standstill(before, missing, kept)
    return rejected


def _collect(rows: Iterator[Row | None], rejected: dict[str, Row], most: float, progress: "tqdm[None]") -> None:
    """Adds the rejected among the rows, and stops when there are more than the most allowed."""
    for row in rows:
        progress.update()
        if row is not None:
            rejected[row["image_id"]] = row
            progress.set_postfix(rejected=len(rejected), refresh=False)
        if len(rejected) > most:
            break


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
    missing: list[Place], work: Callable[[Place], Row | None], workers: int, backend: Backend
) -> Iterator[Row | None]:
    """Runs all missing files, or, if some left a mark behind, those alone, rejecting what ends its process again.

    Ends early if a process ends.
    """
    suspects = [place for place in missing if _mark(place[1]).exists()]
    try:
        if suspects:
            endings = all_alone(work, suspects, lambda place: _mark(place[1]), workers)
            for (file, _), row in zip(suspects, endings, strict=True):
                yield rejected_row(file, REASONS[row]) if isinstance(row, Ending) else row
        elif backend == "ray":
            yield from _in_cluster(missing, work)
        else:
            yield from in_processes(work, missing, workers)
    except TerminatedWorkerError:
        if not any(_mark(kept).exists() for _, kept in missing):
            raise


def _in_cluster(missing: list[Place], work: Callable[[Place], Row | None]) -> Iterator[Row | None]:
    """Runs the files on a Ray cluster, which is imported only here; yields in the order in which they finish."""
    from pipeline.dicom.cluster import in_cluster

    yield from in_cluster(partial(_unless_timed_out, work=work), missing)


def _unless_timed_out(place: Place, work: Callable[[Place], Row | None]) -> Row | None:
    """What a cluster runs: Ray calls again after a worker has ended, and what ran out of time would do so again."""
    timed_out = _mark(place[1]).exists() and ending_of(_mark(place[1])) is Ending.TIMEOUT
    return None if timed_out else work(place)


def _finish(place: Place, make_row: MakeRow, seconds: int) -> Row | None:
    """Makes one row; keeps it and returns None, or returns it if the file is rejected."""
    file, kept = place
    kept.parent.mkdir(parents=True, exist_ok=True)
    with marked(_mark(kept), seconds):
        row = make_row(file)
        if row["status"] == "rejected":
            return row
        keep_row(row, kept)
    return None


def _mark(kept: Path) -> Path:
    """Exists while a file is being read; what is left of it after a crash names the file that may be to blame."""
    return kept.with_suffix(".open")
