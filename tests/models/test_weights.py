"""Weights from a .safetensors file: strict, for one grey channel, and told apart by their digest."""

import hashlib
import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from pipeline.errors import InputError
from pipeline.models.image_tower import GREY_MAX, create_encoder
from pipeline.models.initial import write_initial
from pipeline.models.two_tower import load_model
from pipeline.models.weights import find_weights_file, load_file_weights, sum_channels
from pipeline.sections import Encoder, Model


def rgb_state(name: str) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return timm.create_model(name, in_chans=3, num_classes=7).state_dict()


def write(encoder: str, named: str, out: Path, size_px: tuple[int, int] = (64, 64)) -> None:
    table = Encoder(default=encoder, weights={encoder: f"file:{named}"})
    write_initial(encoder, Model(encoder="auto", weights="auto"), table, *size_px, 0, out)


# Encoder, image size that it takes, its stem, its classifier.
NETWORKS = [
    ("test_resnet", (64, 96), "conv1.0", "fc"),
    ("test_efficientnet", (64, 96), "conv_stem", "classifier"),
    ("test_convnext", (64, 96), "stem.0", "head.fc"),
    ("test_vit", (160, 160), "patch_embed.proj", "head"),
]


@pytest.mark.parametrize(("name", "size_px", "stem", "classifier"), NETWORKS)
def test_a_grey_network_equals_the_files_rgb_network(
    name: str, size_px: tuple[int, int], stem: str, classifier: str, tmp_path: Path
):
    """On three equal channels, with its classifier left out; nothing else of the file may be."""
    state = rgb_state(name)
    save_file(state, tmp_path / "weights.safetensors")
    write(name, str(tmp_path / "weights.safetensors"), tmp_path / "out", size_px)
    encoder = load_model(tmp_path / "out")[0].image.encoder
    rgb = timm.create_model(name, in_chans=3, num_classes=0, global_pool="").eval()
    rgb.load_state_dict({key: value for key, value in state.items() if not key.startswith(f"{classifier}.")})
    images = torch.rand(2, 1, *size_px) * GREY_MAX
    with torch.inference_mode():
        wanted = rgb(((images / GREY_MAX - encoder.mean) / encoder.std).expand(-1, 3, -1, -1))
        found = encoder.body((images / GREY_MAX - encoder.mean) / encoder.std)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    weight = encoder.body.get_parameter(f"{stem}.weight")
    torch.testing.assert_close(weight, sum_channels(state[f"{stem}.weight"]), rtol=0, atol=0)


def test_a_stem_of_one_channel_is_taken_as_it_is(tmp_path: Path):
    state = rgb_state("test_resnet")
    state["conv1.0.weight"] = sum_channels(state["conv1.0.weight"])
    save_file(state, tmp_path / "weights.safetensors")
    encoder = create_encoder("test_resnet")
    file = find_weights_file(str(tmp_path / "weights.safetensors"))
    load_file_weights(encoder.body, "test_resnet", (64, 64), file)
    for name, value in encoder.body.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_position_embeddings_are_resampled_to_the_image(tmp_path: Path):
    state = rgb_state("test_vit")
    save_file(state, tmp_path / "weights.safetensors")
    encoder = create_encoder("test_vit", (64, 96))
    file = find_weights_file(str(tmp_path / "weights.safetensors"))
    load_file_weights(encoder.body, "test_vit", (64, 96), file)
    wanted = resample_abs_pos_embed(state["pos_embed"], new_size=[4, 6], old_size=[10, 10], num_prefix_tokens=1)
    assert encoder.body.pos_embed.shape == (1, 1 + 4 * 6, 64)
    torch.testing.assert_close(encoder.body.pos_embed, wanted, check_dtype=True)
    assert encoder.eval()(torch.zeros(1, 1, 64, 96)).shape == (1, 64, 4, 6)


