"""Two experiments on the same test patients: `make compare A=... B=...`.

A and B are experiments, branches, tags or commits; `workspace` is what lies in the folder. Only the differences are
computed: predictions and sealed labels come from DVC's cache.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.errors import InputError, run_stage
from pipeline.evaluation.inputs import read_predictions
from pipeline.evaluation.scored import Scored, scored_breasts, scored_images
from pipeline.evaluation.summary import print_table
from pipeline.metrics.bootstrap import auc_interval, paired_auc_gain
from pipeline.metrics.delong import delong_test
from pipeline.metrics.multiple import holm
from pipeline.params import PARAMS_FILE, PROFILE_FOLDER, read_params
from pipeline.tables import SEALED, read_table

WORKSPACE = "workspace"
RESAMPLES = 2000  # a paired interval moves by less than 0.002 between seeds of the resampling
COLUMNS = ("task", "split", "setting", "A", "B", "A - B", "p", "p (Holm)", "n")


class Places(NamedTuple):
    """Where an experiment keeps its sealed labels (a folder per cohort) and its predictions, from its root."""

    sealed: Path
    predictions: Path


class Comparison(NamedTuple):
    """One setting of one task, both experiments' AUC (of an ordinal label: mean over cut points) on the same units.

    difference, low, high: A minus B with a bootstrap interval over patients. p: DeLong's, clustered by patient; NaN for
    an ordinal label. p_holm: corrected over the tasks that were compared in this split and setting. n: test units.
    """

    task: str
    split: str
    setting: str
    auc_a: float
    auc_b: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    n: int


def compare(a: Path, b: Path, places: Places, resamples: int = RESAMPLES) -> list[Comparison]:
    """Compares two checkouts setting by setting, pretrained encoders only.

    Args:
        a: Folder with parameters, sealed labels and predictions of one experiment.
        b: The same of the other.
        places: Where they are in both.
        resamples: Of the bootstrap.

    Raises:
        InputError: they have no setting in common, or did not score the same units.
    """
    others = {(unit.task, unit.split, unit.setting): unit for unit in read_scored(b, places)}
    pairs = [(unit, others.get((unit.task, unit.split, unit.setting))) for unit in read_scored(a, places)]
    found = [_compare(one, other, resamples) for one, other in pairs if other is not None]
    if not found:
        raise InputError("compare: expected tasks and settings that both experiments have, found none")
    return list(_corrected(found))


def read_scored(folder: Path, places: Places) -> list[Scored]:
    """The scored test units of an experiment, of its pretrained encoder."""
    run = read_params(folder).run
    predictions = read_predictions(folder / places.predictions)
    predictions = predictions[predictions["encoder"] == "pretrained"]
    labels = {name: read_table(folder / places.sealed / name / "labels.parquet", SEALED) for name in run.cohorts}
    units = scored_images(predictions, labels, run.tasks)
    breasts = [scored_breasts(predictions, labels[run.fuse.cohort], label) for label in run.fuse.labels]
    return units + [unit for own in breasts for unit in own]


def fetch_experiment(name: str, folder: Path, places: Places) -> Path:
    """Puts what `compare` reads of an experiment into a folder.

    Raises:
        InputError: there is no such experiment, or its files are neither here nor in DVC's cache.
    """
    if name == WORKSPACE:
        return Path()
    from dvc.api import DVCFileSystem  # seconds, and for this alone
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    try:
        files = DVCFileSystem(".", rev=name)
        for path in (PARAMS_FILE, PROFILE_FOLDER, *places):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            files.get(str(path), str(folder / path), recursive=True)
    except (DvcException, SCMError, OSError) as error:
        raise InputError(
            f"compare: {name}: expected an experiment, branch, tag or commit whose predictions are in the cache, found:"
            f" {error}; dvc exp show lists the experiments, dvc pull fetches what is missing"
        ) from error
    return folder


def print_comparison(rows: Sequence[Comparison], a: str, b: str) -> None:
    """The table, and what to read from it."""
    print(f"A: {a}, B: {b}. AUC on the same test units; 95 % intervals over patients; p: DeLong, clustered by patient.")
    print_table(COLUMNS, [_cells(row) for row in rows])
    told = sum(row.p_holm < 0.05 for row in rows)
    print(f"{told} of {len(rows)} differences are told from chance at 5 %, corrected over the tasks of each setting.")


def _compare(a: Scored, b: Scored, resamples: int) -> Comparison:
    """One row, not corrected yet."""
    if not a.has_units_of(b):
        raise InputError(
            f"compare: {a.task}, {a.split}: expected the same test units, found {len(a.grades)} of A and"
            f" {len(b.grades)} of B that are not the same; compare experiments with equal data/splits"
        )
    labels = a.labels
    gain = paired_auc_gain(labels, a.scores, b.scores, a.patients, resamples, seed=0)
    p = np.nan if a.is_ordinal else delong_test(labels, a.scores, b.scores, a.patients).p
    auc_a, auc_b = (auc_interval(labels, unit.scores, unit.patients, 2, seed=0).value for unit in (a, b))
    return Comparison(a.task, a.split, a.setting, auc_a, auc_b, *gain, p, np.nan, len(a.grades))


def _corrected(rows: Sequence[Comparison]) -> Iterator[Comparison]:
    """The same rows with Holm's p over the tasks of each split and setting."""
    families: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(rows):
        families.setdefault((row.split.partition("_")[0], row.setting), []).append(number)
    adjusted = np.full(len(rows), np.nan)
    for numbers in families.values():
        adjusted[numbers] = holm(np.array([rows[number].p for number in numbers]))
    for row, p in zip(rows, adjusted, strict=True):
        yield row._replace(p_holm=float(p))


def _cells(row: Comparison) -> tuple[str, ...]:
    """A row's text; n/a where too few patients support a number."""
    if np.isnan(row.difference):
        return (row.task, row.split, row.setting, "n/a", "n/a", "n/a", "n/a", "n/a", str(row.n))
    difference = f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
    ps = ("-" if np.isnan(p) else f"{p:.3f}" if p >= 0.001 else "<0.001" for p in (row.p, row.p_holm))
    return (row.task, row.split, row.setting, f"{row.auc_a:.3f}", f"{row.auc_b:.3f}", difference, *ps, str(row.n))


def main(a: str, b: str, sealed: str, predictions: str) -> None:
    """Fetches, compares and prints."""
    places = Places(Path(sealed), Path(predictions))
    with tempfile.TemporaryDirectory() as name:
        first, second = (fetch_experiment(one, Path(name) / str(n), places) for n, one in enumerate((a, b)))
        print_comparison(compare(first, second, places), a, b)


if __name__ == "__main__":
    run_stage(main)
