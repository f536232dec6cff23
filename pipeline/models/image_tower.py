"""Image side: a timm encoder for one grey channel, and the embedding made from its feature map."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.models.feature_tokens import FeatureTokens
from pipeline.models.fixed_padding import fix_padding
from pipeline.models.folded_norm import fold_held_norm
from pipeline.models.timm_body import as_feature_map, create_body, has_one_size, network_name
from pipeline.precision import at_least_float32, global_average

GREY_MAX = 255.0  # of the 8-bit shards


class ImageOutput(NamedTuple):
    """What the image tower says about each image.

    backbone: global average of the feature map, in float32 at least. embedding: unit-norm vector comparable with text;
    None for an encoder before pretraining. patches: the same of each position of the feature map; None unless asked
    for.
    """

    backbone: Float[Tensor, "image channel"]
    embedding: Float[Tensor, "image channel"] | None
    patches: Float[Tensor, "image patch channel"] | None = None


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
        return as_feature_map(self.body, self.body((images.to(self.mean.dtype) / GREY_MAX - self.mean) / self.std))

    def expect_grey(self, grey: tuple[float, float] | None) -> None:
        """Normalises by this mean and standard deviation of grey values 0 to 1; None: as before."""
        if grey is not None:
            self.mean.fill_(grey[0])
            self.std.fill_(grey[1])

    def set_activation_checkpointing(self, on: bool) -> None:
        """Whether training keeps only what goes from block to block, and computes the rest again on the way back.

        Values and gradients stay what they are. A BatchNorm that is not held meets every batch twice, so that its
        running statistics follow the batches almost twice as fast.

        Raises:
            InputError: timm cannot do it with this network.
        """
        switch = getattr(self.body, "set_grad_checkpointing", None)
        able = callable(switch)
        if callable(switch):
            try:
                switch(on)
            except AssertionError:  # how some of timm's networks say that they cannot
                able = False
        if on and not able:
            raise InputError(
                f"model.encoder: timm cannot compute the activations of {network_name(self.body)} again;"
                " turn activation checkpointing off, or take another encoder"
            )


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
        self,
        images: UInt8[Tensor, "image 1 height width"] | Float[Tensor, "image 1 height width"],
        patches: bool = False,
    ) -> ImageOutput:
        """Embeds grey images with values 0 to 255, and where asked for (without Tr) each position of the feature map.

        Raises:
            ValueError: the Tr module is made for another image size.
        """
        size = (images.shape[-2], images.shape[-1])
        if self.tokens is not None and size != self.size_px:
            raise ValueError(f"images are {size[0]} x {size[1]} px; this model's Tr module needs {self.size_px}")
        features = self.encoder(images)
        backbone = global_average(features)
        if not self.embeds:
            return ImageOutput(backbone, None)
        pooled = backbone if self.tokens is None else self.tokens(features.flatten(2))
        local = F.normalize(at_least_float32(features.flatten(2).transpose(1, 2)), dim=2) if patches else None
        return ImageOutput(backbone, F.normalize(at_least_float32(pooled), dim=1), local)


def create_encoder(name: str, size_px: tuple[int, int] | None = None) -> ImageEncoder:
    """Builds a timm network with random weights, one input channel, no head and no pooling.

    Args:
        name: A timm architecture, with or without the tag of its weights (`resnet34`, `resnet34.a1_in1k`); the tag
            decides the normalisation only. `@456` behind it fixes TensorFlow's padding as at 456 x 456 px.
        size_px: Height and width of the images; what is made for one size (a Transformer) is made for this one. None:
            for that of timm's weights.

    Raises:
        InputError: timm does not know the name, or the size or the padding does not fit the network.
    """
    architecture, padded, made_for_px = name.partition("@")
    body = create_body(architecture, size_px)
    if padded and not (made_for_px.isdecimal() and int(made_for_px) and fix_padding(body, int(made_for_px))):
        raise InputError(
            f"model.encoder: {name}: expected the padding's image size behind @ (tf_efficientnet_b5@456), and a network"
            " that pads as TensorFlow (tf_...)"
        )
    settings: Any = body.pretrained_cfg
    mean, std = (sum(settings[key]) / len(settings[key]) for key in ("mean", "std"))
    made_px = size_px if has_one_size(architecture) else None
    fold_held_norm(body, made_px or settings["input_size"][1:])
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
            encoder = create_encoder(name, (height_px, width_px)).eval()
            channels, rows, columns = encoder(torch.empty(1, 1, height_px, width_px)).shape[1:]
        except (AssertionError, RuntimeError) as error:  # timm's networks with a fixed input size assert it
            raise InputError(f"model.encoder: {name} does not take {height_px} x {width_px} px: {error}") from error
    return channels, rows, columns


def hold_batch_norm(module: nn.Module) -> None:
    """Makes every BatchNorm of a module use its running statistics; call it after each `module.train()`.

    Its scale and shift still learn. Source: method.md, Mammo-CLIP, known traps: statistics that drift.
    """
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()
