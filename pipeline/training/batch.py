"""Which images and reports meet in a step, and their decoding some steps ahead."""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from pipeline.errors import InputError
from pipeline.models.text_tower import pad_states
from pipeline.shards.read import ShardImages
from pipeline.tables import VIEWS
from pipeline.training.dataset import PairedImages

T = TypeVar("T")
R = TypeVar("R")
# First word after (seed, epoch) of each kind of draw, so that none repeats another's numbers.
_ORDER, _DRAW = 0, 1


class Draw(NamedTuple):
    """The units of one epoch, by image row: a breast (mv_*) or an image (clip*).

    paired: the image that meets the report. cc, mlo: the two views where `both`, elsewhere the paired image twice.
    """

    paired: Int64[np.ndarray, " unit"]
    cc: Int64[np.ndarray, " unit"]
    mlo: Int64[np.ndarray, " unit"]
    both: Bool[np.ndarray, " unit"]


class Batch(NamedTuple):
    """One rank's part of one step; paired, cc, mlo point into images, text into states."""

    images: UInt8[Tensor, "image height width"] | Float32[Tensor, "image height width"]
    keys: Int64[Tensor, " image"]
    states: Tensor
    mask: Bool[Tensor, "report token"]
    paired: Int64[Tensor, " unit"]
    cc: Int64[Tensor, " unit"]
    mlo: Int64[Tensor, " unit"]
    both: Bool[Tensor, " unit"]
    text: Int64[Tensor, " unit"]
    report: Int64[Tensor, " unit"]
    breast: Int64[Tensor, " unit"]


def draw_units(pairs: PairedImages, multi_view: bool, swap_probability: float, seed: int, epoch: int) -> Draw:
    """What each unit shows in this epoch.

    Images (clip*): every image with its report. Breasts (mv_*): one image per view, drawn where there are more; the
    CC view meets the report, or the MLO view with probability swap_probability, or the only view there is; such a
    breast has no view pair (method.md, `exams with more than four images`; MV-MLM, section 3.4).
    """
    if not multi_view:
        rows = np.arange(len(pairs.images))
        return Draw(rows, rows, rows, np.zeros(len(rows), dtype=bool))
    generator = np.random.default_rng([seed, epoch, _DRAW])
    lottery = generator.random(len(pairs.images))
    table = pairs.images.assign(breast=pairs.breast, lottery=lottery)
    chosen = table.loc[table.groupby(["breast", "view"])["lottery"].idxmin()]
    views = chosen.assign(row=chosen.index).pivot(index="breast", columns="view", values="row")
    cc, mlo = (column.to_numpy(dtype=float) for _, column in views.reindex(columns=list(VIEWS)).items())
    both = ~np.isnan(cc) & ~np.isnan(mlo)
    swapped = generator.random(len(views)) < swap_probability
    paired = np.where((swapped & both) | np.isnan(cc), mlo, cc)
    cc, mlo = np.where(both, cc, paired), np.where(both, mlo, paired)
    return Draw(paired.astype(np.int64), cc.astype(np.int64), mlo.astype(np.int64), both)


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


def epoch_batches(
    units: int, batch: int, world: int, rank: int, seed: int, epoch: int
) -> list[Int64[np.ndarray, " unit"]]:
    """This rank's units of every step of an epoch.

    A permutation that depends on (seed, epoch) alone is cut into steps whose sizes differ by at most one, and each
    step over the ranks likewise: every unit is seen exactly once, no step is much smaller than the others, and one
    process with a batch of W * b sees the same steps as W with b.
    """
    order = np.random.default_rng([seed, epoch, _ORDER]).permutation(units)
    steps = np.array_split(order, epoch_steps(units, batch, world))
    return [np.array_split(step, world)[rank] for step in steps]


class ImageReader:
    """Decodes images of the shards from several threads; each has files and a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._local = threading.local()

    def read(
        self, pairs: PairedImages, rows: Int64[np.ndarray, " image"]
    ) -> UInt8[Tensor, "image height width"] | Float32[Tensor, "image height width"]:
        """The images of these rows."""
        if not hasattr(self._local, "shards"):
            self._local.shards = ShardImages(self._folder)
        return torch.from_numpy(self._local.shards.read(pairs.images.iloc[rows]))


def collate(
    pairs: PairedImages, reader: ImageReader, draw: Draw, units: Int64[np.ndarray, " unit"], text_tokens: int
) -> Batch:
    """Reads what some units need: every image once, and every distinct report once."""
    views = [rows[units] for rows in (draw.paired, draw.cc, draw.mlo)]
    rows = np.unique(np.concatenate(views))
    report = pairs.report[views[0]]
    distinct, text = np.unique(report, return_inverse=True)
    states, mask = pad_states([pairs.states[number] for number in distinct], text_tokens)
    paired, cc, mlo = (torch.from_numpy(np.searchsorted(rows, view)) for view in views)
    return Batch(
        images=reader.read(pairs, rows),
        keys=torch.from_numpy(rows),
        states=states,
        mask=mask,
        paired=paired,
        cc=cc,
        mlo=mlo,
        both=torch.from_numpy(draw.both[units]),
        text=torch.from_numpy(text),
        report=torch.from_numpy(report),
        breast=torch.from_numpy(pairs.breast[views[0]]),
    )


def ahead(make: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[R]:
    """Yields make(item) for every item in order, computed by threads while earlier results are in use.

    Threads are enough: decoding PNG and reading Parquet release Python's lock.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[R]] = deque(pool.submit(make, item) for item in items[: workers + 1])
        for item in items[workers + 1 :]:
            yield waiting.popleft().result()
            waiting.append(pool.submit(make, item))
        while waiting:
            yield waiting.popleft().result()
