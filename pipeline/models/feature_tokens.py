"""The Tr module: positions become a fixed number of tokens, a Transformer mixes them, a maximum pools them."""

from jaxtyping import Float
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.sections import Tr


class FeatureTokens(nn.Module):
    """Positions -> `tokens` by a linear map over positions, pre-norm Transformer blocks, global max pooling.

    No positional embedding: row t of the linear map already weighs every position on its own, so that token t knows
    where it looks; the number of positions, and with it the input size, is therefore fixed. GELU in the MLP as in
    vision Transformers, no dropout: the paper names neither. Source: MV-MLM, section 3.3; method.md, `Tr module`,
    `256: tokens or channels`, `positional embedding, norm placement`.

    Args:
        positions: Rows x columns of the feature map, or the greatest number of text tokens.
        width: Channels C of the feature map; the width of the Transformer and of the result.
        tr: Tokens, blocks, heads and MLP width.

    Raises:
        InputError: width is not divisible by the number of heads.
    """

    def __init__(self, positions: int, width: int, tr: Tr) -> None:
        super().__init__()
        if width % tr.heads:
            raise InputError(f"tr.heads: {tr.heads} does not divide the encoder's {width} channels; change tr.heads")
        self.mix = nn.Linear(positions, tr.tokens)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, tr.heads, tr.mlp, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(tr.blocks)
        )

    def forward(self, features: Float[Tensor, "item channel position"]) -> Float[Tensor, "item channel"]:
        """Pools each item's features; not normalised.

        Raises:
            ValueError: the number of positions is not the one this module was made for.
        """
        if features.shape[2] != self.mix.in_features:
            raise ValueError(f"found {features.shape[2]} positions, this module is made for {self.mix.in_features}")
        tokens = self.mix(features).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        pooled: Tensor = tokens.amax(dim=1)
        return pooled
