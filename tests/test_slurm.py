"""docs/pretrain.slurm is a script that bash reads, and runs the stage as dvc.yaml does."""

import inspect
import re
import shlex
import shutil
import subprocess
from importlib import import_module

import pytest
from ruamel.yaml import YAML
from torch.distributed.run import get_args_parser

from pipeline.training.launch import STOP_S
from tests.code_deps import ROOT

SCRIPT = ROOT / "docs" / "pretrain.slurm"


def torchrun_words() -> list[str]:
    """What torchrun is given."""
    command = SCRIPT.read_text().replace("\\\n", " ").strip().splitlines()[-1]
    words = shlex.split(command)
    assert words[:2] == ["exec", "srun"]
    return words[words.index("torchrun") + 1 :]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_reads_it() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


def test_it_runs_the_stage_with_the_paths_of_the_dag() -> None:
    words = torchrun_words()
    module, *paths = words[words.index("-m") + 1 :]
    command = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]["pretrain"]["cmd"]
    assert shlex.split(command) == ["exec", "python", "-m", module, *paths]
    assert len(inspect.signature(import_module(module).main).parameters) == len(paths)


def test_torchrun_knows_its_options_and_ranks_may_save_until_shortly_before_slurm_kills() -> None:
    words = torchrun_words()
    options = get_args_parser().parse_args([re.sub(r"\$\{?\w+(:-\d+)?\}?", "1", word) for word in words])
    assert options.module and options.training_script == "stages.pretrain"
    (notice,) = re.findall(r"^#SBATCH --signal=TERM@(\d+)$", SCRIPT.read_text(), re.MULTILINE)
    assert options.shutdown_timeout == STOP_S < int(notice)
