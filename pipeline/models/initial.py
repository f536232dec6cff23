"""Image encoders that are not pretrained here: with published weights, or random."""

from pathlib import Path

import torch
from torch import nn

from pipeline.errors import InputError
from pipeline.models.config import ModelConfig
from pipeline.models.image_tower import ImageTower, create_encoder, feature_shape
from pipeline.models.timm_body import create_body, missing_in_published
from pipeline.models.two_tower import TwoTower, save_model
from pipeline.models.weights import find_weights_file, load_file_weights, load_package_weights
from pipeline.sections import Encoder, Model, by_encoder

RANDOM = "random"
HUB = "timm"
KINDS = ("package", HUB, "file")


def write_initial(
    encoder: str, model: Model, settings: Encoder, height_px: int, width_px: int, seed: int, out: Path
) -> None:
    """Writes the encoder that pretraining starts from.

    Args:
        encoder: A timm architecture.
        model: `weights`: auto or random.
        settings: The profile's table of weights by encoder; `timm` alone stands for `timm:` and the encoder.
        height_px, width_px, seed, out: As of `write_encoder`.

    Raises:
        InputError: as `write_encoder`.
    """
    source = RANDOM if model.weights == RANDOM else by_encoder(settings.weights, encoder)
    source = f"{HUB}:{encoder}" if source == HUB else source
    write_encoder(encoder, source, height_px, width_px, seed, out)


def write_encoder(encoder: str, source: str, height_px: int, width_px: int, seed: int, out: Path) -> ModelConfig:
    """Writes model.safetensors and config.json of an encoder, and returns what config.json holds.

    Weights are `package:NAME` (a file inside an installed package), `timm:NAME` (timm's hub, which sums an RGB stem to
    one channel itself), `file:PATH` (.safetensors) or `random`, seeded; config.json records which, a file by its
    digest. A name of timm's, and a file that says so, decide the architecture.

    Args:
        encoder: A timm architecture.
        source: Its weights.
        height_px: Of the images, recorded and tried.
        width_px: Of the images, recorded and tried.
        seed: Of random weights.
        out: Folder to write.

    Raises:
        InputError: timm does not know the encoder, it has no feature map, or its weights cannot be had.
    """
    kind, _, name = source.partition(":")
    if source != RANDOM and kind not in KINDS:
        raise InputError(f"encoder.weights: found {source!r}; allowed: package:NAME, timm:NAME, file:PATH")
    file = find_weights_file(name) if kind == "file" else None
    architecture = name if kind == HUB else encoder if file is None else file.encoder or encoder
    feature_shape(architecture, height_px, width_px)
    torch.manual_seed(seed)
    network = create_encoder(architecture, (height_px, width_px))
    body_name = architecture.partition("@")[0]
    if kind == "package":
        load_package_weights(network.body, name)
    elif kind == HUB:
        _load_hub_weights(network.body, body_name, (height_px, width_px))
    elif file is not None:
        load_file_weights(network.body, body_name, (height_px, width_px), file)
        network.expect_grey(file.grey)
    config = ModelConfig(
        encoder=architecture,
        encoder_weights=source if file is None else file.source,
        height_px=height_px,
        width_px=width_px,
        method="none",
        tr=None,
        text_width=None,
        text_tokens=None,
        temperatures=None,
    )
    save_model(TwoTower(ImageTower(network, None, (height_px, width_px), embeds=False), None, None), config, out)
    return config


def _load_hub_weights(body: nn.Module, name: str, size_px: tuple[int, int]) -> None:
    """Copies timm's hub weights, fitted by timm: the stem summed over RGB, position embeddings resampled."""
    if missing := missing_in_published(body, name):
        raise InputError(
            f"encoder.weights: timm:{name} averages its tokens before its last norm, so that it has no"
            f" {', '.join(missing)} for a feature map; take another encoder"
        )
    try:
        hub = create_body(name, size_px, pretrained=True)
    except (OSError, RuntimeError) as error:  # huggingface_hub's errors are OSErrors; a bad file is a RuntimeError
        raise InputError(
            f"encoder.weights: timm:{name} could not be fetched ({type(error).__name__}); connect to the network once,"
            " or take random weights"
        ) from error
    body.load_state_dict(hub.state_dict(), strict=True)
