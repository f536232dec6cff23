"""Two experiments on the same test patients: `make compare A=... B=...`.

A and B are experiments, branches, tags or commits; `workspace` is what lies in the folder. Only the differences are
computed: predictions and sealed labels come from DVC's cache.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.errors import InputError, run_stage
from pipeline.evaluation.comparison import Comparison, compare_exams, compare_scores, corrected
from pipeline.evaluation.inputs import read_predictions
from pipeline.evaluation.risk_scores import scored_exams
from pipeline.evaluation.scored import Scored, scored_breasts, scored_images
from pipeline.evaluation.summary import print_table
from pipeline.params import PARAMS_FILE, PROFILE_FOLDER, read_params
from pipeline.tables import SEALED, read_table

WORKSPACE = "workspace"
RESAMPLES = 1999  # a paired interval moves by less than 0.002 between seeds of the resampling
COLUMNS = ("task", "split", "setting", "statistic", "A", "B", "A - B", "p", "p (Holm)", "n")


class Places(NamedTuple):
    """Where an experiment keeps its sealed labels (a folder per cohort) and its predictions, from its root."""

    sealed: Path
    predictions: Path


class Experiment(NamedTuple):
    """What the pretrained encoder's models said of the test units: images and breasts, exams by method of risk."""

    images: list[Scored]
    breasts: list[Scored]
    exams: dict[str, pd.DataFrame]


def compare(a: Path, b: Path, places: Places, resamples: int = RESAMPLES) -> list[Comparison]:
    """Compares two checkouts setting by setting, pretrained encoders only.

    Args:
        a: Folder with parameters, sealed labels and predictions of one experiment.
        b: The same of the other.
        places: Where they are in both.
        resamples: Of the bootstrap.

    Returns:
        Rows of one family after the other, with Holm's p: a family is the tasks of one setting on their own test
        splits, or on the others; fusion and risk, which have settings of their own, are one together.

    Raises:
        InputError: they have no setting in common, or did not score the same units.
    """
    one, other = read_experiment(a, places), read_experiment(b, places)
    families: dict[tuple[str, str], list[Comparison]] = {}
    for row in compare_scores(one.images, other.images, resamples):
        families.setdefault((row.split.partition("_")[0], row.setting), []).append(row)
    methods = [name for name in one.exams if name in other.exams]
    of_risk = [compare_exams(name, one.exams[name], other.exams[name], resamples) for name in methods]
    families["test", "fusion and risk"] = [*compare_scores(one.breasts, other.breasts, resamples), *of_risk]
    found = [row for family in families.values() for row in corrected(family)]
    if not found:
        raise InputError("compare: expected tasks and settings that both experiments have, found none")
    return found


def read_experiment(folder: Path, places: Places) -> Experiment:
    """The scored test units of an experiment, of its pretrained encoder."""
    run = read_params(folder).run
    predictions = read_predictions(folder / places.predictions)
    predictions = predictions[predictions["encoder"] == "pretrained"]
    labels = {name: read_table(folder / places.sealed / name / "labels.parquet", SEALED) for name in run.cohorts}
    return Experiment(
        scored_images(predictions, labels, run.tasks),
        [u for label in run.fuse.labels for u in scored_breasts(predictions, labels[run.fuse.cohort], label)],
        scored_exams(predictions, labels[run.risk.cohort], run.risk),
    )


def fetch_experiment(name: str, folder: Path, places: Places) -> Path:
    """Puts what `compare` reads of an experiment into a folder.

    Raises:
        InputError: there is no such experiment, or its files are neither here nor in DVC's cache.
    """
    if name == WORKSPACE:
        return Path()
    from dvc.api import DVCFileSystem  # seconds, and for this alone
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexError
    from scmrepo.exceptions import SCMError

    try:
        files = DVCFileSystem(".", rev=name)
        for path in (PARAMS_FILE, PROFILE_FOLDER, *places):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            files.get(str(path), str(folder / path), recursive=True)
    except (DvcException, DataIndexError, SCMError, OSError) as error:
        raise InputError(
            f"compare: {name}: expected an experiment, branch, tag or commit whose predictions are in the cache, found:"
            f" {error}; dvc exp show lists the experiments, dvc pull fetches what is missing"
        ) from error
    return folder


def print_comparison(rows: Sequence[Comparison], a: str, b: str) -> None:
    """The table, and what to read from it."""
    print(f"A: {a}, B: {b}, on the same test units; 95 % intervals over patients.")
    print("p: of an AUC by DeLong, clustered by patient; of a mean AUC and of Harrell's c by the same bootstrap.")
    print_table(COLUMNS, [_cells(row) for row in rows])
    print("Retrieval is not compared: no single query's answer is kept.")
    told = sum(row.p_holm < 0.05 for row in rows)
    print(
        f"{told} of {len(rows)} differences are told from chance at 5 %, corrected over the tasks of each setting;"
        " fusion and risk are one family."
    )


def _cells(row: Comparison) -> tuple[str, ...]:
    """A row's text; n/a where too few patients support a number."""
    names = (row.task, row.split, row.setting, row.statistic)
    if np.isnan(row.difference):
        return (*names, *["n/a"] * 5, str(row.n))
    difference = f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
    ps = (f"{p:.3f}" if p >= 0.001 else "<0.001" for p in (row.p, row.p_holm))
    return (*names, f"{row.a:.3f}", f"{row.b:.3f}", difference, *ps, str(row.n))


def main(a: str, b: str, sealed: str, predictions: str) -> None:
    """Fetches, compares and prints."""
    places = Places(Path(sealed), Path(predictions))
    with tempfile.TemporaryDirectory() as name:
        first, second = (fetch_experiment(one, Path(name) / str(n), places) for n, one in enumerate((a, b)))
        print_comparison(compare(first, second, places), a, b)


if __name__ == "__main__":
    run_stage(main)
