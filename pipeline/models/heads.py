"""What each pretraining method adds on top of the pooled feature map; thrown away after pretraining."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.sections import Method

# Chen et al., SimCLR, ICML 2020, section 2: 128 outputs; the hidden layer is as wide as the encoder's output.
SIMCLR_OUTPUTS = 128
# Grill et al., BYOL, NeurIPS 2020, section 3, for projection and prediction, with every encoder.
BYOL_HIDDEN, BYOL_OUTPUTS = 4096, 256
# Caron et al., SwAV, NeurIPS 2020, appendix, implementation details (2048 with ResNet-50, more with wider ones).
SWAV_HIDDEN, SWAV_OUTPUTS = 2048, 128
# Deviation from SwAV's 3,000: its codes spread a step's images evenly over the prototypes, so there should not be more
# prototypes than images, and a step has 72 to 256 (conf/profile/paper.yaml) without a queue of earlier ones. The
# authors advise ten times the number of classes (facebookresearch/swav, issue 64): about five here (BI-RADS, density).
SWAV_PROTOTYPES = 64
# Caron et al., DINO, ICCV 2021, section 3 (network architecture), with every encoder.
DINO_HIDDEN, DINO_BOTTLENECK = 2048, 256
# Deviation from DINO's 65,536, which its authors advise for large and complex data: that is more outputs than a cohort
# of a few thousand images has images. The smallest of the paper's own comparison (appendix C, output dimension), where
# it costs 2 points of k-NN accuracy on ImageNet (67.8 against 69.7 %).
DINO_OUTPUTS = 1024
# Where MaMA's temperature of patches against sentences starts: CLIP's value (Radford et al. 2021, section 2.5), as the
# notes give none (method.md, MaMA, `Loss`: own learnable scale).
LOCAL_TEMPERATURE = 0.07


class Temperature(nn.Module):
    """A divisor of cosine similarities that is learned by its logarithm."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(start)))

    def forward(self) -> Float[Tensor, ""]:
        """The temperature, > 0."""
        return self.log.exp()


def build_heads(method: Method, channels: int) -> nn.ModuleDict:
    """Networks from pooled features [row channel] to what the method's loss takes, by name.

    supervised: classifier. simclr, byol, swav, dino: projection; byol also prediction; swav also prototypes, which
    take unit-norm projections and whose `normalize` is due before every step. mama: local, a Temperature. The other
    methods with text: nothing.

    Their BatchNorm sees the rows it is called with. The trainer calls heads on the gathered rows of all ranks, so the
    statistics are those of the whole step and equal on every rank: no SyncBatchNorm is needed.

    SwAV and DINO hold prototypes and output layer still in the first epoch; left out here, where the learning rate
    rises from 0 in that epoch.

    Args:
        method: Of pretraining.
        channels: Of the pooled features.

    Raises:
        ValueError: channels is not positive.
    """
    if channels < 1:
        raise ValueError(f"channels must be positive, found {channels}")
    builders: dict[Method, Callable[[int], dict[str, nn.Module]]] = {
        "supervised": _supervised, "simclr": _simclr, "byol": _byol, "swav": _swav, "dino": _dino,
        "mama": _mama,
    }  # fmt: skip
    return nn.ModuleDict(builders[method](channels) if method in builders else {})


def _supervised(channels: int) -> dict[str, nn.Module]:
    """One logit: cancer."""
    return {"classifier": nn.Linear(channels, 1)}


def _simclr(channels: int) -> dict[str, nn.Module]:
    """Two layers with BatchNorm, as in the released code."""
    from lightly.models.modules.heads import SimCLRProjectionHead

    return {"projection": SimCLRProjectionHead(channels, channels, SIMCLR_OUTPUTS)}


def _byol(channels: int) -> dict[str, nn.Module]:
    """Projection, which the teacher has too, and prediction, which it has not."""
    from lightly.models.modules.heads import BYOLPredictionHead, BYOLProjectionHead

    return {
        "projection": BYOLProjectionHead(channels, BYOL_HIDDEN, BYOL_OUTPUTS),
        "prediction": BYOLPredictionHead(BYOL_OUTPUTS, BYOL_HIDDEN, BYOL_OUTPUTS),
    }


def _swav(channels: int) -> dict[str, nn.Module]:
    """Projection and prototypes; lightly's prototypes have a bias, which the paper's, being directions, have not."""
    from lightly.models.modules.heads import SwaVProjectionHead, SwaVPrototypes

    prototypes = SwaVPrototypes(SWAV_OUTPUTS, SWAV_PROTOTYPES)
    prototypes.heads[0].register_parameter("bias", None)
    prototypes.normalize()
    return {"projection": SwaVProjectionHead(channels, SWAV_HIDDEN, SWAV_OUTPUTS), "prototypes": prototypes}


def _mama(_: int) -> dict[str, nn.Module]:
    """The temperature of local alignment; both towers' own projections are compared."""
    return {"local": Temperature(LOCAL_TEMPERATURE)}


def _dino(channels: int) -> dict[str, nn.Module]:
    """Projection without BatchNorm (DINO, appendix C: 69.7 against 68.6 %); the rows of its output layer keep norm 1.

    lightly's output layer uses torch's old weight_norm, which cannot be copied (the teacher is a copy): the same layer
    with the new one takes its place.
    """
    from lightly.models.modules.heads import DINOProjectionHead

    projection = DINOProjectionHead(channels, DINO_HIDDEN, DINO_BOTTLENECK, DINO_OUTPUTS)
    output = nn.utils.parametrizations.weight_norm(nn.Linear(DINO_BOTTLENECK, DINO_OUTPUTS, bias=False))
    norms = output.parametrizations.weight.original0
    nn.init.ones_(norms).requires_grad_(False)
    projection.last_layer = output
    return {"projection": projection}
