"""Risk: the additive hazard of Mirai, its censored targets and loss, and the aggregator of an exam's images."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

# Mirai's aggregator is one Transformer layer (method.md, Risk); its width here is that of the frozen probe, not the
# 512 of Mirai's encoder: a few hundred exams train it.
HEADS = 4
DROPOUT = 0.1
# The oldest prior exam with an embedding of its own: Mirai's code has one for each whole year up to ten (MAX_TIME).
PRIOR_YEARS = 10


def additive_hazard(base: Float[Tensor, " exam"], hazards: Float[Tensor, "exam year"]) -> Float[Tensor, "exam year"]:
    """Logits of cancer within 1, 2, ... years: the base plus the sum of the positive yearly hazards so far.

    Source: Mirai (eaba4373), cumulative probability layer; method.md, Risk: monotone in the year by construction.
    """
    return base[:, None] + F.relu(hazards).cumsum(dim=1)


def hazard_targets(
    years_to_cancer: Float[Tensor, " exam"], years_followed: Float[Tensor, " exam"], horizon_years: int
) -> tuple[Float[Tensor, "exam year"], Bool[Tensor, "exam year"]]:
    """Labels and mask per year of the horizon.

    Cancer in year t (in (t-1, t] years after the exam; at 0 years: year 1): label 1 from t on, mask 1..t. No cancer
    within the horizon: label 0, mask over the years followed in full; a cancer after the horizon proves the years
    before it free of cancer.

    Args:
        years_to_cancer: Years from the exam to the diagnosis, NaN where there is none.
        years_followed: Years from the exam to the last follow-up, NaN where unknown (then only a cancer counts).
        horizon_years: T.

    Returns:
        Labels (0 or 1) and the mask of the years that are known.

    Source: method.md, Risk; Mirai's code counts whole years from 0 (year t there is t-1).
    """
    year = torch.arange(1, horizon_years + 1, device=years_to_cancer.device)
    cancer_year = years_to_cancer.nan_to_num(nan=torch.inf).ceil().clamp(min=1)[:, None]
    has_cancer = cancer_year <= horizon_years
    free_years = torch.fmax(years_followed, years_to_cancer).nan_to_num(nan=0.0).floor()[:, None]
    labels = (year >= cancer_year).to(years_to_cancer.dtype)
    return labels, torch.where(has_cancer, year <= cancer_year, year <= free_years)


def masked_hazard_loss(
    logits: Float[Tensor, "exam year"], labels: Float[Tensor, "exam year"], mask: Bool[Tensor, "exam year"]
) -> Float[Tensor, ""]:
    """Binary cross-entropy over the known years, in nats per known year.

    Raises:
        ValueError: no year of any exam is known.

    Source: Mirai's survival loss; method.md, Risk.
    """
    if not mask.any():
        raise ValueError("expected at least one exam with a known year, found none; leave such exams out")
    losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (losses * mask).sum() / mask.sum()


class AdditiveHazard(nn.Module):
    """b(h) and w_k . h + beta_k, then additive_hazard."""

    def __init__(self, width: int, horizon_years: int) -> None:
        super().__init__()
        self.base = nn.Linear(width, 1)
        self.hazards = nn.Linear(width, horizon_years)

    def forward(self, hidden: Float[Tensor, "exam width"]) -> Float[Tensor, "exam year"]:
        """Logits of cancer within each year."""
        return additive_hazard(self.base(hidden)[:, 0], self.hazards(hidden))


class ExamAggregator(nn.Module):
    """One vector per exam from any number of its images and those of prior exams.

    Learned embeddings of view, side and whole years before the exam are added to each image's features; at 0 years it
    is zero, so that without prior exams the model is the one that knows of none.

    Args:
        features: Width of the image features.
        width: Of the Transformer layer; a multiple of HEADS.

    Source: Mirai (eaba4373) and its code (yala/Mirai, hiddens_transfomer.py: time_embed, view_embed, side_embed, which
        there also scale the features); method.md, Risk.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(features, width)
        self.view = nn.Embedding(2, width)
        self.side = nn.Embedding(2, width)
        self.layer = nn.TransformerEncoderLayer(
            width, HEADS, 2 * width, DROPOUT, activation="gelu", batch_first=True, norm_first=True
        )
        self.attention = nn.Linear(width, 1)
        with torch.random.fork_rng(devices=[]):  # what is drawn after it stays what it is without this embedding
            self.prior_years = nn.Embedding(1 + PRIOR_YEARS, width, padding_idx=0)

    def forward(
        self,
        images: Float[Tensor, "exam slot feature"],
        view: Int[Tensor, "exam slot"],
        side: Int[Tensor, "exam slot"],
        prior_years: Int[Tensor, "exam slot"],
        present: Bool[Tensor, "exam slot"],
    ) -> Float[Tensor, "exam width"]:
        """Attention-pooled exam vector; slots that are not present change nothing.

        Args:
            images: Features, anything where not present.
            view: Index into tables.VIEWS.
            side: Index into tables.LATERALITIES.
            prior_years: 0 for an image of the exam itself, 1 to PRIOR_YEARS for one that many years before.
            present: Which slots hold an image; at least one per exam.

        Raises:
            ValueError: an exam has no image.
        """
        if not present.any(dim=1).all():
            raise ValueError("expected at least one image per exam, found an exam without any")
        tokens = self.project(images) + self.view(view) + self.side(side) + self.prior_years(prior_years)
        mixed = self.layer(tokens, src_key_padding_mask=~present)
        weight = self.attention(mixed)[..., 0].masked_fill(~present, -torch.inf).softmax(dim=1)
        return torch.einsum("es,esw->ew", weight, mixed)
