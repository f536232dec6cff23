"""Tokens are numbered by the sentence they end in; a sentence is the mean of its own tokens and of nothing else."""

import numpy as np
import pytest
import torch

from pipeline.models.sentences import NO_SENTENCE, TextTokens, number_texts, number_tokens, sentence_embeddings


def numbers(sentences: list[str], ends: list[int], special: list[int]) -> list[int]:
    return number_tokens(sentences, np.array(ends), np.array(special, dtype=bool)).tolist()


def test_tokens_by_hand():
    """[CLS] A mass . No cal ##c . [SEP] of `A mass. No calc.`; the first sentence ends before place 7."""
    assert numbers(["A mass.", "No calc."], [0, 1, 6, 7, 10, 14, 15, 16, 0], [1, 0, 0, 0, 0, 0, 0, 0, 1]) == [
        -1, 0, 0, 0, 1, 1, 1, 1, -1,
    ]  # fmt: skip


def test_a_token_that_is_the_space_between_belongs_to_what_follows():
    assert numbers(["A.", "B."], [1, 2, 3, 4, 5], [0] * 5) == [0, 0, 1, 1, 1]


def test_an_empty_sentence_has_no_token():
    assert numbers(["A", "", "B"], [1, 4], [0, 0]) == [0, 2]
    assert numbers([], [0, 0], [1, 1]) == [-1, -1]


def test_texts_of_equal_tokens_have_one_number_in_any_batch():
    ids = torch.tensor([[5, 6, 0, 0], [5, 6, 7, 0], [5, 6, 9, 9], [5, 6, 0, 0]])
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    a, b, padded_otherwise, with_a_zero = number_texts(TextTokens(ids, mask, torch.zeros_like(ids))).tolist()
    assert a == padded_otherwise and len({a, b, with_a_zero}) == 3
    assert number_texts(TextTokens(ids[1:2, :3], mask[1:2, :3], ids[1:2, :3])).tolist() == [b]
    assert a == -3286140643714665219  # the same in every process and on every machine


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two texts: sentences of 2 and 1 tokens between special ones; one sentence of 1 token, then padding."""
    states = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    sentence = torch.tensor([[-1, 0, 0, 1, -1], [-1, 0, -1, -1, -1]])
    return states, mask, sentence


def test_means_by_hand():
    states, mask, sentence = batch()
    means, exists = sentence_embeddings(states, mask, sentence, 3)
    assert exists.tolist() == [[True, True, False], [True, False, False]]
    torch.testing.assert_close(means[0, 0], (states[0, 1] + states[0, 2]) / 2)
    torch.testing.assert_close(means[0, 1], states[0, 3])
    torch.testing.assert_close(means[1, 0], states[1, 1])
    assert not means[~exists].any()


def test_it_equals_the_slow_reference():
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(6, 20, 4, generator=generator)
    mask = torch.arange(20) < torch.randint(1, 21, (6, 1), generator=generator)
    sentence = torch.randint(-1, 5, (6, 20), generator=generator)
    means, exists = sentence_embeddings(states, mask, sentence, 5)
    for text in range(6):
        for number in range(5):
            own = [states[text, t] for t in range(20) if mask[text, t] and sentence[text, t] == number]
            assert bool(exists[text, number]) == bool(own)
            torch.testing.assert_close(means[text, number], sum(own, torch.zeros(4)) / max(1, len(own)))


def test_what_stands_in_padding_and_special_tokens_does_not_matter():
    states, mask, sentence = batch()
    noisy = states.clone()
    noisy[sentence == NO_SENTENCE] = torch.inf
    sentence[1, 3:] = 0  # even if numbered, padding is no token
    noisy[~mask] = torch.nan
    found = sentence_embeddings(noisy, mask, sentence, 2)[0]
    torch.testing.assert_close(found, sentence_embeddings(*batch(), 2)[0], rtol=0, atol=0)


def test_gradients():
    states, mask, sentence = batch()
    states.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: sentence_embeddings(s, mask, sentence, 3)[0], (states,))
    sentence_embeddings(states, mask, sentence, 3)[0].sum().backward()
    assert states.grad is not None
    assert not states.grad[sentence == NO_SENTENCE].any()


def test_half_precision_is_averaged_in_float32():
    states, mask, sentence = batch()
    half = states.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        means, _ = sentence_embeddings(half, mask, sentence, 2)
    assert means.dtype == torch.float32
    torch.testing.assert_close(means[0, 0], half[0, 1:3].float().mean(dim=0))


def test_more_sentences_than_expected_are_refused():
    with pytest.raises(ValueError, match="2 sentences, expected at most 1"):
        sentence_embeddings(*batch(), 1)
