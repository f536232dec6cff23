"""Every stage's process waits by sleeping, told before anything loads OpenMP; what a user set stays."""

import os
import subprocess
import sys

import pytest

ASK = """
import sys, stages, os
print(os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules, "numpy" in sys.modules)
"""


@pytest.mark.parametrize("chosen", [None, "ACTIVE"])
def test_stages_sleep_while_they_wait(chosen: str | None) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": chosen} if chosen else {}
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.split() == [chosen or "PASSIVE", "False", "False"]
