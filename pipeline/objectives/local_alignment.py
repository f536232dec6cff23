"""Symmetric local alignment: image patches against the sentences of a report (MaMA)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pipeline.precision import at_least_float32

# Texts compared in one go: with MaMA's 288 pairs, 1369 patches and 8 sentences one block of similarities is 202 MB in
# float32 instead of 3.6 GB.
TEXTS_AT_ONCE = 16


def local_alignment_loss(
    patches: Float[Tensor, "pair patch dim"],
    sentences: Float[Tensor, "pair sentence dim"],
    present: Bool[Tensor, "pair sentence"],
    temperature: float | Float[Tensor, ""],
    texts_at_once: int = TEXTS_AT_ONCE,
    positives: Bool[Tensor, "pair pair"] | None = None,
) -> Float[Tensor, ""]:
    """Symmetric InfoNCE on two [image, text] matrices of local similarities, added.

    Text to image: each sentence takes its best patch, mean over the sentences present. Image to text: each patch takes
    its best sentence present, mean over the patches. Each matrix counts like one CLIP term (half the cross-entropy
    each way, as clip_loss), which is the relative weight in the released code. float32 at least.

    Args:
        patches: Unit-norm patch embeddings; image i pairs with text i.
        sentences: Unit-norm sentence embeddings; anything finite where not present.
        present: Which sentences a text has; at least one each.
        temperature: Divisor of the local similarities, > 0 (MaMA learns one of its own).
        texts_at_once: Changes memory and speed, not the result.
        positives: [image, text], true where they match, as for clip_loss, the diagonal always; None: it alone.

    Returns:
        Loss in nats per pair, non-negative.

    Raises:
        ValueError: temperature or texts_at_once is not positive, there is no pair, or a text has no sentence.

    Source: MaMA (arXiv 2409.18119), symmetric local alignment; method.md, MaMA.
    """
    if isinstance(temperature, float) and temperature <= 0:
        raise ValueError(f"temperature must be positive, found {temperature}")
    if texts_at_once < 1:
        raise ValueError(f"texts_at_once must be at least 1, found {texts_at_once}")
    if not len(patches):
        raise ValueError("there is no pair")
    if not present.any(dim=1).all():
        bare = int((~present.any(dim=1)).nonzero()[0, 0])
        raise ValueError(f"expected at least one sentence per text, found none in text {bare}; leave such pairs out")
    with torch.autocast(patches.device.type, enabled=False):
        by_sentence, by_patch = _local_similarities(
            at_least_float32(patches), at_least_float32(sentences), present, texts_at_once
        )
        return _symmetric(by_sentence / temperature, positives) + _symmetric(by_patch / temperature, positives)


def _local_similarities(
    patches: Float[Tensor, "image patch dim"],
    sentences: Float[Tensor, "text sentence dim"],
    present: Bool[Tensor, "text sentence"],
    texts_at_once: int,
) -> tuple[Float[Tensor, "image text"], Float[Tensor, "image text"]]:
    """Every image against every text, a few texts at a time, by sentence and by patch.

    A block [image, patch, text, sentence] lives only while it is reduced: the way back computes it again.
    """
    blocks = [
        checkpoint(_compare, patches, some, there, use_reentrant=False, preserve_rng_state=False)
        for some, there in zip(sentences.split(texts_at_once), present.split(texts_at_once), strict=True)
    ]
    by_sentence, by_patch = zip(*blocks, strict=True)
    return torch.cat(by_sentence, dim=1), torch.cat(by_patch, dim=1)


def _compare(
    patches: Float[Tensor, "image patch dim"],
    sentences: Float[Tensor, "text sentence dim"],
    present: Bool[Tensor, "text sentence"],
) -> tuple[Float[Tensor, "image text"], Float[Tensor, "image text"]]:
    """Mean over sentences of the best patch, and mean over patches of the best sentence."""
    cosine = torch.einsum("ipd,tsd->ipts", patches, sentences)
    best_patch = cosine.max(dim=1).values.masked_fill(~present, 0.0)
    best_sentence = cosine.masked_fill(~present, -torch.inf).max(dim=3).values
    return best_patch.sum(dim=2) / present.sum(dim=1), best_sentence.mean(dim=1)


def _symmetric(logits: Float[Tensor, "image text"], positives: Bool[Tensor, "image text"] | None) -> Float[Tensor, ""]:
    """Half the cross-entropy of finding text i, or any that matches, from image i, half that of the way back."""
    if positives is None:
        target = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    share = positives.to(logits.dtype)
    forth, back = share / share.sum(dim=1, keepdim=True), share.T / share.T.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, forth) + F.cross_entropy(logits.T, back)) / 2
