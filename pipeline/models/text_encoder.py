"""The frozen text encoder: reports to the token states of its last layer."""

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from transformers import AutoModel, AutoTokenizer

from pipeline.errors import InputError
from pipeline.sections import Text

# Texts per forward pass. 32 texts of 96 tokens fill two CPU cores; more only adds memory.
BATCH_TEXTS = 32


class TextEncoder:
    """A pretrained encoder in evaluation mode, float32, without gradients.

    Attributes:
        width: Size of a token state.
        class_name: Name of the transformers class that was loaded.
    """

    def __init__(self, source: str, revision: str | None, max_tokens: int) -> None:
        """Loads tokenizer and weights.

        Args:
            source: Folder or hub name.
            revision: Of the hub name.
            max_tokens: Longer texts are cut there, special tokens included.

        Raises:
            InputError: there is no such model here.
        """
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
            self._model = AutoModel.from_pretrained(source, revision=revision, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise InputError(
                f"text.model: cannot load {source}: {str(error).splitlines()[0]};"
                " name a package, a folder or a hub model that can be reached from here"
            ) from error
        self._model.eval().requires_grad_(False)
        self._max_tokens = max_tokens
        self.width: int = self._model.config.hidden_size
        self.class_name: str = type(self._model).__name__

    def encode(self, texts: Sequence[str]) -> list[Float[np.ndarray, "_ width"]]:
        """Token states of the last layer, special tokens kept, padding removed.

        Args:
            texts: Any number. The result of one does not depend on the others (up to rounding, 1e-5).

        Returns:
            One float32 array [tokens, width] per text, in the order of texts.
        """
        ids = [self._tokenizer(text)["input_ids"] for text in texts]
        self._warn_if_cut(ids)
        by_length = sorted(range(len(texts)), key=lambda i: len(ids[i]))
        states: dict[int, np.ndarray] = {}
        for start in range(0, len(by_length), BATCH_TEXTS):
            batch = by_length[start : start + BATCH_TEXTS]
            states |= dict(zip(batch, self._encode_batch([texts[i] for i in batch]), strict=True))
        return [states[i] for i in range(len(texts))]

    def _encode_batch(self, texts: list[str]) -> list[Float[np.ndarray, "_ width"]]:
        """One forward pass over padded texts."""
        inputs = self._tokenizer(texts, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt")
        with torch.inference_mode():
            hidden = self._model(**inputs).last_hidden_state.numpy()
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        return [row[:length].copy() for row, length in zip(hidden, lengths, strict=True)]

    def _warn_if_cut(self, ids: list[list[int]]) -> None:
        """A cut report may lose its findings, so it is never silent."""
        lengths = [len(tokens) for tokens in ids]
        if cut := sum(length > self._max_tokens for length in lengths):
            warnings.warn(
                f"{cut} of {len(ids)} texts are longer than text.max_tokens = {self._max_tokens} tokens and were"
                f" cut; the longest has {max(lengths)}",
                stacklevel=3,
            )


def load_text_encoder(text: Text) -> TextEncoder:
    """The text encoder of the profile.

    Args:
        text: `text.model` is `package:<name>` for a package that carries a transformers folder, a folder, or a hub
            name.

    Raises:
        InputError: the package is not installed or holds no model, or the model cannot be loaded.
    """
    source = text.model
    if source.startswith("package:"):
        source = str(package_model(source.removeprefix("package:")))
    return TextEncoder(source, text.revision, text.max_tokens)


def package_model(package: str) -> Path:
    """The folder inside an installed package that holds config.json beside the weights; its code is not run."""
    found = importlib.util.find_spec(package)
    root = Path(found.origin).parent if found and found.origin else None
    configs = [file for file in root.rglob("config.json") if any(file.parent.glob("*.safetensors"))] if root else []
    if len(configs) != 1:
        raise InputError(
            f"text.model: package:{package}: expected an installed package with one folder of config.json and"
            f" safetensors, found {len(configs)}; install the pinned requirements or name another model"
        )
    return configs[0].parent
