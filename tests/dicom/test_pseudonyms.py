"""Keyed ids and encrypted paths: equal under one key, unlinkable and unreadable without it."""

import base64
import os
import re
import secrets
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from pipeline.dicom.pseudonyms import (
    ENCRYPTED,
    KEY_BYTES,
    KEY_FILE,
    VARIABLE,
    encrypted,
    is_encrypted,
    readable_path,
    site_key,
    with_pseudonyms,
)
from pipeline.errors import InputError

PATH = "Roe, Jane/1958-03-12/übersicht 1.dcm"
KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of its own, so that no test reads or draws a key of the real one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path


def rows() -> pd.DataFrame:
    """Two patients, three exams, one image without a side."""
    return pd.DataFrame(
        {
            "patient_id": ["p1", "p1", "p1", "p2"],
            "exam_id": ["e1", "e1", "e2", "e3"],
            "breast_id": ["e1-L", "e1-L", None, "e3-R"],
            "image_id": ["i1", "i2", "i3", "i4"],
            "laterality": ["L", "L", None, "R"],
            "path": ["a/1.dcm", "a/2.dcm", "b/3.dcm", "c/4.dcm"],
            "density": ["A", "B", None, "D"],
        }
    ).astype("string")


def test_a_path_comes_back_with_its_key_and_only_with_it() -> None:
    hidden = encrypted(KEY, PATH)
    assert is_encrypted(hidden)
    assert not is_encrypted(PATH)
    assert re.fullmatch(ENCRYPTED + r"[A-Za-z0-9_=-]+", hidden)
    assert readable_path(hidden, KEY) == PATH
    for key in (OTHER, None):
        with pytest.raises(InputError, match=r"encrypted with another key than .* restore that key, or") as raised:
            readable_path(hidden, key)
        assert "Roe" not in str(raised.value)


def test_a_published_path_needs_no_key() -> None:
    assert readable_path("images/1.dcm", None) == readable_path("images/1.dcm", KEY) == "images/1.dcm"


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", "ä"])
def test_what_is_no_encrypted_path_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="another key"):
        readable_path(ENCRYPTED + text, KEY)


def test_a_changed_path_is_refused() -> None:
    words = bytearray(base64.urlsafe_b64decode(encrypted(KEY, PATH).removeprefix(ENCRYPTED)))
    for position in (0, len(words) - 1):
        changed = bytes(words[:position]) + bytes([words[position] ^ 1]) + bytes(words[position + 1 :])
        with pytest.raises(InputError):
            readable_path(ENCRYPTED + base64.urlsafe_b64encode(changed).decode(), KEY)


def test_equal_paths_give_equal_text_under_one_key() -> None:
    assert encrypted(KEY, PATH) == encrypted(KEY, PATH)
    assert len({encrypted(KEY, PATH), encrypted(KEY, PATH + "x"), encrypted(OTHER, PATH)}) == 3


def test_every_id_is_replaced_and_keeps_its_owner() -> None:
    before, after = rows(), with_pseudonyms(rows(), KEY)
    for column in ("patient_id", "exam_id", "image_id"):
        assert after[column].str.fullmatch("[0-9a-f]{16}").all()
        assert pd.factorize(after[column])[0].tolist() == pd.factorize(before[column])[0].tolist()
    exam = after["exam_id"].tolist()
    breasts = [None if pd.isna(value) else value for value in after["breast_id"]]
    assert breasts == [f"{exam[0]}-L", f"{exam[0]}-L", None, f"{exam[3]}-R"]
    assert [readable_path(path, KEY) for path in after["path"]] == before["path"].tolist()
    pd.testing.assert_series_equal(after["density"], before["density"])
    pd.testing.assert_frame_equal(before, rows())  # the argument stays


def test_equal_ids_of_two_kinds_and_two_keys_do_not_meet() -> None:
    same = pd.DataFrame({"patient_id": ["7"], "exam_id": ["7"], "image_id": ["7"], "laterality": ["L"]})
    first, second = with_pseudonyms(same, KEY), with_pseudonyms(same, OTHER)
    assert len({*first.iloc[0, :3], *second.iloc[0, :3]}) == 6
    assert "breast_id" not in first
    assert with_pseudonyms(same, KEY).equals(first)


