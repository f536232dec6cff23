"""A text encoder that learns inside the trainer: all of its weights, or low-rank matrices beside frozen ones (LoRA)."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from peft import LoraConfig, inject_adapter_in_model
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as LORA_TARGETS
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer
from transformers.pytorch_utils import Conv1D

from pipeline.errors import InputError
from pipeline.models.sentences import TextTokens, tokenize_sentences
from pipeline.models.text_encoder import package_model
from pipeline.sections import Text

# Source: method.md, MaMA, `Text`.
LORA_RANK, LORA_ALPHA, LORA_DROPOUT = 8, 32, 0.1
# Numbers of each tensor that tell whether a frozen base is the one from before: another training changes nearly all.
_SAMPLES = 1024


class TrainableText(nn.Module):
    """Texts to token states of the last layer, with gradients.

    In mode `full` everything learns. In mode `lora` the base is frozen, and each of the attention projections that
    peft adapts by default gets a product of two matrices, zero at first. As in MaMA's released code, training mode
    switches on LoRA's dropout and the base's own; both draw from torch's global generator. Evaluation mode switches
    off both.

    `state_dict` holds what differs from the base alone, so that a checkpoint or a saved model does not repeat a frozen
    base of gigabytes: the matrices, and a digest of the base by which another base is noticed on loading. They are not
    merged into the base, which would round. Nothing is filtered in mode `full`.

    Args:
        text: Name, revision and the greatest number of tokens, special ones included; as for the frozen encoder.
        mode: What learns. LoRA's first matrices are random: seed torch before.

    Attributes:
        width: Size of a token state.

    Raises:
        InputError: there is no such model here, it has no fast tokenizer, it does not take so many tokens, or nobody
            told which of its layers LoRA adapts.
    """

    base_digest: Tensor

    def __init__(self, text: Text, mode: Literal["full", "lora"]) -> None:
        super().__init__()
        self.base, tokenizer = _load(text)
        self.name = text.model
        self.width: int = self.base.config.hidden_size
        self._tokenizer = tokenizer.backend_tokenizer  # not touched any more after this, so that threads can share it
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(text.max_tokens)
        if mode == "lora":
            self.register_buffer("base_digest", _digest(self.base))
            _add_lora(self.base, text.model)
            self._frozen = frozenset(
                f"base.{name}" for name, part in self.base.named_parameters() if not part.requires_grad
            )
            self.register_state_dict_post_hook(_leave_out_frozen)
            self.register_load_state_dict_pre_hook(_fill_in_frozen)

    def tokenize(self, texts: Sequence[str]) -> tuple[Int64[Tensor, "text token"], Bool[Tensor, "text token"]]:
        """Token ids and their mask, padded to the longest text; safe in several threads.

        Args:
            texts: Cut, with a warning, at `max_tokens`.

        Raises:
            ValueError: there is no text, or one has no token.
        """
        tokens = self.tokenize_sentences([[text] for text in texts])
        return tokens.ids, tokens.mask

    def tokenize_sentences(self, texts: Sequence[Sequence[str]]) -> TextTokens:
        """As `tokenize`, for texts given as their sentences, which are joined by spaces."""
        return tokenize_sentences(self._tokenizer, texts)

    def forward(
        self, ids: Int64[Tensor, "text token"], mask: Bool[Tensor, "text token"]
    ) -> Float[Tensor, "text token width"]:
        """Token states of the last layer; those of the padding mean nothing."""
        states: Tensor = self.base(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return states

    def gradient_checkpointing_enable(self) -> None:
        """Computes each layer again on the way back instead of keeping what is inside it."""
        self.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def trainable_state(self) -> dict[str, Tensor]:
        """What `state_dict` holds, on the CPU, for safetensors."""
        return {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}

    def load_trainable_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts back what `trainable_state` gave.

        Raises:
            InputError: the base is another one than it was trained beside.
            RuntimeError: it does not fit: another mode, rank or architecture.
        """
        self.load_state_dict(state, strict=True)


def _load(text: Text) -> tuple[Any, Any]:
    """The base in float32, without what no token state depends on, and its tokenizer."""
    name, revision = text.model, text.revision
    source = str(package_model(name.removeprefix("package:"))) if name.startswith("package:") else name
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
        base = AutoModel.from_pretrained(source, revision=revision, dtype=torch.float32, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"text.model: cannot load {name}: {str(error).splitlines()[0]};"
            " name a package, a folder or a hub model that can be reached from here"
        ) from error
    if base.config.is_encoder_decoder or not tokenizer.is_fast:
        raise InputError(
            f"text.model: {name}: expected one Transformer with a fast tokenizer, found {type(base).__name__} and"
            f" {type(tokenizer).__name__}; name an encoder (BERT) or a decoder (GPT-2)"
        )
    longest = getattr(base.config, "max_position_embeddings", text.max_tokens)
    if longest < text.max_tokens:
        raise InputError(f"text.max_tokens: {text.max_tokens}, but {name} takes {longest} tokens; lower it")
    if getattr(base, "pooler", None) is not None:
        base.pooler = None  # its weights would get no gradient, which DDP refuses
    base.config.use_cache = False
    return base, tokenizer


def _add_lora(base: Any, name: str) -> None:
    """Freezes the base and adds the matrices, in place."""
    kind = base.config.model_type
    if kind not in LORA_TARGETS:
        raise InputError(
            f"text.model: {name} is of the architecture {kind}, for which peft names no layers for LoRA; take"
            f" pretrain.text_encoder full or one of: {', '.join(sorted(LORA_TARGETS))}"
        )
    settings = LoraConfig(  # target_modules: left to peft, LORA_TARGETS
        r=LORA_RANK,
        lora_alpha=LORA_ALPHA,
        lora_dropout=LORA_DROPOUT,
        fan_in_fan_out=any(isinstance(part, Conv1D) for part in base.modules()),  # GPT-2 stores weights transposed
    )
    inject_adapter_in_model(settings, base)


def _digest(base: Any) -> UInt8[Tensor, "32"]:
    """SHA-256 over evenly spaced samples of every weight."""
    digest = hashlib.sha256()
    for weight in base.parameters():
        digest.update(weight.detach().flatten()[:: max(1, weight.numel() // _SAMPLES)].numpy().tobytes())
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


def _leave_out_frozen(module: TrainableText, state: dict[str, Any], prefix: str, _: object) -> None:
    """After `state_dict`: drops what is as in the base."""
    for name in module._frozen:
        del state[prefix + name]


def _fill_in_frozen(module: TrainableText, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Before `load_state_dict`: checks the base, and puts its own weights where the state has none."""
    digest = state.get(f"{prefix}base_digest", module.base_digest)
    if not torch.equal(digest.cpu(), module.base_digest.cpu()):
        raise InputError(
            f"text.model: {module.name}: expected the weights beside which these LoRA matrices were trained, found"
            " others; install the pinned requirements, or the revision that config.json names"
        )
    own = dict(module.named_parameters())
    state.update({prefix + name: own[name].detach() for name in module._frozen})
