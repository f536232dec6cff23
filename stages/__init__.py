"""The stages of the DAG, one module each: `python -m stages.<name>`, with paths as dvc.yaml gives them.

OpenMP's threads wait for each other by sleeping, not by spinning: beside another process that wants a core, a training
step is faster by half again and more, and alone it takes the same (bench/results/wait_policy.json). Set here, before
any module loads OpenMP; a value that is already in the environment stays.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
