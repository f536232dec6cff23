"""Where resumable work lives while a stage runs: outside DVC's outs, which are deleted before every run."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

SAMPLE_BYTES = 65_536


def scratch_root() -> Path:
    """$PIPELINE_SCRATCH, or `.scratch` of the main checkout (queued experiments run in a copy under .dvc/tmp/exps)."""
    if named := os.environ.get("PIPELINE_SCRATCH"):
        return Path(named).resolve()
    return main_checkout() / ".scratch"


def main_checkout() -> Path:
    """The folder that the user cloned, also from within the copy of a queued experiment."""
    here = Path.cwd().resolve()
    for parent in (here, *here.parents):
        if parent.name == "exps" and parent.parent.name == "tmp" and parent.parent.parent.name == ".dvc":
            return parent.parents[2]
    return here


def scratch_folder(
    stage: str, *, settings: Iterable[BaseModel | str | int], inputs: Iterable[Path], code: Iterable[str]
) -> Path:
    """Makes and returns the folder of one stage for exactly these settings, inputs and this code.

    Args:
        stage: Name of the stage.
        settings: Every parameter the result depends on.
        inputs: Files and folders read; files count by name, size and a sample of their bytes.
        code: Packages of `pipeline` whose source the result depends on; a change there starts a new folder.
    """
    digest = hashlib.sha256()
    for setting in settings:
        text = setting.model_dump_json() if isinstance(setting, BaseModel) else json.dumps(setting)
        digest.update(text.encode() + b"\0")
    for path in inputs:
        _digest_path(digest, path)
    for package in code:
        _digest_path(digest, Path(__file__).parent / package, pattern="*.py")
    folder = scratch_root() / stage / digest.hexdigest()[:20]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _digest_path(digest: "hashlib._Hash", path: Path, pattern: str = "*") -> None:
    """Adds names, sizes and the first and last 64 KiB of every file under path."""
    files = sorted(f for f in path.rglob(pattern) if f.is_file()) if path.is_dir() else [path]
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path) if path.is_dir() else ''}:{size}\0".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(SAMPLE_BYTES))
            stream.seek(max(0, size - SAMPLE_BYTES))
            digest.update(stream.read(SAMPLE_BYTES))
