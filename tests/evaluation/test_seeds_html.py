"""The table of the spread over seeds holds what was trained more than once, and names the largest."""

import re

from pipeline.evaluation.seeds_html import seed_blocks

ENTRY = {"auc": 0.7, "low": 0.6, "high": 0.8, "n": 40}


def metrics(spreads: dict[str, float]) -> dict:
    """One task whose settings have these spreads by encoder, and two settings that were trained once."""
    probe = {encoder: ENTRY | {"seed_std": spread} for encoder, spread in spreads.items()}
    settings = {"lp_10": probe | {"gain": ENTRY}, "lp_100": {"pretrained": ENTRY}, "zero_shot": {"pretrained": ENTRY}}
    return {"baselines": {"mirai": {}}, "mass": {"test": settings}}


def test_settings_that_were_trained_once_are_left_out() -> None:
    (block,) = seed_blocks(metrics({"pretrained": 0.01, "initial": 0.02, "mirai": 0.0912}), ["mass"], 3)
    assert re.findall("<th scope=.row.>(.*?)</th><td class=.words.>(.*?)</td><td class=.words.>(.*?)</td>", block) == [
        ("<code>mass</code>", "test", "LP 10 %")
    ]
    assert re.findall("seeds ± ([0-9.]+)", block) == ["0.010", "0.020", "0.091"]
    assert "Settings: 1. Largest: ± 0.091 (<code>mass</code>, test, LP 10 %, mirai)" in block
    assert "over 3 seeds" in block
    (some,) = seed_blocks(metrics({"initial": 0.02}), ["mass"], 3)
    assert some.count('<span class="none">–</span>') == 2  # pretrained and the baseline


def test_without_a_second_seed_there_is_no_table() -> None:
    assert seed_blocks(metrics({}), ["mass"], 1) == []
