"""Where an acquired archive is: inside the stage's folder if synthetic, else where its owner keeps it."""

import json
from pathlib import Path

from pipeline.errors import InputError
from pipeline.variables import expanded

SOURCE_FILE = "source.json"
SYNTHETIC_FOLDER = "archive"


def archive_root(raw: Path) -> Path:
    """The folder with the archive's files.

    Args:
        raw: Folder that `acquire` wrote; its name is the cohort's.

    Raises:
        InputError: the folder is missing or empty, or a variable in its path is not set.
    """
    file = raw / SOURCE_FILE
    if not file.is_file():
        raise InputError(f"{raw.name}: no {SOURCE_FILE} in {raw}; run the acquire stage of this cohort first")
    root = json.loads(file.read_text())["root"]
    return existing_folder(raw.name, str(raw / SYNTHETIC_FOLDER) if root is None else root)


def existing_folder(cohort: str, root: str) -> Path:
    """A folder that holds something; variables are expanded, a relative path starts at the project's folder.

    Raises:
        InputError: as `archive_root`.
    """
    where = f"archives.{cohort}.root: {root}"
    folder = Path(expanded(root, where))
    if not folder.is_dir():
        raise InputError(f"{where}: expected the archive's folder, found none; check the path")
    if not any(folder.iterdir()):
        raise InputError(f"{where}: expected the archive's files, found an empty folder; put them there")
    return folder
