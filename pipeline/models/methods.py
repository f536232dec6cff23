"""What each pretraining method compares: the rows of the paper's tables, in one place."""

from typing import NamedTuple

from pipeline.sections import Method


class Traits(NamedTuple):
    """How a method's steps are made.

    breasts: a unit is a breast with its views, else an image. text: it meets its report. tr: by Tr modules.
    versions: how often each image is augmented per step. teacher: a slowly following copy of the encoder gives targets.
    captions: its text is a caption of the image (reports/captions.py), which a text encoder that learns reads, and the
    second version of an image may be another one of its exam.
    """

    breasts: bool
    text: bool
    tr: bool
    versions: int
    teacher: bool
    captions: bool


METHODS: dict[Method, Traits] = {
    "mv_clip_tr": Traits(breasts=True, text=True, tr=True, versions=1, teacher=False, captions=False),
    "mv_clip": Traits(breasts=True, text=True, tr=False, versions=1, teacher=False, captions=False),
    "clip_tr": Traits(breasts=False, text=True, tr=True, versions=1, teacher=False, captions=False),
    "clip": Traits(breasts=False, text=True, tr=False, versions=1, teacher=False, captions=False),
    "siglip": Traits(breasts=False, text=True, tr=False, versions=1, teacher=False, captions=False),
    "mama": Traits(breasts=False, text=True, tr=False, versions=2, teacher=False, captions=True),
    "supervised": Traits(breasts=False, text=False, tr=False, versions=1, teacher=False, captions=False),
    "simclr": Traits(breasts=False, text=False, tr=False, versions=2, teacher=False, captions=False),
    "swav": Traits(breasts=False, text=False, tr=False, versions=2, teacher=False, captions=False),
    "dino": Traits(breasts=False, text=False, tr=False, versions=2, teacher=True, captions=False),
    "byol": Traits(breasts=False, text=False, tr=False, versions=2, teacher=True, captions=False),
    "none": Traits(breasts=False, text=False, tr=False, versions=1, teacher=False, captions=False),
}
