"""Reports by vLLM on a Ray cluster (ray.data.llm): the same tokens in, the same rows out, `llm.data_parallel` engines.

`ray start --head` on one machine and `ray start --address=...` on the others make a cluster; $RAY_ADDRESS names it,
else the one that runs on this machine is taken. Model folder and environment must lie at the same paths on every node.
"""

import importlib.metadata
import logging
import math
import os
import re
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.reports.chat_tokens import chat_tokens
from pipeline.reports.generate import ENVIRONMENT, Answer, Chunk, Generation, engine_settings, sampling_settings
from pipeline.reports.llm_folder import hub_commit, is_cpu_build, locate_llm
from pipeline.reports.start_errors import start_error, stop_error
from pipeline.sections import Llm

# Rows that an engine is handed at once. It takes 8 such batches at a time (max_concurrent_batches of Ray 2.60), which
# is the 1,024 sequences that vLLM computes at once on its largest GPUs.
BATCH_ROWS = 128
ANSWER = ("generated_text", "generated_tokens")
HEAD_SECONDS = 10.0  # for the head of the cluster to take a connection
HUB = ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_HOME")  # where engines look for a hub model; a token stays where it is


def ray_version() -> str:
    """Of the installed Ray."""
    return importlib.metadata.version("ray")


def start_ray(llm: Llm) -> Answer:
    """Reads the tokenizer; engines start on the cluster with each call, all missing chunks streaming through them.

    Raises:
        InputError: the model's tokenizer cannot be loaded.
    """
    from transformers import AutoTokenizer

    on_cpu, model = is_cpu_build(), locate_llm(llm.model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, revision=hub_commit(llm), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise start_error(llm, str(error)) from error
    ends = _end_tokens(tokenizer, model, hub_commit(llm))

    def answer(chunks: Sequence[Chunk]) -> Iterator[list[Generation]]:
        """One pass over all rows in their order; a chunk is yielded when its last row is there."""
        rows = [row for chunk in chunks for row in _rows(chunk, llm, tokenizer)]
        copies = min(llm.data_parallel, math.ceil(len(rows) / BATCH_ROWS))
        with (
            _cluster(llm, copies, on_cpu),
            closing(_stream(rows, _processor(llm, model, copies, on_cpu), llm)) as answered,
        ):
            for chunk in chunks:
                yield [_generation(row, llm, ends) for row in islice(answered, len(chunk.prompts))]
            if next(answered, None):
                raise ValueError("more rows came back than went in")

    return answer


def _rows(chunk: Chunk, llm: Llm, tokenizer: Any) -> Iterator[dict[str, Any]]:
    """What the engines' stage takes: tokens, so that every special token is there once, and how to sample."""
    for tokens, seed in zip(chat_tokens(tokenizer, chunk.prompts, llm), chunk.seeds, strict=True):
        yield {"tokenized_prompt": np.array(tokens, dtype=np.int32), "sampling_params": sampling_settings(llm, seed)}


def _stream(rows: list[dict[str, Any]], processor: Any, llm: Llm) -> Generator[dict[str, Any], None, None]:
    """Sends the rows through the engines, and gives them back in their order as they come.

    Raises:
        InputError: the model cannot be loaded or does not fit, or an engine dies.
    """
    from ray.data import DataContext, from_items
    from ray.exceptions import RayError

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what goes wrong is raised; the rest is no news
    context = DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = context.print_on_execution_start = False
    with DataContext.current(context):
        answered = processor(from_items(rows, override_num_blocks=math.ceil(len(rows) / BATCH_ROWS)))
        failed = start_error
        try:
            for row in answered.iter_rows():
                failed = stop_error
                yield row
        except RayError as error:
            said = re.split(r"^[\w.]*(?:Error|Exception): ", str(error), flags=re.MULTILINE)[-1]
            raise failed(llm, said) from error


def _processor(llm: Llm, model: str, copies: int, on_cpu: bool) -> Any:
    """The one stage of ray.data.llm that is needed here: so many engines."""
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    config = vLLMEngineProcessorConfig(
        model_source=model,
        engine_kwargs={**engine_settings(llm, on_cpu), "disable_log_stats": True},
        concurrency=(copies, copies),
        batch_size=BATCH_ROWS,
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
        log_engine_metrics=False,
        placement_group_config={"bundles": [{"CPU": 1}]} if on_cpu else None,
    )
    return build_processor(config, postprocess=lambda row: {name: row[name] for name in ANSWER})


def _generation(row: dict[str, Any], llm: Llm, ends: set[int]) -> Generation:
    """Ray's rows do not say why a generation ended: at the limit it is unfinished, unless its last token is an end."""
    tokens = row["generated_tokens"]
    finished = len(tokens) < llm.max_tokens or int(tokens[-1]) in ends
    return Generation(row["generated_text"], len(tokens), finished)


def _end_tokens(tokenizer: Any, model: str, commit: str | None) -> set[int]:
    """Tokens with which the model ends an answer: the tokenizer's, and those of generation_config.json as vLLM does."""
    from transformers import GenerationConfig

    try:
        named = GenerationConfig.from_pretrained(model, revision=commit).eos_token_id
    except OSError:
        named = None  # the model has no such file
    return {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}


@contextmanager
def _cluster(llm: Llm, copies: int, on_cpu: bool) -> Iterator[None]:
    """Joins the cluster and leaves it.

    Raises:
        InputError: there is no cluster, or it is too small for so many copies (Ray would wait for more nodes).
    """
    import ray

    address = os.environ.get("RAY_ADDRESS", "auto")
    settings = {name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()}
    settings |= {name: os.environ[name] for name in HUB if name in os.environ}
    try:
        if address != "auto":  # ray.init waits many minutes for a head that is not there
            host, port = address.rsplit(":", 1)
            socket.create_connection((host, int(port)), timeout=HEAD_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", runtime_env={"env_vars": settings})
    except (OSError, ValueError):
        raise InputError(
            f"llm.engine: ray: no cluster at {address!r}; start one with `ray start --head`, set RAY_ADDRESS to its"
            " host:port, or take llm.engine vllm"
        ) from None
    try:
        kind, needed = ("CPU", copies + 1) if on_cpu else ("GPU", copies * llm.tensor_parallel)  # one more feeds them
        if (found := ray.cluster_resources().get(kind, 0)) < needed:
            raise InputError(
                f"llm.data_parallel: {llm.data_parallel}: expected {needed} {kind}s in the cluster at {address!r}"
                f" (llm.tensor_parallel {llm.tensor_parallel}), found {found:g}; add nodes or lower it"
            )
        yield
    finally:
        ray.shutdown()
