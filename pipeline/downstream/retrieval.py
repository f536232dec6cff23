"""Retrieval over the test breasts of a cohort: image to report, report to image, and CC to MLO."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32, Int64
from sklearn.preprocessing import normalize
from torch import Tensor

from pipeline.downstream.feature_table import feature_matrix, read_features
from pipeline.downstream.recall import Queries, retrieval_result
from pipeline.metrics.retrieval import best_ranks
from pipeline.models.config import ModelConfig
from pipeline.models.methods import METHODS
from pipeline.models.text_states import read_keys, read_states, read_texts
from pipeline.models.text_tower import pad_states
from pipeline.models.two_tower import load_model, read_config

# Reports per forward pass of the text tower.
BATCH = 256
# Queries that meet the whole gallery at once: with 200,000 items 0.2 GB, and a few times that to rank them.
QUERIES = 256
T = TypeVar("T")


class Questions(NamedTuple):
    """What a model can be asked: by which vectors two views meet, and the reports it can tell apart (else None)."""

    vectors: Literal["backbone", "embedding"]
    keys: pd.DataFrame
    reports: pd.Series | None


def retrieve(
    features: Path, text: Path, model_folder: Path, cohorts: Sequence[str], seed: int, bootstrap: int, out: Path
) -> None:
    """Writes out/retrieval.json: {cohort: {image_to_text, text_to_image, cc_to_mlo}}, see retrieval_result.

    A model that met no text in pretraining has cc_to_mlo alone, by its pooled feature maps. So has one that met
    captions (mama), by its embeddings: the reports are not what it met.

    Args:
        features: Folder of the pretrained encoder's features, one folder per cohort.
        text: Folder of the token states, texts and keys of the full reports.
        model_folder: Folder of the pretrained model.
        cohorts: Cohorts whose test breasts have reports.
        seed: Of the bootstrap.
        bootstrap: Number of resamples of the patients.
        out: Folder to write to.
    """
    asked, results = questions(model_folder, text), {}
    for cohort in cohorts:
        images = read_features(features / cohort)
        found = all_queries(images[images["split"] == "test"], asked, with_reports=True)
        results[cohort] = {way: retrieval_result(queries, seed, bootstrap) for way, queries in found.items()}
    write_results(results, out)


def questions(model_folder: Path, text: Path) -> Questions:
    """As its method allows; keys and reports as in `image_text_queries`."""
    traits = METHODS[read_config(model_folder, ModelConfig).method]
    reports = embed_reports(model_folder, text) if traits.text and not traits.captions else None
    return Questions("embedding" if traits.text else "backbone", read_keys(text), reports)


def all_queries(images: pd.DataFrame, asked: Questions, with_reports: bool) -> dict[str, Queries]:
    """cc_to_mlo, image_to_text and text_to_image of the test images of one cohort, as far as they and the model allow.

    Args:
        images: Rows of tables.FEATURES.
        asked: Of the model.
        with_reports: Whether breasts of this cohort have reports.
    """
    views = view_queries(images, asked.vectors)
    found = {} if views is None else {"cc_to_mlo": views}
    if with_reports and asked.reports is not None:
        found |= image_text_queries(images, asked.keys, asked.reports)
    return found


def write_results(results: object, out: Path) -> None:
    """Writes out/retrieval.json."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "retrieval.json").write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")


def embed_reports(model_folder: Path, text: Path) -> pd.Series:
    """The text tower's unit-norm embedding of every distinct report, by report_id.

    Behind the model's own text encoder, where it learned along, else of the stored states.
    """
    model, config = load_model(model_folder)
    tower, length = model.text, config.text_tokens
    if tower is None or length is None:
        raise ValueError(f"{model_folder}: no text tower; retrieval needs the pretrained model")
    if config.language is None:
        states = read_states(text)
        return _by_report(states, lambda batch: tower(*pad_states(batch, length)))
    return _by_report(read_texts(text), lambda batch: model.embed_texts([[report] for report in batch]))


def _by_report(reports: Mapping[str, T], embed: Callable[[list[T]], Tensor]) -> pd.Series:
    """The embedding of each report's states or text, some at once."""
    report_ids = sorted(reports)
    embedded: list[np.ndarray] = []
    with torch.inference_mode():
        for start in range(0, len(report_ids), BATCH):
            embedded.extend(embed([reports[name] for name in report_ids[start : start + BATCH]]).numpy())
    return pd.Series(embedded, index=report_ids)


