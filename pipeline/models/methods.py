"""What each pretraining method compares: the rows of the paper's tables, in one place."""

from typing import NamedTuple

from pipeline.sections import Method


class Traits(NamedTuple):
    """How a method's steps are made.

    breasts: a unit is a breast with its views, else an image. text: it meets its report. tr: by Tr modules.
    versions: how often each image is augmented per step. teacher: a slowly following copy of the encoder gives targets.
    """

    breasts: bool
    text: bool
    tr: bool
    versions: int
    teacher: bool


METHODS: dict[Method, Traits] = {
    "mv_clip_tr": Traits(breasts=True, text=True, tr=True, versions=1, teacher=False),
    "mv_clip": Traits(breasts=True, text=True, tr=False, versions=1, teacher=False),
    "clip_tr": Traits(breasts=False, text=True, tr=True, versions=1, teacher=False),
    "clip": Traits(breasts=False, text=True, tr=False, versions=1, teacher=False),
    "siglip": Traits(breasts=False, text=True, tr=False, versions=1, teacher=False),
    "supervised": Traits(breasts=False, text=False, tr=False, versions=1, teacher=False),
    "simclr": Traits(breasts=False, text=False, tr=False, versions=2, teacher=False),
    "swav": Traits(breasts=False, text=False, tr=False, versions=2, teacher=False),
    "dino": Traits(breasts=False, text=False, tr=False, versions=2, teacher=True),
    "byol": Traits(breasts=False, text=False, tr=False, versions=2, teacher=True),
    "none": Traits(breasts=False, text=False, tr=False, versions=1, teacher=False),
}
