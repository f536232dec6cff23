"""Decodes every catalogued file once and stores its breast crop, 16-bit, with geometry and grey statistics."""

from pathlib import Path

from pipeline.cohorts.source import archive_root
from pipeline.dicom.ingest import ingest
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(raw: str, catalog: str, out: str) -> None:
    params = read_params()
    compute = params.profile.compute
    ingest(archive_root(Path(raw)), Path(catalog), Path(out), params.profile.ingest, compute.workers, compute.backend)


if __name__ == "__main__":
    run_stage(main)
