"""Which units of an epoch meet in which step, on which rank."""

import math

import numpy as np
import pandas as pd
from jaxtyping import Int64

from pipeline.errors import InputError

# First words after (seed, epoch) of these draws; batch.draw_units has 1, so that none repeats another's numbers.
_ORDER, _ROW_GROUPS = 0, 2
# Row groups that are mixed: 8,192 breasts (16,384 images), 128 steps of 64 breasts; open_clip mixes 5,000 samples.
# Their PNGs are 8 GB at full scale (16 x 0.5 MB each; measurements.md, Storing), divided among the ranks of a machine.
WINDOW = 1024
# Parts of a window that every step takes equally many units from, so that each rank finds its own in each: then 2, 8
# and 16 ranks together read 1.03, 1.14 and 1.27 times the shards (bench/results/loader.json), else 1.3, 2.7 and 3.7.
_STRATA = 16
# Row groups that a rank keeps, as a multiple of its share of a window: of 8 ranks each meets 1.3, of 16 1.4 shares.
_SHARES = 1.5


def epoch_steps(units: int, batch: int, world: int) -> int:
    """Steps of one epoch.

    Raises:
        InputError: there are fewer than two units per rank, or a batch holds fewer than two: a unit's only negatives
            are the others of its batch.
    """
    if batch < 2:
        raise InputError(f"optimisation.batch: {batch} leaves no negatives; at least 2 breasts or images per rank")
    if units < 2 * world:
        raise InputError(
            f"pretrain: the training split has {units} breasts or images for {world} ranks, at least {2 * world} are"
            " needed; take a larger cohort or lower compute.processes"
        )
    return math.ceil(units / (batch * world))


def row_groups(images: pd.DataFrame) -> Int64[np.ndarray, " image"]:
    """The number, in file order, of the row group that each of these rows of index_shards lies in."""
    return images.groupby(["file", "row_group"]).ngroup().to_numpy(np.int64)


def kept_row_groups(world: int, window: int = WINDOW) -> int:
    """Row groups that a rank keeps so as to read each about once: 1024 alone (8 GB), 192 (1.5 GB) of 8 ranks."""
    return min(window, math.ceil(_SHARES * window / world))


def epoch_batches(
    row_group: Int64[np.ndarray, " unit"],
    batch: int,
    world: int,
    rank: int,
    seed: int,
    epoch: int,
    window: int = WINDOW,
) -> list[Int64[np.ndarray, " _"]]:
    """This rank's units of every step of an epoch.

    The order depends on (seed, epoch) alone and is cut into steps whose sizes differ by at most one: every unit is
    seen exactly once, no step is much smaller than the others, and one process with a batch of W * b sees the same
    steps as W with b. A run that resumes needs the number of the step alone.

    A shard is read by row groups, and units are drawn from `window` of them at a time, the permuted row groups of the
    epoch: a rank that keeps as many (kept_row_groups) reads each once, where a permutation of all units would read 16
    times what it uses. Several ranks share out a step by row group, about as many units each; the loss over all ranks
    does not depend on who holds which unit. A cohort of one window is in plain random order.

    Args:
        row_group: Number of the row group that holds each unit's images.
        batch: Units per rank and step.
        world: Number of ranks.
        rank: This one.
        seed: Of the run.
        epoch: From 0.
        window: Row groups that are mixed with each other, 16 images each.

    Raises:
        InputError: as epoch_steps.
    """
    order, place = _epoch_order(row_group, seed, epoch, window)
    steps = np.array_split(order, epoch_steps(len(row_group), batch, world))
    if world == 1:
        return steps
    return [np.array_split(step[np.argsort(place[step], kind="stable")], world)[rank] for step in steps]


def _epoch_order(
    row_group: Int64[np.ndarray, " unit"], seed: int, epoch: int, window: int
) -> tuple[Int64[np.ndarray, " unit"], Int64[np.ndarray, " unit"]]:
    """All units in the order of an epoch, and the place of each unit's row group among the permuted row groups.

    These are cut into windows of equal size and a window into strata; the units of a stratum are permuted, and a
    window's strata run side by side at an even pace. A single window is a single stratum.
    """
    names, row_group = np.unique(row_group, return_inverse=True)
    place = np.random.default_rng([seed, epoch, _ROW_GROUPS]).permutation(len(names))[row_group]
    windows = math.ceil(len(names) / window)
    strata = _STRATA if windows > 1 else 1
    stratum = place * (windows * strata) // len(names)
    ends = np.cumsum(np.bincount(stratum, minlength=windows * strata))
    units = np.split(np.argsort(stratum, kind="stable"), ends[:-1])
    generator = np.random.default_rng([seed, epoch, _ORDER])
    drawn = [generator.permutation(part) for part in units]
    order = [_interleave(drawn[start : start + strata], generator) for start in range(0, len(drawn), strata)]
    return np.concatenate(order), place


def _interleave(parts: list[Int64[np.ndarray, " _"]], generator: np.random.Generator) -> Int64[np.ndarray, " unit"]:
    """Merges some sequences, each at an even pace from a random start, so that every stretch has its share of each."""
    when = [(np.arange(len(part)) + generator.random()) / len(part) for part in parts]
    merged: np.ndarray = np.concatenate(parts)[np.argsort(np.concatenate(when), kind="stable")]
    return merged
