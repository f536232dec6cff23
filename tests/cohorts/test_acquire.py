"""Putting archives in place: the synthetic one, a real one, and what goes wrong with real ones."""

import json
from pathlib import Path

import pytest

from pipeline.cohorts.acquire import acquire, cohort_seed
from pipeline.cohorts.source import archive_root
from pipeline.errors import InputError
from pipeline.sections import Archive


def _real(root: str) -> Archive:
    return Archive(adapter="vindr", root=root, patients=None, columns={}, extra=[], identifiers="published", fatal=[])


def test_a_synthetic_archive_is_written_beside_its_source(tmp_path: Path) -> None:
    out = tmp_path / "screening"
    acquire(
        "screening",
        Archive(adapter="table", root=None, patients=4, columns={}, extra=[], identifiers="published", fatal=[]),
        1,
        out,
    )
    assert json.loads((out / "source.json").read_text()) == {"adapter": "table", "root": None}
    assert sorted(p.name for p in out.iterdir()) == ["archive", "source.json"]
    assert archive_root(out) == out / "archive"
    assert (archive_root(out) / "images.csv").is_file()


def test_cohorts_and_seeds_differ_but_do_not_change_from_run_to_run() -> None:
    assert cohort_seed("vindr", 1) == 960547860
    assert len({cohort_seed(c, s) for c in ("screening", "vindr", "rsna") for s in range(5)}) == 15


def test_a_real_archive_is_only_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store" / "vindr").mkdir(parents=True)
    (tmp_path / "store" / "vindr" / "metadata.csv").write_text("x")
    monkeypatch.setenv("STORE", str(tmp_path / "store"))
    out = tmp_path / "out" / "vindr"
    acquire("vindr", _real("${STORE}/vindr"), 1, out)
    assert [p.name for p in out.iterdir()] == ["source.json"]
    assert json.loads((out / "source.json").read_text()) == {"adapter": "vindr", "root": "${STORE}/vindr"}
    assert archive_root(out) == tmp_path / "store" / "vindr"


def test_a_missing_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_STORE", raising=False)
    with pytest.raises(InputError, match=r"archives\.vindr\.root.*NO_SUCH_STORE is not set"):
        acquire("vindr", _real("${NO_SUCH_STORE}/vindr"), 1, tmp_path / "vindr")


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"archives\.vindr\.root.*found none"):
        acquire("vindr", _real(str(tmp_path / "nowhere")), 1, tmp_path / "vindr")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"archives\.vindr\.root.*empty"):
        acquire("vindr", _real(str(tmp_path / "empty")), 1, tmp_path / "vindr")


def test_an_archive_that_went_away_is_named(tmp_path: Path) -> None:
    store, out = tmp_path / "store", tmp_path / "out" / "vindr"
    store.mkdir()
    (store / "metadata.csv").write_text("x")
    acquire("vindr", _real(str(store)), 1, out)
    (store / "metadata.csv").unlink()
    with pytest.raises(InputError, match=r"vindr.*empty"):
        archive_root(out)
    with pytest.raises(InputError, match=r"other: no source\.json"):
        archive_root(tmp_path / "other")


def test_a_relative_root_starts_at_the_projects_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("store").mkdir()
    Path("store/metadata.csv").write_text("x")
    acquire("vindr", _real("store"), 1, Path("out/vindr"))
    assert archive_root(Path("out/vindr")).resolve() == tmp_path / "store"