def test_findings_get_the_pseudonyms_of_their_images() -> None:
    findings = pd.DataFrame({"image_id": ["i4", "i1", "i1"], "kind": ["mass", "mass", "cyst"]})
    image = with_pseudonyms(rows(), KEY)["image_id"].tolist()
    assert with_pseudonyms(findings, KEY)["image_id"].tolist() == [image[3], image[0], image[0]]
    assert with_pseudonyms(findings[:0], KEY).empty


def test_the_variable_s_key_counts_and_none_is_drawn(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "ab" * 32)
    first = site_key()
    assert len(first) == KEY_BYTES
    monkeypatch.setenv(VARIABLE, "AB" * 32)
    assert site_key() == first
    monkeypatch.setenv(VARIABLE, "ac" * 32)
    assert site_key() != first
    assert not (checkout / KEY_FILE).exists()


@pytest.mark.parametrize("digits", [32, 64, 128])
def test_keys_of_every_length_fill_both_halves_of_the_cipher_s_key(digits: int, monkeypatch) -> None:
    # AES-SIV encrypts with the second half alone (RFC 5297, 2.6): zeros there, and anyone can read the paths.
    keys = []
    for number in range(2):
        monkeypatch.setenv(VARIABLE, f"{number}".rjust(digits, "a"))
        keys.append(site_key())
    assert len(keys[0]) == len(keys[1]) == KEY_BYTES
    for half in (slice(0, KEY_BYTES // 2), slice(KEY_BYTES // 2, KEY_BYTES)):
        assert keys[0][half] != keys[1][half]
        assert len(set(keys[0][half])) > 1


@pytest.mark.parametrize("text", ["secret", "ab" * 15, "xy" * 32, " "])
def test_what_is_no_key_is_refused_and_not_repeated(text: str, checkout: Path, monkeypatch) -> None:
    expected = "expected a key of at least 32 hexadecimal digits, found none; restore it"
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(InputError, match=rf"^\${VARIABLE}: {expected}$"):
        site_key()
    monkeypatch.delenv(VARIABLE)
    (checkout / KEY_FILE).write_text(text)
    with pytest.raises(InputError, match=rf"^\{KEY_FILE}: {expected}$"):
        site_key()
    assert (checkout / KEY_FILE).read_text() == text  # a damaged key is never replaced: its ids would be lost


def test_a_key_is_drawn_once_and_for_its_owner_only(checkout: Path) -> None:
    first = site_key()
    text = (checkout / KEY_FILE).read_text()
    assert re.fullmatch(r"[0-9a-f]{64}\n", text)
    assert stat.S_IMODE((checkout / KEY_FILE).stat().st_mode) == 0o600
    assert site_key() == first
    assert (checkout / KEY_FILE).read_text() == text
    (checkout / KEY_FILE).unlink()
    assert site_key() != first


def test_all_who_draw_at_once_get_one_key(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = secrets.token_hex
    monkeypatch.setattr(secrets, "token_hex", lambda length: time.sleep(0.05) or draw(length))
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda delay: time.sleep(delay) or site_key(), [0, 0, 0.01, 0.02]))) == 1
    assert os.listdir(checkout) == [KEY_FILE]


def test_a_queued_experiment_uses_the_main_checkout_s_key(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = site_key()
    copy = checkout / ".dvc" / "tmp" / "exps" / "tmp123"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert site_key() == first
    assert os.listdir(copy) == []


def test_the_key_file_is_ignored_by_git() -> None:
    project = Path(__file__).resolve().parents[2]
    ignored = subprocess.run(["git", "check-ignore", "--quiet", KEY_FILE], cwd=project)
    if ignored.returncode == 128:
        pytest.skip("no git checkout")
    assert ignored.returncode == 0, f"{KEY_FILE} would be committed: add it to .gitignore"
