"""EfficientNet weights of Mammo-CLIP or EfficientNet-PyTorch as .safetensors in timm's names (docs/encoders.md).

python -m pipeline.models.convert CHECKPOINT OUT.safetensors [--encoder tf_efficientnet_b5]
"""

import argparse
import re
from pathlib import Path
from typing import NamedTuple

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from pipeline.errors import InputError, run_stage
from pipeline.models.weights import LITE0_STAGES, rename_efficientnet


class Variant(NamedTuple):
    """Blocks per stage, channels of the last feature map, and the image size that its padding is fixed for."""

    stages: tuple[int, ...]
    channels: int
    made_for_px: int


# Tan and Le, EfficientNet, ICML 2019: blocks 1, 2, 2, 3, 3, 4, 1 times the depth coefficient, rounded up; 1280 channels
# times the width coefficient, to a multiple of 8. Coefficients and sizes: lukemelas/EfficientNet-PyTorch at 7e8b0d3,
# utils.py, efficientnet_params. The last is method.md, Mammo-CLIP, for B5.
VARIANTS = {
    "tf_efficientnet_b0": Variant((1, 2, 2, 3, 3, 4, 1), 1280, 224),
    "tf_efficientnet_b1": Variant((2, 3, 3, 4, 4, 5, 2), 1280, 240),
    "tf_efficientnet_b2": Variant((2, 3, 3, 4, 4, 5, 2), 1408, 260),
    "tf_efficientnet_b3": Variant((2, 3, 3, 5, 5, 6, 2), 1536, 300),
    "tf_efficientnet_b4": Variant((2, 4, 4, 6, 6, 8, 2), 1792, 380),
    "tf_efficientnet_b5": Variant((3, 5, 5, 7, 7, 9, 3), 2048, 456),
    "tf_efficientnet_b6": Variant((3, 6, 6, 8, 8, 11, 3), 2304, 528),
    "tf_efficientnet_b7": Variant((4, 7, 7, 10, 10, 13, 4), 2560, 600),
    "tf_efficientnet_lite0": Variant(LITE0_STAGES, 1280, 224),
}

MAMMO_CLIP, PLAIN = "mammo_clip", "efficientnet_pytorch"
MAMMO_CLIP_PREFIX = "image_encoder."
# batmanlab/Mammo-CLIP at 0d68563, src/codebase/configs/pre_train_b5_clip.yaml: base.mean and base.std.
MAMMO_CLIP_GREY = {"mean": "0.3089279", "std": "0.25053555408335154"}

# What Mammo-CLIP's pickle holds beside tensors, numbers and texts: lists of its configuration are omegaconf's, with the
# types of their entries (train.py at 0d68563 turns dicts into plain ones, not lists), and numpy's numbers.
NOT_NEEDED = [
    *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig")),
    *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata")),
    *(f"omegaconf.nodes.{name}Node" for name in ("Any", "String", "Integer", "Float", "Boolean")),
    *(f"builtins.{name}" for name in ("dict", "list", "tuple", "int", "float", "str", "bool")),
    *("typing.Any", "collections.defaultdict", "pathlib.Path", "pathlib.PosixPath"),
    *("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"),
]


class _Inert:
    """Stands for an object that is not needed: takes anything, keeps nothing. Its own class is never imported."""

    def __new__(cls, *found: object) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *found: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def convert(checkpoint: Path, out: Path, encoder: str | None = None) -> str:
    """Writes the image encoder of a checkpoint for `file:PATH` in the profile's encoder.weights.

    The stem keeps its three channels. The metadata say `encoder` (for Mammo-CLIP with its padding, `@456` for B5),
    `kind`, and for Mammo-CLIP `mean` and `std` of the grey values that it was trained with.

    Args:
        checkpoint: Of Mammo-CLIP (B2, B5), or a state of EfficientNet-PyTorch (B0 to B7, Lite0).
        out: Ends in .safetensors.
        encoder: One of VARIANTS, with or without `@` and a size; None: told from the state.

    Returns:
        The encoder's name.

    Raises:
        InputError: the file holds something else, or what timm's network of that name does not take.
    """
    if out.suffix != ".safetensors":
        raise InputError(f"{out.name}: expected a name that ends in .safetensors for the result")
    state, kind = read_state(checkpoint)
    found = encoder or guess_variant(state)
    architecture, padded, made_for_px = found.partition("@")
    if architecture not in VARIANTS or (padded and not made_for_px.isdecimal()):
        raise InputError(f"--encoder: found {found}; allowed: {', '.join(VARIANTS)}, each with @ and a size or without")
    try:
        renamed = rename_efficientnet(state, VARIANTS[architecture].stages)
        _check_fits(architecture, renamed)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{checkpoint.name}: not the weights of {architecture}: {error}") from error
    if kind == MAMMO_CLIP and not padded:
        found = f"{architecture}@{VARIANTS[architecture].made_for_px}"
    metadata = {"format": "pt", "encoder": found, "kind": kind} | (MAMMO_CLIP_GREY if kind == MAMMO_CLIP else {})
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in renamed.items()}, out, metadata)
    return found


