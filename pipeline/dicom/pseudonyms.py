"""Keyed pseudonyms of an archive's ids, and its paths made unreadable without the key.

The key is $PIPELINE_PSEUDONYM_KEY (at least 32 hexadecimal digits), or is drawn once into `.pseudonym_key` of the main
checkout: git-ignored, no DVC out, readable by its owner only. Whoever has the key and the archive can find a patient
again; whoever has only the outs cannot.
"""

import base64
import contextlib
import hashlib
import os
import secrets
import tempfile
from pathlib import Path

import pandas as pd
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from pipeline.dicom.deidentify import pseudonym
from pipeline.errors import InputError
from pipeline.scratch import main_checkout

VARIABLE = "PIPELINE_PSEUDONYM_KEY"
KEY_FILE = ".pseudonym_key"
KEY_BYTES = 32  # AES-SIV with 256 bits (RFC 5297); as HMAC's key, the width of its hash
KINDS = {"patient_id": "patient", "exam_id": "exam", "image_id": "image"}
ENCRYPTED = "key:"  # how an encrypted path begins; no relative path of an archive does


def site_key() -> bytes:
    """The key of this site; drawn and kept if there is none yet.

    Raises:
        InputError: the variable or the file holds no key.
    """
    file = main_checkout() / KEY_FILE
    text, source = os.environ.get(VARIABLE), f"${VARIABLE}"
    if not text:
        _draw_once(file)
        text, source = file.read_text().strip(), KEY_FILE
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) < KEY_BYTES // 2:
        raise InputError(f"{source}: expected a key of at least {KEY_BYTES} hexadecimal digits, found none; restore it")
    return hashlib.sha256(key).digest()  # KEY_BYTES of any length: AES-SIV encrypts with the second half alone


def _draw_once(file: Path) -> None:
    """Writes a new key, unless another process was first; nobody ever sees half a file."""
    if file.exists():
        return
    descriptor, drawn = tempfile.mkstemp(prefix=KEY_FILE, dir=file.parent)  # readable by its owner only
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(KEY_BYTES) + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(drawn, file)
    finally:
        os.unlink(drawn)


def with_pseudonyms(rows: pd.DataFrame, key: bytes) -> pd.DataFrame:
    """The same rows with every id replaced by its pseudonym; breast_id follows its exam, paths are encrypted."""
    replaced = rows.copy()
    for column in KINDS.keys() & set(rows.columns):
        replaced[column] = rows[column].map(lambda name, kind=KINDS[column]: pseudonym(key, kind, str(name)))
    if "breast_id" in rows:
        replaced["breast_id"] = (replaced["exam_id"] + "-" + rows["laterality"]).astype(pd.StringDtype())
    if "path" in rows:
        replaced["path"] = rows["path"].map(lambda path: encrypted(key, str(path)))
    return replaced


def encrypted(key: bytes, path: str) -> str:
    """A path that only the key reads; equal paths give equal text (deterministic AES-SIV, RFC 5297)."""
    return ENCRYPTED + base64.urlsafe_b64encode(AESSIV(key).encrypt(path.encode(), None)).decode()


def is_encrypted(path: str) -> bool:
    """Whether a catalogued path needs the key."""
    return path.startswith(ENCRYPTED)


def readable_path(path: str, key: bytes | None) -> str:
    """The path within the archive, decrypted if need be.

    Raises:
        InputError: it was encrypted with another key.
    """
    if not is_encrypted(path):
        return path
    try:
        return AESSIV(key or b"\0" * KEY_BYTES).decrypt(base64.urlsafe_b64decode(path[len(ENCRYPTED) :]), None).decode()
    except (InvalidTag, ValueError):
        raise InputError(
            f"the catalog's paths were encrypted with another key than ${VARIABLE} or {KEY_FILE} holds;"
            " restore that key, or rerun the catalog stage with this one"
        ) from None
