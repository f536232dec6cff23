"""Co-attention of image and text tokens, with a learned token for a modality that is missing."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

# The smallest form of the train-inference model (method.md: several co-attention blocks; sizes are not public).
HEADS = 4
BLOCKS = 2
DROPOUT = 0.1


class Tokens(NamedTuple):
    """Tokens of one modality. place: what each is of (an image position, a segment of text); has an own embedding."""

    states: Float[Tensor, "row token states"]
    present: Bool[Tensor, "row token"]
    place: Int[Tensor, "row token"]


class CoAttentionBlock(nn.Module):
    """Each modality attends to the other's tokens, both from the same state (pre-norm, residual), then an MLP each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.image_from_text = _Attend(width)
        self.text_from_image = _Attend(width)

    def forward(
        self,
        image: Float[Tensor, "row i width"],
        image_present: Bool[Tensor, "row i"],
        text: Float[Tensor, "row t width"],
        text_present: Bool[Tensor, "row t"],
    ) -> tuple[Float[Tensor, "row i width"], Float[Tensor, "row t width"]]:
        """Updated image and text tokens."""
        return self.image_from_text(image, text, text_present), self.text_from_image(text, image, image_present)


class CoAttentionClassifier(nn.Module):
    """Image tokens + text tokens -> one logit per label; runs with either modality missing.

    Args:
        image_sizes: Width of the image tokens, and number of their places.
        text_sizes: The same of the frozen text states.
        labels: Number of labels.
        width: Shared width, a multiple of HEADS.
    """

    def __init__(self, image_sizes: tuple[int, int], text_sizes: tuple[int, int], labels: int, width: int) -> None:
        super().__init__()
        self.image, self.text = _Modality(*image_sizes, width), _Modality(*text_sizes, width)
        self.blocks = nn.ModuleList(CoAttentionBlock(width) for _ in range(BLOCKS))
        self.head = nn.Sequential(nn.LayerNorm(2 * width), nn.Dropout(DROPOUT), nn.Linear(2 * width, labels))

    def forward(self, image_tokens: Tokens, text_tokens: Tokens) -> Float[Tensor, "row label"]:
        """Logits per row.

        A row without any present token of a modality gets that modality's learned null token instead; tokens that
        are not present change nothing.
        """
        image, image_present = self.image(image_tokens)
        text, text_present = self.text(text_tokens)
        for block in self.blocks:
            image, text = block(image, image_present, text, text_present)
        pooled = torch.cat([_mean_present(image, image_present), _mean_present(text, text_present)], dim=1)
        logits: Tensor = self.head(pooled)
        return logits


def with_null(
    tokens: Float[Tensor, "row token width"], present: Bool[Tensor, "row token"], null: Float[Tensor, " width"]
) -> tuple[Float[Tensor, "row token+1 width"], Bool[Tensor, "row token+1"]]:
    """Appends the null token, present exactly where no other token is."""
    column = null.expand(len(tokens), 1, -1)
    missing = ~present.any(dim=1, keepdim=True)
    return torch.cat([tokens, column], dim=1), torch.cat([present, missing], dim=1)


def _mean_present(
    tokens: Float[Tensor, "row token width"], present: Bool[Tensor, "row token"]
) -> Float[Tensor, "row width"]:
    """Mean over the present tokens, of which there is at least one."""
    weight = present.to(tokens.dtype)[..., None]
    return (tokens * weight).sum(dim=1) / weight.sum(dim=1)


class _Modality(nn.Module):
    """Tokens at the shared width with the embedding of their place, and the null token behind them."""

    def __init__(self, states: int, places: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(states, width)
        self.place = nn.Parameter(torch.zeros(places, width))
        self.null = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Tokens) -> tuple[Float[Tensor, "row one_more width"], Bool[Tensor, "row one_more"]]:
        """As `with_null`."""
        placed = self.project(tokens.states) + F.embedding(tokens.place, self.place)
        return with_null(placed, tokens.present, self.null)


class _Attend(nn.Module):
    """Cross-attention from one modality's tokens to the other's, then an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_query, self.norm_key, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, HEADS, DROPOUT, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(
        self,
        query: Float[Tensor, "row q width"],
        key: Float[Tensor, "row k width"],
        key_present: Bool[Tensor, "row k"],
    ) -> Float[Tensor, "row q width"]:
        """Query tokens that have seen the present key tokens."""
        keys = self.norm_key(key)
        seen, _ = self.attention(self.norm_query(query), keys, keys, key_padding_mask=~key_present, need_weights=False)
        query = query + seen
        updated: Tensor = query + self.mlp(self.norm_mlp(query))
        return updated
