"""The image encoder before pretraining: pretrained on natural images, or random."""

from pathlib import Path

import timm
import torch
from torch import nn

from pipeline.errors import InputError
from pipeline.models.image_tower import ImageTower, create_encoder, feature_shape
from pipeline.models.two_tower import ModelConfig, TwoTower, save_model
from pipeline.models.weights import load_package_weights
from pipeline.sections import Encoder, Model

RANDOM = "random"


def write_initial(
    encoder: str, model: Model, settings: Encoder, height_px: int, width_px: int, seed: int, out: Path
) -> None:
    """Writes model.safetensors and config.json of the encoder that pretraining starts from.

    Weights come from the profile's entry for the encoder: `package:NAME` (a file inside an installed package) or
    `timm:NAME` (timm's hub, which sums an RGB stem to one channel itself). They are random, seeded, where there is no
    entry or model.weights says random; config.json records which.

    Args:
        encoder: A timm architecture.
        model: `weights`: auto or random.
        settings: The profile's table of weights by encoder.
        height_px: Of the images, recorded and tried.
        width_px: Of the images, recorded and tried.
        seed: Of random weights.
        out: Folder to write.

    Raises:
        InputError: timm does not know the encoder, it has no feature map, or its weights cannot be had.
    """
    source = RANDOM if model.weights == RANDOM else settings.weights.get(encoder, RANDOM)
    kind, _, name = source.partition(":")
    architecture = name if kind == "timm" else encoder
    feature_shape(architecture, height_px, width_px)
    torch.manual_seed(seed)
    network = create_encoder(architecture)
    _fill(network.body, architecture, source)
    config = ModelConfig(
        encoder=architecture,
        encoder_weights=source,
        height_px=height_px,
        width_px=width_px,
        method="none",
        tr=None,
        text_width=None,
        text_tokens=None,
        temperatures=None,
    )
    save_model(TwoTower(ImageTower(network, None, (height_px, width_px), embeds=False), None, None), config, out)


def _fill(body: nn.Module, architecture: str, source: str) -> None:
    """Puts the weights that source names into the network; random ones are left as they are."""
    kind, _, name = source.partition(":")
    if kind == "package":
        load_package_weights(body, name)
    elif kind == "timm":
        _load_hub_weights(body, architecture)
    elif source != RANDOM:
        raise InputError(f"encoder.weights: found {source!r}; allowed: package:NAME, timm:NAME")


def _load_hub_weights(body: nn.Module, name: str) -> None:
    """Copies timm's hub weights, its stem summed over RGB by timm's own rule for one channel."""
    try:
        hub = timm.create_model(name, pretrained=True, in_chans=1, num_classes=0, global_pool="")
    except (OSError, RuntimeError) as error:  # huggingface_hub's errors are OSErrors; a bad file is a RuntimeError
        raise InputError(
            f"encoder.weights: timm:{name} could not be fetched ({type(error).__name__}); connect to the network once,"
            " or set model.weights to random"
        ) from error
    body.load_state_dict(hub.state_dict(), strict=True)
