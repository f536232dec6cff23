"""What fusion reads of each breast: feature map positions of its images, facts of the table, tokens of its report."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, Int, Int64
from torch import Tensor
from torch.nn import functional as F

from pipeline.downstream.features import over_images
from pipeline.downstream.labels import DEVELOPMENT, as_grades, read_images
from pipeline.downstream.units import IDS
from pipeline.models.co_attention import Tokens
from pipeline.models.image_tower import ImageTower
from pipeline.models.text_states import read_keys, read_states
from pipeline.models.text_tower import pad_states
from pipeline.precision import at_least_float32
from pipeline.sections import Compute
from pipeline.tables import LATERALITIES, VIEWS

# Of a text token: its place.
SEGMENTS = ("table", "report")


class Sources(NamedTuple):
    """Folders of the cohort table, its evaluation shards, the pretrained model, and the states and keys of two texts.

    table: of the facts known before reading. report: of the pre_reading reports, written of the same facts.
    """

    cohort: Path
    shards: Path
    model: Path
    table: Path
    report: Path


class Banks(NamedTuple):
    """Tokens of every image, set of facts and report; row 0 of each is a missing one, without any token.

    An image takes 4 bytes x positions x channels: 61 kB with a grid of 4 x 3 and the demo's encoder.
    """

    image: Tokens
    table: Tokens
    report: Tokens

    @property
    def image_sizes(self) -> tuple[int, int]:
        """Width of the image tokens, and number of their places."""
        _, positions, width = self.image.states.shape
        return width, len(VIEWS) * len(LATERALITIES) * positions

    @property
    def text_sizes(self) -> tuple[int, int]:
        """The same of the text tokens."""
        return self.table.states.shape[2], len(SEGMENTS)


class Breasts(NamedTuple):
    """Breasts of one split. ids: units.IDS. Others: rows of Banks, of each breast as many; 0 where there is no such."""

    ids: pd.DataFrame
    image: Int64[Tensor, "breast image"]
    table: Int64[Tensor, "breast 1"]
    report: Int64[Tensor, "breast 1"]


class Inputs(NamedTuple):
    """Banks, and the row in them of every image (with its ids and split), set of facts and report (by breast_id)."""

    banks: Banks
    images: pd.DataFrame
    table: pd.Series
    report: pd.Series


def read_inputs(sources: Sources, grid: Sequence[int], batch: dict[str, int], compute: Compute) -> Inputs:
    """Runs the frozen encoder over the images, and reads the states of the texts.

    Args:
        sources: Folders; the text in them says nothing that only a reader knows (dvc.yaml, tests).
        grid: Rows and columns of positions to which a feature map is averaged.
        batch: Images per forward pass by encoder.
        compute: Device and precision.

    Raises: as `features.embed`.
    """
    images, maps = _image_maps(sources, grid, batch, compute)
    (table, table_rows), (report, report_rows) = (_texts(sources.table, "table"), _texts(sources.report, "report"))
    return Inputs(Banks(_image_tokens(images, maps), table, report), images, table_rows, report_rows)


def breasts_of(inputs: Inputs, breast_ids: Sequence[str]) -> Breasts:
    """These breasts, in the order of their ids."""
    chosen = inputs.images[inputs.images["breast_id"].isin(breast_ids)].sort_values(["breast_id", "image_id"])
    slot = chosen.groupby("breast_id").cumcount()
    image = chosen.assign(slot=slot).pivot(index="breast_id", columns="slot", values="row").fillna(0)
    ids = chosen.drop_duplicates("breast_id")[IDS].reset_index(drop=True)
    texts = (rows.reindex(image.index).fillna(0).to_frame() for rows in (inputs.table, inputs.report))
    return Breasts(ids, *(torch.tensor(rows.to_numpy(np.int64)) for rows in (image, *texts)))


def standardise_images(banks: Banks, train: Breasts) -> None:
    """Gives image tokens zero mean and unit deviation per channel over the training images' positions, in place."""
    states = banks.image.states
    known = states[train.image[train.image > 0]].flatten(0, 1)
    deviation = known.std(dim=0, correction=0)
    states[1:] -= known.mean(dim=0)
    states[1:] /= torch.where(deviation > 0, deviation, 1.0)


def tokens_of(bank: Tokens, rows: Int[Tensor, "breast part"]) -> Tokens:
    """All tokens of each breast's parts in a row, without the columns in which no breast has one (but the first)."""
    states, present, place = (field[rows].flatten(1, 2) for field in bank)
    used = present.any(dim=0)
    used[0] = True
    return Tokens(states[:, used], present[:, used], place[:, used])


def breast_labels(cohort: Path, labels: Sequence[str]) -> pd.DataFrame:
    """split and one column per label, by breast_id, of the development breasts of which a label is known.

    A breast is positive if any of its images is, NaN (unknown) if none is and one is unknown: as it is scored.
    """
    images = read_images(cohort)
    images = images[images["split"].isin(DEVELOPMENT)]
    grades = pd.DataFrame({label: as_grades(images[label], label).astype("float64") for label in labels})
    by_breast = grades.groupby([images["breast_id"], images["split"]])
    highest, is_complete = by_breast.max(), by_breast.count().eq(by_breast.size(), axis=0)
    known = highest.where((highest == 1) | is_complete).dropna(how="all")
    return known.astype(np.float32).reset_index("split")


def _image_maps(
    sources: Sources, grid: Sequence[int], batch: dict[str, int], compute: Compute
) -> tuple[pd.DataFrame, Float32[Tensor, "image position channel"]]:
    """Rows of index_shards with `row` 1, 2, 3 and so on, and the feature map of each image averaged to the grid."""

    def see(ids: pd.DataFrame, tower: ImageTower, pixels: Tensor) -> tuple[pd.DataFrame, Tensor]:
        pooled = F.adaptive_avg_pool2d(at_least_float32(tower.encoder(pixels)), (grid[0], grid[1]))
        return ids, pooled.flatten(2).transpose(1, 2).cpu()

    ids, maps = zip(*over_images(sources.shards, sources.model, see, batch, compute), strict=True)
    images = pd.concat(ids, ignore_index=True)
    return images.assign(row=np.arange(1, len(images) + 1)), torch.cat(maps)


def _image_tokens(images: pd.DataFrame, maps: Float32[Tensor, "image position channel"]) -> Tokens:
    """The bank of image tokens. place: which view, side and position, since a position means another side in each."""
    count, positions, _ = maps.shape
    seen_from = images["view"].map(VIEWS.index) * len(LATERALITIES) + images["laterality"].map(LATERALITIES.index)
    place = torch.tensor(seen_from.to_list())[:, None] * positions + torch.arange(positions)
    return _behind_missing(Tokens(maps, torch.ones(count, positions, dtype=torch.bool), place))


def _texts(folder: Path, segment: str) -> tuple[Tokens, pd.Series]:
    """The bank of the distinct texts of a folder, and the row of each breast's."""
    states = read_states(folder)
    ids = sorted(states)
    padded, present = pad_states([states[text] for text in ids], max(map(len, states.values())))
    bank = _behind_missing(Tokens(padded, present, torch.full(present.shape, SEGMENTS.index(segment))))
    return bank, read_keys(folder).set_index("breast_id")["report_id"].map({text: n for n, text in enumerate(ids, 1)})


def _behind_missing(tokens: Tokens) -> Tokens:
    """The same tokens behind a row 0 without any."""
    return Tokens(*(torch.cat([torch.zeros_like(field[:1]), field]) for field in tokens))
