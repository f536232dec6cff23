"""What a training step costs by encoder, resolution, batch and the options that save memory: seconds, GB, operations.

    PYTHONPATH=. python bench/scaling.py                     # on the CPU, about 10 minutes
    PYTHONPATH=. python bench/scaling.py --device cuda --precision bf16 --name scaling_cuda
    PYTHONPATH=. python bench/scaling.py --count             # the operations alone, seconds

Each point is a process of its own, for its peak memory. Of its steps of `mv_clip_tr` on synthetic shards the first is
left out (it allocates), the median of the others is kept. Operations are counted by torch.utils.flop_counter, of the
forward pass of one image through the encoder, and of one image and one report through the paper's Tr modules, two per
multiply-add; they are exact and need no device.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ruamel.yaml import YAML
from torch.utils.flop_counter import FlopCounterMode

from bench.train_step import batches_from, initial_encoder, recipe_of, synchronise, write_inputs
from pipeline.allocator import keep_freed_memory
from pipeline.models.feature_tokens import FeatureTokens
from pipeline.models.image_tower import create_encoder, feature_shape
from pipeline.sections import Tr
from pipeline.training.live import memory_gb
from pipeline.training.setup import prepare
from pipeline.training.step import train_step

STEPS = 3
PAPER_PX = (1520, 912)
ENCODERS = ("tf_efficientnet_lite0", "resnet34", "tf_efficientnet_b2", "tf_efficientnet_b5")
RESULT = Path("bench/results")


class Point(NamedTuple):
    """One measurement: batch in breasts of two images; images_per_pass None: all at once."""

    encoder: str
    height_px: int
    width_px: int
    batch: int
    images_per_pass: int | None = None
    checkpointing: bool = False


LITE0, RESNET34, B2, B5 = ENCODERS
POINTS = [
    # batch
    *(Point(LITE0, 256, 160, batch) for batch in (4, 8, 16, 32)),
    # resolution
    *(Point(LITE0, height, width, 4) for height, width in ((512, 320), (768, 448), (1024, 608))),
    # encoder
    *(Point(encoder, 512, 320, 4) for encoder in (RESNET34, B2, B5)),
    # what saves memory
    Point(LITE0, 256, 160, 32, images_per_pass=16),
    Point(LITE0, 256, 160, 32, checkpointing=True),
    Point(B5, 512, 320, 4, checkpointing=True),
    # the paper's size and encoders
    Point(RESNET34, *PAPER_PX, 2, images_per_pass=2),
    Point(B5, *PAPER_PX, 2, images_per_pass=1, checkpointing=True),
]


def measure(point: Point, device: str, precision: str) -> dict[str, float]:
    """Seconds of a step and peak memory, in this process."""
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["PIPELINE_SCRATCH"] = str(folder / "scratch")
        size_px = (point.height_px, point.width_px)
        write_inputs(folder, size_px, breasts=point.batch * (STEPS + 1))
        options = argparse.Namespace(
            device=device, precision=precision, encoder=point.encoder, method="mv_clip_tr", workers=2, tr_tokens=None,
            images_per_pass=point.images_per_pass, checkpointing=point.checkpointing, compile=False,
        )  # fmt: skip
        initial_encoder(point.encoder, size_px, folder)
        training = prepare(recipe_of(options, folder, point.batch))
        taken = []
        batches = batches_from(training, 0)
        for _ in range(STEPS + 1):
            batch, epoch = next(batches)
            start = time.perf_counter()
            train_step(training, batch, epoch)
            synchronise(training)
            taken.append(time.perf_counter() - start)
        return {"seconds_per_step": float(np.median(taken[1:])), "peak_memory_gb": memory_gb(training)}


def forward_gflop(encoder: str, size_px: tuple[int, int]) -> float:
    """Operations of the encoder's forward pass of one image, in 10^9."""
    with torch.device("meta"):
        network = create_encoder(encoder, size_px)
        image = torch.zeros(1, 1, *size_px)
    with FlopCounterMode(display=False) as counter:
        network(image)
    return counter.get_total_flops() / 1e9


def tr_gflop(encoder: str) -> dict[str, float]:
    """Operations of the paper's Tr modules on the feature map of one image and the states of one report, in 10^9."""
    paper = YAML(typ="safe").load(Path("conf/profile/paper.yaml"))
    channels, rows, columns = feature_shape(encoder, *PAPER_PX)
    found = {}
    for name, positions in (("image", rows * columns), ("report", paper["text"]["max_tokens"])):
        with torch.device("meta"):
            module = FeatureTokens(positions, channels, Tr(**paper["tr"]))
            features = torch.zeros(1, channels, positions)
        with FlopCounterMode(display=False) as counter:
            module(features)
        found[name] = round(counter.get_total_flops() / 1e9, 1)
    return found


def operations() -> dict[str, Any]:
    """By encoder, at the paper's size."""
    return {
        "forward_gflop_at_paper_size": {name: round(forward_gflop(name, PAPER_PX), 1) for name in ENCODERS},
        "tr_gflop_at_paper_size": {name: tr_gflop(name) for name in ENCODERS},
    }


def main() -> None:
    """Measures every point in a process of its own and writes bench/results/<name>.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--name", default="scaling_cpu")
    parser.add_argument("--point", type=int, help="measure one point here and print it")
    parser.add_argument("--count", action="store_true", help="count operations, keep what was measured")
    options = parser.parse_args()
    result_file = RESULT / f"{options.name}.json"
    if options.count:
        result_file.write_text(json.dumps(json.loads(result_file.read_text()) | operations(), indent=2) + "\n")
        return
    if options.point is not None:
        print(json.dumps(measure(POINTS[options.point], options.device, options.precision)))
        return
    rows: list[dict[str, Any]] = []
    for number, point in enumerate(POINTS):
        command = [sys.executable, __file__, "--point", str(number)]
        command += ["--device", options.device, "--precision", options.precision]
        done = subprocess.run(command, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"failed": done.stderr[-300:]}
        if "seconds_per_step" in found:
            found["images_per_s"] = 2 * point.batch / found["seconds_per_step"]
        rows.append(
            point._asdict() | {key: value if key == "failed" else round(value, 3) for key, value in found.items()}
        )
        print(rows[-1], flush=True)
    result = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "precision": options.precision,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "points": rows,
    }
    result_file.write_text(json.dumps(result | operations(), indent=2) + "\n")


if __name__ == "__main__":
    main()
