"""Which images and reports meet in a step."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from pipeline.models.methods import Traits
from pipeline.models.sentences import TextTokens
from pipeline.models.text_tower import pad_states
from pipeline.tables import VIEWS
from pipeline.training.dataset import PairedImages
from pipeline.training.reader import ImageReader

# First words after (seed, epoch) of these draws; order.py has others, so that none repeats another's numbers.
_DRAW, _OTHER = 1, 3
# How often image 2 is another image of the exam. Source: method.md, MaMA, `Image 2`.
OTHER_PROBABILITY = 0.5


class Draw(NamedTuple):
    """The units of one epoch, by image row: a breast (mv_*) or an image (all others).

    paired: the image that meets the report or the label. first, second: the two that are compared where `both` (CC and
    MLO, one image augmented twice, or two images of an exam), elsewhere the paired image twice.
    """

    paired: Int64[np.ndarray, " unit"]
    first: Int64[np.ndarray, " unit"]
    second: Int64[np.ndarray, " unit"]
    both: Bool[np.ndarray, " unit"]


class Told(NamedTuple):
    """What some units are told: each one's place among the texts, their tokens, and a number of each unit's text."""

    text: Int64[Tensor, " unit"]
    tokens: TextTokens
    report: Int64[Tensor, " unit"]


# Image rows -> what a text encoder that learns reads of them.
ReadText = Callable[[Int64[np.ndarray, " unit"]], Told]


class Batch(NamedTuple):
    """One rank's part of one step.

    What is augmented and embedded is a view: shown points into images, copies says which augmentation of the image it
    is (0 or 1), keys seed it. paired, first, second point into the views, text into states. For a text encoder that
    learns, states are token ids, and sentence is the number of each token's sentence (else empty). report: equal where
    the text is, as far as it is shown in this step. breast: of the paired image; second_breast: of the second. label:
    NaN where unknown.
    """

    images: UInt8[Tensor, "image height width"] | Float32[Tensor, "image height width"]
    shown: Int64[Tensor, " view"]
    keys: Int64[Tensor, " view"]
    copies: Int64[Tensor, " view"]
    states: Tensor
    mask: Bool[Tensor, "report token"]
    sentence: Int64[Tensor, "report token"]
    paired: Int64[Tensor, " unit"]
    first: Int64[Tensor, " unit"]
    second: Int64[Tensor, " unit"]
    both: Bool[Tensor, " unit"]
    text: Int64[Tensor, " unit"]
    report: Int64[Tensor, " unit"]
    breast: Int64[Tensor, " unit"]
    second_breast: Int64[Tensor, " unit"]
    label: Float32[Tensor, " unit"]


def draw_units(pairs: PairedImages, traits: Traits, swap_probability: float, seed: int, epoch: int) -> Draw:
    """What each unit shows in this epoch.

    Images: every image, with itself where it is augmented twice, or with another image of its exam where there is one
    (captions; with probability OTHER_PROBABILITY). Breasts (mv_*): one image per view, drawn where there
    are more; the CC view meets the report, or the MLO view with probability swap_probability, or the only view there
    is; such a breast has no view pair (method.md, `exams with more than four images`; MV-MLM, section 3.4).
    """
    if not traits.breasts:
        rows = np.arange(len(pairs.images))
        second = _others(pairs.images, seed, epoch) if traits.captions else rows
        return Draw(rows, rows, second, np.full(len(rows), traits.versions == 2))
    generator = np.random.default_rng([seed, epoch, _DRAW])
    lottery = generator.random(len(pairs.images))
    table = pairs.images.assign(breast=pairs.breast, lottery=lottery)
    chosen = table.loc[table.groupby(["breast", "view"])["lottery"].idxmin()]
    views = chosen.assign(row=chosen.index).pivot(index="breast", columns="view", values="row")
    cc, mlo = (column.to_numpy(dtype=float) for _, column in views.reindex(columns=list(VIEWS)).items())
    both = ~np.isnan(cc) & ~np.isnan(mlo)
    swapped = generator.random(len(views)) < swap_probability
    paired = np.where((swapped & both) | np.isnan(cc), mlo, cc)
    cc, mlo = np.where(both, cc, paired), np.where(both, mlo, paired)
    return Draw(paired.astype(np.int64), cc.astype(np.int64), mlo.astype(np.int64), both)


def _others(images: pd.DataFrame, seed: int, epoch: int) -> Int64[np.ndarray, " image"]:
    """Per image row another of the same exam, each as likely, with probability OTHER_PROBABILITY, else the row itself.

    The k-th image of an exam of n takes the one that lies 1 to n - 1 places further, round.
    """
    which, lottery = np.random.default_rng([seed, epoch, _OTHER]).random((2, len(images)))
    exams = images.groupby("exam_id")["exam_id"]
    place, size, exam = exams.cumcount().to_numpy(), exams.transform("size").to_numpy(), exams.ngroup().to_numpy()
    further = 1 + (which * (size - 1)).astype(np.int64)
    order = np.argsort(exam, kind="stable")
    start = np.searchsorted(exam[order], exam)
    other = order[start + (place + further) % size]
    return np.where(lottery < OTHER_PROBABILITY, other, np.arange(len(images)))


def collate(
    pairs: PairedImages,
    reader: ImageReader,
    draw: Draw,
    units: Int64[np.ndarray, " unit"],
    text_tokens: int,
    read_text: ReadText | None = None,
) -> Batch:
    """Reads what some units need: every image once, and every report's states once, or what read_text says instead."""
    paired, first, second = (rows[units] for rows in (draw.paired, draw.first, draw.second))
    again = draw.both[units] & (first == second)  # the same image twice: its second augmentation
    views = [2 * paired, 2 * first, 2 * second + again]
    codes = np.unique(np.concatenate(views))
    rows = np.unique(codes // 2)
    if read_text is None:
        text, states, mask = _reports(pairs, pairs.report[paired], text_tokens)
        sentence = torch.zeros(0, text_tokens, dtype=torch.int64)
        report = torch.from_numpy(pairs.report[paired])
    else:
        text, (states, mask, sentence), report = read_text(paired)
    places = [torch.from_numpy(np.searchsorted(codes, view)) for view in views]
    return Batch(
        images=reader.read(pairs, rows),
        shown=torch.from_numpy(np.searchsorted(rows, codes // 2)),
        keys=torch.from_numpy(codes // 2),
        copies=torch.from_numpy(codes % 2),
        states=states,
        mask=mask,
        sentence=sentence,
        paired=places[0],
        first=places[1],
        second=places[2],
        both=torch.from_numpy(draw.both[units]),
        text=text,
        report=report,
        breast=torch.from_numpy(pairs.breast[paired]),
        second_breast=torch.from_numpy(pairs.breast[second]),
        label=torch.from_numpy(pairs.label[paired]),
    )


def _reports(
    pairs: PairedImages, report: Int64[np.ndarray, " unit"], text_tokens: int
) -> tuple[Int64[Tensor, " unit"], Tensor, Bool[Tensor, "report token"]]:
    """Each unit's place among the distinct reports, and their padded states; none where no text is read."""
    if not pairs.states:
        nothing = torch.zeros(len(report), dtype=torch.int64)
        return nothing, torch.zeros(0, text_tokens, 1), torch.zeros(0, text_tokens, dtype=torch.bool)
    distinct, text = np.unique(report, return_inverse=True)
    states, mask = pad_states([pairs.states[number] for number in distinct], text_tokens)
    return torch.from_numpy(text), states, mask
