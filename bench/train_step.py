"""What the trainer costs beyond the arithmetic: images/s of whole training steps against the bare ones.

    python bench/train_step.py                                 # the demo's encoder, size and batch, on the CPU
    python bench/train_step.py --device cuda --encoder tf_efficientnet_b5 --size 1520 912 --batch 8 --precision bf16

Whole: `loop._batches` and `train_step` from packed shards (decode, collate, transfer, augment, embed, loss, backward,
clip, step, history). Bare: augment, forward, loss, backward and step of the same model on one batch that lies on the
device already. The two take turns of some steps each; a turn of the trainer starts its decoding anew, and the clock
starts after its first batch, so that nothing is decoded while the other is measured. The ratio of each pair of turns is
taken; the median and its 95 % interval (by the sign test's order statistics) are reported. --checkpointing and
--images-per-pass try the two options that save memory; --largest finds the largest batch that fits a GPU instead, with
and without checkpointing.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

from pipeline.allocator import keep_freed_memory
from pipeline.errors import InputError
from pipeline.models.initial import write_initial
from pipeline.params import read_params
from pipeline.sections import Compute, Encoder, Model
from pipeline.shards.read import ShardImages  # noqa: F401  (imported before the clock runs)
from pipeline.tables import SHARD, TEXT_KEYS, TEXT_STATES, write_table
from pipeline.training.augment import augment
from pipeline.training.batch import Batch, collate
from pipeline.training.live import memory_gb
from pipeline.training.loop import _batches
from pipeline.training.passes import backward_pass
from pipeline.training.run import Recipe, Training
from pipeline.training.setup import prepare
from pipeline.training.step import train_step

LARGEST = 512  # batch that --largest tries
PAIRS, STEPS = 12, 6  # turns each, and steps a turn
TEXT_WIDTH, REPORT_TOKENS = 384, 64
RESULT = Path("bench/results")


def write_inputs(folder: Path, size_px: tuple[int, int], breasts: int) -> None:
    """Shards of smooth noise in the shape of a breast (a PNG of about the size of a mammogram's) and token states."""
    rng = np.random.default_rng(0)
    rows = [image_row(rng, size_px, breast, view) for breast in range(breasts) for view in ("CC", "MLO")]
    shard = pd.DataFrame(rows).assign(laterality="L", mirrored=False, codec="png", split="train")
    write_table(shard, folder / "shards/bench/shard-000.parquet", SHARD, row_group_size=16, compression="none")
    keys = shard.drop_duplicates("breast_id")[["breast_id", "patient_id", "split"]]
    reports = [f"r{breast % 60}" for breast in range(breasts)]
    write_table(keys.assign(report_id=reports, prompt_id=reports), folder / "text/keys.parquet", TEXT_KEYS)
    states = [rng.standard_normal((REPORT_TOKENS, TEXT_WIDTH)).astype("<f4").tobytes() for _ in range(60)]
    table = pd.DataFrame({"report_id": [f"r{n}" for n in range(60)], "tokens": REPORT_TOKENS, "width": TEXT_WIDTH})
    write_table(table.assign(states=states), folder / "text/states.parquet", TEXT_STATES)


def image_row(rng: np.random.Generator, size_px: tuple[int, int], breast: int, view: str) -> dict[str, object]:
    """One row of tables.SHARD."""
    height, width = size_px
    coarse = rng.integers(40, 220, (max(2, height // 8), max(2, width // 8)), dtype=np.uint8)
    pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    pixels = cv2.add(pixels, rng.integers(0, 4, size_px, dtype=np.uint8))
    rows, columns = np.ogrid[:height, :width]
    pixels[((rows / height - 0.5) / 0.5) ** 2 + (columns / width) ** 2 > 1] = 0
    png = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, 3])[1].tobytes()
    name = f"{breast:05d}"
    return {
        "image_id": f"i{name}{view}", "breast_id": f"b{name}", "exam_id": f"e{name}", "patient_id": f"p{name}",
        "view": view, "image": png,
    }  # fmt: skip


def initial_encoder(name: str, size_px: tuple[int, int], folder: Path) -> None:
    """Random weights that pass for pretrained ones, so that BatchNorm is held; the values do not matter."""
    model = Model(encoder="auto", weights="random")
    write_initial(name, model, Encoder(default=name, weights={}), *size_px, 0, folder / "initial")
    config = folder / "initial/config.json"
    config.write_text(config.read_text().replace('"encoder_weights": "random"', '"encoder_weights": "bench"'))


def recipe_of(options: argparse.Namespace, folder: Path, batch: int) -> Recipe:
    """The demo's settings with the size, encoder and memory options asked for."""
    params = read_params()
    profile, encoder = params.profile, options.encoder or params.encoder
    compute = Compute(
        device=options.device, precision=options.precision, workers=options.workers, backend="local", processes=1
    )
    changed = {
        "batch": {"default": {options.method: batch}},
        "epochs": {"default": 1000},
        "images_per_pass": options.images_per_pass,
        "activation_checkpointing": options.checkpointing,
        "compile": options.compile,
    }
    settings = params.run.pretrain.model_copy(update={"cohorts": ["bench"], "method": options.method})
    tr = profile.tr if options.tr_tokens is None else profile.tr.model_copy(update={"tokens": options.tr_tokens})
    return Recipe(
        folder / "shards", folder / "text", folder / "initial", folder / "out", None, encoder, 1, settings, tr,
        profile.optimisation.model_copy(update=changed), profile.augment, compute, profile.text,
    )  # fmt: skip


def batches_from(training: Training, epoch: int) -> Iterator[tuple[Batch, int]]:
    """Batches of one epoch after another, as the loop takes them."""
    while True:
        training.done.steps = epoch * training.epoch_steps  # where the loop would be
        for batch in _batches(training, epoch):
            yield batch, epoch
        epoch += 1


def whole_steps(training: Training, turn: int, steps: int) -> float:
    """Images per second of the trainer, from its first batch on."""
    batches = batches_from(training, turn)
    batch, epoch = next(batches)
    images, start = training.done.images, time.perf_counter()
    for step in range(steps):
        train_step(training, batch, epoch)
        if step < steps - 1:
            batch, epoch = next(batches)
    synchronise(training)
    rate = (training.done.images - images) / (time.perf_counter() - start)
    batches.close()  # type: ignore[attr-defined]  # a generator
    return rate


def bare_steps(training: Training, batch: Batch, steps: int) -> float:
    """Images per second of the arithmetic alone; the batch lies on the device."""
    recipe, start = training.recipe, time.perf_counter()
    for step in range(steps):
        training.set_training()
        views = augment(
            batch.images[batch.shown], batch.keys.cpu(), recipe.augment, recipe.seed, step, batch.copies.cpu()
        )
        backward_pass(training, views, batch)
        training.optimizer.step()
        training.optimizer.zero_grad()
    synchronise(training)
    return steps * len(batch.images) / (time.perf_counter() - start)


def synchronise(training: Training) -> None:
    """Waits for the device."""
    if training.accelerator.device.type == "cuda":
        torch.cuda.synchronize()


def median_interval(ratios: list[float]) -> list[float]:
    """95 % interval of the median: between the order statistics that a binomial(n, 1/2) leaves 2.5 % outside."""
    values, n = np.sort(ratios), len(ratios)
    below = 0
    while sum(np.prod([(n - i) / (i + 1) for i in range(k)]) for k in range(below + 1)) / 2**n <= 0.025:
        below += 1
    return [float(values[max(0, below - 1)]), float(values[n - max(1, below)])]


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Both, taking turns."""
    training = prepare(recipe_of(options, folder, options.batch))
    resident = Batch(*(part.to(training.accelerator.device) for part in next(batches_from(training, 0))[0]))
    for turn in range(2):
        whole_steps(training, turn, 2)
        bare_steps(training, resident, 2)
    pairs = []
    for turn in range(PAIRS):
        pairs.append((whole_steps(training, turn, STEPS), bare_steps(training, resident, STEPS)))
        print(f"whole {pairs[-1][0]:.1f}, bare {pairs[-1][1]:.1f} images/s", flush=True)
    ratios = [whole / bare for whole, bare in pairs]
    return {
        "whole_images_per_s": round(statistics.median(whole for whole, _ in pairs), 2),
        "bare_images_per_s": round(statistics.median(bare for _, bare in pairs), 2),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_interval_95": [round(value, 3) for value in median_interval(ratios)],
        "pairs": PAIRS,
        "steps_per_turn": STEPS,
        "peak_memory_gb": round(memory_gb(training), 2),
    }


def batch_of(training: Training, units: int) -> Batch:
    """A batch of exactly so many breasts or images; an epoch's are cut evenly, and may be smaller."""
    draw = training.draw(0)
    assert len(draw.paired) >= units, (len(draw.paired), units)
    return collate(training.pairs, training.reader, draw, np.arange(units), training.recipe.text_tokens)


def largest_batch(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """The largest batch of breasts or images whose step fits, LARGEST at most, by doubling, then bisecting."""
    fits, fails = 1, None
    while fails is None or fails - fits > 1:
        trial = min(2 * fits, LARGEST) if fails is None else (fits + fails) // 2
        try:
            training = prepare(recipe_of(options, folder, trial))
            train_step(training, batch_of(training, trial), 0)
            fits = trial
        except InputError as error:
            if "out of memory" not in str(error):
                raise
            fails = trial
        training = None
        torch.cuda.empty_cache()
        if fits == LARGEST:
            break
    return {"largest_batch": fits}


def main() -> None:
    """Measures and writes bench/results/train_step_<device>[_<encoder>].json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--encoder")
    parser.add_argument("--method", default="mv_clip_tr")
    parser.add_argument("--size", type=int, nargs=2, default=[256, 160], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tr-tokens", type=int)
    parser.add_argument("--images-per-pass", type=int)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--largest", action="store_true")
    parser.add_argument("--name", default="train_step_cpu")
    options = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["PIPELINE_SCRATCH"] = str(folder / "scratch")
        height, width = options.size
        write_inputs(folder, (height, width), breasts=LARGEST if options.largest else max(160, 4 * options.batch))
        encoder = options.encoder or read_params().encoder
        initial_encoder(encoder, (height, width), folder)
        found = largest_batch(options, folder) if options.largest else measure(options, folder)
    asked = {key: value for key, value in vars(options).items() if key != "name"} | {"encoder": encoder}
    result = asked | found | {"torch": torch.__version__, "threads": torch.get_num_threads()}
    (RESULT / f"{options.name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
