"""An experiment of DVC per pretraining method, named table-<method>: run where there is none, and read."""

import json
import subprocess
import sys
from collections.abc import Sequence
from time import monotonic
from typing import Any

from pipeline.errors import InputError


def experiment_name(method: str) -> str:
    """What `make tables` calls the experiment of a method."""
    return f"table-{method}"


def run_missing(methods: Sequence[str]) -> None:
    """Runs the methods that have no experiment on this commit, one after the other, each in a folder of its own.

    One that fails does not stop the others. Not by DVC's queue: its worker may end on a half-written message, and then
    leaves the other methods waiting.
    """
    done = with_experiment(methods)
    missing = [method for method in methods if method not in done]
    for number, method in enumerate(missing, start=1):
        print(f"Method {number} of {len(missing)} without an experiment: {method}", flush=True)
        begun, end = monotonic(), "done"
        try:
            _dvc(
                "exp", "run", "--temp", "--name", experiment_name(method), "-S", f"pretrain.method={method}", shown=True
            )
        except InputError as error:
            print(error, file=sys.stderr)
            end = "failed"
        print(f"{method}: {end} after {(monotonic() - begun) / 60:.1f} minutes", flush=True)


def with_experiment(methods: Sequence[str]) -> list[str]:
    """Those of the methods that have an experiment on this commit."""
    known = set(_dvc("exp", "list", "--name-only").split())
    return [method for method in methods if experiment_name(method) in known]


def read_metrics(method: str) -> dict[str, Any]:
    """metrics.json of a method's experiment, which exists."""
    from dvc.api import read  # seconds, and for this alone

    metrics: dict[str, Any] = json.loads(read("metrics.json", rev=experiment_name(method)))
    return metrics


def _dvc(*arguments: str, shown: bool = False) -> str:
    """Runs DVC; with shown, its output is the user's."""
    command = [sys.executable, "-m", "dvc", *arguments]  # words of this module and names of methods
    done = subprocess.run(command, capture_output=not shown, text=True)  # noqa: S603
    if done.returncode:
        raise InputError(f"tables: dvc {' '.join(arguments)} failed: {(done.stderr or 'see above').strip()[-500:]}")
    return done.stdout or ""
