"""What the pseudo reports of a large cohort cost: generations, tokens, rows a second, memory, tokens a second.

    python bench/reports.py             # about 10 minutes on two cores, with the profile's LLM

1. sharing: 10,000 breasts with VinDr-Mammo's distribution of annotations, one report per distinct prompt, against one
   generation per breast (measured on a sample of breasts, scaled up).
2. throughput: tokens a second of the stage's engine in its chunks, start-up left out, against vLLM's own offline loop
   (`LLM.chat` on all prompts at once) in the same process, interleaved; median of the ratios with their range.
3. rows: 540,000 breasts with four reports per prompt through prompt, post-processing, audit and writing, each kind in a
   process of its own: templates alone, and an engine that answers at once with texts that the audit has to judge.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd

from pipeline.params import Params, read_params
from pipeline.reports.chunks import ChunkedGenerator
from pipeline.reports.generate import ENVIRONMENT, Answer, Generation, start_vllm
from pipeline.reports.prompt import select_facts, write_prompt
from pipeline.reports.template import write_template
from pipeline.reports.write import ReportRequest, write_reports
from pipeline.sections import Llm
from pipeline.tables import ANNOTATIONS, DRAFTS, read_table, write_table

RESULT = Path("bench/results/reports.json")
C = ("density", "birads", "mass", "calcification")
PAPER_C = ("age_band", *C)
# Nguyen et al. 2023, VinDr-Mammo, Scientific Data 10:277: BI-RADS 1 to 5 and density A to D of its 10,000 breasts; the
# shares of findings among BI-RADS 3 and more follow its counts of annotated masses and calcifications.
BIRADS = (0.6703, 0.2338, 0.0465, 0.0381, 0.0113)
DENSITY = (0.005, 0.0954, 0.7646, 0.135)
FINDINGS = {"mass": 0.62, "calcification": 0.26}
SAMPLE, REPEATS, PROMPTS, ROWS, VARIANTS = 40, 5, 120, 540_000, 4


class InstantGenerator:
    """Answers at once: a template's text, which the audit judges like any other."""

    name, version, revision = "instant", "1", "none"

    def __init__(self, facts_of: dict[str, dict[str, object]]) -> None:
        self.facts_of = facts_of

    def __call__(self, prompts: Sequence[str], attempt: int, variants: Sequence[int]) -> list[Generation]:
        """One true report per prompt, with a title before it."""
        asked = zip(prompts, variants, strict=True)
        texts = [write_template(self.facts_of[prompt], f"{variant}-{attempt}") for prompt, variant in asked]
        return [Generation(f"Here is the report:\n\n{text}\n", 60, True) for text in texts]


def draw_annotations(breasts: int, seed: int = 0) -> pd.DataFrame:
    """Rows of tables.ANNOTATIONS with VinDr-Mammo's distribution; age bands as in screening."""
    rng, n = np.random.default_rng(seed), np.arange(breasts)
    birads = rng.choice(np.arange(1, 6), breasts, p=BIRADS)
    found = {name: (birads >= 3) & (rng.random(breasts) < share) for name, share in FINDINGS.items()}
    return pd.DataFrame(
        {
            "cohort": "vindr",
            "patient_id": [f"p{i // 2:07d}" for i in n],
            "exam_id": [f"e{i // 2:07d}" for i in n],
            "breast_id": [f"e{i // 2:07d}_{'LR'[i % 2]}" for i in n],
            "split": "train",
            "laterality": np.where(n % 2, "R", "L"),
            "views": "CC+MLO",
            "age_band": rng.choice(["40-49", "50-59", "60-69", "70-79"], breasts, p=[0.35, 0.35, 0.2, 0.1]),
            "implant": False,
            "vendor": "siemens",
            "density": rng.choice(list("ABCD"), breasts, p=DENSITY),
            "birads": birads,
            **found,
            "extra": None,
        }
    )


def share_generations(params: Params, folder: Path, answer: Answer) -> dict[str, object]:
    """10,000 breasts, one generation per distinct prompt, then some breasts alone."""
    llm = params.profile.llm.model_copy(update={"max_generations": None})
    rows = draw_annotations(10_000)
    write_table(rows, folder / "vindr.parquet", ANNOTATIONS)
    request = ReportRequest((folder / "vindr.parquet",), folder / "shared", "full", C)
    generator = ChunkedGenerator(llm, params.run.seed, lambda _: answer)
    generator(["Say yes."], 0, [0])  # warm
    started = time.monotonic()
    write_reports([request], params.run.reports, llm, params.run.seed, generator)
    seconds = time.monotonic() - started
    engine = json.loads((request.out / "engine.json").read_text())
    alone = rows.sample(SAMPLE, random_state=0)
    prompts = [write_prompt(select_facts(row, C), llm.prompt) for row in alone.to_dict("records")]
    started = time.monotonic()
    answers = generator(prompts, 1_000, range(len(prompts)))  # an attempt of its own: nothing of it is in scratch
    per_breast = (time.monotonic() - started) / SAMPLE
    every = [write_prompt(select_facts(row, PAPER_C), "v2") for row in rows.to_dict("records")]
    return {
        "breasts": len(rows),
        "prompts_distinct": engine["prompts_distinct"],
        "prompts_distinct_with_age": len(set(every)),
        "attempts": params.run.reports.attempts,
        "variants": params.run.reports.variants,
        "generations": engine["generations"],
        "generations_at_most": engine["prompts_distinct"] * params.run.reports.attempts * params.run.reports.variants,
        "tokens": engine["generated_tokens"],
        "accepted": engine["accepted"],
        "seconds": round(seconds, 1),
        "per_breast_sample": SAMPLE,
        "per_breast_seconds": round(per_breast, 3),
        "per_breast_tokens": round(float(np.mean([answer.tokens for answer in answers])), 1),
        "all_breasts_seconds_extrapolated": round(per_breast * len(rows)),
        "ratio_extrapolated": round(per_breast * len(rows) / seconds, 1),
    }


