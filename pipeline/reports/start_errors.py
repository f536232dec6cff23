"""What an engine's last words mean for the profile: which keys are at fault, and what to do."""

from typing import NamedTuple

from pipeline.errors import InputError
from pipeline.sections import Llm

SHOWN_CHARACTERS = 300  # of what vLLM says: its first sentences


class _Cause(NamedTuple):
    """signs: what one of the engine's lines holds, in lower case; keys: of the section; cure: what to do."""

    signs: tuple[str, ...]
    keys: tuple[str, ...]
    cure: str


SMALLER = "lower llm.max_model_len, raise llm.tensor_parallel, or take a smaller model or dtype"
# The first that fits. Signs are from vLLM 0.32 (vllm/v1/core/kv_cache_utils.py, vllm/v1/worker/utils.py, vllm/config,
# vllm/v1/executor) and from torch.OutOfMemoryError.
CAUSES = (
    _Cause(
        ("gated", "401 client error", "403 client error", "access to model", "awaiting a review"),
        ("revision",),
        "accept the model's licence on the hub and set HF_TOKEN, or download it before (`hf download`; on a cluster, on"
        " every node)",
    ),
    _Cause(
        ("kv cache", "cache blocks", "out of memory", "free memory", "available memory", "memory utilization"),
        ("max_model_len", "tensor_parallel", "dtype"),
        f"it does not fit into memory: {SMALLER}",
    ),
    _Cause(
        ("tensor parallel", "world size", "number of available gpus"),
        ("tensor_parallel",),
        "set it to a number of GPUs that are here and that divides the model's attention heads",
    ),
    _Cause(
        ("initialization failed", "low on memory", "actor died", "died unexpectedly", "enginecore", "enginedead"),
        ("max_model_len", "tensor_parallel", "dtype"),
        f"that process says why (on a cluster: the Ray session's worker logs); if it is memory, {SMALLER}",
    ),
    _Cause(("max_model_len",), ("max_model_len",), "lower it"),
    _Cause(("",), ("dtype",), "name a package, a folder or a hub model that is complete and that vLLM knows"),
)


def start_error(llm: Llm, said: str) -> InputError:
    """The one error for an engine that did not start.

    Args:
        llm: The profile's section.
        said: The engine's error, of one or many lines.
    """
    settings, reason, cure = _read(llm, said)
    return InputError(f"llm.model: vLLM cannot start {llm.model} with {settings}: {reason}; {cure}")


def stop_error(llm: Llm, said: str) -> InputError:
    """The one error for an engine that stopped after it had started; arguments as in `start_error`."""
    settings, reason, cure = _read(llm, said)
    return InputError(
        f"llm.model: vLLM stopped while {llm.model} wrote, with {settings}: {reason}; finished chunks are kept, so run"
        f" again; if it stops again, {cure}"
    )


def _read(llm: Llm, said: str) -> tuple[str, str, str]:
    """The settings at fault, the line that tells, what to do."""
    lines = [line.strip().removeprefix("Value error, ") for line in said.splitlines()]
    lines = [line for line in lines if line and "validation error for" not in line] or ["no reason given"]
    found = ((line, cause) for cause in CAUSES for line in lines if any(sign in line.lower() for sign in cause.signs))
    line, cause = next(found)
    return ", ".join(f"llm.{key} {getattr(llm, key)}" for key in cause.keys), _beginning(line), cause.cure


def _beginning(line: str) -> str:
    """As many whole sentences as may be shown."""
    line = line.partition(" [type=")[0]
    shown = line[:SHOWN_CHARACTERS]
    return (shown if shown == line else shown.rpartition(". ")[0] or shown).rstrip(". ")
