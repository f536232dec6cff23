"""What is written about a saved model, so that nothing else is needed to rebuild it."""

from typing import Literal

from pipeline.sections import Method, Section, Text, Tr


class Temperatures(Section):
    """Divisors of the cosine similarities, as set before training (tau_1 and tau_2 of MV-MLM).

    bias: what SigLIP adds to image-text similarities; null for the other methods.
    """

    image_text: float
    views: float
    learnable: bool
    bias: float | None


class Language(Text):
    """A text encoder that learns inside the trainer: all of its weights, or matrices beside them."""

    mode: Literal["lora", "full"]


class ModelConfig(Section):
    """Everything needed to rebuild a model.

    encoder: timm name; where the weights are a timm model, that model's name. encoder_weights: where they came from
    before pretraining, `random` if from nowhere. method: none before pretraining. text_width, text_tokens: width and
    greatest length of the text states; null, as are tr and temperatures, where no text was met. language: the text
    encoder that learned along, whose weights or LoRA matrices the weights hold; null where states come from the frozen
    one, which frozen_text names, and text_width is given.
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
    language: Language | None = None
    frozen_text: Text | None = None
