"""BatchNorm with running statistics as part of the convolution before it: the same values for fewer passes."""

import copy
from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers import BatchNormAct2d, Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn

_CONVOLUTIONS, _NORMS = (nn.Conv2d, Conv2dSame), (nn.BatchNorm2d, BatchNormAct2d)
_INPUT_PX = 224  # of the trial pass; on the meta device nothing is computed


def fold_held_norm(body: nn.Module) -> int:
    """Lets each convolution apply the BatchNorm after it, wherever that uses its running statistics.

    With its statistics held, BatchNorm is a factor and a shift per channel, and conv(x, w) f + s = conv(x, w f) + s.
    Both are made from its parameters at every pass: values, gradients and state_dict stay what they were, but the
    feature map is read and written once less, forwards and backwards. With batch statistics nothing changes.
    Source: You et al., Efficient ConvBN Blocks for Transfer Learning and Beyond, ICLR 2024 (their tune mode).

    Args:
        body: A network whose forward takes [image, 1, height, width]; changed in place.

    Returns:
        How many pairs there are.
    """
    pairs = _pairs(body)
    for convolution, norm in pairs:
        convolve = partial(_convolve, convolution, norm, convolution.forward)
        activate = partial(_activate, norm, norm.forward)
        convolution.forward, norm.forward = convolve, activate  # type: ignore[method-assign]
    return len(pairs)


def _pairs(body: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions whose output is the input of a BatchNorm, each called once, as a trial pass finds them."""
    parts = dict(body.named_modules())
    if not any(type(part) in _NORMS for part in parts.values()):
        return []
    trial = copy.deepcopy(body).to("meta").eval()
    calls: Counter[str] = Counter()
    made: list[tuple[Tensor, str]] = []  # kept alive, so that identity means sameness
    found: list[tuple[str, str]] = []

    def after(name: str, part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[name] += 1
        if type(part) in _CONVOLUTIONS:
            made.append((output, name))
        else:
            found.extend((source, name) for tensor, source in made if tensor is inputs[0])

    for name, part in trial.named_modules():
        if type(part) in _CONVOLUTIONS + _NORMS:
            part.register_forward_hook(partial(after, name))
    with torch.no_grad():
        trial(torch.empty(1, 1, _INPUT_PX, _INPUT_PX, device="meta"))
    pairs = []
    for source, name in found:
        convolution, norm = parts[source], parts[name]
        once = calls[source] == calls[name] == 1
        if once and isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            if convolution.padding_mode == "zeros" and norm.affine and norm.track_running_stats:
                pairs.append((convolution, norm))
    return pairs


def _convolve(
    convolution: nn.Conv2d,
    norm: nn.BatchNorm2d,
    plain: Callable[[Tensor], Tensor],
    x: Float[Tensor, "image channel height width"],
) -> Float[Tensor, "image filter rows columns"]:
    """The convolution, with the factor and shift of a BatchNorm that uses its running statistics.

    Where gradients are wanted, the shift is added in place: that of a convolution's bias takes oneDNN longer.
    """
    if norm.training or norm.running_mean is None or norm.running_var is None:
        return plain(x)
    factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    mean = norm.running_mean if convolution.bias is None else norm.running_mean - convolution.bias
    weight, shift = convolution.weight * factor[:, None, None, None], norm.bias - mean * factor
    if isinstance(convolution, Conv2dSame):
        x = pad_same(x, weight.shape[-2:], convolution.stride, convolution.dilation)
    bias = None if torch.is_grad_enabled() else shift
    y = F.conv2d(x, weight, bias, convolution.stride, convolution.padding, convolution.dilation, convolution.groups)
    return y.add_(shift[:, None, None]) if bias is None else y


def _activate(
    norm: nn.BatchNorm2d, plain: Callable[[Tensor], Tensor], x: Float[Tensor, "image channel height width"]
) -> Float[Tensor, "image channel height width"]:
    """What is left of a BatchNorm that its convolution has applied."""
    if norm.training:
        return plain(x)
    return norm.act(norm.drop(x)) if isinstance(norm, BatchNormAct2d) else x
