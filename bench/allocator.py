"""What keep_freed_memory saves: one training step of the demo with glibc's defaults and with freed memory kept.

    python bench/allocator.py

Each measurement is a process of its own (the setting holds for a process), the two kinds take turns, and the medians
over all steps after the first are compared.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS, STEPS = 3, 8
RESULT = Path("bench/results/allocator.json")


def measure(kept: bool) -> list[float]:
    """Seconds per step of one process."""
    command = [sys.executable, __file__, "kept" if kept else "default"]
    seconds: list[float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return seconds


def steps(kept: bool) -> list[float]:
    """Seconds of each step of the demo's image tower on random images, without the first."""
    import torch

    from pipeline.allocator import keep_freed_memory
    from pipeline.models.two_tower import load_model
    from pipeline.params import read_params

    if kept:
        keep_freed_memory()
    profile = read_params().profile
    model, _ = load_model(Path("models/initial"))
    encoder = model.image.encoder.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-6, fused=True)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(32, 1, profile.pack.height_px, profile.pack.width_px, generator=generator) * 255
    seconds = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        encoder(images).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def main() -> None:
    """Interleaves the two kinds and writes the medians and their ratio."""
    found: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(ROUNDS):
        for kept in found:
            found[kept] += measure(kept)
    default, kept_s = (statistics.median(found[kept]) for kept in (False, True))
    result = {
        "images": 32,
        "steps": ROUNDS * STEPS,
        "default_s": round(default, 4),
        "kept_s": round(kept_s, 4),
        "ratio": round(default / kept_s, 3),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(steps(sys.argv[1] == "kept")))
    else:
        main()
