"""What a text encoder that learns reads: reports, or captions of which another part is withheld in every epoch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int64

from pipeline.errors import InputError
from pipeline.models.sentences import number_texts
from pipeline.reports.captions import caption, draw_masked
from pipeline.shards.labels import read_labels
from pipeline.training.batch import ReadText, Told
from pipeline.training.dataset import PairedImages, shuffle_reports


def caption_images(
    pairs: PairedImages, shards: Path, cohorts: Sequence[str], shuffle_seed: int | None = None
) -> PairedImages:
    """Adds the rows that captions are made from; reports are the distinct captions with nothing withheld.

    Validation shows those. What a step of training shows is numbered as it is drawn (`caption_reader`).

    Args:
        pairs: Images without reports.
        shards: Folder with one folder of shards per cohort.
        cohorts: As for pairs.
        shuffle_seed: Deals the rows out between patients (`shuffle_reports`), image by image; None: they stay.

    Raises:
        InputError: an image has no row.
    """
    rows = read_labels(shards, cohorts)
    ids = pairs.images["image_id"]
    if missing := sorted(set(ids) - set(rows.index)):
        raise InputError(f"{shards}: {len(missing)} images have no row (first: {missing[0]}); rerun pack_pretrain")
    if shuffle_seed is not None:
        own = pairs.images[["patient_id"]].assign(breast_id=ids, report_id=ids)  # each image with a text of its own
        ids = ids.map(shuffle_reports(own, shuffle_seed).set_index("breast_id")["report_id"])
    pairs = pairs._replace(rows=rows.loc[ids].reset_index(drop=True))
    report, distinct = pd.factorize(pd.Series([" ".join(said) for said in full_captions(pairs)]), sort=True)
    return pairs._replace(report=report.astype(np.int64), prompt=np.arange(len(distinct)))


def full_captions(pairs: PairedImages, rows: Int64[np.ndarray, " image"] | None = None) -> list[list[str]]:
    """The sentences of some images' captions (None: of all) with nothing withheld."""
    return [caption(row, ()) for row in _rows(pairs, rows)]


def drawn_captions(
    pairs: PairedImages, rows: Int64[np.ndarray, " image"], masking: float, seed: int, epoch: int
) -> list[list[str]]:
    """The sentences of some images' captions in one epoch; what is withheld depends on (seed, epoch, row) alone.

    Args:
        pairs: From `caption_images`.
        rows: Of the images.
        masking: Probability with which each fact of patient and image is withheld, 0 to 1.
        seed: Of the run.
        epoch: From 0.
    """
    told = zip(rows.tolist(), _rows(pairs, rows), strict=True)
    return [caption(row, draw_masked(seed, epoch, key, masking)) for key, row in told]


def caption_reader(pairs: PairedImages, language: Any, masking: float, seed: int, epoch: int) -> ReadText:
    """Writes and tokenises captions of an epoch, one per unit; arguments as for `drawn_captions`."""

    def read(rows: Int64[np.ndarray, " unit"]) -> Told:
        tokens = language.tokenize_sentences(drawn_captions(pairs, rows, masking, seed, epoch))
        return Told(torch.arange(len(rows)), tokens, number_texts(tokens))

    return read


def report_reader(pairs: PairedImages, language: Any) -> ReadText:
    """Tokenises the distinct reports of some units."""

    def read(rows: Int64[np.ndarray, " unit"]) -> Told:
        report = pairs.report[rows]
        distinct, text = np.unique(report, return_inverse=True)
        tokens = language.tokenize_sentences([[pairs.texts[number]] for number in distinct])
        return Told(torch.from_numpy(text), tokens, torch.from_numpy(report))

    return read


def gallery(pairs: PairedImages) -> list[list[str]]:
    """The sentences of every distinct text with nothing withheld, in the order of pairs.prompt."""
    if pairs.rows is None:
        return [[text] for text in pairs.texts]
    _, first = np.unique(pairs.report, return_index=True)
    return full_captions(pairs, first)


def _rows(pairs: PairedImages, rows: Int64[np.ndarray, " image"] | None) -> list[Any]:
    """Some rows of the table, each as a mapping."""
    if pairs.rows is None:
        raise ValueError("these images have no captions; call caption_images before")
    return (pairs.rows if rows is None else pairs.rows.iloc[rows]).to_dict("records")
