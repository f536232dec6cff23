"""Decodes images of the shards some steps ahead, from several threads."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from pipeline.shards.read import ShardImages
from pipeline.training.dataset import PairedImages
from pipeline.training.order import WINDOW, kept_row_groups

T = TypeVar("T")
R = TypeVar("R")


class ImageReader:
    """Decodes images of the shards; threads share one cache, which holds a rank's row groups of a window."""

    def __init__(self, folder: Path, world: int = 1, window: int = WINDOW) -> None:
        self.shards = ShardImages(folder, kept_row_groups(world, window))

    def read(
        self, pairs: PairedImages, rows: Int64[np.ndarray, " image"]
    ) -> UInt8[Tensor, "image height width"] | Float32[Tensor, "image height width"]:
        """The images of these rows."""
        return torch.from_numpy(self.shards.read(pairs.images, rows))


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
