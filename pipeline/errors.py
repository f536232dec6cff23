"""The one exception whose message alone is shown to the user, and the frame that shows it."""

import sys
from collections.abc import Callable


class InputError(Exception):
    """Something the user can put right: the message names the record, what was expected, found, and what to do."""


def run_stage(main: Callable[..., None]) -> None:
    """Calls main with the command line's arguments; an InputError ends the process with code 1 and no traceback."""
    try:
        main(*sys.argv[1:])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
