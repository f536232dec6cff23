"""EfficientNet written anew in EfficientNet-PyTorch's names: static SAME padding, made for one image size."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Tan and Le, EfficientNet-B0: repeats, kernel, stride, expansion, channels of the seven stages.
STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320)]  # fmt: skip
BN_EPS = 1e-3

# Width and depth coefficients.
COEFFICIENTS = {
    "b0": (1.0, 1.0, 224),
    "b1": (1.0, 1.1, 240),
    "b2": (1.1, 1.2, 260),
    "b3": (1.2, 1.4, 300),
    "b4": (1.4, 1.8, 380),
    "b5": (1.6, 2.2, 456),
    "b6": (1.8, 2.6, 528),
    "b7": (2.0, 3.1, 600),
}


def widened(channels: int, width: float) -> int:
    """To a multiple of 8, never more than a tenth below."""
    rounded = max(8, int(channels * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels * width else rounded


class Padded(nn.Conv2d):
    """A convolution with zeros for an input of size px around it: the smaller half above and left."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, px: int, groups: int = 1) -> None:
        super().__init__(inside, outside, kernel, stride, groups=groups, bias=False)
        total = max(0, (math.ceil(px / stride) - 1) * stride + kernel - px)
        self.pad = (total // 2, total - total // 2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.pad + self.pad))


class Block(nn.Module):
    def __init__(self, inside: int, outside: int, kernel: int, stride: int, expansion: int, px: int) -> None:
        super().__init__()
        middle, self.expands, self.skips = inside * expansion, expansion > 1, stride == 1 and inside == outside
        if self.expands:
            self._expand_conv = nn.Conv2d(inside, middle, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(middle, eps=BN_EPS)
        self._depthwise_conv = Padded(middle, middle, kernel, stride, px, groups=middle)
        self._bn1 = nn.BatchNorm2d(middle, eps=BN_EPS)
        self._se_reduce, self._se_expand = nn.Conv2d(middle, inside // 4, 1), nn.Conv2d(inside // 4, middle, 1)
        self._project_conv = nn.Conv2d(middle, outside, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outside, eps=BN_EPS)

    def forward(self, inputs: Tensor) -> Tensor:
        x = F.silu(self._bn0(self._expand_conv(inputs))) if self.expands else inputs
        x = F.silu(self._bn1(self._depthwise_conv(x)))
        x = x * torch.sigmoid(self._se_expand(F.silu(self._se_reduce(x.mean((2, 3), keepdim=True)))))
        x = self._bn2(self._project_conv(x))
        return x + inputs if self.skips else x


class EfficientNet(nn.Module):
    """Three equal channels in, feature map out; evaluation only (no stochastic depth)."""

    def __init__(self, variant: str, px: int | None = None, classes: int = 0) -> None:
        super().__init__()
        width, depth, made_for_px = COEFFICIENTS[variant]
        px, inside = px or made_for_px, widened(32, width)
        self._conv_stem, self._bn0 = Padded(3, inside, 3, 2, px), nn.BatchNorm2d(inside, eps=BN_EPS)
        px, blocks = math.ceil(px / 2), []
        for repeats, kernel, stride, expansion, channels in STAGES:
            for index in range(math.ceil(repeats * depth)):
                step, outside = (stride if index == 0 else 1), widened(channels, width)
                blocks.append(Block(inside, outside, kernel, step, expansion, px))
                px, inside = math.ceil(px / step), outside
        self._blocks = nn.ModuleList(blocks)
        head = widened(1280, width)
        self._conv_head, self._bn1 = nn.Conv2d(inside, head, 1, bias=False), nn.BatchNorm2d(head, eps=BN_EPS)
        if classes:
            self._fc = nn.Linear(head, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.silu(self._bn1(self._conv_head(x)))


def trained(variant: str, px: int | None = None, classes: int = 0) -> EfficientNet:
    """With weights that keep the signal's size, and statistics and affine parameters that matter."""
    torch.manual_seed(0)
    network = EfficientNet(variant, px, classes).eval()
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.1)
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    return network
