"""Image side: a timm encoder for one grey channel, and the embedding made from its feature map."""

import difflib
from typing import NamedTuple

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.models.feature_tokens import FeatureTokens
from pipeline.models.folded_norm import fold_held_norm

GREY_MAX = 255.0  # of the 8-bit shards


class ImageOutput(NamedTuple):
    """What the image tower says about each image.

    backbone: global average of the feature map. embedding: unit-norm vector comparable with text; None for an
    encoder before pretraining.
    """

    backbone: Float[Tensor, "image channel"]
    embedding: Float[Tensor, "image channel"] | None


class ImageEncoder(nn.Module):
    """A timm network without its head: grey images in, feature map out.

    Grey values are normalised by one mean and one standard deviation, the averages over the three channels of what
    the timm weights expect (ImageNet: 0.449, 0.226; EfficientNet-Lite: 0.5, 0.5; timm's `default_cfg`). The paper
    feeds three equal channels; normalised alike they stay equal, so that the stem with summed RGB weights gives the
    same feature map for a third of the input (method.md, `image`). Per-channel statistics would shift the channels
    against each other by up to 0.04, which has no meaning for a grey image.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(
        self, images: UInt8[Tensor, "image 1 height width"] | Float[Tensor, "image 1 height width"]
    ) -> Float[Tensor, "image channel rows columns"]:
        """The feature map of grey images with values 0 to 255, whatever their type."""
        features: Tensor = self.body((images.to(self.mean.dtype) / GREY_MAX - self.mean) / self.std)
        return features


class ImageTower(nn.Module):
    """Encoder, then either the Tr module or, without it, global average pooling (method.md, `without Tr`).

    Args:
        encoder: Gives the feature map.
        tokens: The Tr module; None for the methods without it.
        size_px: Height and width that the Tr module is made for; another size fails.
        embeds: False for an encoder that was never trained against text: its embedding is None.
    """

    def __init__(
        self, encoder: ImageEncoder, tokens: FeatureTokens | None, size_px: tuple[int, int], embeds: bool
    ) -> None:
        super().__init__()
        self.encoder, self.tokens, self.size_px, self.embeds = encoder, tokens, size_px, embeds

    def forward(
        self, images: UInt8[Tensor, "image 1 height width"] | Float[Tensor, "image 1 height width"]
    ) -> ImageOutput:
        """Embeds grey images with values 0 to 255.

        Raises:
            ValueError: the Tr module is made for another image size.
        """
        size = (images.shape[-2], images.shape[-1])
        if self.tokens is not None and size != self.size_px:
            raise ValueError(f"images are {size[0]} x {size[1]} px; this model's Tr module needs {self.size_px}")
        features = self.encoder(images)
        backbone = features.mean(dim=(2, 3))
        if not self.embeds:
            return ImageOutput(backbone, None)
        pooled = backbone if self.tokens is None else self.tokens(features.flatten(2))
        return ImageOutput(backbone, F.normalize(pooled.float(), dim=1))  # float32 under autocast: see clip_loss


def create_encoder(name: str) -> ImageEncoder:
    """Builds a timm network with random weights, one input channel, no head and no pooling.

    Args:
        name: A timm architecture, with or without the tag of its weights (`resnet34`, `resnet34.a1_in1k`); the tag
            decides the normalisation only.

    Raises:
        InputError: timm does not know the name, or the network has no feature map (a Vision Transformer).
    """
    known = timm.list_pretrained() if "." in name else timm.list_models()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=5)
        raise InputError(f"model.encoder: timm knows no {name!r}; close: {', '.join(close) or 'none'}")
    body = timm.create_model(name, pretrained=False, in_chans=1, num_classes=0, global_pool="")
    mean, std = (sum(body.pretrained_cfg[key]) / len(body.pretrained_cfg[key]) for key in ("mean", "std"))
    fold_held_norm(body, body.pretrained_cfg["input_size"][1:])
    for part in body.modules():
        if isinstance(part, nn.Hardtanh | nn.SiLU):
            part.inplace = False  # in place, autograd first copies the input that their gradient needs
    return ImageEncoder(body, mean, std)


def feature_shape(name: str, height_px: int, width_px: int) -> tuple[int, int, int]:
    """Channels, rows and columns of an encoder's feature map, found without computing it.

    Raises:
        InputError: as `create_encoder`, or the output is not a feature map.
    """
    with torch.device("meta"):
        try:
            found = tuple(create_encoder(name).eval().body(torch.empty(1, 1, height_px, width_px)).shape[1:])
        except AssertionError as error:  # timm's networks with a fixed input size assert it
            raise InputError(f"model.encoder: {name} does not take {height_px} x {width_px} px: {error}") from error
    if len(found) != 3:
        raise InputError(f"model.encoder: {name} gives no feature map [C, H, W], found {found}; take a ConvNet")
    return found[0], found[1], found[2]


def hold_batch_norm(module: nn.Module) -> None:
    """Makes every BatchNorm of a module use its running statistics; call it after each `module.train()`.

    Its scale and shift still learn. Source: method.md, Mammo-CLIP, known traps: statistics that drift.
    """
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()
