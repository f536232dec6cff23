"""The two-tower model, and its folder on disk: model.safetensors + config.json, loadable without any parameter file."""

import math
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.models.feature_tokens import FeatureTokens
from pipeline.models.image_tower import ImageOutput, ImageTower, create_encoder, feature_shape
from pipeline.models.methods import METHODS
from pipeline.models.sentences import TextTokens
from pipeline.models.text_tower import TextTower
from pipeline.precision import at_least_float32
from pipeline.sections import Method, Section, Text, Tr

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
Config = TypeVar("Config", bound=Section)


class Temperatures(Section):
    """Divisors of the cosine similarities, as set before training (tau_1 and tau_2 of MV-MLM).

    bias: what SigLIP adds to image-text similarities; null for the other methods.
    """

    image_text: float
    views: float
    learnable: bool
    bias: float | None


class ModelConfig(Section):
    """Everything needed to rebuild a model.

    encoder: timm name; where the weights are a timm model, that model's name. encoder_weights: where they came from
    before pretraining, `random` if from nowhere. method: none before pretraining. text_width, text_tokens: width and
    greatest length of the text states; null, as are tr and temperatures, where no text was met. language: the encoder
    of captions, whose LoRA matrices the weights hold; null where states come from elsewhere, and text_width is given.
    """

    encoder: str
    encoder_weights: str
    height_px: int
    width_px: int
    method: Method
    tr: Tr | None
    text_width: int | None
    text_tokens: int | None
    temperatures: Temperatures | None
    language: Text | None = None


class TwoTowerOutput(NamedTuple):
    """Embeddings of one batch.

    text: None without text. scales: temperatures of image-text and of the views, and SigLIP's bias (0 for others),
    always float32; None for a model that meets no text. sentences, present: of captions, and which of them there are.
    """

    image: ImageOutput
    text: Float[Tensor, "report channel"] | None
    scales: Float[Tensor, "3"] | None
    sentences: Float[Tensor, "report sentence channel"] | None = None
    present: Bool[Tensor, "report sentence"] | None = None


class TwoTower(nn.Module):
    """Image tower, text tower, the logarithm of the two temperatures, and SigLIP's bias.

    text and log_temperatures are None for an encoder that never met text, bias for every method but siglip, language
    for every method but mama: a TrainableText, which gives the text tower its states.
    """

    def __init__(
        self, image: ImageTower, text: TextTower | None, temperatures: Temperatures | None, language: Any = None
    ) -> None:
        super().__init__()
        self.image = image
        self.text = text
        self.language: Any = language  # its own type would load transformers
        self.log_temperatures: nn.Parameter | None = None
        self.bias: nn.Parameter | None = None
        if temperatures is not None:
            logs = torch.tensor([math.log(temperatures.image_text), math.log(temperatures.views)])
            self.log_temperatures = nn.Parameter(logs, requires_grad=temperatures.learnable)
            if temperatures.bias is not None:
                self.bias = nn.Parameter(torch.tensor([temperatures.bias]))

    def forward(
        self,
        images: UInt8[Tensor, "image 1 height width"] | Float[Tensor, "image 1 height width"],
        states: Float[Tensor, "report token text_width"] | Int64[Tensor, "report token"] | None = None,
        mask: Bool[Tensor, "report token"] | None = None,
        sentence: Int64[Tensor, "report token"] | None = None,
        sentences: int = 0,
    ) -> TwoTowerOutput:
        """Embeds images and, where given, reports in one call, so that one wrapper (DDP) sees every parameter.

        Args:
            images: Grey values 0 to 255.
            states: Token states of the reports; with a language model, token ids of captions.
            mask: True where there is a token.
            sentence: The number of each token's sentence, for captions.
            sentences: Their greatest number.
        """
        text = local = present = None
        if self.text is not None and states is not None and mask is not None:
            states = states if self.language is None else self.language(states, mask)
            text = self.text(states, mask)
            if sentence is not None:
                local, present = self.text.embed_sentences(states, mask, sentence, sentences)
        scales = None if text is None else self.scales()
        return TwoTowerOutput(self.image(images, self.language is not None), text, scales, local, present)

    def embed_captions(self, captions: TextTokens) -> Float[Tensor, "caption channel"]:
        """Unit-norm embeddings of captions; a ValueError for a model that reads none."""
        if self.text is None or self.language is None:
            raise ValueError("this model has no language model; it reads no captions")
        return self.text(self.language(captions.ids, captions.mask), captions.mask)  # type: ignore[no-any-return]

    def scales(self) -> Float[Tensor, "3"]:
        """The two temperatures and the bias.

        Raises:
            ValueError: the model meets no text.
        """
        if self.log_temperatures is None:
            raise ValueError("this model has no text tower; it has no temperatures")
        bias = self.log_temperatures.new_zeros(1) if self.bias is None else self.bias
        return at_least_float32(torch.cat([self.log_temperatures.exp(), bias]))


