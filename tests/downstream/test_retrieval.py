"""Retrieval by hand: reports once and of every breast, and every direction counts what it says."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.downstream import retrieval
from pipeline.downstream.recall import Queries
from pipeline.downstream.retrieval import image_text_queries, retrieve, view_queries
from pipeline.models.text_tower import pad_states
from pipeline.models.two_tower import load_model
from pipeline.tables import TEXTS, write_table

WriteArchive = Callable[..., pd.DataFrame]
EAST, NORTH = [1.0, 0.0], [0.0, 1.0]


def images(rows: list[tuple[str, str, list[float]]]) -> pd.DataFrame:
    """Breast, view, embedding -> rows of tables.FEATURES as far as retrieval reads them."""
    table = pd.DataFrame(rows, columns=["breast_id", "view", "embedding"])
    table["embedding"] = [np.array(e, dtype=np.float32) for e in table["embedding"]]
    return table.assign(image_id=table["breast_id"] + table["view"], patient_id=table["breast_id"].str[0])


def test_equal_reports_are_one_item_of_the_gallery() -> None:
    table = images([("aL", "CC", EAST), ("bL", "CC", EAST), ("cL", "CC", NORTH), ("dL", "CC", NORTH)])
    keys = pd.DataFrame({"breast_id": ["aL", "bL", "cL", "dL"], "report_id": ["r1", "r1", "r2", "r1"]})
    keys["prompt_id"] = keys["report_id"]
    reports = pd.Series({"r1": np.float32(EAST), "r2": np.float32(NORTH)})
    found = image_text_queries(table, keys, reports)
    forth, back = found["image_to_text"], found["text_to_image"]
    # a, b and c find their report first; d lies at r2 but has r1, which comes second
    assert (forth.ranks.tolist(), forth.gallery) == ([1, 1, 1, 2], 2)
    # r1 finds a or b first; r2 finds c, but d is as close: ties count against
    assert (back.ranks.tolist(), back.gallery) == ([1, 2], 4)
    assert forth.chance == back.chance == 0.5  # one report of two; two images of four, for each report


def test_the_report_of_every_breast_counts_for_itself_in_the_other_gallery() -> None:
    table = images(
        [("aL", "CC", EAST), ("aL", "MLO", NORTH), ("bL", "CC", EAST), ("cL", "CC", NORTH), ("dL", "CC", EAST)]
    )
    keys = pd.DataFrame({"breast_id": ["aL", "bL", "cL", "dL"], "report_id": ["r1", "r1", "r2", "r1"]})
    keys["prompt_id"] = keys["report_id"]
    reports = pd.Series({"r1": np.float32(EAST), "r2": np.float32([-0.8, 0.6])})
    forth, back = (found.every_report for found in image_text_queries(table, keys, reports).values())
    assert (forth.gallery, back.gallery) == (4, 5)  # a report per breast, all images
    # a's MLO and c's image lie at r2, which is one report of the four: a's comes second, and c finds its own
    assert forth.ranks.tolist() == [1, 2, 1, 1, 1]
    assert back.ranks.tolist() == [1, 1, 2, 1]  # r1 is asked three times; r2 finds c and a's MLO, which is as close
    assert (forth.clusters.tolist(), back.clusters.tolist()) == (["a", "a", "b", "c", "d"], ["a", "b", "c", "d"])
    # 3 of 4 reports answer an image of a, b or d, and 1 of 4 that of c; of 5 images 4 answer r1 and 1 answers r2
    assert forth.chance == pytest.approx((4 * 3 / 4 + 1 / 4) / 5) == pytest.approx(back.chance)
    near = table.assign(embedding=[np.array([-1.0, 0.0], dtype=np.float32)] * 5)  # to r2, before three copies of r1
    assert image_text_queries(near, keys, reports)["image_to_text"].ranks.tolist() == [2, 2, 2, 1, 2]
    away = table.assign(embedding=[np.array(EAST, dtype=np.float32)] * 5)  # r2 is the fourth of four, or second of two
    assert image_text_queries(away, keys, reports)["image_to_text"].ranks[3] == 2
    assert image_text_queries(away, keys, reports)["image_to_text"].every_report.ranks[3] == 4


def test_another_wording_of_the_same_facts_is_as_right() -> None:
    table = images([("aL", "CC", EAST), ("bL", "CC", NORTH), ("cL", "CC", [-1.0, 0.0])])
    keys = pd.DataFrame(
        {"breast_id": ["aL", "bL", "cL"], "report_id": ["r2", "r1", "r3"], "prompt_id": ["p", "p", "q"]}
    )
    reports = pd.Series({"r1": np.float32(EAST), "r2": np.float32(NORTH), "r3": np.float32([-1.0, 0.0])})
    found = image_text_queries(table, keys, reports)
    assert found["image_to_text"].ranks.tolist() == found["text_to_image"].ranks.tolist() == [1, 1, 1]
    assert (found["image_to_text"].gallery, len(found["text_to_image"].ranks)) == (3, 3)


def test_reports_are_embedded_by_the_text_tower_whatever_their_batch(
    tmp_path: Path, write_model: WriteArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path)
    generator = np.random.default_rng(0)
    states = {f"r{n}": generator.normal(size=(1 + n, 6)).astype(np.float32) for n in range(5)}
    monkeypatch.setattr(retrieval, "read_states", lambda _: states)
    monkeypatch.setattr(retrieval, "BATCH", 2)
    found = retrieval.embed_reports(tmp_path, tmp_path)
    model = load_model(tmp_path)[0]
    with torch.inference_mode():
        expected = model.text(*pad_states([states["r3"]], 12))[0]
    assert found.index.tolist() == sorted(states)
    np.testing.assert_allclose(found["r3"], expected, atol=1e-6)
    write_model(tmp_path / "initial", method="none")
    with pytest.raises(ValueError, match="no text tower"):
        retrieval.embed_reports(tmp_path / "initial", tmp_path)


@pytest.mark.parametrize("learned", ["lora", "full"])
def test_a_text_encoder_that_learned_along_reads_the_reports_itself(
    learned: str, tmp_path: Path, write_model: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path, method="clip_tr", learned=learned)
    said = {"r1": "A mass is seen in the left breast.", "r0": "No mass.", "r2": "Calcifications are seen."}
    write_table(pd.DataFrame(list(said.items()), columns=TEXTS.names), tmp_path / "texts.parquet", TEXTS)
    monkeypatch.setattr(retrieval, "read_states", lambda _: pytest.fail("the frozen states were read"))
    monkeypatch.setattr(retrieval, "BATCH", 2)
    found = retrieval.embed_reports(tmp_path, tmp_path)
    model = load_model(tmp_path)[0]
    assert found.index.tolist() == ["r0", "r1", "r2"]
    with torch.no_grad():
        for report, text in said.items():
            ids, mask = model.language.tokenize([text])
            padded = torch.nn.functional.pad(model.language(ids, mask), (0, 0, 0, 96 - ids.shape[1]))
            expected = model.text(padded, torch.arange(96)[None] < ids.shape[1])
            np.testing.assert_allclose(found[report], expected[0], atol=1e-5)


def test_only_breasts_with_a_report_take_part() -> None:
    table = images([("aL", "CC", EAST), ("bL", "CC", NORTH)])
    keys = pd.DataFrame({"breast_id": ["aL", "zL"], "report_id": ["r1", "r9"], "prompt_id": ["p1", "p9"]})
    reports = pd.Series({"r1": np.float32(EAST), "r9": np.float32(NORTH)})
    found = image_text_queries(table, keys, reports)
    assert len(found["image_to_text"].ranks) == found["image_to_text"].gallery == 1
    with pytest.raises(ValueError, match="with a report"):
        image_text_queries(table, keys[1:], reports)


def test_views_of_breasts_that_have_both() -> None:
    diagonal = [0.6, 0.8]
    table = images(
        [
            ("aL", "CC", EAST),
            ("aL", "MLO", EAST),
            ("bL", "CC", NORTH),
            ("bL", "MLO", diagonal),
            ("cL", "CC", EAST),
        ]
    )
    found = view_queries(table, "embedding")
    assert (found.ranks.tolist(), found.gallery) == ([1, 1], 2)
    table["embedding"] = table["embedding"].map(lambda e: -e if e[1] > 0.9 else e)  # b's CC now lies far from its MLO
    assert view_queries(table, "embedding").ranks.tolist() == [1, 2]
    far = table.rename(columns={"embedding": "backbone"})
    far["backbone"] = [length * row for length, row in enumerate(far["backbone"], 1)]  # cosines do not see lengths
    assert view_queries(far, "backbone").ranks.tolist() == [1, 2]
    assert view_queries(table[4:], "embedding") is None


def test_galleries_are_met_by_a_few_queries_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 5)) / 5**0.5
    breasts = [f"{number:02}L" for number in range(20)]
    views = [(breast, view) for breast in breasts for view in ("CC", "MLO")]
    table = images([(*names, list(vector)) for names, vector in zip(views, vectors, strict=True)])
    keys = pd.DataFrame({"breast_id": breasts, "report_id": [f"r{n % 7}" for n in range(20)]})
    keys["prompt_id"] = [f"p{n % 7 % 3}" for n in range(20)]
    reports = pd.Series({f"r{n}": rng.normal(size=5).astype(np.float32) for n in range(7)})

    def asked() -> list[Queries]:
        found = image_text_queries(table, keys, reports)
        return [*found.values(), *(q.every_report for q in found.values()), view_queries(table, "embedding")]

    whole = asked()
    monkeypatch.setattr(retrieval, "QUERIES", 3)
    for once, in_parts in zip(whole, asked(), strict=True):
        np.testing.assert_array_equal(once.ranks, in_parts.ranks)
        assert once.chance == pytest.approx(in_parts.chance) and once.gallery == in_parts.gallery
    assert len({tuple(q.ranks) for q in whole}) == 5


@pytest.mark.parametrize(("method", "vectors"), [("mama", "embedding"), ("none", "backbone")])
def test_without_states_of_its_own_text_a_model_has_the_views_alone(
    method: str, vectors: str, tmp_path: Path, write_archive: WriteArchive, write_model: WriteArchive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    truth = write_archive(tmp_path / "small", patients=60)
    (tmp_path / "all").mkdir()
    (tmp_path / "small" / "features").rename(tmp_path / "all" / "small")
    write_model(tmp_path / "model", method=method)
    monkeypatch.setattr(retrieval, "read_keys", lambda _: pd.DataFrame())
    seen = []

    def by(images: pd.DataFrame, given: str) -> Queries:
        seen.append((given, len(images)))
        return Queries(np.ones(12, np.int64), np.arange(12).astype(str), 12, 1 / 12)

    monkeypatch.setattr(retrieval, "view_queries", by)
    retrieve(tmp_path / "all", tmp_path, tmp_path / "model", ["small"], 1, 100, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "retrieval.json").read_text())["small"]
    assert set(found) == {"cc_to_mlo"}
    assert seen == [(vectors, (truth["split"] == "test").sum())]


def test_json_is_of_the_test_split_and_the_same_twice(
    tmp_path: Path, write_archive: WriteArchive, write_model: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = write_archive(tmp_path / "small", patients=60)
    write_model(tmp_path / "model")
    write_model(tmp_path / "no_text", method="none")
    (tmp_path / "all").mkdir()
    (tmp_path / "small" / "features").rename(tmp_path / "all" / "small")
    breasts = truth.drop_duplicates("breast_id")
    keys = breasts[["breast_id"]].assign(report_id="r" + (breasts["density"] + breasts["mass"].astype(str)))
    keys["prompt_id"] = keys["report_id"]
    vectors = np.random.default_rng(0).normal(size=(keys["report_id"].nunique(), 8)).astype(np.float32)
    reports = pd.Series(list(vectors), index=sorted(keys["report_id"].unique()))
    monkeypatch.setattr(retrieval, "read_keys", lambda _: keys)
    monkeypatch.setattr(retrieval, "embed_reports", lambda *_: reports)
    for out in ("one", "two"):
        retrieve(tmp_path / "all", tmp_path, tmp_path / "model", ["small"], 1, 100, tmp_path / out)
    one, two = ((tmp_path / out / "retrieval.json").read_bytes() for out in ("one", "two"))
    assert one == two
    found = json.loads(one)["small"]
    assert set(found) == {"image_to_text", "text_to_image", "cc_to_mlo"}
    test = truth[truth["split"] == "test"]
    assert found["image_to_text"]["queries"] == len(test)
    assert found["cc_to_mlo"]["queries"] == found["cc_to_mlo"]["gallery"] == test["breast_id"].nunique()
    retrieve(tmp_path / "all", tmp_path, tmp_path / "no_text", ["small"], 1, 100, tmp_path / "views")
    assert set(json.loads((tmp_path / "views/retrieval.json").read_text())["small"]) == {"cc_to_mlo"}
