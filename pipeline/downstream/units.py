"""Image features grouped into what a model scores: exams, breasts or single images."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32, Int
from torch import Tensor

from pipeline.downstream.feature_table import feature_matrix
from pipeline.tables import LATERALITIES, VIEWS

IDS = ["breast_id", "exam_id", "patient_id"]


class Slots(NamedTuple):
    """Padded images, one unit a row; where present is False the other fields mean nothing.

    view, side: indices into tables.VIEWS and tables.LATERALITIES. prior_years: 0, or how many whole years before the
    unit's exam the image was taken (`with_priors`).
    """

    images: Float32[Tensor, "unit slot feature"]
    view: Int[Tensor, "unit slot"]
    side: Int[Tensor, "unit slot"]
    prior_years: Int[Tensor, "unit slot"]
    present: Bool[Tensor, "unit slot"]

    def of(self, units: Int[Tensor, " chosen"]) -> "Slots":
        """Those of the units with these numbers."""
        return Slots(*(field[units] for field in self))


class Units(NamedTuple):
    """ids: IDS of each unit's first image. image_ids: of every slot, None where there is no image."""

    ids: pd.DataFrame
    image_ids: np.ndarray
    slots: Slots


def padded_units(images: pd.DataFrame, unit: str) -> Units:
    """Stacks the images of every unit.

    Args:
        images: Rows of tables.FEATURES, at least one; with prior_years where there are images of prior exams.
        unit: Column whose equal values make a unit (exam_id, breast_id or image_id); units are in its order.
    """
    ordered = images.sort_values([unit, "image_id"], ignore_index=True)
    row, units = pd.factorize(ordered[unit])
    slot = ordered.groupby(unit).cumcount().to_numpy()
    shape = (len(units), int(slot.max()) + 1)
    vectors = feature_matrix(ordered, "backbone")
    stacked, present = np.zeros((*shape, vectors.shape[1]), np.float32), np.zeros(shape, bool)
    stacked[row, slot], present[row, slot] = vectors, True
    numbers = np.zeros((3, *shape), np.int64)  # view, side, prior_years
    numbers[0, row, slot] = ordered["view"].map(VIEWS.index)
    numbers[1, row, slot] = ordered["laterality"].map(LATERALITIES.index)
    numbers[2, row, slot] = ordered.get("prior_years", 0)
    image_ids = np.full(shape, None, dtype=object)
    image_ids[row, slot] = ordered["image_id"]
    ids = ordered.drop_duplicates(unit)[IDS].reset_index(drop=True)
    return Units(ids, image_ids, Slots(*(torch.from_numpy(array) for array in (stacked, *numbers, present))))


def standardised(train: Units, *others: Units) -> tuple[Units, ...]:
    """All units with features of zero mean and unit deviation on the training images; a constant one keeps scale 1."""
    known = train.slots.images[train.slots.present]
    mean, deviation = known.mean(dim=0), known.std(dim=0, correction=0)
    scale = torch.where(deviation > 0, deviation, 1.0)
    return tuple(
        units._replace(slots=units.slots._replace(images=(units.slots.images - mean) / scale))
        for units in (train, *others)
    )
