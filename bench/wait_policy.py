"""What OpenMP's wait policy costs and saves: images/s of training steps, alone and beside a process that wants a core.

    PYTHONPATH=. python bench/wait_policy.py

Each turn is a process of its own (the policy is read once, when OpenMP is loaded); the four arms take turns.
"""

import json
import os
import statistics
import subprocess
import sys
from itertools import product
from pathlib import Path

ROUNDS = 3
BUSY = "while True: pass"
TURN = """
import argparse, os, tempfile
from pathlib import Path
from bench.train_step import initial_encoder, recipe_of, whole_steps, write_inputs
from pipeline.allocator import keep_freed_memory
from pipeline.params import read_params
from pipeline.training.setup import prepare
keep_freed_memory()
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    os.environ["PIPELINE_SCRATCH"] = str(folder / "scratch")
    write_inputs(folder, (256, 160), breasts=160)
    options = argparse.Namespace(device="cpu", precision="fp32", encoder=read_params().encoder, method="mv_clip_tr",
        size=[256, 160], workers=2, tr_tokens=None, images_per_pass=None, checkpointing=False, compile=False)
    initial_encoder(options.encoder, (256, 160), folder)
    training = prepare(recipe_of(options, folder, 16))
    whole_steps(training, 0, 1)
    print(whole_steps(training, 1, 5))
"""


def turn(policy: str | None, busy: bool) -> float:
    """Images per second of one process."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": policy} if policy else {}
    neighbour = subprocess.Popen([sys.executable, "-c", BUSY]) if busy else None
    try:
        done = subprocess.run([sys.executable, "-c", TURN], env=environment, check=True, capture_output=True, text=True)
    finally:
        if neighbour is not None:
            neighbour.kill()
            neighbour.wait()
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Measures and writes bench/results/wait_policy.json."""
    arms = list(product((False, True), (None, "PASSIVE")))
    rates: dict[tuple[bool, str | None], list[float]] = {arm: [] for arm in arms}
    for _ in range(ROUNDS):
        for busy, policy in arms:
            rates[busy, policy].append(turn(policy, busy))
            print(f"busy neighbour {busy}, policy {policy}: {rates[busy, policy][-1]:.1f} images/s", flush=True)
    result = {}
    for busy, place in ((False, "alone"), (True, "beside_a_busy_process")):
        ratios = [passive / default for passive, default in zip(rates[busy, "PASSIVE"], rates[busy, None], strict=True)]
        result[place] = {
            "default_images_per_s": [round(rate, 1) for rate in rates[busy, None]],
            "passive_images_per_s": [round(rate, 1) for rate in rates[busy, "PASSIVE"]],
            "passive_over_default": round(statistics.median(ratios), 2),
        }
    written = {"rounds": ROUNDS, "cores": os.cpu_count()} | result
    Path("bench/results/wait_policy.json").write_text(json.dumps(written, indent=2) + "\n")
    print(json.dumps(written, indent=2))


if __name__ == "__main__":
    main()
