"""Ranks with more and with fewer views than pass at once take the same step together, that of one process."""

import faulthandler
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.training.launch import launch
from pipeline.training.loop import pretrain, train_rank
from tests.training.conftest import pretrain_arguments
from tests.training.test_parity import assert_same_step, first_step, recipe_of

METHODS = ["mv_clip_tr", "mama"]
BETWEEN = 8  # at a batch of 5 one rank has more views in every step, the other rarely
PATIENCE_S = 240


def one_rank(inputs: str, out: str) -> None:
    """What each of two ranks runs; one that waits for the other for ever ends with a traceback."""
    faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
    torch.set_num_threads(1)
    for method in METHODS:
        found = first_step(recipe_of(Path(inputs), method, 5, BETWEEN, processes=2))
        torch.save(found, Path(out) / f"{method}-{torch.distributed.get_rank()}.pt")
    train_rank(recipe_of(Path(inputs), "mv_clip_tr", 5, BETWEEN, processes=2)._replace(out=Path(out) / "run"))
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="module")
def uneven(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uneven")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_SCRATCH", str(folder / "scratch"))
        patch.setenv("OMP_NUM_THREADS", "1")
        launch(one_rank, 2, str(inputs), str(folder))
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_loss_and_gradients_are_those_of_one_process(method: str, inputs: Path, uneven: Path):
    expected = first_step(recipe_of(inputs, method, 10, None, processes=1))
    ranks = [torch.load(uneven / f"{method}-{n}.pt", weights_only=True) for n in range(2)]
    assert min(rank["views"] for rank in ranks) <= BETWEEN < max(rank["views"] for rank in ranks)
    for rank in ranks:
        assert_same_step(rank, expected)


def test_a_whole_run_is_that_of_one_process(inputs: Path, uneven: Path, tmp_path: Path):
    given = pretrain_arguments("mv_clip_tr", batch=10)
    pretrain(inputs / "shards", inputs / "text", inputs / "initial", tmp_path / "one", **given)
    two, one = (pd.read_csv(folder / "history.csv") for folder in (uneven / "run", tmp_path / "one"))
    np.testing.assert_allclose(two["loss"][:2], one["loss"][:2], rtol=1e-5)
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=2e-3)
