"""T_post of MV-MLM: from an LLM's raw output to one paragraph, or the reason why there is none."""

import re
from typing import NamedTuple

# A report states at most the nine keys of `prompt.KEYS`; the longest template has 75 words.
MAX_WORDS = 120
TITLE_WORDS = 6


class Parsed(NamedTuple):
    """report: one paragraph, white space normalised, empty if refused; code: why it was refused, else None."""

    report: str
    code: str | None


def parse_output(raw: str, prompt: str, finished: bool) -> Parsed:
    """Removes repetition of the prompt, titles, Markdown, and all after the first paragraph that is not the prompt.

    Args:
        raw: What the LLM wrote after the prompt (some engines repeat the prompt first).
        prompt: What it was asked.
        finished: The LLM ended the text itself, rather than running into its token limit.

    Returns:
        The report, or one of the codes `empty`, `prompt_repeated`, `cut_off`, `repetitive`, `overlong`.

    Source: MV-MLM, eq. 1 and the paragraph above it; method.md, `reports`.
    """
    text = raw.strip().removeprefix(prompt.strip()).strip()
    paragraphs = [_flat(re.sub(r"[*_#]{1,3}", "", part)) for part in re.split(r"\n\s*\n", text) if part.strip()]
    kept = [i for i, each in enumerate(paragraphs) if not (_repeats(each, prompt) or _is_title(each, i, paragraphs))]
    if not kept:
        return Parsed("", "prompt_repeated" if paragraphs else "empty")
    report = paragraphs[kept[0]]
    is_last = kept[0] == len(paragraphs) - 1
    if not report.endswith((".", "!")) or (is_last and not finished):
        return Parsed("", "cut_off")
    sentences = [sentence.lower() for sentence in re.split(r"(?<=[.!])\s+", report)]
    if len(set(sentences)) < len(sentences):
        return Parsed("", "repetitive")
    return Parsed("", "overlong") if len(report.split()) > MAX_WORDS else Parsed(report, None)


def _flat(text: str) -> str:
    """One line, single spaces."""
    return " ".join(text.split())


def _is_title(paragraph: str, place: int, paragraphs: list[str]) -> bool:
    """`Here is the report:` or `Mammogram report`, with a paragraph to follow."""
    short = len(paragraph.split()) <= TITLE_WORDS and not paragraph.endswith((".", "!"))
    return place + 1 < len(paragraphs) and (short or paragraph.endswith(":"))


def _repeats(paragraph: str, prompt: str) -> bool:
    """True if the paragraph, as it stands, is part of the prompt, upper and lower case aside."""
    return paragraph.lower() in _flat(prompt).lower()