def build_model(config: ModelConfig) -> TwoTower:
    """The model that a configuration describes, with random weights."""
    size_px = (config.height_px, config.width_px)
    encoder = create_encoder(config.encoder, size_px)
    if not METHODS[config.method].text:
        return TwoTower(ImageTower(encoder, None, size_px, embeds=False), None, None)
    language = _language(config) if METHODS[config.method].captions else None
    width = config.text_width if language is None else language.width
    if width is None or config.text_tokens is None or config.temperatures is None:
        raise ValueError(f"method {config.method} needs text_width, text_tokens and temperatures, found {config}")
    channels, rows, columns = feature_shape(config.encoder, *size_px)
    image_tokens = FeatureTokens(rows * columns, channels, config.tr) if config.tr else None
    text_tokens = FeatureTokens(config.text_tokens, channels, config.tr) if config.tr else None
    image = ImageTower(encoder, image_tokens, size_px, embeds=True)
    return TwoTower(image, TextTower(width, channels, text_tokens), config.temperatures, language)


def _language(config: ModelConfig) -> Any:
    """The encoder of captions; transformers is loaded for it alone, which takes seconds."""
    from pipeline.models.trainable_text import TrainableText

    if config.language is None:
        raise ValueError(f"method {config.method} needs language, found {config}")
    return TrainableText(config.language, "lora")


def save_model(model: nn.Module, config: Section, folder: Path) -> None:
    """Writes model.safetensors, and what rebuilds the model as config.json, into folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(config.model_dump_json(indent=2) + "\n")


def load_model(folder: Path) -> tuple[TwoTower, ModelConfig]:
    """Rebuilds a saved model on the CPU, in evaluation mode.

    Args:
        folder: Written by `save_model`: models/pretrained, or models/initial (no text tower, no embedding).

    Raises:
        InputError: a file or the text encoder is missing, or one of the files does not fit the other.
    """
    config = read_config(folder, ModelConfig)
    model = build_model(config)
    load_weights(model, folder)
    return model.eval(), config


def load_weights(model: nn.Module, folder: Path) -> None:
    """Fills a model with the weights that `save_model` wrote.

    Raises:
        InputError: the file is missing, or is of another model.
    """
    try:
        model.load_state_dict(load_file(folder / WEIGHTS_FILE), strict=True)
    except (RuntimeError, FileNotFoundError) as error:
        raise InputError(f"{folder / WEIGHTS_FILE}: not the weights of {CONFIG_FILE} beside it: {error}") from error


def read_config(folder: Path, kind: type[Config]) -> Config:
    """The configuration of a saved model.

    Raises:
        InputError: config.json is missing or is not a configuration.
    """
    try:
        return kind.model_validate_json((folder / CONFIG_FILE).read_text())
    except (FileNotFoundError, ValidationError) as error:
        raise InputError(f"{folder / CONFIG_FILE}: not a model's configuration: {error}") from error
