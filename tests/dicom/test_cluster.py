"""Ingestion on a real Ray cluster of two nodes on this machine: one dies halfway, the bytes are the same."""

import threading
import time

import pandas as pd
import pytest
from pydicom.uid import RLELossless
from ray.cluster_utils import Cluster

from pipeline.dicom import ingest as ingest_module
from pipeline.dicom.ingest import ingest
from pipeline.errors import InputError
from pipeline.sections import Ingest
from pipeline.tables import CROPS, read_table

SETTINGS = Ingest(max_px=200, exclude=[], max_rejected_fraction=1.0, seconds_per_file=120)
IMAGES = 120


@pytest.fixture
def cluster(monkeypatch):
    """A head node of one CPU, with room for tasks, and a second node of one."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 10**8})
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made
    made.shutdown()


def test_a_node_dies_halfway_and_the_bytes_are_those_of_one_process(
    tmp_path, archive, mammogram, breast, monkeypatch, cluster
):
    second = cluster.add_node(num_cpus=1, object_store_memory=10**8)
    cluster.wait_for_nodes()
    root, catalog = archive(
        {f"a{n:03d}": mammogram(breast(), RLELossless) for n in range(IMAGES)} | {"bad": b"x" * 400}
    )
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "cluster"))
    died_after = []

    def kill_halfway():
        while (done := len(list((tmp_path / "cluster").rglob("*.arrow")))) < IMAGES // 3:
            time.sleep(0.01)
        cluster.remove_node(second, allow_graceful=False)
        died_after.append(done)

    killer = threading.Thread(target=kill_halfway, daemon=True)
    killer.start()
    ingest(root, catalog, tmp_path / "one", SETTINGS, workers=1, backend="ray")
    killer.join()
    assert died_after and died_after[0] < IMAGES
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "alone"))
    ingest(root, catalog, tmp_path / "two", SETTINGS, workers=1)
    for path in (tmp_path / "two").iterdir():
        assert path.read_bytes() == (tmp_path / "one" / path.name).read_bytes()


def test_a_decoder_that_never_returns_costs_one_file(tmp_path, archive, mammogram, breast, monkeypatch, cluster):
    image_row = ingest_module.image_row

    def slow(root, file, settings):
        if file.image_id == "slow":
            time.sleep(60)
        return image_row(root, file, settings)

    monkeypatch.setattr(ingest_module, "image_row", slow)
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "scratch"))
    root, catalog = archive({"slow": mammogram(breast())} | {f"a{n}": mammogram(breast()) for n in range(6)})
    settings = SETTINGS.model_copy(update={"seconds_per_file": 4})
    ingest(root, catalog, tmp_path / "out", settings, workers=1, backend="ray")
    rows = pd.concat([read_table(path, CROPS) for path in (tmp_path / "out").iterdir()]).set_index("image_id")
    assert rows.pop("status").to_dict() == {"slow": "rejected"} | {f"a{n}": "ingested" for n in range(6)}
    assert rows.loc["slow", "reason"].startswith("timeout: ")


def test_without_a_cluster(tmp_path, archive, mammogram, breast, monkeypatch):
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    root, catalog = archive({"a": mammogram(breast())})
    with pytest.raises(InputError, match="ray start --head"):
        ingest(root, catalog, tmp_path / "out", SETTINGS, workers=1, backend="ray")
