"""Deformations against OpenCV and against what their settings promise."""

import math

import cv2
import numpy as np
import pytest
import torch

from pipeline.sections import Augment
from pipeline.training.augment import affine_maps, augment, elastic_displacement, warp

NOTHING = {
    "rotation_deg": 0.0, "translation": [0.0, 0.0], "scale": [1.0, 1.0], "shear_deg": 0.0, "elastic_alpha": 0.0,
    "elastic_sigma": 5.0,
}  # fmt: skip
PAPER = NOTHING | {
    "rotation_deg": 20.0, "translation": [0.001, 0.1], "scale": [0.8, 1.2], "shear_deg": 20.0, "elastic_alpha": 10.0,
}  # fmt: skip


def images(count: int = 3, height: int = 40, width: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, height, width), dtype=torch.uint8, generator=generator)


def settings(**changed: object) -> Augment:
    return Augment.model_validate(NOTHING | changed)


def test_nothing_asked_nothing_done():
    found = augment(images(), torch.arange(3), settings(), seed=0, epoch=0)
    torch.testing.assert_close(found, images().float().unsqueeze(1), rtol=0, atol=2e-3)


@pytest.mark.parametrize("changed", [{"rotation_deg": 20.0}, {"shear_deg": 20.0}, {"scale": [0.8, 1.2]}, PAPER])
def test_affine_maps_equal_opencv(changed: dict[str, object]):
    """OpenCV with the forward matrix, in pixel coordinates whose centre is (side - 1) / 2."""
    height, width = 60, 40
    smooth = cv2.GaussianBlur(images(1, height, width)[0].numpy().astype(np.float32), (0, 0), 3)
    numbers = torch.rand(1, 7, generator=torch.Generator().manual_seed(4))
    inverse, shift = affine_maps(numbers, settings(**changed), height, width)
    found = warp(torch.from_numpy(smooth)[None], inverse, shift, None)[0, 0].numpy()
    forward = np.linalg.inv(inverse[0].double().numpy())
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.column_stack([forward, centre + shift[0].numpy() - forward @ centre])
    expected = cv2.warpAffine(smooth, matrix, (width, height), flags=cv2.INTER_LINEAR)
    np.testing.assert_allclose(found[2:-2, 2:-2], expected[2:-2, 2:-2], atol=1.5)  # OpenCV rounds to 1/32 pixel
    assert np.abs(found - smooth).max() > 5


def test_ranges_of_the_affine_maps():
    numbers = torch.rand(4000, 7, generator=torch.Generator().manual_seed(1))
    inverse, shift = affine_maps(numbers, settings(**PAPER), 100, 50)
    forward = torch.linalg.inv(inverse)
    scale = forward[:, :, 0].norm(dim=1)
    angle = torch.atan2(forward[:, 1, 0], forward[:, 0, 0]).rad2deg()
    shear = torch.atan((forward[:, :, 0] * forward[:, :, 1]).sum(1) / scale**2).rad2deg()
    for value, low, high in ((scale, 0.8, 1.2), (angle, -20, 20), (shear, -20, 20)):
        slack = (high - low) * 0.01
        assert low - slack <= float(value.min()) < low + 2 * slack
        assert high - 2 * slack < float(value.max()) <= high + slack
    assert torch.linalg.det(forward).min() > 0  # never mirrored
    for axis, side in ((0, 50), (1, 100)):
        share = shift[:, axis].abs() / side
        assert 0.001 <= float(share.min()) and float(share.max()) <= 0.1 + 1e-6
        assert 0.45 < float((shift[:, axis] > 0).float().mean()) < 0.55


def test_translation_moves_the_content_by_whole_pixels():
    found = warp(images(1).float(), torch.eye(2)[None], torch.tensor([[3.0, -5.0]]), None)[0, 0]
    torch.testing.assert_close(found[:-5, 3:], images(1)[0, 5:, :-3].float(), rtol=0, atol=2e-3)
    assert not found[-5:].abs().gt(1e-2).any()
    assert not found[:, :3].abs().gt(1e-2).any()


def test_displacement_moves_the_place_that_is_sampled():
    displacement = torch.zeros(1, 2, 40, 24)
    displacement[:, 0], displacement[:, 1] = 2.0, 1.0
    found = warp(images(1).float(), torch.eye(2)[None], torch.zeros(1, 2), displacement)[0, 0]
    torch.testing.assert_close(found[:-1, :-2], images(1)[0, 1:, 2:].float(), rtol=0, atol=2e-3)


def test_elastic_displacement_equals_a_blur():
    noise = torch.rand(1, 2, 1520, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = elastic_displacement(noise, settings(**PAPER))[0, 0, 40:-40, 30:-30].numpy()
    expected = 10 * cv2.GaussianBlur(noise[0, 0].numpy(), (81, 81), 5.0)[40:-40, 30:-30]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_elastic_strength_at_the_paper_s_size_and_below():
    """0.33 px root mean square at 1520 x 912 (measurements.md), and the same share of a smaller image's height."""
    generator = torch.Generator().manual_seed(0)
    full = elastic_displacement(torch.rand(1, 2, 1520, 200, generator=generator) * 2 - 1, settings(**PAPER))
    assert float(full.std()) == pytest.approx(10 / (5 * math.sqrt(12 * math.pi)), rel=0.05)
    half = elastic_displacement(torch.rand(1, 2, 760, 400, generator=generator) * 2 - 1, settings(**PAPER))
    assert float(half.std()) == pytest.approx(float(full.std()) / 2, rel=0.1)


def test_an_image_is_deformed_alike_in_any_batch():
    whole = augment(images(), torch.tensor([7, 8, 9]), settings(**PAPER), seed=1, epoch=2)
    alone = augment(images()[[2]], torch.tensor([9]), settings(**PAPER), seed=1, epoch=2)
    torch.testing.assert_close(alone[0], whole[2], rtol=0, atol=1e-3)


@pytest.mark.parametrize(("seed", "epoch", "key"), [(2, 2, 7), (1, 3, 7), (1, 2, 8)])
def test_seed_epoch_and_image_each_change_the_deformation(seed: int, epoch: int, key: int):
    base = augment(images(1), torch.tensor([7]), settings(**PAPER), seed=1, epoch=2)
    other = augment(images(1), torch.tensor([key]), settings(**PAPER), seed=seed, epoch=epoch)
    assert float((base - other).abs().max()) > 10


def test_grey_values_stay_in_range():
    found = augment(images(), torch.arange(3), settings(**PAPER), seed=0, epoch=0)
    assert found.shape == (3, 1, 40, 24)
    assert 0 <= float(found.min()) and float(found.max()) <= 255 + 1e-3


def test_a_second_copy_is_another_draw_and_the_first_is_what_it_was():
    images = torch.randint(0, 256, (1, 64, 48), dtype=torch.uint8).expand(2, -1, -1)
    keys = torch.tensor([5, 5])
    plain = augment(images, keys, settings(rotation_deg=20.0), 3, 1)
    torch.testing.assert_close(plain[0], plain[1], rtol=0, atol=0)
    both = augment(images, keys, settings(rotation_deg=20.0), 3, 1, torch.tensor([0, 1]))
    torch.testing.assert_close(both[0], plain[0], rtol=0, atol=0)
    assert (both[1] - plain[0]).abs().mean() > 5
