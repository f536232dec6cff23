"""TensorFlow's padding as EfficientNet-PyTorch fixes it: made for one image size, kept at every other."""

import copy
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers import Conv2dSame
from timm.layers.padding import get_same_padding
from torch import Tensor, nn


def fix_padding(body: nn.Module, made_for_px: int) -> int:
    """Pads the strided convolutions of a timm `tf_` network at every size as they are padded at one square size.

    TensorFlow's SAME padding of a strided convolution depends on the size of its input (an odd one is padded on both
    sides, an even one more below and right), and timm computes it anew for every image. EfficientNet-PyTorch computes
    it once, for the size that a variant is made for (B5: 456 px), and keeps it: what was trained with it at another
    size sees shifted feature maps under timm's. Names and values of the weights stay.
    Source: method.md, Mammo-CLIP (`blocks.3.0.conv_dw` pads (1, 1)); lukemelas/EfficientNet-PyTorch at 7e8b0d3,
    utils.py, Conv2dStaticSamePadding.

    Args:
        body: A network whose forward takes [image, 1, height, width]; changed in place.
        made_for_px: Height and width, 456 for B5.

    Returns:
        How many convolutions there are; 0 for a network that does not pad as TensorFlow.
    """
    sizes: dict[str, torch.Size] = {}
    trial = copy.deepcopy(body).to("meta").eval()
    for name, part in trial.named_modules():
        if isinstance(part, Conv2dSame):
            part.register_forward_pre_hook(partial(_note_size, sizes, name))
    if any(isinstance(part, Conv2dSame) for part in trial.modules()):
        trial(torch.empty(1, 1, made_for_px, made_for_px, device="meta"))
    for name, size in sizes.items():
        parent, _, leaf = name.rpartition(".")
        setattr(body.get_submodule(parent), leaf, _fixed(body.get_submodule(name), size))
    return len(sizes)


def _note_size(sizes: dict[str, torch.Size], name: str, part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    sizes[name] = inputs[0].shape[-2:]


def _fixed(found: nn.Module, size: torch.Size) -> nn.Conv2d:
    """The same convolution, its input padded as at this size."""
    if not isinstance(found, nn.Conv2d):
        raise ValueError(f"expected a convolution, found {type(found)}")
    wanted = zip(size, found.kernel_size, found.stride, found.dilation, strict=True)
    height, width = (get_same_padding(*sides) for sides in wanted)
    convolution = nn.Conv2d(
        found.in_channels,
        found.out_channels,
        (found.kernel_size[0], found.kernel_size[1]),
        (found.stride[0], found.stride[1]),
        dilation=(found.dilation[0], found.dilation[1]),
        groups=found.groups,
        bias=found.bias is not None,
    )
    convolution.weight, convolution.bias = found.weight, found.bias
    convolution.register_forward_pre_hook(
        partial(_pad, (width // 2, width - width // 2, height // 2, height - height // 2))
    )
    return convolution


def _pad(
    sides: tuple[int, int, int, int], part: nn.Module, inputs: tuple[Float[Tensor, "image channel height width"]]
) -> Float[Tensor, "image channel padded_height padded_width"]:
    """Zeros left, right, above and below."""
    return F.pad(inputs[0], sides)
