"""Exactly which weights `llm.model` means: the commit of a hub model, a digest of a folder's or package's files."""

import re
from pathlib import Path

from pipeline.errors import InputError
from pipeline.reports.llm_folder import files_digest, package_file
from pipeline.sections import Llm

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
HUB_SECONDS = 20.0


def pinned(llm: Llm) -> Llm:
    """The section with `revision` as what is loaded: a hub model's commit, or `sha256:` and a digest of local files.

    Raises:
        InputError: there is no such model, or a revision was asked of local files, which have none.
    """
    local = _local_files(llm.model)
    if local and llm.revision is not None:
        raise InputError(
            f"llm.revision: {llm.revision}: expected null for {llm.model}, whose files are on this machine; set it to"
            " null (a digest of the files is recorded instead)"
        )
    revision = files_digest(local) if local else _commit(llm.model, llm.revision)
    return llm.model_copy(update={"revision": revision})


def _local_files(model: str) -> dict[str, Path]:
    """The model's files by the name that counts; none for a hub name."""
    if model.startswith("package:"):
        file = package_file(model)
        return {file.name: file}
    folder = Path(model)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InputError(f"llm.model: {model}: expected a model's folder, found no config.json in it; name another")
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        names = {file.relative_to(folder).as_posix(): file for file in files}
        return {name: file for name, file in names.items() if not any(p.startswith(".") for p in name.split("/"))}
    if not HUB_NAME.fullmatch(model):
        raise InputError(f"llm.model: {model}: expected a folder, found none; mount it or name another model")
    return {}


def _commit(model: str, revision: str | None) -> str:
    """The commit in the local cache, so that an offline run means the same one; else the hub's answer."""
    from httpx2 import HTTPError
    from huggingface_hub import HfApi, try_to_load_from_cache

    cached = try_to_load_from_cache(model, "config.json", revision=revision)
    if isinstance(cached, str):
        return Path(cached).parent.name
    try:
        commit = HfApi().model_info(model, revision=revision, timeout=HUB_SECONDS).sha
    except (OSError, HTTPError, ValueError) as error:
        said = (str(error).splitlines() or ["no reason given"])[0]
        raise InputError(
            f"llm.model: {model}: expected a folder, a package or a hub model at revision {revision or 'main'} that is"
            f" cached or can be reached, found {type(error).__name__}: {said}; check name and"
            " revision, download it where there is a network (`hf download`), or set HF_TOKEN if it asks for a licence"
        ) from error
    if commit is None:
        raise InputError(f"llm.model: {model}: the hub names no commit for revision {revision or 'main'}; name another")
    return commit
