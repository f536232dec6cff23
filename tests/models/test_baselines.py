"""Baselines: each encoder with its own weights, grey scale and image size, and a record of what it is."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from pipeline.errors import InputError
from pipeline.models.baselines import write_baselines
from pipeline.models.two_tower import load_model
from pipeline.models.weights import sum_channels
from pipeline.params import read_params
from pipeline.sections import Baseline, Preparation

PROFILE = read_params(Path(__file__).parents[2]).profile
SMALL = PROFILE.preparations["mirai"].model_copy(update={"height_px": 64, "width_px": 96})


def write(out: Path, preparation: Preparation = SMALL, **baselines: str) -> None:
    """Baselines by name, each given as `encoder weights`, all with one preparation."""
    table = {
        name: Baseline(encoder=given.split()[0], weights=given.split()[1], preparation="own")
        for name, given in baselines.items()
    }
    write_baselines(list(baselines), table, {"own": preparation}, 1, out)


def test_each_has_its_weights_and_the_size_of_its_preparation_on_record(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = timm.create_model("test_resnet", in_chans=3)
    metadata = {"encoder": "test_resnet", "mean": "0.25", "std": "0.5"}
    save_file(network.state_dict(), tmp_path / "own.safetensors", metadata)
    write(tmp_path / "out", chance="test_efficientnet random", own=f"resnet34 file:{tmp_path}/own.safetensors")
    record = json.loads((tmp_path / "out/baselines.json").read_text())
    assert list(record) == ["chance", "own"]
    assert record["chance"] == {
        "encoder": "test_efficientnet",
        "encoder_weights": "random",
        "preparation": "own",
        "height_px": 64,
        "width_px": 96,
    }
    assert record["own"]["encoder"] == "test_resnet"
    assert record["own"]["encoder_weights"].startswith("file:") and str(tmp_path) not in str(record)
    encoder = load_model(tmp_path / "out/own")[0].image.encoder
    assert (float(encoder.mean), float(encoder.std)) == (0.25, 0.5)
    assert torch.equal(encoder.body.layer1[0].conv1.weight, network.layer1[0].conv1.weight)


def test_openais_clip_has_its_own_grey_scale_and_a_feature_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is played by a function; everything after the download is timm's own."""
    published = timm.create_model("resnet50_clip_gap", in_chans=3).state_dict()
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(published))
    given = PROFILE.baselines["openai_clip"]
    clip = f"{given.encoder} {given.weights}"
    write(tmp_path, PROFILE.preparations[given.preparation], clip=clip)
    encoder = load_model(tmp_path / "clip")[0].image.encoder.eval()
    # openai/CLIP, clip.py, _transform: means of the three channels'.
    assert float(encoder.mean) == pytest.approx((0.48145466 + 0.4578275 + 0.40821073) / 3)
    assert float(encoder.std) == pytest.approx((0.26862954 + 0.26130258 + 0.27577711) / 3)
    stem = encoder.body.stem.conv1.conv.weight
    torch.testing.assert_close(stem, sum_channels(published["stem.conv1.conv.weight"]))
    with torch.inference_mode():
        assert encoder(torch.zeros(1, 1, 224, 224)).shape == (1, 2048, 7, 7)
    with pytest.raises(InputError, match=r"baselines\.clip: .*resnet50_clip_gap\.openai does not take 64 x 104 px"):
        write(tmp_path, SMALL.model_copy(update={"width_px": 104}), clip=clip)


def test_none_is_a_record_without_entries(tmp_path: Path) -> None:
    write(tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["baselines.json"]
    assert json.loads((tmp_path / "out/baselines.json").read_text()) == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("tf_efficientnet_b5 file:${MAMMO_CLIP_WEIGHTS}", "variable MAMMO_CLIP_WEIGHTS is not set"),
        ("resnet19 random", "timm knows no 'resnet19'"),
        ("resnet18 package:no_such_package", "no such package is installed"),
    ],
)
def test_what_cannot_be_had_is_named_by_baseline(
    given: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAMMO_CLIP_WEIGHTS", raising=False)
    with pytest.raises(InputError, match=r"^baselines\.wanted: ") as raised:
        write(tmp_path, wanted=given)
    assert said in str(raised.value)
