"""Ingests on a Ray cluster: the same function on the same files, on as many machines as the cluster has.

Ray is imported here and in pipeline/reports/cluster_llm.py alone. Archive, scratch folder ($PIPELINE_SCRATCH) and
checkout must lie at the same paths on every node. `ray start --head` on one machine and `ray start --address=...` on
the others make a cluster; $RAY_ADDRESS names it, else the one that runs on this machine is taken (docs/scaling.md).
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError

from pipeline.errors import InputError

F = TypeVar("F")
R = TypeVar("R")
RETRIES = 3  # of a file whose worker or node died; after that the caller tries it alone
PER_CPU = 4  # files handed out in advance


def in_cluster(work: Callable[[F], R], files: list[F]) -> Iterator[R]:
    """Calls work on every file somewhere in the cluster; yields results in the order in which they come.

    A file whose worker dies again and again yields nothing: the caller sees that it is not finished.

    Raises:
        InputError: there is no cluster.
        Exception: whatever work raises.
    """
    _connect()
    remote, shared = ray.remote(num_cpus=1, max_retries=RETRIES)(_call), ray.put(work)
    ahead = PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting = list(reversed(files))
    running: list[Any] = []
    try:
        while waiting or running:
            while waiting and len(running) < ahead:
                running.append(remote.remote(shared, waiting.pop()))
            done, running = ray.wait(running, num_returns=1)
            try:
                result: R = ray.get(done[0])
            except (WorkerCrashedError, NodeDiedError, OutOfMemoryError):
                continue
            except RayTaskError as error:
                raise (error.cause or error) from None
            yield result
    finally:
        for task in running:
            ray.cancel(task, force=True)
        ray.shutdown()


def _call(work: Callable[[F], R], file: F) -> R:
    """What a worker runs; of this module, so that workers find it by its name."""
    return work(file)


def _connect() -> None:
    """Joins the cluster and hands it this package, so that every node runs this very code.

    Raises:
        InputError: there is no cluster to join.
    """
    address = os.environ.get("RAY_ADDRESS", "auto")
    package = str(Path(__file__).resolve().parents[1])
    try:
        ray.init(address=address, log_to_driver=False, runtime_env={"py_modules": [package]}, logging_level="ERROR")
    except ConnectionError:
        raise InputError(
            f"compute.backend: ray: no cluster at {address!r}; start one with `ray start --head`, set RAY_ADDRESS, or"
            " take backend: local"
        ) from None
