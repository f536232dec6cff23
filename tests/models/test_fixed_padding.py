"""Padding that stays what it is at the size a network is made for."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import nn

from pipeline.errors import InputError
from pipeline.models.fixed_padding import fix_padding
from pipeline.models.image_tower import create_encoder, hold_batch_norm
from pipeline.models.timm_body import create_body

# The strided convolutions of B5: their input at 1520 x 912 px, zeros before and after for 456 x 456 px, and by
# TensorFlow's rule there. By hand: 2 (ceil(n / 2) - 1) + kernel - n zeros around an input of n, the smaller half first.
B5 = [
    ("conv_stem", (1520, 912), (0, 1), (0, 1)),
    ("blocks.1.0.conv_dw", (760, 456), (0, 1), (0, 1)),
    ("blocks.2.0.conv_dw", (380, 228), (1, 2), (1, 2)),
    ("blocks.3.0.conv_dw", (190, 114), (1, 1), (0, 1)),  # 57 is odd, 190 and 114 are even: the trap of Mammo-CLIP
    ("blocks.5.0.conv_dw", (95, 57), (2, 2), (2, 2)),
]


def test_of_b5_one_convolution_differs_at_the_mammograms_size():
    plain = create_body("tf_efficientnet_b5", None)
    fixed = copy.deepcopy(plain)
    assert fix_padding(fixed, 456) == len(B5)
    for name, size, kept, computed in B5:
        theirs, ours = plain.get_submodule(name), fixed.get_submodule(name)
        x = torch.rand(1, ours.in_channels, *size)
        for convolution, zeros in ((ours, kept), (theirs, computed)):
            wanted = F.conv2d(F.pad(x, zeros + zeros), ours.weight, None, 2, groups=ours.groups)
            torch.testing.assert_close(convolution(x), wanted, rtol=0, atol=0)


def test_names_values_and_the_rest_of_the_network_stay():
    plain = create_body("tf_efficientnet_lite0", None)
    fixed = copy.deepcopy(plain)
    fix_padding(fixed, 64)
    assert list(plain.state_dict()) == list(fixed.state_dict())
    images = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(fixed.eval()(images), plain.eval()(images), rtol=0, atol=0)
    other = torch.rand(1, 1, 72, 72)  # its 5 before the last stride is padded as the 4 of 64
    assert plain(other).shape[2:] == (3, 3)
    assert fixed(other).shape[2:] == (2, 2)
    assert not any(isinstance(part, Conv2dSame) for part in fixed.modules())


def test_held_norms_are_folded_into_the_fixed_convolutions():
    encoder = create_encoder("tf_efficientnet_lite0@72").double().train()
    hold_batch_norm(encoder)
    plain = create_body("tf_efficientnet_lite0", None).double().eval()
    fix_padding(plain, 72)
    for part in encoder.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_var.uniform_(0.5, 2)
            nn.init.normal_(part.bias, 0, 0.1)
    plain.load_state_dict(encoder.body.state_dict())
    images = torch.rand(1, 1, 64, 96, dtype=torch.float64) * 255
    found, wanted = encoder(images), plain((images / 255 - encoder.mean) / encoder.std)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    assert found.shape == (1, 1280, 2, 3)
    assert isinstance(vars(encoder.body.conv_stem)["forward"], partial)  # that of a folded convolution


@pytest.mark.parametrize(
    "name", ["resnet18@224", "tf_efficientnet_lite0@", "tf_efficientnet_lite0@0", "efficientnet_b0@a"]
)
def test_a_size_or_network_that_does_not_fit_is_refused(name: str):
    with pytest.raises(InputError, match="behind @"):
        create_encoder(name)
