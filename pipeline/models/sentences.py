"""Which sentence each token of a text belongs to, and one vector per sentence for local alignment."""

import hashlib
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from tokenizers import Tokenizer
from torch import Tensor

# Between the sentences of a text.
SEPARATOR = " "
# The number of a token that belongs to no sentence: special tokens and padding.
NO_SENTENCE = -1


class TextTokens(NamedTuple):
    """Texts padded to the longest one. sentence: number of each token's sentence, or NO_SENTENCE."""

    ids: Int64[Tensor, "text token"]
    mask: Bool[Tensor, "text token"]
    sentence: Int64[Tensor, "text token"]


def tokenize_sentences(tokenizer: Tokenizer, texts: Sequence[Sequence[str]]) -> TextTokens:
    """Token ids, mask and sentence numbers of texts given as their sentences.

    Args:
        tokenizer: Cuts texts by itself and does not pad; it is only read, so that threads can share it.
        texts: Sentences, to be joined by SEPARATOR. A text that is cut is warned of: it may lose its findings.

    Raises:
        ValueError: there is no text, or one has no token.
    """
    encodings = tokenizer.encode_batch([SEPARATOR.join(sentences) for sentences in texts])
    lengths = np.array([len(encoding.ids) for encoding in encodings])
    if not len(lengths) or not lengths.all():
        raise ValueError(f"there is no text, or one has no token; tokens: {lengths.tolist()}")
    if any(encoding.overflowing for encoding in encodings):
        warnings.warn(f"texts longer than text.max_tokens = {lengths.max()} tokens were cut", stacklevel=3)
    ids = np.zeros((len(texts), lengths.max()), dtype=np.int64)
    sentence = np.full_like(ids, NO_SENTENCE)
    for row, (sentences, encoding) in enumerate(zip(texts, encodings, strict=True)):
        ends = np.array([end for _, end in encoding.offsets], dtype=np.int64)
        special = np.array(encoding.special_tokens_mask, dtype=bool)
        ids[row, : len(ends)] = encoding.ids
        sentence[row, : len(ends)] = number_tokens(sentences, ends, special)
    mask = np.arange(ids.shape[1]) < lengths[:, None]
    return TextTokens(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(sentence))


def number_texts(tokens: TextTokens) -> Int64[Tensor, " text"]:
    """A number per text, equal for texts of equal tokens, whatever the padding, and on every rank: 64 bits of a hash.

    Two different ones among a million share a number with a probability of 3e-8.
    """
    shown = [ids[real].numpy().tobytes() for ids, real in zip(tokens.ids, tokens.mask, strict=True)]
    digests = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in shown)
    return torch.from_numpy(np.frombuffer(digests, dtype="<i8").astype(np.int64))


def number_tokens(
    sentences: Sequence[str], ends: Int64[np.ndarray, " token"], special: Bool[np.ndarray, " token"]
) -> Int64[np.ndarray, " token"]:
    """The number of the sentence that each token of a text lies in.

    The text is tokenised as a whole, so that its tokens are those of any other text, and numbered by where each token
    ends: a byte-level token begins with the space before its word.

    Args:
        sentences: They make the text when joined by SEPARATOR.
        ends: Place in the text, in characters, behind each token's last one.
        special: True where the tokenizer added the token.

    Returns:
        0 for tokens of the first sentence, and so on; NO_SENTENCE for special tokens.
    """
    behind = np.cumsum([len(sentence) + len(SEPARATOR) for sentence in sentences]) - len(SEPARATOR)
    return np.where(special, NO_SENTENCE, np.searchsorted(behind, ends)).astype(np.int64)


def sentence_embeddings(
    states: Float[Tensor, "text token width"],
    mask: Bool[Tensor, "text token"],
    sentence: Int64[Tensor, "text token"],
    sentences: int,
) -> tuple[Float[Tensor, "text sentence width"], Bool[Tensor, "text sentence"]]:
    """Mean of the token states of each sentence, in float32 at least.

    MaMA's released code takes the state of the token that ends a sentence, which only a decoder can fill with the
    sentence; its global embedding is the mean over tokens, and so is this one (method.md, MaMA, `Text`).

    Args:
        states: Token states; what stands in the padding does not matter.
        mask: True where there is a token.
        sentence: Number of each token's sentence, from `number_tokens`; NO_SENTENCE counts for none.
        sentences: Greatest number of sentences of a text: the same on every rank, so that they can be gathered.

    Returns:
        The means, not normalised, zero where a text has no such sentence; and where it has one.

    Raises:
        ValueError: a token belongs to a sentence beyond the last one.
    """
    if sentence.numel() and int(sentence.max()) >= sentences:
        raise ValueError(f"a text has {int(sentence.max()) + 1} sentences, expected at most {sentences}")
    real = mask & (sentence != NO_SENTENCE)
    wide = states.to(torch.promote_types(states.dtype, torch.float32)).masked_fill(~real.unsqueeze(2), 0.0)
    numbers = torch.arange(sentences, device=sentence.device).view(1, -1, 1)
    members = (sentence.unsqueeze(1) == numbers) & real.unsqueeze(1)
    count = members.sum(dim=2)
    with torch.autocast(states.device.type, enabled=False):
        means = (members.to(wide.dtype) @ wide) / count.clamp(min=1).unsqueeze(2)
    return means, count > 0
