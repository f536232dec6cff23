"""The flow figure: what remains, what each step takes, in which order; texts are text, whatever they hold."""

import re

import pandas as pd

from pipeline.evaluation.flow_html import flow_figure, split_rows

COLUMNS = ["step", "images", "exams", "patients"]
STEPS = [
    ["catalogued", 1000, 250, 200],
    ["met by ingest", 1000, 250, 200],
    ["readable", 990, 249, 200],
    ["not magnification", 980, 249, 200],
    ["not spot_compression", 950, 240, 195],
    ["not stereo", 950, 240, 195],
    ["side known", 950, 240, 195],
    ["no implant", 940, 239, 194],
    ["split: train", 640, 160, 130],
    ["split: test", 300, 79, 64],
]


def figure(steps: list[list[object]], uncatalogued: tuple[str, ...] = (), **rejected: int) -> str:
    return flow_figure(pd.DataFrame(steps, columns=COLUMNS), uncatalogued, rejected, "<b>mine.</b>")


def boxes(html: str) -> list[tuple[str, str]]:
    """Kind and text of each box of the column, in order."""
    found = re.findall(r'<li class="(kept|lost)"><div>(.*?)</div></li>', html)
    return [(kind, " ".join(re.sub(r"<[^>]+>", " ", content).split())) for kind, content in found]


def test_every_step_that_takes_images_has_its_pair_of_boxes() -> None:
    assert boxes(figure(STEPS, not_dicom=3, truncated=7)) == [
        ("kept", "Catalogued 1 000 images · 250 exams · 200 patients"),
        ("lost", "Rejected: not readable 10 images · 1 exam · 0 patients truncated: 7 not dicom: 3"),
        ("kept", "Readable 990 images · 249 exams · 200 patients"),
        ("lost", "No ordinary view 40 images · 9 exams · 5 patients spot compression: 30 magnification: 10"),
        ("kept", "Ordinary views 950 images · 240 exams · 195 patients"),
        ("lost", "Implant 10 images · 1 exam · 1 patient"),
        ("kept", "In the cohort 940 images · 239 exams · 194 patients"),
    ]


def test_splits_end_the_figure_and_idle_steps_are_named_below() -> None:
    html = figure(STEPS)
    splits = html[html.index('<li class="splits">') :]
    assert splits.index("<b>Train</b><p><span>640 images") < splits.index("<b>Test</b><p><span>300 images")
    assert "Steps that left nothing out: met by ingest, not stereo, side known.</figcaption>" in html
    assert '<li class="splits">' not in figure(STEPS[:-2])


def test_a_cohort_that_loses_nothing() -> None:
    steps = [["catalogued", 4, 1, 1], ["readable", 4, 1, 1]]
    assert boxes(figure(steps)) == [
        ("kept", "Catalogued 4 images · 1 exam · 1 patient"),
        ("lost", "Nothing left out"),
        ("kept", "In the cohort 4 images · 1 exam · 1 patient"),
    ]


def test_what_was_not_catalogued_comes_first_and_every_text_is_escaped() -> None:
    html = figure([["catalogued", 4, 1, 1], ["age <40> & known", 2, 1, 1]], ("rows without a file: 1 & <more>",))
    assert boxes(html)[:3] == [
        ("kept", "The archive's tables and files".replace("'", "&#x27;")),
        ("lost", "Not catalogued rows without a file: 1 &amp; &lt;more&gt;"),
        ("kept", "Catalogued 4 images · 1 exam · 1 patient"),
    ]
    assert "Left out by: age &lt;40&gt; &amp; known" in html and "<40>" not in html


def test_splits_are_counted_in_order_and_only_those_that_are_there() -> None:
    images = pd.DataFrame(
        {
            "split": ["test", "train", "train"],
            "image_id": ["a", "b", "c"],
            "breast_id": ["x", "y", "y"],
            "exam_id": ["x", "y", "y"],
            "patient_id": ["x", "y", "y"],
        }
    )
    assert split_rows(images).to_dict("split", index=False) == {
        "columns": ["step", "images", "breasts", "exams", "patients"],
        "data": [["split: train", 2, 1, 1, 1], ["split: test", 1, 1, 1, 1]],
    }
