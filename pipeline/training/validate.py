"""Recall@1 of images to reports on the validation split, after every epoch."""

from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Float, Int64
from torch import Tensor

from pipeline.metrics.retrieval import recall_at
from pipeline.models.text_tower import pad_states
from pipeline.models.two_tower import TwoTower
from pipeline.training.dataset import PairedImages
from pipeline.training.order import row_groups
from pipeline.training.reader import ImageReader, ahead
from pipeline.training.texts import gallery

# Rows of the similarity matrix held at once: 1024 x 100,000 reports are 0.4 GB.
_CHUNK = 1024


class Retrieval(NamedTuple):
    """recall_at_1 in [0, 1] over n images; the gallery holds each distinct report once."""

    recall_at_1: float
    n: int


def validate(
    model: TwoTower,
    pairs: PairedImages,
    reader: ImageReader,
    batch: int,
    text_tokens: int,
    workers: int,
    accelerator: Accelerator,
) -> Retrieval:
    """Share of the images whose closest report, of all distinct ones of the split, states the facts of their own.

    Every rank embeds all reports and its share of the images.

    Args:
        model: Unwrapped; left in evaluation mode.
        pairs: The validation split.
        reader: Of its shards.
        batch: Images or reports embedded at once.
        text_tokens: Greatest length of a report.
        workers: Threads that decode.
        accelerator: Device, precision and ranks.
    """
    model.eval()
    with torch.inference_mode(), accelerator.autocast():
        if model.language is None:
            text = _embed_reports(model, pairs, batch, text_tokens, accelerator.device)
        else:
            said = gallery(pairs)
            starts = range(0, len(said), batch)
            text = torch.cat([model.embed_texts(said[start : start + batch]) for start in starts]).float()
        order = np.argsort(row_groups(pairs.images), kind="stable")  # each row group is read once, by one rank
        rows = np.array_split(order, accelerator.num_processes)[accelerator.process_index]
        cuts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        parts = [
            model.image(images.unsqueeze(1).to(accelerator.device)).embedding
            for images in ahead(lambda cut: reader.read(pairs, cut), cuts, workers)
        ]
    hits = _hits(torch.cat(parts).float(), text, pairs.prompt[pairs.report[rows]], pairs.prompt) if parts else 0.0
    total = float(accelerator.reduce(torch.tensor(hits, device=accelerator.device), reduction="sum"))
    return Retrieval(total / len(pairs.images), len(pairs.images))


def _embed_reports(
    model: TwoTower, pairs: PairedImages, batch: int, text_tokens: int, device: torch.device
) -> Float[Tensor, "report channel"]:
    """Embeddings of all distinct reports."""
    if model.text is None:
        raise ValueError("this model has no text tower")
    parts = []
    for start in range(0, len(pairs.states), batch):
        states, mask = pad_states(pairs.states[start : start + batch], text_tokens)
        parts.append(model.text(states.to(device), mask.to(device)))
    return torch.cat(parts).float()


def _hits(
    image: Float[Tensor, "image channel"],
    text: Float[Tensor, "report channel"],
    wanted: Int64[np.ndarray, " image"],
    prompt: Int64[np.ndarray, " report"],
) -> float:
    """Number of images whose closest report is of the prompt that they want."""
    total = 0.0
    for start in range(0, len(image), _CHUNK):
        similarity = (image[start : start + _CHUNK] @ text.T).cpu().numpy()
        relevant = wanted[start : start + _CHUNK, None] == prompt
        total += recall_at(similarity, relevant, 1) * len(similarity)
    return total
