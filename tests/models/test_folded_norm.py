"""A BatchNorm that its convolution applies: same values, gradients and names as one that runs by itself."""

import copy

import pytest
import timm
import torch
from torch import nn

from pipeline.models.folded_norm import fold_held_norm
from pipeline.models.image_tower import create_encoder, feature_shape, hold_batch_norm

# Architecture, pairs: TensorFlow's padding, plain BatchNorm2d, squeeze and excitation, norms before convolutions, none.
NETWORKS = [
    ("tf_efficientnet_lite0", 49),
    ("resnet34", 36),
    ("efficientnet_b0", 49),
    ("densenet121", 59),
    ("convnext_atto", 0),
]


def two_alike(name: str) -> tuple[nn.Module, nn.Module, int]:
    """A network with statistics and affine parameters that matter, and its folded copy, a copy of a copy."""
    torch.manual_seed(0)
    plain = timm.create_model(name, in_chans=1, num_classes=0, global_pool="").train()
    for part in plain.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.1)
    folded = copy.deepcopy(plain)
    pairs = fold_held_norm(folded, (224, 224))
    return plain.double(), copy.deepcopy(folded).double(), pairs


@pytest.mark.parametrize(("name", "pairs"), NETWORKS)
@pytest.mark.parametrize("held", [True, False])
def test_values_gradients_and_names_stay(name: str, pairs: int, held: bool):
    plain, folded, found = two_alike(name)
    images = torch.rand(2, 1, 96, 64, dtype=torch.float64)
    outputs = []
    for network in (plain, folded):
        if held:
            hold_batch_norm(network)
        outputs.append(network(images))
        outputs[-1].square().mean().backward()
    assert found == pairs
    assert outputs[0].std() > 1e-4
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-9, atol=1e-12)
    with torch.inference_mode():
        torch.testing.assert_close(folded.eval()(images), plain.eval()(images), rtol=1e-9, atol=1e-12)
    assert list(plain.state_dict()) == list(folded.state_dict())
    for (label, expected), (_, parameter) in zip(plain.named_parameters(), folded.named_parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-7, atol=1e-12, msg=label)
    statistics = zip(plain.named_buffers(), folded.named_buffers(), strict=True)
    assert all(torch.equal(a[1], b[1]) for a, b in statistics)


def test_every_encoder_is_folded():
    encoder = create_encoder("resnet18")
    hold_batch_norm(encoder.train())
    norms = [part for part in encoder.modules() if isinstance(part, nn.BatchNorm2d)]
    seen = []
    for norm in norms:
        norm.register_forward_hook(lambda part, inputs, output: seen.append(output is inputs[0]))
    encoder(torch.zeros(1, 1, 64, 64))
    assert len(seen) == len(norms) == 20
    assert all(seen)


def test_a_norm_with_a_convolution_of_its_own_is_left_alone():
    """One convolution called twice, one norm called twice: neither is a pair."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.convolution(self.norm(self.convolution(x))))

    assert fold_held_norm(Shared(), (8, 8)) == 0


class Doubled(nn.Module):
    """The output of the convolution goes to the norm and past it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.convolution(x)
        return self.norm(y) + torch.nn.functional.avg_pool2d(y, 1)


def test_an_output_that_goes_elsewhere_too_is_left_alone():
    assert fold_held_norm(Doubled(), (8, 8)) == 0
    assert fold_held_norm(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(2)), (8, 8)) == 0
    assert fold_held_norm(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True)), (8, 8)) == 1


def test_a_network_of_a_fixed_size_keeps_working():
    """It is tried at its own size; at another it is left as it is, and its own message tells what is wrong."""
    assert feature_shape("maxvit_rmlp_pico_rw_256", 256, 256)[1:] == (8, 8)
    body = timm.create_model("maxvit_rmlp_pico_rw_256", in_chans=1, num_classes=0, global_pool="")
    assert fold_held_norm(body, (224, 224)) == 0
