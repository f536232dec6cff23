"""An experiment of DVC per encoder and pretraining method: run where there is none, and read."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from time import monotonic
from typing import Any, NamedTuple

from pipeline.errors import InputError
from pipeline.params import Params


class Experiment(NamedTuple):
    """What one row of the tables is run with.

    encoder, method: As in params.yaml; an encoder of null is that of params.yaml. digest: Of all other parameters, so
    that an experiment of others is never taken for this one.
    """

    encoder: str | None
    method: str
    digest: str

    @property
    def name(self) -> str:
        """What DVC knows it by."""
        return "-".join(["table", *([self.encoder] if self.encoder else []), self.method, self.digest])

    @property
    def label(self) -> str:
        """What a message calls it."""
        return f"{self.method} with {self.encoder}" if self.encoder else self.method

    @property
    def changes(self) -> list[str]:
        """Arguments of `dvc exp run` that set it apart from the workspace."""
        encoder = ["-S", f"model.encoder={self.encoder}"] if self.encoder else []
        return ["-S", f"pretrain.method={self.method}", *encoder]


def wanted(params: Params, methods: Sequence[str], encoders: Sequence[str]) -> list[Experiment]:
    """Every method with every encoder; with that of params.yaml where none is named."""
    run = params.run.model_dump(mode="json")
    del run["pretrain"]["method"], run["model"]["encoder"]
    content = [run, params.profile.model_dump(mode="json"), params.encoder]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    named = [None if encoder == params.encoder else encoder for encoder in encoders] or [None]
    return [Experiment(encoder, method, digest) for encoder in named for method in methods]


def run_missing(experiments: Sequence[Experiment]) -> None:
    """Runs those that do not exist on this commit, one after the other, each in a folder of its own.

    One that fails does not stop the others. Not by DVC's queue: its worker may end on a half-written message, and then
    leaves the other ones waiting.
    """
    done = existing(experiments)
    missing = [experiment for experiment in experiments if experiment not in done]
    for number, experiment in enumerate(missing, start=1):
        print(f"Experiment {number} of {len(missing)} to run: {experiment.label}", flush=True)
        begun, end = monotonic(), "done"
        try:
            _dvc("exp", "run", "--temp", "--name", experiment.name, *experiment.changes, shown=True)
        except InputError as error:
            print(error, file=sys.stderr)
            end = "failed"
        print(f"{experiment.label}: {end} after {(monotonic() - begun) / 60:.1f} minutes", flush=True)


def existing(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Those that exist on this commit."""
    known = set(_dvc("exp", "list", "--name-only").split())
    return [experiment for experiment in experiments if experiment.name in known]


def read_metrics(experiment: Experiment) -> dict[str, Any]:
    """metrics.json of an experiment that exists."""
    from dvc.api import read  # seconds, and for this alone

    metrics: dict[str, Any] = json.loads(read("metrics.json", rev=experiment.name))
    return metrics


def _dvc(*arguments: str, shown: bool = False) -> str:
    """Runs DVC; with shown, its output is the user's."""
    command = [sys.executable, "-m", "dvc", *arguments]  # words of this module and of make's command line
    done = subprocess.run(command, capture_output=not shown, text=True)  # noqa: S603
    if done.returncode:
        raise InputError(f"tables: dvc {' '.join(arguments)} failed: {(done.stderr or 'see above').strip()[-500:]}")
    return done.stdout or ""
