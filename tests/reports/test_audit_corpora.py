"""The audit on texts by authors who knew neither its words nor each other's: lies, minimal pairs, true paraphrases."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.reports.audit import audit
from pipeline.reports.prompt import KEYS
from tests.reports.liars import honest, lies

FOLDER = Path(__file__).parent
# development_reports.jsonl (true) and false_reports.jsonl (by an author who had read the rules) are what rules may be
# written on; the others only measure them.
CORPORA = ("development_reports.jsonl", "false_reports.jsonl", "paraphrases.jsonl", "sentence_pairs.jsonl")


def read_lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def test_a_lying_engine_is_caught() -> None:
    told = list(lies(seed=0, count=1000))
    caught = sum(bool(audit(lie.report, lie.facts)) for lie in told)
    print(f"lies caught: {caught} of {len(told)}")
    assert len({lie.report for lie in told}) > 950
    assert caught >= 0.99 * len(told)


def test_contradicting_sentences_are_refused() -> None:
    pairs = read_lines("sentence_pairs.jsonl")
    true = sum(not audit(pair["true"], pair["facts"]) for pair in pairs)
    refused = sum(bool(audit(pair["contradicting"], pair["facts"])) for pair in pairs)
    print(f"pairs: {refused} contradicting sentences refused, {true} true ones accepted, of {len(pairs)} each")
    print(f"precision of acceptance {true / (true + len(pairs) - refused):.3f}, recall {true / len(pairs):.3f}")
    assert len(pairs) >= 200
    assert refused == len(pairs)
    assert true >= 0.95 * len(pairs)


@pytest.fixture(scope="module")
def accepted_share() -> float:
    paraphrases = read_lines("paraphrases.jsonl")
    accepted = sum(not audit(each["report"], each["facts"]) for each in paraphrases)
    print(f"paraphrases accepted: {accepted} of {len(paraphrases)}")
    assert len(paraphrases) >= 200
    return accepted / len(paraphrases)


def test_most_true_paraphrases_are_accepted(accepted_share: float) -> None:
    assert accepted_share >= 0.85


@pytest.mark.xfail(strict=True, reason="85 % of the true paraphrases pass, nine in ten are asked for")
def test_nine_in_ten_true_paraphrases_are_accepted(accepted_share: float) -> None:
    assert accepted_share >= 0.9


def test_false_reports_made_to_slip_through_are_refused() -> None:
    reports = read_lines("false_reports.jsonl")
    refused = sum(bool(audit(each["report"], each["facts"])) for each in reports)
    print(f"reports made to slip through: {refused} of {len(reports)} refused")
    assert len(reports) > 300
    assert refused >= 0.92 * len(reports)


def one_fact_off(facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows that differ from this one in one fact: another value, one fact fewer, one more."""
    others: dict[str, list[Any]] = {
        "laterality": ["L", "R"],
        "mass": [True, False],
        "calcification": [True, False],
        "birads": list(range(7)),
        "density": list("ABCD"),
    }
    for key, values in others.items():
        yield from ({**facts, key: value} for value in values if value != facts.get(key))
        if key in facts and key != "laterality":
            yield {name: value for name, value in facts.items() if name != key}


def test_a_true_report_is_refused_for_every_other_row() -> None:
    reports = [*read_lines("development_reports.jsonl"), *read_lines("paraphrases.jsonl")]
    accepted = [each for each in reports if not audit(each["report"], each["facts"])]
    wrong = [bool(audit(each["report"], row)) for each in accepted for row in one_fact_off(each["facts"])]
    print(f"rows that differ in one fact: {sum(wrong)} refused of {len(wrong)}")
    assert len(wrong) > 10_000
    assert sum(wrong) >= 0.9995 * len(wrong)


def test_the_corpora_speak_of_known_keys_only() -> None:
    rows = [each["facts"] for name in CORPORA for each in read_lines(name)]
    rows += [lie.facts for lie in lies(seed=1, count=200)] + [facts for facts, _ in honest(seed=1, count=200)]
    assert all(set(row) <= set(KEYS) and "laterality" in row for row in rows)
