"""The retrieval table says what was asked of what, and gives every number its interval."""

import re

from pipeline.evaluation.outcomes_html import retrieval_table

ENTRY = {
    **dict(recall_at_1=0.25, low=0.21, high=0.31, recall_at_5=0.74, recall_at_5_low=0.69, recall_at_5_high=0.78),
    **dict(recall_at_10=0.93, recall_at_10_low=0.91, recall_at_10_high=0.95),
    **dict(median_rank=3.0, median_rank_low=2.5, median_rank_high=4.0),
    **dict(chance_at_1=0.0357, queries=880, clusters=185, gallery=28),
}
EVERY = ENTRY | dict(recall_at_5=0.29, recall_at_5_low=0.24, recall_at_5_high=0.33, gallery=440, chance_at_1=0.1068)


def cells(metrics: dict) -> list[list[str]]:
    """Text of the body's cells."""
    rows = re.findall("<tr.*?</tr>", retrieval_table({"retrieval": metrics}).split("<tbody>")[1])
    text = [re.findall("<t[hd].*?>(.*?)</t[hd]>", row) for row in rows]
    return [[re.sub("<[^>]*>", " ", cell).strip() for cell in row] for row in text]


def test_reports_stand_collapsed_and_not_each_with_its_gallery() -> None:
    collapsed, every = cells({"screening": {"image_to_text": ENTRY | {"every_report": EVERY}}})
    assert collapsed[:3] == ["screening", "image → report", "distinct"]
    assert every[:3] == ["screening", "image → report", "every breast's"]
    assert collapsed[-3:] == ["880 images", "28 reports", "0.0357"]
    assert every[-3:] == ["880 images", "440 reports", "0.1068"]
    assert "0.740  0.690 to 0.780" in collapsed[4] and "0.290  0.240 to 0.330" in every[4]


def test_every_number_has_its_own_interval() -> None:
    (row,) = cells({"screening": {"cc_to_mlo": ENTRY}})
    assert row[3:7] == [
        "0.250  0.210 to 0.310", "0.740  0.690 to 0.780", "0.930  0.910 to 0.950", "3.0  2.5 to 4.0"
    ]  # fmt: skip
    assert row[2] == "–"  # no report takes part
    assert row[7:9] == ["880 CC views", "28 MLO views"]
    few = ENTRY | dict.fromkeys(name for name in ENTRY if name.endswith(("low", "high")))
    assert cells({"screening": {"cc_to_mlo": few}})[0][3:7] == ["0.250", "0.740", "0.930", "3.0"]
