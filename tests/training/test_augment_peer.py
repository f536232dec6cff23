"""Our deformations against albumentations' (the library of Mammo-CLIP's loader), with equal draws.

Turned by convention: our positive rotation and shear are its negative ones. Other by design (docstring of
`affine_maps`): we shear along x, before the rotation; its Affine shears along both axes, after it.
"""

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else its import asks a server

import albumentations
import cv2
import numpy as np
import pytest
import torch

from pipeline.sections import Augment
from pipeline.training.augment import affine_maps, elastic_displacement, warp

HEIGHT, WIDTH = 256, 192
# Grey levels. 0.5 is the rounding to 8 bits, 0.3 OpenCV's rounding of places to 1/32 pixel on slopes of 16 levels a
# pixel. Where the peer samples again, bilinear interpolation flattens a blob of 200 and sigma 8 by 200 / (4 sigma^2),
# 0.8, and rounds again.
ONCE, AGAIN = 0.8, 1.3
# Of a wrong sign or order at some pixel: far above three samplings.
FAR = 20.0
ALL = {"rotate": 14.0, "shear": -11.0, "scale": 0.9, "x": 0.0625, "y": -0.078125}  # whole pixels: the peer truncates


def blobs(background: int) -> np.ndarray:
    """8-bit Gaussian blobs, (HEIGHT, WIDTH), that no rotation, reflection or shift leaves alike."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    places = [(70, 60, 8, 200), (100, 130, 12, 250), (150, 80, 10, 150), (185, 125, 9, 220), (128, 100, 20, 60)]
    shapes = [level * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * s**2)) for y, x, s, level in places]
    levels: np.ndarray = np.clip(np.sum(shapes, axis=0) + background, 0, 255).round().astype(np.uint8)
    return levels


def settings(alpha: float = 0.0, sigma: float = 5.0) -> Augment:
    return Augment(
        rotation_deg=40.0, translation=[0.0, 0.25], scale=[0.5, 1.5], shear_deg=40.0, elastic_alpha=alpha,
        elastic_sigma=sigma,
    )  # fmt: skip


def our_map(
    rotate: float = 0.0, shear: float = 0.0, scale: float = 1.0, x: float = 0.0, y: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Our inverse and shift for these draws: degrees, a factor and shares of the side."""
    signs = [0.75 if share < 0 else 0.25 for share in (x, y)]
    numbers = [(rotate / 40 + 1) / 2, (shear / 40 + 1) / 2, scale - 0.5, abs(x) / 0.25, abs(y) / 0.25, *signs]
    return affine_maps(torch.tensor([numbers]), settings(), HEIGHT, WIDTH)


def ours(image: np.ndarray, draws: dict[str, float], displacement: torch.Tensor | None = None) -> np.ndarray:
    return np.asarray(warp(torch.from_numpy(image)[None].float(), *our_map(**draws), displacement)[0, 0])


def theirs(
    image: np.ndarray, rotate: float = 0.0, shear: float = 0.0, scale: float = 1.0, x: float = 0.0, y: float = 0.0
) -> np.ndarray:
    """The peer's Affine of an 8-bit image with ranges of one value; shear along x alone."""
    affine = albumentations.Affine(
        rotate=(rotate, rotate), shear={"x": (shear, shear), "y": (0.0, 0.0)}, scale=(scale, scale),
        translate_percent={"x": (x, x), "y": (y, y)}, interpolation=cv2.INTER_LINEAR,
        border_mode=cv2.BORDER_CONSTANT, fill=0, p=1.0,
    )  # fmt: skip
    return np.asarray(affine(image=image)["image"])


def their_elastic(image: np.ndarray, alpha: float, sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The peer's elastic image, the field (2, height, width) it used, x before y, and the uniform noise it drew."""
    elastic = albumentations.ElasticTransform(
        alpha=alpha, sigma=sigma, interpolation=cv2.INTER_LINEAR, approximate=False, same_dxdy=False,
        border_mode=cv2.BORDER_CONSTANT, fill=0, noise_distribution="uniform", p=1.0,
    )  # fmt: skip
    elastic.set_random_seed(5)
    deformed = elastic(image=image)["image"]
    places = np.stack([elastic.params["map_x"], elastic.params["map_y"]])
    noise = np.random.default_rng(5).uniform(-1, 1, places.shape).astype(np.float32)
    return deformed, places - np.indices(image.shape)[::-1], noise


def inner(values: np.ndarray, sigma: float) -> np.ndarray:
    """Without the rim of 4 sigma, where the peer repeats its last noise and one axis's noise runs into the other's."""
    rim = int(4 * sigma) + 1
    return values[..., rim:-rim, rim:-rim]


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.float32) - b).max())