def read_state(checkpoint: Path) -> tuple[dict[str, Tensor], str]:
    """The encoder's entries in EfficientNet-PyTorch's names, and whether they are MAMMO_CLIP's or PLAIN.

    Only tensors and plain values are read: the pickle's own code never runs (torch.load, weights_only).

    Raises:
        InputError: there is no file, it holds types that are not read, or no EfficientNet-PyTorch state.
    """
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such file; check the path")
    try:
        with torch.serialization.safe_globals([(_Inert, name) for name in NOT_NEEDED]):
            loaded = torch.load(checkpoint, weights_only=True, map_location="cpu")
    except Exception as error:  # a damaged or foreign file makes the reader raise anything
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it holds {refused[1]}, which is code" if refused else f"{type(error).__name__}"
        raise InputError(
            f"{checkpoint.name}: refused: {reason}; expected tensors and plain values. Where the file is trusted, save"
            " the tensors of its `model` alone with torch.save, and convert that"
        ) from error
    entries = loaded.get("model", loaded) if isinstance(loaded, dict) else None
    entries = entries if isinstance(entries, dict) else {}
    kind = MAMMO_CLIP if any(str(name).startswith(MAMMO_CLIP_PREFIX) for name in entries) else PLAIN
    prefix = MAMMO_CLIP_PREFIX if kind == MAMMO_CLIP else ""
    found = {name.removeprefix(prefix): value for name, value in entries.items() if str(name).startswith(prefix)}
    if "_conv_stem.weight" not in found:
        raise InputError(
            f"{checkpoint.name}: expected Mammo-CLIP's `model` with {MAMMO_CLIP_PREFIX}_conv_stem.weight, or"
            f" EfficientNet-PyTorch's _conv_stem.weight, found {', '.join(map(str, list(entries)[:3])) or type(loaded)}"
        )
    return found, kind


def guess_variant(state: dict[str, Tensor]) -> str:
    """The variant with as many blocks and channels; Lite0 differs from B0 by having no squeeze and excitation.

    Raises:
        InputError: there is none.
    """
    blocks = len({name.split(".")[1] for name in state if name.startswith("_blocks.")})
    channels = state["_conv_head.weight"].shape[0] if "_conv_head.weight" in state else 0
    lite = not any("_se_reduce" in name for name in state)
    for name, variant in VARIANTS.items():
        if (sum(variant.stages), variant.channels, "lite" in name) == (blocks, channels, lite):
            return name
    raise InputError(
        f"expected a variant of EfficientNet ({', '.join(VARIANTS)}), found {blocks} blocks and {channels} channels"
    )


def _check_fits(architecture: str, state: dict[str, Tensor]) -> None:
    """Raises RuntimeError, which names the entries, where timm's network does not take exactly this state."""
    classes = state["classifier.bias"].shape[0] if "classifier.bias" in state else 0
    with torch.device("meta"):
        body = timm.create_model(architecture, num_classes=classes)
    body.load_state_dict(state, strict=True, assign=True)


def main(*arguments: str) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.models.convert", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--encoder", help="a variant, where the state does not tell it")
    given = parser.parse_args(arguments)
    encoder = convert(given.checkpoint, given.out, given.encoder)
    print(f"{given.out}: {encoder}")


if __name__ == "__main__":
    run_stage(main)
