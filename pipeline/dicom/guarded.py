"""Calls in worker processes that native code may crash or hang: whatever a call does, it costs itself alone.

A call leaves a mark (a file) while it runs. Marks that are left when a process has ended name the calls that may be to
blame; each of these is tried once more in a process of its own.
"""

import faulthandler
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from enum import Enum
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import TerminatedWorkerError

F = TypeVar("F")
R = TypeVar("R")
# Calls handed out in advance, per worker: a worker never waits for its next, and 500,000 calls need no memory.
AHEAD = 2
IDLE_SECONDS = 60  # after which a worker without work ends; starting one anew takes a second or two
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # one process per core already
TIMED_OUT = "Timeout"  # what faulthandler writes first


class Ending(Enum):
    """What ended the process of a call."""

    CRASH = "crash"
    TIMEOUT = "timeout"


@contextmanager
def marked(mark: Path, seconds: int) -> Iterator[None]:
    """Leaves the mark behind if the process ends inside, and ends the process once the time is over.

    The watch is a thread of the interpreter's own C code, so that a native endless loop that never gives the
    interpreter back cannot stop it (faulthandler.dump_traceback_later).

    Args:
        mark: The file; its folder exists.
        seconds: How long the process may stay inside, > 0.
    """
    try:
        with mark.open("w") as stream:
            faulthandler.dump_traceback_later(seconds, exit=True, file=stream)
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()
    finally:
        mark.unlink(missing_ok=True)


def ending_of(mark: Path) -> Ending:
    """What ended the process that left this mark; a mark that is absent or empty is that of a crash."""
    return Ending.TIMEOUT if mark.exists() and mark.read_text().startswith(TIMED_OUT) else Ending.CRASH


def in_processes(work: Callable[[F], R], items: Sequence[F], workers: int) -> Iterator[R]:
    """Calls work on every item in worker processes; yields the results in the order in which they come.

    Raises:
        TerminatedWorkerError: a process ended; the others are ended, too.
        Exception: whatever work raises; what has begun is finished first.
    """
    # Workers keep the memory they free (pipeline/allocator.py), which loky takes for a leak and warns of.
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given", category=UserWarning)
    pool, running = _pool(workers), set[Future[R]]()
    try:
        for item in items:
            running.add(pool.submit(work, item))
            if len(running) >= AHEAD * workers:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)
        yield from (each.result() for each in as_completed(running))
    except BaseException:  # also GeneratorExit: the caller has seen enough
        _pool.cache_clear()
        for each in running:
            each.cancel()
        pool.shutdown()  # what has begun is finished: kill_workers would leave marks on calls that are not to blame
        raise


def _alone(work: Callable[[F], R], item: F, mark: Path) -> R | Ending:
    """Calls work on one item in a process of its own; the result, or what ended the process. Removes the mark."""
    with ProcessPoolExecutor(max_workers=1, env=ONE_THREAD) as pool:
        try:
            result: R = pool.submit(work, item).result()
            return result
        except TerminatedWorkerError:
            return ending_of(mark)
        finally:
            mark.unlink(missing_ok=True)


def all_alone(
    work: Callable[[F], R], items: Sequence[F], mark_of: Callable[[F], Path], workers: int
) -> Iterator[R | Ending]:
    """Calls work on every item in a process of its own, so many at a time; results in the order of the items."""
    with ThreadPoolExecutor(workers) as side_by_side:
        yield from side_by_side.map(lambda item: _alone(work, item, mark_of(item)), items)


def guarded(work: Callable[[F], R], items: Sequence[F], workers: int, seconds: int) -> Iterator[tuple[int, R | Ending]]:
    """Calls work on every item; yields its number with the result, or with what ended its process twice.

    Args:
        work: What is called; it and the items travel to the processes.
        items: What it is called with.
        workers: Processes.
        seconds: How long one call may take.

    Raises:
        TerminatedWorkerError: a process ended while it did nothing.
        Exception: whatever work raises.
    """
    call = partial(_numbered, work, seconds)
    with TemporaryDirectory() as folder:
        left = {number: (number, item, Path(folder, str(number))) for number, item in enumerate(items)}
        while left:
            suspects = [each for each in left.values() if each[2].exists()]
            endings = all_alone(call, suspects, lambda suspect: suspect[2], workers)
            for (number, _, _), ended in zip(suspects, endings, strict=True):
                del left[number]
                yield number, ended if isinstance(ended, Ending) else ended[1]
            try:
                for number, result in in_processes(call, list(left.values()), workers):
                    del left[number]
                    yield number, result
            except TerminatedWorkerError:
                if not any(mark.exists() for _, _, mark in left.values()):
                    raise


def _numbered(work: Callable[[F], R], seconds: int, call: tuple[int, F, Path]) -> tuple[int, R]:
    """What a worker of `guarded` runs."""
    number, item, mark = call
    with marked(mark, seconds):
        return number, work(item)


@lru_cache(maxsize=1)
def _pool(workers: int) -> Any:
    """The worker processes, kept from call to call."""
    return ProcessPoolExecutor(max_workers=workers, timeout=IDLE_SECONDS, env=ONE_THREAD)
