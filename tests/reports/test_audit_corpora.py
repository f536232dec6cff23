"""The audit on texts by authors who knew neither its words nor each other's: lies, minimal pairs, true paraphrases."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.reports.audit import audit
from pipeline.reports.prompt import KEYS
from tests.reports.liars import honest, lies

FOLDER = Path(__file__).parent
# development_reports.jsonl is what rules may be written on; the others only measure them.
CORPORA = ("development_reports.jsonl", "paraphrases.jsonl", "sentence_pairs.jsonl")


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
    assert refused >= 0.99 * len(pairs)
    assert true >= 0.5 * len(pairs)


@pytest.mark.xfail(strict=True, reason="the closed vocabulary refuses most honest prose: 4 % of the paraphrases pass")
def test_true_paraphrases_are_accepted() -> None:
    paraphrases = read_lines("paraphrases.jsonl")
    accepted = sum(not audit(each["report"], each["facts"]) for each in paraphrases)
    print(f"paraphrases accepted: {accepted} of {len(paraphrases)}")
    assert len(paraphrases) >= 200
    assert accepted >= 0.9 * len(paraphrases)


def test_the_corpora_speak_of_known_keys_only() -> None:
    rows = [each["facts"] for name in CORPORA for each in read_lines(name)]
    rows += [lie.facts for lie in lies(seed=1, count=200)] + [facts for facts, _ in honest(seed=1, count=200)]
    assert all(set(row) <= set(KEYS) and "laterality" in row for row in rows)