def test_timms_weights_are_fitted_to_one_channel_and_to_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The hub is played by a function; everything after the download is timm's own."""
    torch.manual_seed(1)
    published = timm.create_model("test_vit", in_chans=3).state_dict()
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(published))
    table = Encoder(default="test_vit", weights={"test_vit": "timm:test_vit.r160_in1k"})
    write_initial("test_vit", Model(encoder="auto", weights="auto"), table, 64, 96, 0, tmp_path)
    model, config = load_model(tmp_path)
    assert (config.encoder, config.encoder_weights) == ("test_vit.r160_in1k", "timm:test_vit.r160_in1k")
    body = model.image.encoder.body
    wanted = resample_abs_pos_embed(published["pos_embed"], new_size=[4, 6], old_size=[10, 10], num_prefix_tokens=1)
    torch.testing.assert_close(body.pos_embed, wanted)
    torch.testing.assert_close(body.patch_embed.proj.weight, sum_channels(published["patch_embed.proj.weight"]))
    assert torch.equal(body.blocks[0].mlp.fc1.weight, published["blocks.0.mlp.fc1.weight"])


def test_the_path_stays_out_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What stands for it is the beginning of its digest; a variable names the folder."""
    monkeypatch.setenv("WEIGHTS_FOLDER", str(tmp_path / "secret"))
    (tmp_path / "secret").mkdir()
    save_file(rgb_state("test_resnet"), tmp_path / "secret" / "weights.safetensors")
    write("test_resnet", "${WEIGHTS_FOLDER}/weights.safetensors", tmp_path / "out")
    digest = hashlib.sha256((tmp_path / "secret" / "weights.safetensors").read_bytes()).hexdigest()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["encoder_weights"] == f"file:{digest[:16]}"
    assert all(b"secret" not in path.read_bytes() for path in (tmp_path / "out").iterdir())


def test_the_file_may_say_which_network_and_greys_it_is_made_for(tmp_path: Path):
    metadata = {"encoder": "tf_efficientnet_lite0@72", "mean": "0.25", "std": "0.5"}
    save_file(rgb_state("tf_efficientnet_lite0"), tmp_path / "weights.safetensors", metadata)
    write("efficientnet_b5", str(tmp_path / "weights.safetensors"), tmp_path / "out")
    model, config = load_model(tmp_path / "out")
    assert config.encoder == "tf_efficientnet_lite0@72"
    assert float(model.image.encoder.mean) == 0.25
    assert float(model.image.encoder.std) == 0.5


def test_keys_that_do_not_fit_are_named(tmp_path: Path):
    state = rgb_state("test_resnet")
    state["bn9.weight"] = state.pop("bn1.weight")
    state["layer1.0.conv1.weight"] = torch.ones(2)
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(InputError) as raised:
        write("test_resnet", str(tmp_path / "weights.safetensors"), tmp_path / "out")
    missing, unexpected = 'Missing key(s) in state_dict: "bn1.weight"', 'Unexpected key(s) in state_dict: "bn9.weight"'
    for part in ("does not fit test_resnet", missing, unexpected, "size mismatch for layer1.0.conv1.weight"):
        assert part in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_the_message_stays_short_when_nothing_fits(tmp_path: Path):
    save_file(rgb_state("resnet18"), tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match="does not fit test_efficientnet") as raised:
        write("test_efficientnet", str(tmp_path / "weights.safetensors"), tmp_path / "out")
    assert len(str(raised.value)) < 1500


def test_files_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_SUCH_FOLDER", raising=False)
    with pytest.raises(InputError, match=r"\$\{NO_SUCH_FOLDER\}.*variable NO_SUCH_FOLDER is not set"):
        find_weights_file("${NO_SUCH_FOLDER}/a.safetensors")
    with pytest.raises(InputError, match="no such file"):
        find_weights_file(str(tmp_path / "a.safetensors"))
    torch.save({"x": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"expected a \.safetensors file.*docs/encoders.md"):
        find_weights_file(str(tmp_path / "a.pth"))
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(InputError, match="it is empty"):
        write("test_resnet", str(tmp_path / "empty.safetensors"), tmp_path / "out")
    for metadata in ({"mean": "0.3"}, {"mean": "a", "std": "1"}, {"mean": "0", "std": "0"}):
        save_file({}, tmp_path / "odd.safetensors", metadata)
        with pytest.raises(InputError, match="mean and std"):
            find_weights_file(str(tmp_path / "odd.safetensors"))
