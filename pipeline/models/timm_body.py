"""A timm network for one grey channel, without its head and made for an image size; its output as a feature map."""

import difflib
from typing import Any

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.errors import InputError


def create_body(
    name: str, size_px: tuple[int, int] | None, pretrained: bool = False, state: dict[str, Tensor] | None = None
) -> nn.Module:
    """A timm network with one input channel, without head and pooling.

    Args:
        name: A timm architecture, with or without the tag of its weights (`resnet34`, `resnet34.a1_in1k`).
        size_px: Height and width of the images. It matters to networks that are made for one size (Transformers);
            None: theirs is that of timm's weights.
        pretrained: With the weights of timm's hub; else random.
        state: Takes the place of the hub's weights: entries in timm's names, without a classifier. timm fits them as it
            fits its own: an RGB stem is summed over its channels, position embeddings are resampled to the size.

    Raises:
        InputError: timm does not know the name, or its patches do not fit the size.
        RuntimeError: the entries do not fit, or the hub's weights cannot be read (an OSError if not reached).
    """
    known = timm.list_pretrained() if "." in name else timm.list_models()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=5)
        raise InputError(f"model.encoder: timm knows no {name!r}; close: {', '.join(close) or 'none'}")
    body: nn.Module = timm.create_model(
        name,
        pretrained=pretrained or state is not None,
        # As many classes as ours has (none): then timm loads strictly.
        pretrained_cfg_overlay=None if state is None else {"state_dict": state, "num_classes": 0, "label_offset": 0},
        in_chans=1,
        num_classes=0,
        global_pool="",
        img_size=size_px if has_one_size(name) else None,  # timm leaves out what is None
    )
    if size_px is not None:
        _check_patches(body, name, size_px)
    return body


def has_one_size(name: str) -> bool:
    """Whether a timm network is made for one image size."""
    found = timm.get_pretrained_cfg(name)
    return found is not None and bool(found.fixed_input_size)


def missing_in_published(body: nn.Module, name: str) -> list[str]:
    """Entries of a body without pooling that timm's weights of the network lack: those of a norm before the pooling.

    Some Transformers (BEiT, EVA-02) are published with a norm after the average; timm would leave ours as it is.
    """
    with torch.device("meta"):
        published: nn.Module = timm.create_model(name, num_classes=0)
    return sorted(set(body.state_dict()) - set(published.state_dict()))


def _check_patches(body: Any, name: str, size_px: tuple[int, int]) -> None:
    """timm leaves out what remains at the edge beyond the last whole patch; here nothing may remain."""
    patch = getattr(getattr(body, "patch_embed", None), "patch_size", None)
    if not isinstance(patch, tuple) or all(side % part == 0 for side, part in zip(size_px, patch, strict=True)):
        return
    near = [max(1, round(side / part)) * part for side, part in zip(size_px, patch, strict=True)]
    raise InputError(
        f"model.encoder: {name} cuts images into patches of {patch[0]} x {patch[1]} px: height and width must be"
        f" multiples of that, found {size_px[0]} x {size_px[1]} px; the nearest that fits is {near[0]} x {near[1]} px;"
        " change height_px and width_px of the preparation"
    )


def as_feature_map(body: Any, output: Any) -> Float[Tensor, "image channel rows columns"]:
    """The output of a timm network as [image, channel, rows, columns].

    Tokens that stand for no patch (class token, registers) are left out, so that the global average is the mean over
    the patches; networks with the channels last get them second.

    Args:
        body: Gave the output, and tells of it: `patch_embed.grid_size`, `num_prefix_tokens`, `output_fmt`.
        output: A feature map, or tokens [image, token, channel], those of the patches last and row by row.

    Raises:
        InputError: it is neither.
    """
    features: Tensor = output if isinstance(output, Tensor) else torch.empty(0)
    if features.dim() == 4:
        return features.permute(0, 3, 1, 2) if getattr(body, "output_fmt", None) == "NHWC" else features
    grid, prefix = getattr(getattr(body, "patch_embed", None), "grid_size", None), getattr(body, "num_prefix_tokens", 0)
    if features.dim() != 3 or grid is None or features.shape[1] != prefix + grid[0] * grid[1]:
        raise InputError(
            f"model.encoder: {network_name(body)} gives no feature map [C, H, W], found {tuple(features.shape[1:])};"
            " take a ConvNet, a Vision Transformer or a Swin Transformer"
        )
    patches: Tensor = features[:, prefix:].transpose(1, 2).unflatten(2, grid)
    return patches


def network_name(body: Any) -> str:
    """timm's name of a network; that of its class where it is not timm's."""
    found = getattr(body, "pretrained_cfg", None)
    return str(found["architecture"]) if found else type(body).__name__
