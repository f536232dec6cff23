"""What a second rank costs: images/s of two gloo ranks, one thread each, over twice those of one rank with one thread.

    PYTHONPATH=. python bench/ranks.py                       # about 6 minutes, on an idle machine with two cores

Steps of `mv_clip_tr` with the demo's encoder, size and batch per rank: gathering of embeddings, averaging of gradients,
waiting for the slower rank and sharing the machine's memory are what it loses. One and two ranks take turns.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from bench.train_step import batches_from, initial_encoder, median_interval, recipe_of, write_inputs
from pipeline.allocator import keep_freed_memory
from pipeline.params import read_params
from pipeline.training.launch import launch
from pipeline.training.setup import prepare
from pipeline.training.step import train_step

BATCH, STEPS, TURNS, RANKS = 16, 5, 6, 2
SIZE_PX = (256, 160)
RESULT = Path("bench/results/ranks_cpu.json")


def rank(folder: str, turn: int) -> None:
    """Some steps of one rank; the first writes images per second of all."""
    keep_freed_memory()
    options = argparse.Namespace(
        device="cpu", precision="fp32", encoder=None, method="mv_clip_tr", workers=1, tr_tokens=None,
        images_per_pass=None, checkpointing=False, compile=False,
    )  # fmt: skip
    training = prepare(recipe_of(options, Path(folder), BATCH))
    torch.set_num_threads(1)
    batches = batches_from(training, turn)
    for _ in range(2):  # the first allocate
        train_step(training, *next(batches))
    images, start = training.done.images, time.perf_counter()
    for _ in range(STEPS):
        train_step(training, *next(batches))
    rate = (training.done.images - images) / (time.perf_counter() - start)
    if training.accelerator.is_main_process:
        (Path(folder) / "rate.txt").write_text(str(rate))


def main() -> None:
    """Takes turns and writes the ratio."""
    import bench.ranks as importable  # what other processes can load

    with tempfile.TemporaryDirectory() as name:
        folder, rates = Path(name), {1: [], RANKS: []}
        os.environ["PIPELINE_SCRATCH"] = str(folder / "scratch")
        write_inputs(folder, SIZE_PX, breasts=RANKS * BATCH * (STEPS + 2))
        initial_encoder(read_params().encoder, SIZE_PX, folder)
        for turn in range(TURNS):
            for ranks, found in rates.items():
                launch(importable.rank, ranks, name, turn)
                found.append(float((folder / "rate.txt").read_text()))
            print({ranks: round(found[-1], 2) for ranks, found in rates.items()}, flush=True)
    ratios = [two / (RANKS * one) for one, two in zip(rates[1], rates[RANKS], strict=True)]
    result = {
        "images_per_s": {f"{ranks}_ranks": round(float(np.median(found)), 2) for ranks, found in rates.items()},
        "efficiency": round(float(np.median(ratios)), 3),
        "efficiency_interval_95": [round(value, 3) for value in median_interval(ratios)],
        "turns": TURNS,
        "breasts_per_rank": BATCH,
        "cores": os.cpu_count(),
        "torch": torch.__version__,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
