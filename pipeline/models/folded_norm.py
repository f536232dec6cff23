"""BatchNorm with running statistics as part of the convolution before it: the same values for fewer passes."""

import copy
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers import BatchNormAct2d, Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

_CONVOLUTIONS, _NORMS = (nn.Conv2d, Conv2dSame), (nn.BatchNorm2d, BatchNormAct2d)
# What does not use a tensor's values: getters of its attributes, and questions about its form.
_QUESTIONS = ("__get__", "size", "dim", "stride", "numel", "is_contiguous")


def fold_held_norm(body: nn.Module, input_px: tuple[int, int]) -> int:
    """Lets each convolution apply the BatchNorm after it, wherever that uses its running statistics.

    With its statistics held, BatchNorm is a factor and a shift per channel, and conv(x, w) f + s = conv(x, w f) + s.
    Both are made from its parameters at every pass: values, gradients and state_dict stay what they were, but the
    feature map is read and written once less, forwards and backwards. With batch statistics nothing changes.
    Source: You et al., Efficient ConvBN Blocks for Transfer Learning and Beyond, ICLR 2024 (their tune mode).

    Args:
        body: A network whose forward takes [image, 1, height, width]; changed in place.
        input_px: Height and width that it takes; tried on the meta device, where nothing is computed. A network
            that does not take them is left as it is.

    Returns:
        How many pairs there are.
    """
    pairs = _pairs(body, input_px)
    for convolution, norm in pairs:
        convolve = partial(_convolve, convolution, norm, convolution.forward)
        activate = partial(_activate, norm, norm.forward)
        convolution.forward, norm.forward = convolve, activate  # type: ignore[method-assign]
    return len(pairs)


def _pairs(body: nn.Module, input_px: tuple[int, int]) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions whose output is the input of a BatchNorm and of nothing else, each called once."""
    parts = dict(body.named_modules())
    if not any(type(part) in _NORMS for part in parts.values()):
        return []
    trial = copy.deepcopy(body).to("meta").eval()
    watch = _Watch()
    for name, part in trial.named_modules():
        if type(part) in _CONVOLUTIONS:
            part.register_forward_hook(partial(watch.convolved, name))
        elif type(part) in _NORMS:
            part.register_forward_pre_hook(partial(watch.normalised, name))
    try:
        with torch.no_grad(), watch:
            trial(torch.empty(1, 1, *input_px, device="meta"))
    except (AssertionError, RuntimeError):  # another size than the one it was made for: left as it is
        return []
    pairs = []
    for source, name in watch.pairs():
        convolution, norm = parts[source], parts[name]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            if convolution.padding_mode == "zeros" and norm.affine and norm.track_running_stats:
                pairs.append((convolution, norm))
    return pairs


class _Watch(TorchFunctionMode):
    """Follows what becomes of the output of every convolution while a network runs."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[tuple[Tensor, int, str]] = []  # kept alive, so that identity means sameness
        self.calls: Counter[str] = Counter()
        self.uses: Counter[str] = Counter()
        self.met: list[tuple[str, str]] = []

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Counts the functions that take an output; asking for its shape and the like does not count."""
        if function.__name__ not in _QUESTIONS:
            taken = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            self.uses.update(name for tensor, _, name in self.outputs if any(tensor is leaf for leaf in taken))
        return function(*args, **(kwargs or {}))

    def convolved(self, name: str, part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """A convolution is done."""
        self.calls[name] += 1
        self.outputs.append((output, output._version, name))

    def normalised(self, name: str, part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """A BatchNorm begins; an output that was changed in place since is another one."""
        self.calls[name] += 1
        found = [(source, name) for tensor, version, source in self.outputs if tensor is inputs[0]
                 and version == tensor._version]  # fmt: skip
        self.met.extend(found)

    def pairs(self) -> list[tuple[str, str]]:
        """Names of a convolution and of the one BatchNorm that takes its output."""
        return [pair for pair in self.met if self.calls[pair[0]] == self.calls[pair[1]] == self.uses[pair[0]] == 1]


def _convolve(
    convolution: nn.Conv2d,
    norm: nn.BatchNorm2d,
    plain: Callable[[Tensor], Tensor],
    x: Float[Tensor, "image channel height width"],
) -> Float[Tensor, "image filter rows columns"]:
    """The convolution, with the factor and shift of a BatchNorm that uses its running statistics.

    Where gradients are wanted, the shift is added in place: that of a convolution's bias takes oneDNN longer.
    """
    if not _is_held(norm):
        return plain(x)
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    factor = norm.weight * torch.rsqrt(variance + norm.eps)
    mean = mean if convolution.bias is None else mean - convolution.bias
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
    if not _is_held(norm):
        return plain(x)
    return norm.act(norm.drop(x)) if isinstance(norm, BatchNormAct2d) else x


def _is_held(norm: nn.BatchNorm2d) -> bool:
    """Whether it uses its running statistics."""
    return not norm.training and norm.running_mean is not None and norm.running_var is not None
