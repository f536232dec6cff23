"""What folded BatchNorm and activations that are not in place save: a training and an inference pass of the encoder.

    python bench/held_norm.py

Ours against the network as timm makes it, BatchNorm held in both; the two take turns, the medians are compared.
"""

import json
import statistics
import time
from pathlib import Path

import timm
import torch
from torch import nn

from pipeline.allocator import keep_freed_memory
from pipeline.models import image_tower
from pipeline.params import read_params

ROUNDS, BATCH = 20, 32
RESULT = Path("bench/results/held_norm.json")


def seconds(encoder: nn.Module, images: torch.Tensor, train: bool) -> float:
    """One pass, forwards and, in training, backwards."""
    encoder.train(train)
    image_tower.hold_batch_norm(encoder)
    start = time.perf_counter()
    with torch.inference_mode(not train):
        output = encoder(images)
    if train:
        output.mean().backward()
        encoder.zero_grad()
    return time.perf_counter() - start


def main() -> None:
    """Interleaves the two encoders and writes the medians and their ratios."""
    keep_freed_memory()
    params = read_params()
    ours = image_tower.create_encoder(params.encoder)
    body = timm.create_model(params.encoder, pretrained=False, in_chans=1, num_classes=0, global_pool="")
    plain = image_tower.ImageEncoder(body, float(ours.mean), float(ours.std))
    pack = params.profile.pack
    images = torch.rand(BATCH, 1, pack.height_px, pack.width_px) * image_tower.GREY_MAX
    encoders = {"plain": plain, "ours": ours}
    encoders = {name: encoder.to(memory_format=torch.channels_last) for name, encoder in encoders.items()}
    found: dict[tuple[str, bool], list[float]] = {(name, train): [] for name in encoders for train in (True, False)}
    for _ in range(ROUNDS + 1):
        for (name, train), times in found.items():
            times.append(seconds(encoders[name], images, train))
    result: dict[str, object] = {
        "encoder": params.encoder,
        "batch": BATCH,
        "rounds": ROUNDS,
        "threads": torch.get_num_threads(),
    }
    for train, kind in ((True, "train"), (False, "inference")):
        medians = {name: statistics.median(found[name, train][1:]) for name in encoders}
        result |= {f"{kind}_{name}_s": round(median, 3) for name, median in medians.items()}
        result[f"{kind}_ratio"] = round(medians["ours"] / medians["plain"], 3)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
