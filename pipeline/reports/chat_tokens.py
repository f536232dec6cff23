"""Prompts as the tokens of a chat's first turn, checked before a model sees them."""

from collections.abc import Sequence
from typing import Any

from pipeline.errors import InputError
from pipeline.sections import Llm


def chat_tokens(tokenizer: Any, prompts: Sequence[str], llm: Llm) -> list[list[int]]:
    """Puts each prompt into the model's chat template, with the header of the answer behind it.

    Args:
        tokenizer: The model's own, of transformers.
        prompts: What the user says in each chat.
        llm: The profile's section.

    Returns:
        Token ids, special tokens included once.

    Raises:
        InputError: the model is no chat model, or a prompt and its report do not fit into `llm.max_model_len`.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            f"llm.model: {llm.model}: expected a chat model, found a tokenizer without chat template; take the model's"
            " instruct variant, or add its chat_template.jinja to the folder"
        )
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    encoded = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=True, return_dict=True)
    tokens: list[list[int]] = encoded["input_ids"]
    longest = max(map(len, tokens), default=0)
    if longest + llm.max_tokens > llm.max_model_len:
        raise InputError(
            f"llm.max_model_len: {llm.max_model_len}: expected at least {longest + llm.max_tokens}: the {longest}"
            f" tokens of the longest prompt and llm.max_tokens {llm.max_tokens}; raise it, or lower llm.max_tokens"
        )
    return tokens