def image_text_queries(images: pd.DataFrame, keys: pd.DataFrame, reports: pd.Series) -> dict[str, Queries]:
    """image_to_text and text_to_image of one cohort.

    Queries are the images, and the distinct reports; each is the gallery of the other: equal reports are one item. An
    image is answered by its breast's report, or by another wording of the same facts (reports.variants); a report by
    any image of any breast with these facts. With `every_report` the report of every breast is an item, or a query,
    for itself, and the same answers are right.

    Patients cluster the images, and the reports of every breast. A distinct report belongs to many patients; there the
    reports of one prompt are a cluster.

    Args:
        images: Rows of tables.FEATURES with embeddings.
        keys: breast_id -> report_id, prompt_id (tables.TEXT_KEYS).
        reports: Embedding by report_id.
    """
    paired = images.merge(keys[["breast_id", "report_id", "prompt_id"]], on="breast_id", validate="many_to_one")
    if paired.empty:
        raise ValueError("expected test breasts with a report, found none; check evaluate.report_cohorts")
    paired["facts"] = pd.factorize(paired["prompt_id"])[0]  # compare faster than texts
    gallery = paired.drop_duplicates("report_id").sort_values("report_id")
    breasts = paired.drop_duplicates("breast_id").sort_values("breast_id")
    own = pd.Index(gallery["report_id"]).get_indexer(breasts["report_id"])  # the report of each breast in the gallery
    seen = feature_matrix(paired, "embedding"), paired["facts"].to_numpy()
    said = np.stack(reports.loc[gallery["report_id"]].to_list()), gallery["facts"].to_numpy()
    patients, facts = _texts(paired["patient_id"]), _texts(gallery["prompt_id"])
    ranks, every, shares = [], [], []
    for similarity, relevant in _in_blocks(*seen, *said):
        ranks.append(best_ranks(similarity, relevant))
        every.append(best_ranks(similarity[:, own], relevant[:, own]))
        shares.append(np.stack([relevant.mean(axis=1), relevant[:, own].mean(axis=1)]))
    chance, chance_of_every = np.concatenate(shares, axis=1).mean(axis=1).tolist()
    found = np.concatenate([best_ranks(*block) for block in _in_blocks(*said, *seen)])
    all_reports = Queries(np.concatenate(every), patients, len(own), chance_of_every)
    all_breasts = Queries(found[own], _texts(breasts["patient_id"]), len(patients), chance_of_every)
    return {
        "image_to_text": Queries(np.concatenate(ranks), patients, len(facts), chance, all_reports),
        "text_to_image": Queries(found, facts, len(patients), chance, all_breasts),
    }


def view_queries(images: pd.DataFrame, vectors: Literal["backbone", "embedding"]) -> Queries | None:
    """cc_to_mlo: of the breasts that have both views (the first image of each), which MLO belongs to a CC.

    By the cosine of these vectors of tables.FEATURES. None where no breast has both views.
    """
    first = images.sort_values("image_id").drop_duplicates(["breast_id", "view"])
    cc, mlo = (first[first["view"] == view].set_index("breast_id") for view in ("CC", "MLO"))
    breasts = cc.index.intersection(mlo.index).sort_values()
    if breasts.empty:
        return None
    asked, searched = (normalize(feature_matrix(view.loc[breasts], vectors)) for view in (cc, mlo))
    ids = np.arange(len(breasts))
    ranks = np.concatenate([best_ranks(*block) for block in _in_blocks(asked, ids, searched, ids)])
    return Queries(ranks, _texts(cc.loc[breasts, "patient_id"]), len(breasts), 1 / len(breasts))


def _in_blocks(
    queries: Float32[np.ndarray, "query channel"],
    asked: Int64[np.ndarray, " query"],
    items: Float32[np.ndarray, "item channel"],
    answers: Int64[np.ndarray, " item"],
) -> Iterator[tuple[Float32[np.ndarray, "block item"], Bool[np.ndarray, "block item"]]]:
    """Similarity of some queries to all items, and which of these answer them: those whose answer is what is asked."""
    for start in range(0, len(queries), QUERIES):
        block = slice(start, start + QUERIES)
        yield queries[block] @ items.T, asked[block, None] == answers


def _texts(column: pd.Series) -> np.ndarray:
    """A column of texts as an array that compares fast."""
    return column.to_numpy(dtype=object).astype(str)
