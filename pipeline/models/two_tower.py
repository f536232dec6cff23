"""The two-tower model, and its folder on disk: model.safetensors + config.json, loadable without any parameter file."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.models.config import Language, ModelConfig, Temperatures
from pipeline.models.feature_tokens import FeatureTokens
from pipeline.models.image_tower import ImageOutput, ImageTower, create_encoder, feature_shape
from pipeline.models.methods import METHODS
from pipeline.models.text_tower import TextTower
from pipeline.precision import at_least_float32
from pipeline.sections import Section

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
Config = TypeVar("Config", bound=Section)


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

    text and log_temperatures are None for an encoder that never met text, bias for every method but siglip. language:
    a TrainableText, which gives the text tower its states; None where they come from the frozen text encoder. patches:
    the patches of images are compared, too (mama).
    """

    def __init__(
        self,
        image: ImageTower,
        text: TextTower | None,
        temperatures: Temperatures | None,
        language: Any = None,
        patches: bool = False,
    ) -> None:
        super().__init__()
        self.patches = patches
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
            states: Token states of the reports; with a language model, token ids of reports or captions.
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
        return TwoTowerOutput(self.image(images, self.patches), text, scales, local, present)

    def embed_texts(self, texts: Sequence[Sequence[str]]) -> Float[Tensor, "text channel"]:
        """Unit-norm embeddings of texts, given as their sentences; a ValueError for a model that reads none."""
        if self.text is None or self.language is None:
            raise ValueError("this model has no text encoder of its own; it reads no texts")
        tokens = self.language.tokenize_sentences(texts)
        ids, mask = (part.to(self.text.project.weight.device) for part in (tokens.ids, tokens.mask))
        return self.text(self.language(ids, mask), mask)  # type: ignore[no-any-return]

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
    if METHODS[config.method].captions and config.language is None:
        raise ValueError(f"method {config.method} needs language, found {config}")
    language = None if config.language is None else _trainable_text(config.language)
    width = config.text_width if language is None else language.width
    if width is None or config.text_tokens is None or config.temperatures is None:
        raise ValueError(f"method {config.method} needs text_width, text_tokens and temperatures, found {config}")
    channels, rows, columns = feature_shape(config.encoder, *size_px)
    image_tokens = FeatureTokens(rows * columns, channels, config.tr) if config.tr else None
    text_tokens = FeatureTokens(config.text_tokens, channels, config.tr) if config.tr else None
    image = ImageTower(encoder, image_tokens, size_px, embeds=True)
    text = TextTower(width, channels, text_tokens)
    return TwoTower(image, text, config.temperatures, language, METHODS[config.method].captions)


def _trainable_text(language: Language) -> Any:
    """The text encoder that learns; transformers is loaded for it alone, which takes seconds."""
    from pipeline.models.trainable_text import TrainableText

    return TrainableText(language, language.mode)


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
