"""Walks an archive's folders: links are followed, and no folder is entered twice."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def files_below(
    root: Path, suffixes: tuple[str, ...], unreadable: Callable[[OSError], None] | None = None
) -> Iterator[Path]:
    """Every file below root whose name ends with one of the suffixes, in an order that no disk decides.

    Args:
        root: The archive's folder.
        suffixes: Lower case, with their dots; upper-case names fit, too.
        unreadable: Is told of folders that cannot be read.
    """
    entered = set()
    for folder, below, names in os.walk(root, onerror=unreadable, followlinks=True):
        place = os.stat(folder)
        if (place.st_dev, place.st_ino) in entered:  # a link that leads back up, or a second one to the same folder
            below.clear()
            continue
        entered.add((place.st_dev, place.st_ino))
        below.sort()  # of two links to one folder, always the same is entered
        yield from (Path(folder, name) for name in sorted(names) if name.lower().endswith(suffixes))
