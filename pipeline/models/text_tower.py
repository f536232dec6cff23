"""Text side: the trainable part on top of the frozen text encoder's token states."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from pipeline.models.feature_tokens import FeatureTokens
from pipeline.models.sentences import sentence_embeddings
from pipeline.precision import at_least_float32


class TextTower(nn.Module):
    """Token states -> unit-norm text embedding of the image tower's width.

    With the Tr module every token is projected to C channels, padding is zeroed, and a Transformer of its own mixes
    them; without it the mean over the real tokens is projected to C (method.md, `256: tokens or channels`,
    `without Tr`).

    Args:
        width: Of the frozen encoder's states.
        channels: C of the image encoder's feature map.
        tokens: The Tr module for the greatest number of text tokens; None for the methods without it.
    """

    def __init__(self, width: int, channels: int, tokens: FeatureTokens | None) -> None:
        super().__init__()
        self.project = nn.Linear(width, channels)
        self.tokens = tokens

    def forward(
        self, states: Float[Tensor, "report token text_width"], mask: Bool[Tensor, "report token"]
    ) -> Float[Tensor, "report channel"]:
        """Embeds reports.

        Args:
            states: Token states; what stands in the padding does not matter. Any length up to the greatest.
            mask: True where there is a token.
        """
        real = mask.unsqueeze(2)
        if self.tokens is not None:
            projected = self.project(states).masked_fill(~real, 0.0)
            missing = max(0, self.tokens.mix.in_features - states.shape[1])  # a text encoder pads to its longest text
            projected = F.pad(projected, (0, 0, 0, missing))
            return F.normalize(at_least_float32(self.tokens(projected.transpose(1, 2))), dim=1)
        mean = states.masked_fill(~real, 0.0).sum(dim=1) / real.sum(dim=1).clamp(min=1)
        return F.normalize(at_least_float32(self.project(mean)), dim=1)

    def embed_sentences(
        self,
        states: Float[Tensor, "text token text_width"],
        mask: Bool[Tensor, "text token"],
        sentence: Int64[Tensor, "text token"],
        sentences: int,
    ) -> tuple[Float[Tensor, "text sentence channel"], Bool[Tensor, "text sentence"]]:
        """Unit-norm embeddings of each text's sentences, by the projection of whole texts, and which of them exist.

        Args:
            states: As `forward`, without Tr.
            mask: As `forward`.
            sentence: Number of each token's sentence.
            sentences: As `sentence_embeddings`.
        """
        means, present = sentence_embeddings(states, mask, sentence, sentences)
        return F.normalize(at_least_float32(self.project(means)), dim=2), present


def pad_states(
    states: Sequence[Float[np.ndarray, "_ _"]], length: int
) -> tuple[Float[Tensor, "report token text_width"], Bool[Tensor, "report token"]]:
    """Stacks token states of different lengths, zeros behind each report's last token.

    Args:
        states: One float32 array [tokens, width] per report, at least one report.
        length: Tokens to pad to; the `text_tokens` of the model.

    Returns:
        The padded states and the mask that is True on real tokens.

    Raises:
        ValueError: there is no report, or a report has more tokens than length.
    """
    if not states:
        raise ValueError("there is no report to pad")
    longest = max(len(state) for state in states)
    if longest > length:
        raise ValueError(f"a report has {longest} tokens, the model takes {length}; text.max_tokens differs")
    padded = np.zeros((len(states), length, states[0].shape[1]), dtype=np.float32)
    mask = np.zeros((len(states), length), dtype=bool)
    for row, state in enumerate(states):
        padded[row, : len(state)] = state
        mask[row, : len(state)] = True
    return torch.from_numpy(padded), torch.from_numpy(mask)
