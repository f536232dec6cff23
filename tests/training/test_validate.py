"""Validation counts a report as found whatever its wording."""

import numpy as np
import torch

from pipeline.training.validate import _hits


def test_another_wording_of_the_same_facts_is_a_hit() -> None:
    reports = torch.eye(3)  # 0 and 1 are wordings of prompt 0, 2 is of prompt 1
    images = torch.eye(3)[[1, 2, 0, 0]]
    prompt = np.array([0, 0, 1])
    assert _hits(images, reports, prompt[[0, 2, 0, 2]], prompt) == 3
    assert _hits(images, reports, np.array([0, 2, 0, 2]), np.arange(3)) == 2  # the first found the other wording
