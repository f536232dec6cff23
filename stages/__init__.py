"""The stages of the DAG, one module each: `python -m stages.<name>`, with paths as dvc.yaml gives them.

OpenMP's threads wait for each other by sleeping, not by spinning: beside another process that wants a core, a training
step is 1.6 times as fast; alone, it is slower by an eighth (bench/results/wait_policy.json). `OMP_WAIT_POLICY=ACTIVE`
in the environment gives that back on a machine of one's own. Set here, before any module loads OpenMP; what is already
in the environment stays.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
