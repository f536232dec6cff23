"""Each modality sees the other, padding changes nothing, and a missing modality is the learned null token."""

import torch

from pipeline.models.co_attention import CoAttentionBlock, CoAttentionClassifier, with_null


def tokens(seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    image, text = torch.randn(3, 2, 5, generator=generator), torch.randn(3, 4, 7, generator=generator)
    return image, torch.ones(3, 2, dtype=torch.bool), text, torch.ones(3, 4, dtype=torch.bool)


def classifier() -> CoAttentionClassifier:
    torch.manual_seed(0)
    model = CoAttentionClassifier(5, 7, 16).eval()
    torch.nn.init.normal_(model.image_null)
    torch.nn.init.normal_(model.text_null)
    return model


def test_null_is_present_exactly_where_nothing_else_is() -> None:
    present = torch.tensor([[True, False], [False, False]])
    found, there = with_null(torch.zeros(2, 2, 3), present, torch.tensor([1.0, 2.0, 3.0]))
    assert there.tolist() == [[True, False, False], [False, False, True]]
    assert found[1, 2].tolist() == [1.0, 2.0, 3.0]


def test_padding_changes_nothing() -> None:
    model, (image, image_present, text, text_present) = classifier(), tokens()
    text_present[:, 3] = False
    whole = model(image, image_present, text, text_present)
    text[:, 3] = 1e3
    torch.testing.assert_close(model(image, image_present, text, text_present), whole)
    torch.testing.assert_close(model(image, image_present, text[:, :3], text_present[:, :3]), whole)


def test_runs_with_either_modality_missing_and_ignores_its_values() -> None:
    model, (image, image_present, text, text_present) = classifier(), tokens()
    both = model(image, image_present, text, text_present)
    no_text = model(image, image_present, text, text_present & False)
    no_image = model(image, image_present & False, text, text_present)
    torch.testing.assert_close(model(image, image_present, text * 9, text_present & False), no_text)
    torch.testing.assert_close(model(image * 9, image_present & False, text, text_present), no_image)
    for one in (no_text, no_image):
        assert torch.isfinite(one).all()
        assert not torch.allclose(one, both)


def test_a_row_does_not_depend_on_whether_others_have_text() -> None:
    model, (image, image_present, text, text_present) = classifier(), tokens()
    whole = model(image, image_present, text, text_present)
    text_present[1] = False
    mixed = model(image, image_present, text, text_present)
    torch.testing.assert_close(mixed[[0, 2]], whole[[0, 2]])
    assert not torch.allclose(mixed[1], whole[1])


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
    model, (image, image_present, text, text_present) = classifier(), tokens()
    image_present[0], text_present[1] = False, False
    model(image, image_present, text, text_present).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
