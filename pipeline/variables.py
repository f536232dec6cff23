"""Environment variables in values of params.yaml and of the profiles."""

import os
import re
from string import Template

from pipeline.errors import InputError


def expanded(value: str, where: str) -> str:
    """The value with every ${VARIABLE} replaced by what the environment holds.

    Args:
        value: Text with any number of variables.
        where: Key and value, as the message is to name them.

    Raises:
        InputError: a variable is not set.
    """
    if missing := [name for name in re.findall(r"\$\{(\w+)\}", value) if name not in os.environ]:
        raise InputError(f"{where}: the environment variable {', '.join(missing)} is not set; export it")
    return Template(value).safe_substitute(os.environ)