@pytest.mark.parametrize(
    "draws", [{name: ALL[name] * sign} for name in ("rotate", "shear", "x", "y") for sign in (1, -1)]
)
def test_one_draw_does_what_the_peer_s_does_up_to_the_frame(draws: dict[str, float]):
    same = {name: -value if name in ("rotate", "shear") else value for name, value in draws.items()}
    opposite = {name: -value for name, value in same.items()}
    found = ours(blobs(50), draws)
    assert apart(found, theirs(blobs(50), **same)) < ONCE
    assert apart(found, theirs(blobs(50), **opposite)) > FAR


@pytest.mark.parametrize("scale", [0.85, 1.2])
def test_scale_does_what_the_peer_s_does_up_to_the_frame(scale: float):
    found = ours(blobs(50), {"scale": scale})
    assert apart(found, theirs(blobs(50), scale=scale)) < ONCE
    assert apart(found, theirs(blobs(50), scale=1 / scale)) > FAR


def test_all_draws_are_the_peer_s_scale_and_shear_then_its_rotation_and_translation():
    found = ours(blobs(0), ALL)
    sheared = theirs(blobs(0), shear=11.0, scale=0.9)
    assert apart(found, theirs(sheared, rotate=-14.0, x=ALL["x"], y=ALL["y"])) < ONCE + AGAIN
    assert apart(found, theirs(blobs(0), **ALL | {"rotate": -14.0, "shear": 11.0})) > FAR  # its own order
    assert apart(found, theirs(theirs(blobs(0), x=ALL["x"], y=ALL["y"]), rotate=-14.0, shear=11.0, scale=0.9)) > FAR


@pytest.mark.parametrize(("height", "width"), [(1520, 96), (380, 228)])
def test_elastic_field_is_the_peer_s_with_the_settings_scaled_to_the_image(height: int, width: int):
    """10 and 5 pixels of 1520: a quarter of the height has a quarter of sigma and a sixteenth of alpha."""
    size = height / 1520
    _, expected, noise = their_elastic(np.zeros((height, width), np.uint8), 10 * size**2, 5 * size)
    found = elastic_displacement(torch.from_numpy(noise)[None], settings(10.0, 5.0))[0].numpy()
    assert apart(inner(found, 5 * size), inner(expected, 5 * size)) < 5e-4  # pixels; float32 places up to 1520
    assert apart(inner(found[::-1], 5 * size), inner(expected, 5 * size)) > 0.1


def test_a_smaller_image_is_deformed_by_the_same_share_of_its_height_as_the_peer_s_of_1520():
    _, expected, _ = their_elastic(np.zeros((1520, 912), np.uint8), 10.0, 5.0)
    noise = torch.rand(1, 2, 380, 228, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = elastic_displacement(noise, settings(10.0, 5.0))[0].numpy()
    assert inner(found, 1.25).std() / 380 == pytest.approx(inner(expected, 5.0).std() / 1520, rel=0.02)


def test_elastic_image_is_the_peer_s_and_so_is_affine_then_elastic_with_the_field_turned_along():
    """We add the field where the image is sampled; the peer's second transform adds it before the affine map."""
    size = HEIGHT / 1520
    expected, _, noise = their_elastic(blobs(0), 60.0, 5.0)
    field = elastic_displacement(torch.from_numpy(noise)[None], settings(60 / size**2, 5 / size))
    assert apart(inner(ours(blobs(0), {}, field), 5.0), inner(expected, 5.0)) < ONCE
    assert apart(inner(ours(blobs(0), {}, -field), 5.0), inner(expected, 5.0)) > FAR
    turned = torch.einsum("bij,bjhw->bihw", our_map(**ALL)[0], field)
    sheared = theirs(blobs(0), shear=11.0, scale=0.9)
    both, *_ = their_elastic(theirs(sheared, rotate=-14.0, x=ALL["x"], y=ALL["y"]), 60.0, 5.0)
    assert apart(inner(ours(blobs(0), ALL, turned), 5.0), inner(both, 5.0)) < ONCE + 2 * AGAIN
    assert apart(inner(ours(blobs(0), ALL, field), 5.0), inner(both, 5.0)) > FAR
