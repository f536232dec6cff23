"""Random affine and elastic deformation of a batch on the training device, by one sampling of the pixels."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor

from pipeline.sections import Augment

# The image height for which the paper gives the elastic strength in pixels (method.md, `image`).
PAPER_HEIGHT_PX = 1520
# Random numbers of one affine map: angle, shear, scale, and size and sign of two translations.
_NUMBERS = 7


def augment(
    images: UInt8[Tensor, "image height width"] | Float32[Tensor, "image height width"],
    keys: Int64[Tensor, " image"],
    settings: Augment,
    seed: int,
    epoch: int,
    copies: Int64[Tensor, " image"] | None = None,
) -> Float[Tensor, "image 1 height width"]:
    """Deforms every image by a map of its own; pixels that come from outside are black. No flips (method.md, `flips`).

    What happens to an image depends on (seed, epoch, key, copy) alone: not on the batch, worker or rank it is in. (The
    elastic noise is drawn on the images' device; a GPU and a CPU draw different ones.)

    Args:
        images: Grey values 0 to 255.
        keys: A number per image that stays the same over epochs and runs; on the CPU.
        settings: Ranges of the deformations.
        seed: Of the run.
        epoch: Number of the epoch.
        copies: Which augmentation of its image each is, where one image is there twice; None: the first.

    Returns:
        Float grey values, 0 to 255.
    """
    height, width = images.shape[1:]
    numbered = zip(keys.tolist(), [0] * len(keys) if copies is None else copies.tolist(), strict=True)
    words = [np.random.SeedSequence([seed, epoch, key, copy]).generate_state(2) for key, copy in numbered]
    numbers = torch.stack([torch.rand(_NUMBERS, generator=torch.Generator().manual_seed(int(w[0]))) for w in words])
    inverse, shift = affine_maps(numbers, settings, height, width)
    displacement = None
    if settings.elastic_alpha > 0:
        noise = torch.stack([_noise(int(w[1]), height, width, images.device) for w in words])
        displacement = elastic_displacement(noise, settings)
    return warp(images.float(), inverse.to(images.device), shift.to(images.device), displacement)


def affine_maps(
    numbers: Float[Tensor, "image 7"], settings: Augment, height: int, width: int
) -> tuple[Float[Tensor, "image 2 2"], Float[Tensor, "image 2"]]:
    """Turns uniform numbers in [0, 1) into one affine map per image, about the image's centre.

    A point p moves to R S p + t: S scales and shears along x, R rotates, t translates by a share of the side between
    the two `translation` values, with a random sign (method.md, `augmentation`, `translation has no upper bound`).

    Returns:
        The inverse of R S, and t in pixels (x, y).
    """
    angle, shear = (
        (2 * numbers[:, column] - 1) * math.radians(limit)
        for column, limit in ((0, settings.rotation_deg), (1, settings.shear_deg))
    )
    scale = settings.scale[0] + numbers[:, 2] * (settings.scale[1] - settings.scale[0])
    share = settings.translation[0] + numbers[:, 3:5] * (settings.translation[1] - settings.translation[0])
    shift = share * (2 * (numbers[:, 5:7] < 0.5).float() - 1) * torch.tensor([float(width), float(height)])
    cos, sin, tan = angle.cos(), angle.sin(), shear.tan()
    inverse = torch.stack([cos + tan * sin, sin - tan * cos, -sin, cos], dim=1).view(-1, 2, 2)
    return inverse / scale[:, None, None], shift


def elastic_displacement(
    noise: Float[Tensor, "image 2 height width"], settings: Augment
) -> Float[Tensor, "image 2 height width"]:
    """Smooth displacement of every pixel: noise blurred by a Gaussian of sigma pixels, times alpha pixels.

    alpha and sigma are read as pixels of the paper's 1520 x 912 images. On images that are smaller by s = height /
    1520 the same deformation has sigma s * sigma and a root mean square s times smaller; that of blurred uniform
    noise is alpha / (sigma sqrt(12 pi)), so alpha becomes s^2 alpha. At the paper's size it is 0.33 px
    (measurements.md, Augmentation).

    Args:
        noise: Uniform in [-1, 1).
        settings: elastic_alpha and elastic_sigma.

    Returns:
        Displacement along x and along y, in pixels of these images.
    """
    size = noise.shape[2] / PAPER_HEIGHT_PX
    rows, columns = (_blur_matrix(side, settings.elastic_sigma * size, noise.device) for side in noise.shape[2:])
    blurred: Tensor = rows @ noise @ columns.T
    return blurred * (settings.elastic_alpha * size**2)


def _blur_matrix(side: int, sigma: float, device: torch.device) -> Float[Tensor, "side side"]:
    """Gaussian weights of every place for every place of one axis, each row summing to 1.

    Two products with such matrices blur 32 images of 256 x 160 in 20 ms on two cores; two one-channel convolutions
    took 400.
    """
    place = torch.arange(side, device=device, dtype=torch.float32)
    weights = (-(place.unsqueeze(1) - place).square() / (2 * sigma**2)).exp()
    return weights / weights.sum(dim=1, keepdim=True)


def warp(
    images: Float[Tensor, "image height width"],
    inverse: Float[Tensor, "image 2 2"],
    shift: Float[Tensor, "image 2"],
    displacement: Float[Tensor, "image 2 height width"] | None,
) -> Float[Tensor, "image 1 height width"]:
    """Samples each image where the inverse map, plus the displacement, sends the pixels of the result.

    Args:
        images: Any grey values; outside they are 0.
        inverse: From the result to the image, about the centre, in pixels (x, y).
        shift: Translation of the content in pixels (x, y).
        displacement: Added to the place sampled, in pixels; None: none.
    """
    height, width = images.shape[1:]
    rows = torch.arange(height, device=images.device) + 0.5 - height / 2
    columns = torch.arange(width, device=images.device) + 0.5 - width / 2
    x = columns.view(1, 1, -1) - shift[:, 0].view(-1, 1, 1)
    y = rows.view(1, -1, 1) - shift[:, 1].view(-1, 1, 1)
    places = [part[:, 0].view(-1, 1, 1) * x + part[:, 1].view(-1, 1, 1) * y for part in inverse.unbind(1)]
    if displacement is not None:
        places = [place + part for place, part in zip(places, displacement.unbind(1), strict=True)]
    grid = torch.stack([places[0] * (2 / width), places[1] * (2 / height)], dim=3)
    return F.grid_sample(images.unsqueeze(1), grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _noise(seed: int, height: int, width: int, device: torch.device) -> Float[Tensor, "2 height width"]:
    """Uniform noise in [-1, 1), drawn on the device."""
    generator = torch.Generator(device).manual_seed(seed)
    return torch.rand(2, height, width, generator=generator, device=device) * 2 - 1
