"""The two-tower model, and its folder on disk: model.safetensors + config.json, loadable without any parameter file."""

import math
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.models.feature_tokens import FeatureTokens
from pipeline.models.image_tower import ImageOutput, ImageTower, create_encoder, feature_shape
from pipeline.models.text_tower import TextTower
from pipeline.sections import Method, Section, Tr

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"


class Temperatures(Section):
    """Divisors of the cosine similarities, as set before training (tau_1 and tau_2 of MV-MLM)."""

    image_text: float
    views: float
    learnable: bool


class ModelConfig(Section):
    """Everything needed to rebuild a model.

    encoder: timm name; where the weights are a timm model, that model's name. encoder_weights: where they came from
    before pretraining, `random` if from nowhere. method: none before pretraining. text_width, text_tokens: width and
    greatest length of the text states; null, as are tr and temperatures, before pretraining.
    """

    encoder: str
    encoder_weights: str
    height_px: int
    width_px: int
    method: Method | Literal["none"]
    tr: Tr | None
    text_width: int | None
    text_tokens: int | None
    temperatures: Temperatures | None


class TwoTowerOutput(NamedTuple):
    """Embeddings of one batch; temperatures: of image-text and of the views, always float32."""

    image: ImageOutput
    text: Float[Tensor, "report channel"]
    temperatures: Float[Tensor, "2"]


class TwoTower(nn.Module):
    """Image tower, text tower and the logarithm of the two temperatures.

    text and log_temperatures are None for an encoder before pretraining.
    """

    def __init__(self, image: ImageTower, text: TextTower | None, temperatures: Temperatures | None) -> None:
        super().__init__()
        self.image = image
        self.text = text
        self.log_temperatures: nn.Parameter | None = None
        if temperatures is not None:
            logs = torch.tensor([math.log(temperatures.image_text), math.log(temperatures.views)])
            self.log_temperatures = nn.Parameter(logs, requires_grad=temperatures.learnable)

    def forward(
        self,
        images: UInt8[Tensor, "image 1 height width"] | Float[Tensor, "image 1 height width"],
        states: Float[Tensor, "report token text_width"],
        mask: Bool[Tensor, "report token"],
    ) -> TwoTowerOutput:
        """Embeds images and reports in one call, so that one wrapper (DDP) sees every parameter."""
        if self.text is None or self.log_temperatures is None:
            raise ValueError("this model has no text tower; it is an encoder before pretraining")
        return TwoTowerOutput(self.image(images), self.text(states, mask), self.log_temperatures.float().exp())


def build_model(config: ModelConfig) -> TwoTower:
    """The model that a configuration describes, with random weights."""
    encoder = create_encoder(config.encoder)
    size_px = (config.height_px, config.width_px)
    if config.method == "none":
        return TwoTower(ImageTower(encoder, None, size_px, embeds=False), None, None)
    if config.text_width is None or config.text_tokens is None or config.temperatures is None:
        raise ValueError(f"method {config.method} needs text_width, text_tokens and temperatures, found {config}")
    channels, rows, columns = feature_shape(config.encoder, *size_px)
    image_tokens = FeatureTokens(rows * columns, channels, config.tr) if config.tr else None
    text_tokens = FeatureTokens(config.text_tokens, channels, config.tr) if config.tr else None
    image = ImageTower(encoder, image_tokens, size_px, embeds=True)
    return TwoTower(image, TextTower(config.text_width, channels, text_tokens), config.temperatures)


def save_model(model: TwoTower, config: ModelConfig, folder: Path) -> None:
    """Writes model.safetensors and config.json into folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(config.model_dump_json(indent=2) + "\n")


def load_model(folder: Path) -> tuple[TwoTower, ModelConfig]:
    """Rebuilds a saved model on the CPU, in evaluation mode.

    Args:
        folder: Written by `save_model`: models/pretrained, or models/initial (no text tower, no embedding).

    Raises:
        InputError: a file is missing, config.json is not a configuration, or the weights do not fit it.
    """
    config = read_config(folder)
    model = build_model(config)
    try:
        model.load_state_dict(load_file(folder / WEIGHTS_FILE), strict=True)
    except (RuntimeError, FileNotFoundError) as error:
        raise InputError(f"{folder / WEIGHTS_FILE}: not the weights of {CONFIG_FILE} beside it: {error}") from error
    return model.eval(), config


def read_config(folder: Path) -> ModelConfig:
    """The configuration of a saved model.

    Raises:
        InputError: config.json is missing or is not a configuration.
    """
    try:
        return ModelConfig.model_validate_json((folder / CONFIG_FILE).read_text())
    except (FileNotFoundError, ValidationError) as error:
        raise InputError(f"{folder / CONFIG_FILE}: not a model's configuration: {error}") from error
