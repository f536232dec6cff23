"""Starts the ranks of a training run on this machine, and passes on how they ended."""

import logging
import os
from collections.abc import Callable
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from pipeline.errors import InputError
from pipeline.sections import Compute

# What a rank has, after SIGTERM, to end its step (or a validation) and to save; then it is killed. torch gives 30 s.
# docs/pretrain.slurm, which asks SLURM for 120 s, gives torchrun the same.
STOP_S = 110


def check_device(compute: Compute) -> None:
    """Refuses a GPU profile on a machine without enough GPUs.

    Raises:
        InputError: compute.device is cuda, and there are fewer GPUs than compute.processes asks for.
    """
    wanted = 1 if is_rank() else compute.processes
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if compute.device == "cuda" and found < wanted:
        raise InputError(
            f"compute.device is cuda and compute.processes {compute.processes}, found {found} usable GPUs; run on a"
            " machine with them, lower compute.processes, or set compute.device to cpu and compute.precision to fp32"
            " (profile: demo in params.yaml does)"
        )


def is_rank() -> bool:
    """True inside a rank: started by `launch`, or by torchrun on several machines."""
    return "RANK" in os.environ


def launch(function: Callable[..., None], processes: int, *arguments: Any) -> None:
    """Runs function(*arguments) in as many ranks on this machine; gloo on the CPU, nccl on GPUs.

    Args:
        function: A module's function; its arguments are sent to every rank.
        processes: Number of ranks.
        *arguments: Of function.

    Raises:
        InputError: a rank raised it.
        SystemExit: this process was asked to stop; the ranks were, too.
    """
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id="pretrain",
        max_restarts=0,
        shutdown_timeout=STOP_S,
    )
    # Its errors repeat, in a page each, what is raised below.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        elastic_launch(settings, _call)(function, arguments)
    except SignalException as stopped:
        raise SystemExit(128 + int(stopped.sigval)) from stopped
    except ChildFailedError as failed:
        found = failed.get_first_failure()[1].message
        kind, _, message = (found["message"] if isinstance(found, dict) else found).partition(": ")
        if kind == InputError.__name__:
            raise InputError(message) from None
        raise


@record
def _call(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """What a rank runs; `record` sends its error to the launcher."""
    function(*arguments)
