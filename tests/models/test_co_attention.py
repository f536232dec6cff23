"""Each modality sees the other, padding changes nothing, and a missing modality is the learned null token."""

import torch

from pipeline.models.co_attention import CoAttentionBlock, CoAttentionClassifier, Tokens, with_null


def tokens(seed: int = 0) -> tuple[Tokens, Tokens]:
    generator = torch.Generator().manual_seed(seed)
    image, text = torch.randn(3, 2, 5, generator=generator), torch.randn(3, 4, 7, generator=generator)
    places = torch.arange(2).expand(3, 2), torch.tensor([0, 0, 1, 1]).expand(3, 4)
    there = torch.ones(3, 2, dtype=torch.bool), torch.ones(3, 4, dtype=torch.bool)
    return Tokens(image, there[0], places[0]), Tokens(text, there[1], places[1])


def absent(tokens: Tokens) -> Tokens:
    return tokens._replace(present=tokens.present & False)


def classifier() -> CoAttentionClassifier:
    torch.manual_seed(0)
    model = CoAttentionClassifier((5, 2), (7, 2), 3, 16).eval()
    for modality in (model.image, model.text):
        torch.nn.init.normal_(modality.null)
    return model


def test_null_is_present_exactly_where_nothing_else_is() -> None:
    present = torch.tensor([[True, False], [False, False]])
    found, there = with_null(torch.zeros(2, 2, 3), present, torch.tensor([1.0, 2.0, 3.0]))
    assert there.tolist() == [[True, False, False], [False, False, True]]
    assert found[1, 2].tolist() == [1.0, 2.0, 3.0]


def test_padding_changes_nothing() -> None:
    model, (image, text) = classifier(), tokens()
    text.present[:, 3] = False
    whole = model(image, text)
    assert whole.shape == (3, 3)
    text.states[:, 3] = 1e3
    torch.testing.assert_close(model(image, text), whole)
    torch.testing.assert_close(model(image, Tokens(*(field[:, :3] for field in text))), whole)


def test_runs_with_either_modality_missing_and_ignores_its_values() -> None:
    model, (image, text) = classifier(), tokens()
    both, no_text, no_image = model(image, text), model(image, absent(text)), model(absent(image), text)
    torch.testing.assert_close(model(image, absent(text._replace(states=text.states * 9))), no_text)
    torch.testing.assert_close(model(absent(image._replace(states=image.states * 9)), text), no_image)
    for one in (no_text, no_image):
        assert torch.isfinite(one).all()
        assert not torch.allclose(one, both)


def test_a_row_does_not_depend_on_whether_others_have_text() -> None:
    model, (image, text) = classifier(), tokens()
    whole = model(image, text)
    text.present[1] = False
    mixed = model(image, text)
    torch.testing.assert_close(mixed[[0, 2]], whole[[0, 2]])
    assert not torch.allclose(mixed[1], whole[1])


def test_the_order_of_tokens_means_nothing_and_their_place_does() -> None:
    model, (image, text) = classifier(), tokens()
    torch.nn.init.normal_(model.image.place)
    torch.nn.init.normal_(model.text.place)
    whole = model(image, text)
    turned = [Tokens(*(field.flip(1) for field in each)) for each in (image, text)]
    torch.testing.assert_close(model(*turned), whole)
    for changed in (
        (image._replace(place=image.place.flip(1)), text),
        (image, text._replace(place=text.place.flip(1))),
    ):
        assert not torch.allclose(model(*changed), whole)


def test_each_modality_attends_to_the_other_from_the_same_state() -> None:
    torch.manual_seed(0)
    block = CoAttentionBlock(8).eval()
    image, text = torch.randn(1, 2, 8), torch.randn(1, 3, 8)
    there = torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
    new_image, new_text = block(image, there[0], text, there[1])
    other_image, _ = block(image, there[0], text + torch.randn_like(text), there[1])
    _, other_text = block(image + torch.randn_like(image), there[0], text, there[1])
    assert not torch.allclose(other_image, new_image)
    assert not torch.allclose(other_text, new_text)
    torch.testing.assert_close(block.text_from_image(text, image, there[0]), new_text)


def test_every_parameter_learns() -> None:
    model, (image, text) = classifier(), tokens()
    image.present[0], text.present[1] = False, False
    model(image, text).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