def compare_throughput(params: Params, prompts: list[str], engine: Any, answer: Answer) -> dict[str, object]:
    """Tokens a second of the stage's generator against `LLM.chat` over all prompts, one engine, interleaved."""
    llm = params.profile.llm
    ours = ChunkedGenerator(llm, params.run.seed, lambda _: answer)

    def offline(repeat: int) -> int:
        from vllm import SamplingParams

        chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
        sampling = SamplingParams(temperature=llm.temperature, max_tokens=llm.max_tokens)
        return sum(len(done.outputs[0].token_ids) for done in engine.chat(chats, sampling, use_tqdm=False))

    def staged(repeat: int) -> int:
        return sum(generation.tokens for generation in ours(prompts, repeat, [0] * len(prompts)))

    offline(-1)  # warm
    rates: dict[str, list[float]] = {"ours": [], "offline": []}
    for repeat in range(REPEATS):
        for name, run in [("ours", staged), ("offline", offline)][:: 1 if repeat % 2 else -1]:
            started = time.monotonic()
            rates[name].append(run(repeat) / (time.monotonic() - started))
    ratios = [ours / offline for ours, offline in zip(rates["ours"], rates["offline"], strict=True)]
    return {
        "prompts": len(prompts),
        "chunk_prompts": llm.chunk_prompts,
        "repeats": REPEATS,
        "tokens_per_second": {name: round(median(each), 1) for name, each in rates.items()},
        "ratio": {"median": round(median(ratios), 3), "low": round(min(ratios), 3), "high": round(max(ratios), 3)},
    }


def _start(llm: Llm) -> tuple[Any, Answer]:
    """The stage's engine, and vLLM's own object inside it."""
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
    import vllm

    started: list[vllm.LLM] = []
    create = vllm.LLM
    with patch.object(vllm, "LLM", lambda **settings: started.append(create(**settings)) or started[-1]):
        answer = start_vllm(llm)
    return started[0], answer


def run_rows(folder: Path, kind: str) -> None:
    """One run over all rows in this process; prints what it took."""
    params = read_params()
    reports = params.run.reports.model_copy(
        update={"engine": "llm" if kind == "instant" else "template", "variants": VARIANTS}
    )
    llm = params.profile.llm.model_copy(update={"max_generations": None, "temperature": 1.0})
    request = ReportRequest((folder / "rows.parquet",), folder / kind, "full", PAPER_C)
    generator = None
    if kind == "instant":
        rows = read_table(folder / "rows.parquet", ANNOTATIONS).drop_duplicates(["laterality", *PAPER_C])
        facts = [dict(select_facts(row, PAPER_C)) for row in rows.to_dict("records")]
        generator = InstantGenerator({write_prompt(each, llm.prompt): each for each in facts})
    started = time.process_time()
    write_reports([request], reports, llm, params.run.seed, generator)
    seconds = time.process_time() - started
    drafts = read_table(request.out / "drafts.parquet", DRAFTS)
    result = {
        "rows_per_second_of_one_core": round(ROWS / seconds),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "texts": len(drafts),
        "by_llm": int((drafts["origin"] == "llm").sum()),
    }
    print(json.dumps(result))


def measure_rows(folder: Path) -> dict[str, object]:
    """Each kind in a process of its own, so that its memory is its own."""
    write_table(draw_annotations(ROWS, seed=1), folder / "rows.parquet", ANNOTATIONS)
    found: dict[str, object] = {"rows": ROWS, "variants": VARIANTS}
    for kind in ("template", "instant"):
        command = [sys.executable, __file__, "--rows", str(folder), kind]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[kind] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs=2, metavar=("FOLDER", "KIND"), help=argparse.SUPPRESS)
    rows = parser.parse_args().rows
    if rows:
        run_rows(Path(rows[0]), rows[1])
        return
    params = read_params()
    facts = draw_annotations(2_000, seed=2).drop_duplicates(["laterality", *PAPER_C]).head(PROMPTS).to_dict("records")
    prompts = [write_prompt(select_facts(row, PAPER_C), params.profile.llm.prompt) for row in facts]
    with tempfile.TemporaryDirectory() as name:
        rows = measure_rows(Path(name))
        engine, answer = _start(params.profile.llm)
        os.environ["PIPELINE_SCRATCH"] = name  # nothing is finished there
        result = {
            "rows": rows,
            "sharing": share_generations(params, Path(name), answer),
            "throughput": compare_throughput(params, prompts, engine, answer),
        }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
