"""Frozen image features grouped into what a model scores: exams, breasts or single images."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32, Int
from torch import Tensor

from pipeline.downstream.feature_table import feature_matrix
from pipeline.tables import LATERALITIES, VIEWS

IDS = ["breast_id", "exam_id", "patient_id"]


class Units(NamedTuple):
    """Padded images, one unit a row; where present is False the other fields hold zeros.

    ids: IDS of the unit's first image. view, side: indices into tables.VIEWS and tables.LATERALITIES.
    """

    ids: pd.DataFrame
    images: Float32[Tensor, "unit slot feature"]
    view: Int[Tensor, "unit slot"]
    side: Int[Tensor, "unit slot"]
    present: Bool[Tensor, "unit slot"]


def padded_units(images: pd.DataFrame, unit: str) -> Units:
    """Stacks the images of every unit.

    Args:
        images: Rows of tables.FEATURES, at least one.
        unit: Column whose equal values make a unit (exam_id, breast_id or image_id); units are in its order.
    """
    ordered = images.sort_values([unit, "image_id"], ignore_index=True)
    row, units = pd.factorize(ordered[unit])
    slot = ordered.groupby(unit).cumcount().to_numpy()
    shape = (len(units), int(slot.max()) + 1)
    vectors = feature_matrix(ordered, "backbone")
    stacked = np.zeros((*shape, vectors.shape[1]), np.float32)
    view, side, present = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, bool)
    stacked[row, slot], present[row, slot] = vectors, True
    view[row, slot] = ordered["view"].map(VIEWS.index)
    side[row, slot] = ordered["laterality"].map(LATERALITIES.index)
    ids = ordered.drop_duplicates(unit)[IDS].reset_index(drop=True)
    return Units(ids, *(torch.from_numpy(array) for array in (stacked, view, side, present)))


def standardised(train: Units, *others: Units) -> tuple[Units, ...]:
    """All units with features of zero mean and unit deviation on the training images; a constant one keeps scale 1."""
    known = train.images[train.present]
    mean, deviation = known.mean(dim=0), known.std(dim=0, correction=0)
    scale = torch.where(deviation > 0, deviation, 1.0)
    return tuple(units._replace(images=(units.images - mean) / scale) for units in (train, *others))
