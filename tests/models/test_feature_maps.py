"""Feature maps of every kind of network, in one form; activations that are computed again."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.errors import InputError
from pipeline.models import initial
from pipeline.models.image_tower import GREY_MAX, ImageEncoder, create_encoder, feature_shape, hold_batch_norm
from pipeline.models.two_tower import load_model
from pipeline.sections import Encoder, Model


def random_images(height_px: int, width_px: int) -> torch.Tensor:
    return torch.rand(2, 1, height_px, width_px, generator=torch.Generator().manual_seed(0)) * GREY_MAX


@pytest.mark.parametrize(("name", "prefix"), [("test_vit", 1), ("vit_tiny_r_s16_p8_224", 1), ("test_vit3", 1)])
def test_a_vision_transformers_feature_map_holds_its_patch_tokens_row_by_row(name: str, prefix: int):
    height, width = 96, 160
    encoder = create_encoder(name, (height, width)).eval()
    rows, columns = encoder.body.patch_embed.grid_size
    with torch.inference_mode():
        found = encoder(random_images(height, width))
        tokens = encoder.body.forward_features((random_images(height, width) / GREY_MAX - encoder.mean) / encoder.std)
    assert found.shape == (2, tokens.shape[2], rows, columns)
    assert (rows, columns) == (height // (height // rows), width // (width // columns))
    for row, column in ((0, 0), (1, 2), (rows - 1, columns - 1)):
        assert torch.equal(found[:, :, row, column], tokens[:, prefix + row * columns + column])
    torch.testing.assert_close(found.mean((2, 3)), tokens[:, prefix:].mean(1))


@pytest.mark.parametrize(
    ("name", "size_px", "shape"),
    [
        ("vit_base_patch14_reg4_dinov2", (518, 518), (768, 37, 37)),  # MaMA: 518 = 37 x 14
        ("vit_base_patch14_reg4_dinov2", (1512, 910), (768, 108, 65)),
        ("swin_tiny_patch4_window7_224", (1520, 912), (768, 48, 29)),
        ("resnet50", (1520, 912), (2048, 48, 29)),
        ("tf_efficientnet_b5@456", (1520, 912), (2048, 48, 29)),
        ("convnext_tiny", (512, 256), (768, 16, 8)),
    ],
)
def test_feature_maps_of_every_kind(name: str, size_px: tuple[int, int], shape: tuple[int, int, int]):
    assert feature_shape(name, *size_px) == shape


def test_sizes_between_patches_are_refused_with_one_that_fits():
    with pytest.raises(
        InputError, match=r"multiples of that, found 520 x 910 px; the nearest that fits is 518 x 910 px"
    ):
        create_encoder("vit_base_patch14_reg4_dinov2", (520, 910))


def test_channels_come_second_whatever_the_network_does():
    encoder = create_encoder("swin_tiny_patch4_window7_224", (64, 96)).eval()
    with torch.inference_mode():
        found = encoder(random_images(64, 96))
        theirs = encoder.body((random_images(64, 96) / GREY_MAX - encoder.mean) / encoder.std)
    assert found.shape == (2, 768, 2, 3)
    for row, column in ((0, 0), (0, 2), (1, 1)):
        assert torch.equal(found[:, :, row, column], theirs[:, row, column])


def test_a_vision_transformer_comes_back_at_its_own_size(tmp_path: Path):
    """Not at that of timm's weights, 160 x 160."""
    table = Encoder(default="test_vit", weights={"default": "random"})
    initial.write_initial("test_vit", Model(encoder="auto", weights="auto"), table, 96, 64, 0, tmp_path)
    model, config = load_model(tmp_path)
    assert (config.height_px, config.width_px) == (96, 64)
    assert model.image(torch.zeros(1, 1, 96, 64)).backbone.shape == (1, 64)


def gradients(name: str, held: bool, checkpointed: bool, size_px: tuple[int, int]) -> tuple[list[torch.Tensor], int]:
    """Output and gradients of a training pass, and how often the first layer of a block ran."""
    torch.manual_seed(0)
    encoder = create_encoder(name, size_px).double().train()
    if held:
        hold_batch_norm(encoder)
    encoder.set_activation_checkpointing(checkpointed)
    stages = dict(encoder.body.named_children())
    block = stages.get("blocks") or stages["layer2"]
    first = next(part for part in block.modules() if isinstance(part, nn.Conv2d | nn.Linear))
    runs: list[int] = []
    first.register_forward_pre_hook(lambda *_: runs.append(1))
    output = encoder(random_images(*size_px).double())
    output.square().mean().backward()
    return [output.detach(), *(parameter.grad for parameter in encoder.parameters())], len(runs)


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("name", ["resnet18", "test_efficientnet", "tf_efficientnet_lite0@96", "test_vit"])
def test_activations_computed_again_give_the_same_gradients(name: str, held: bool):
    kept, once = gradients(name, held, False, (64, 96))
    computed, twice = gradients(name, held, True, (64, 96))
    assert (once, twice) == (1, 2)
    assert kept[-1].abs().sum() > 0
    for expected, found in zip(kept, computed, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_network_that_cannot_compute_again_is_named():
    for encoder, name in ((create_encoder("dla34"), "dla34"), (ImageEncoder(nn.Conv2d(1, 2, 3), 0.5, 0.5), "Conv2d")):
        encoder.set_activation_checkpointing(False)
        with pytest.raises(InputError, match=f"activations of {name} again"):
            encoder.set_activation_checkpointing(True)
