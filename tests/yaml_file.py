"""Changes YAML files in place, comments and layout kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML


def edit_yaml(file: Path, edit: Callable[[Any], None]) -> None:
    """Lets `edit` change the content of a YAML file."""
    yaml = YAML()
    content = yaml.load(file)
    edit(content)
    yaml.dump(content, file)


def set_value(file: Path, key: str, value: object) -> None:
    """Sets, or with value None deletes, one dotted key."""
    *parents, last = key.split(".")

    def edit(content: Any) -> None:
        for parent in parents:
            content = content[parent]
        if value is None:
            del content[last]
        else:
            content[last] = value

    edit_yaml(file, edit)
