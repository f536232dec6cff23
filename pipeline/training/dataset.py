"""What pretraining learns from: the images of one split, the report of each breast, and the control that deals them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Int64

from pipeline.errors import InputError
from pipeline.models.text_states import read_keys, read_states, read_texts
from pipeline.shards.labels import read_labels
from pipeline.shards.read import index_shards
from pipeline.tables import VIEWS

T = TypeVar("T")


class PairedImages(NamedTuple):
    """The images of one split with their reports.

    images: rows of the shards' index, sorted by image_id; an image's row number seeds its augmentation.
    breast: number of each image's breast. report: number of each image's report. prompt: per report, the number of its
    prompt: reports of one prompt state the same facts. states: per report, the frozen text encoder's token states
    [tokens, width]; no report where no text is read, and no state where a text encoder learns along. texts: per report,
    what it says, for such an encoder. label: 1 malignant, 0 not, NaN unknown or not read. rows: of the cohort table,
    from which captions are made (texts.py); None where text is no caption.
    """

    images: pd.DataFrame
    breast: Int64[np.ndarray, " image"]
    report: Int64[np.ndarray, " image"]
    prompt: Int64[np.ndarray, " report"]
    states: list[Float[np.ndarray, "_ _"]]
    label: Float32[np.ndarray, " image"]
    rows: pd.DataFrame | None = None
    texts: Sequence[str] = ()


def read_pairs(
    shards: Path,
    text: Path | None,
    cohorts: Sequence[str],
    split: str,
    shuffle_seed: int | None = None,
    incomplete: Literal["keep", "drop"] = "keep",
    reads_texts: bool = False,
) -> PairedImages:
    """Joins the images of some cohorts with the states or the texts of their reports.

    Args:
        shards: Folder with one folder of shards per cohort.
        text: Token states, texts and keys of `encode_text`; None for methods that meet no text.
        cohorts: Which of the folders to read.
        split: train or validation.
        shuffle_seed: Deals the reports out between patients (`shuffle_reports`); None: they stay.
        incomplete: Whether breasts with one of CC and MLO alone take part.
        reads_texts: What the reports say is read in place of their states.

    Raises:
        InputError: a breast has no report, or its report no states, or no breast has both views and others are dropped.
    """
    images = _index(shards, cohorts, split)
    if incomplete == "drop":
        images = _complete(images)
    breast, _ = pd.factorize(images["breast_id"], sort=True)
    unknown = np.full(len(images), np.nan, dtype=np.float32)
    if text is None:
        nothing = np.zeros(len(images), dtype=np.int64)
        return PairedImages(images, breast.astype(np.int64), nothing, nothing[:0], [], unknown)
    keys = _keys_of(images, text, split)
    prompt_of = keys.drop_duplicates("report_id").set_index("report_id")["prompt_id"]
    if shuffle_seed is not None:
        keys = shuffle_reports(keys, shuffle_seed)
    report_of = keys.set_index("breast_id")["report_id"]
    report, report_ids = pd.factorize(images["breast_id"].map(report_of), sort=True)
    prompt, _ = pd.factorize(prompt_of.loc[report_ids], sort=True)
    pairs = PairedImages(images, breast.astype(np.int64), report.astype(np.int64), prompt.astype(np.int64), [], unknown)
    if reads_texts:
        return pairs._replace(texts=_of_each(read_texts(text), report_ids, text))
    return pairs._replace(states=_of_each(read_states(text), report_ids, text))


def _keys_of(images: pd.DataFrame, text: Path, split: str) -> pd.DataFrame:
    """The keys of the images' breasts, each of which has a report."""
    keys = read_keys(text)
    keys = keys[keys["breast_id"].isin(images["breast_id"])]
    if missing := sorted(set(images["breast_id"]) - set(keys["breast_id"])):
        raise InputError(
            f"{text}: {len(missing)} breasts of the {split} split have no report (first: {missing[0]});"
            " rerun write_reports_pretrain and encode_text_pretrain"
        )
    return keys


def _of_each(found: Mapping[str, T], report_ids: pd.Index, text: Path) -> list[T]:
    """The states or the text of each report."""
    if absent := [name for name in report_ids if name not in found]:
        raise InputError(f"{text}: nothing for report {absent[0]}; rerun encode_text_pretrain")
    return [found[name] for name in report_ids]


def label_images(pairs: PairedImages, shards: Path, cohorts: Sequence[str]) -> PairedImages:
    """Keeps the images whose malignancy is known, with that label.

    Raises:
        InputError: the training images do not hold both kinds.
    """
    malignant = read_labels(shards, cohorts)["malignant"]
    label = malignant.reindex(pairs.images["image_id"]).astype("Float32").to_numpy(np.float32, na_value=np.nan)
    known = np.flatnonzero(~np.isnan(label))
    if set(label[known].tolist()) != {0.0, 1.0}:
        raise InputError(
            f"pretrain.method: supervised needs malignant and other images in training, found"
            f" {int(np.nansum(label))} malignant among {len(known)} with a known label; add a cohort that has both to"
            " pretrain.cohorts, or take another method"
        )
    images = pairs.images.iloc[known].reset_index(drop=True)
    breast, _ = pd.factorize(images["breast_id"], sort=True)
    return pairs._replace(images=images, breast=breast.astype(np.int64), report=pairs.report[known], label=label[known])


def shuffle_reports(keys: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Deals the reports of every patient to another one: a control that must not learn findings from text.

    A random cyclic order of the patients (Sattolo's algorithm) gives each the reports of the next, so that nobody
    keeps their own. Breast k of a patient takes report k of the other, in the order of breast_id, beginning again
    where the other has fewer.

    Args:
        keys: breast_id, patient_id, report_id; one row per breast.
        seed: Of the run.

    Raises:
        InputError: there are fewer than two patients.
    """
    reports = keys.sort_values("breast_id").groupby("patient_id")["report_id"].agg(list)
    if len(reports) < 2:
        raise InputError(f"pretrain.shuffle_reports: needs two patients with reports, found {len(reports)}")
    order = np.arange(len(reports))
    generator = np.random.default_rng(seed)
    for last in range(len(order) - 1, 0, -1):
        other = generator.integers(last)
        order[last], order[other] = order[other], order[last]
    donor = dict(zip(reports.index, reports.iloc[order], strict=True))
    dealt = keys.sort_values("breast_id")
    place = dealt.groupby("patient_id").cumcount()
    taken = [donor[who][k % len(donor[who])] for who, k in zip(dealt["patient_id"], place, strict=True)]
    return dealt.assign(report_id=taken)


def _complete(images: pd.DataFrame) -> pd.DataFrame:
    """The images of the breasts that have every view."""
    complete = images.groupby("breast_id")["view"].transform("nunique") == len(VIEWS)
    if not complete.any():
        raise InputError("pretrain.incomplete: drop, but no breast for training has both CC and MLO; set it to keep")
    return images[complete].reset_index(drop=True)


def _index(shards: Path, cohorts: Sequence[str], split: str) -> pd.DataFrame:
    """The shards' index of several cohorts, `file` relative to their common folder."""
    parts = []
    for cohort in cohorts:
        part = index_shards(shards / cohort, (split,))
        parts.append(part.assign(file=f"{cohort}/" + part["file"]))
    index = pd.concat(parts).sort_values("image_id", ignore_index=True)
    mirrored = index["image_id"][index["mirrored"]]
    if len(mirrored):
        raise InputError(
            f"{shards}: {len(mirrored)} images are mirrored (first: {mirrored.iloc[0]}),"
            " and the reports say left and right; pretrain on a preparation whose mirror is none (pack.preparation)"
        )
    return index
