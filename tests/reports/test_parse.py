import pytest

from pipeline.reports.parse import MAX_WORDS, parse_output

PROMPT = "Write a mammogram report.\n\nmass = present\n\nRewrite: The left breast is shown. A mass is seen."
GOOD = "The left breast contains a mass."


@pytest.mark.parametrize(
    ("raw", "report"),
    [
        (GOOD, GOOD),
        (f"  {GOOD}\n", GOOD),
        (f"{PROMPT}\n\n{GOOD}", GOOD),
        (f"{PROMPT} {GOOD}", GOOD),
        (f"Write a mammogram report.\n\nmass = present\n\n{GOOD}", GOOD),
        ("The left breast\n  contains\ta mass.", GOOD),
        (f"{GOOD}\n\nI hope this helps.", GOOD),
        (f"A mass is seen.\n\n{GOOD}", GOOD),
        (f"Here is the report of the mammogram in question:\n\n{GOOD}", GOOD),
        (f"**Mammogram Report**\n\n{GOOD}", GOOD),
        (f"## Report\n\n**Findings:** {GOOD}", f"Findings: {GOOD}"),
    ],
)
def test_first_paragraph_that_is_not_the_prompt(raw: str, report: str) -> None:
    assert parse_output(raw, PROMPT, finished=True) == (report, None)


@pytest.mark.parametrize(
    ("raw", "finished", "code"),
    [
        ("", True, "empty"),
        (" \n\n ", True, "empty"),
        (PROMPT, True, "empty"),
        ("the left breast is shown. A mass is seen.", True, "prompt_repeated"),
        ("The left breast contains a", True, "cut_off"),
        (GOOD, False, "cut_off"),
        (f"{GOOD} {GOOD}", True, "repetitive"),
        ("The report follows:", True, "cut_off"),
        ("The left breast contains " + "a very " * MAX_WORDS + "big mass.", True, "overlong"),
    ],
)
def test_refusals(raw: str, finished: bool, code: str) -> None:
    assert parse_output(raw, PROMPT, finished) == ("", code)


def test_a_finished_first_paragraph_survives_a_cut_off_later_one() -> None:
    assert parse_output(f"{GOOD}\n\nThe patient should", PROMPT, finished=False).report == GOOD
