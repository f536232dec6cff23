"""The distinct reports that a run needs: generated, post-processed, audited, tried again, or left to the template."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.errors import InputError
from pipeline.reports.audit import audit
from pipeline.reports.generate import Generation, Generator
from pipeline.reports.parse import parse_output
from pipeline.reports.prompt import Facts
from pipeline.reports.template import write_template

# Wordings tried for one variant before it may repeat another: a row with few facts has few wordings.
TEMPLATE_TRIES = 20


class DraftKey(NamedTuple):
    """prompt_id: of `prompt.short_digest`; variant: 0, 1, ... of that prompt's reports."""

    prompt_id: str
    variant: int


class Draft(NamedTuple):
    """One report to be, with all that was tried for it.

    report: accepted text of the LLM, None while there is none; tokens: generated in all attempts; codes: why attempts
    failed, in order; raws: what the LLM wrote, attempt by attempt.
    """

    facts: Facts
    prompt: str
    report: str | None = None
    attempts: int = 0
    tokens: int = 0
    codes: tuple[str, ...] = ()
    raws: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Who wrote the report: `llm`, or `template` where the LLM's failed or was not asked."""
        return "template" if self.report is None else "llm"


Drafts = Mapping[DraftKey, Draft]


def generate_drafts(drafts: Drafts, attempts: int, budget: int | None, generator: Generator) -> Drafts:
    """Round by round, the drafts that still lack a report, in their given order, as far as the budget goes.

    Args:
        drafts: Nothing generated yet.
        attempts: Rounds.
        budget: Greatest number of generations in all, None for no cap; drafts beyond get the code `budget`.
        generator: What answers prompts.

    Returns:
        The same keys.
    """
    done, accepted = dict(drafts), defaultdict[str, set[str]](set)
    for attempt in range(1, attempts + 1):
        pending = [key for key, draft in done.items() if draft.report is None and "budget" not in draft.codes]
        asked = pending if budget is None else pending[:budget]
        prompts, variants = [done[key].prompt for key in asked], [key.variant for key in asked]
        answers = generator(prompts, attempt, variants) if asked else []
        for key, answer in zip(asked, answers, strict=True):
            done[key] = _judge(done[key], answer, accepted[key.prompt_id])
            accepted[key.prompt_id] |= {text for text in (done[key].report,) if text is not None}
        for key in pending[len(asked) :]:
            done[key] = done[key]._replace(codes=(*done[key].codes, "budget"))
        budget = None if budget is None else budget - len(asked)
    return done


def final_texts(drafts: Drafts) -> dict[DraftKey, str]:
    """Every draft's report: the LLM's, or the template's, which differs between variants where wordings suffice.

    A template's text depends on prompt and variant alone, so that a cohort that grows keeps the reports it had.

    Raises:
        InputError: as `check_templates`.
    """
    texts = {key: draft.report for key, draft in drafts.items() if draft.report is not None}
    wanted = defaultdict[str, list[DraftKey]](list)
    for key in sorted(set(drafts) - set(texts)):
        wanted[key.prompt_id].append(key)
    for keys in wanted.values():
        wordings = _wordings(keys[-1], drafts[keys[-1]].facts)
        texts |= {key: wordings[key.variant] for key in keys}
    return texts


def check_templates(drafts: Drafts) -> None:
    """Before anything is generated: can every row be told at all?

    Raises:
        InputError: what the template writes of a row does not pass the audit, because a value of the row reads as
            something else (a machine called `Left`).
    """
    for key, draft in {key.prompt_id: (key, draft) for key, draft in drafts.items()}.values():
        _wordings(DraftKey(key.prompt_id, 0), draft.facts)


def _judge(draft: Draft, answer: Generation, others: set[str]) -> Draft:
    """Post-processes and audits one generation; others: accepted reports of the same prompt."""
    parsed = parse_output(answer.text, draft.prompt, answer.finished)
    codes: Sequence[str] = [parsed.code] if parsed.code else audit(parsed.report, draft.facts)
    if not codes and parsed.report in others:
        codes = ["same_as_variant"]
    return draft._replace(
        report=None if codes else parsed.report,
        attempts=draft.attempts + 1,
        tokens=draft.tokens + answer.tokens,
        codes=(*draft.codes, *codes),
        raws=(*draft.raws, answer.text),
    )


def _wordings(last: DraftKey, facts: Facts) -> list[str]:
    """The template's reports of a prompt, of variants 0 to the last, different while there are other wordings."""
    texts: list[str] = []
    for variant in range(last.variant + 1):
        first = last.prompt_id if variant == 0 else f"{last.prompt_id}-{variant}"
        tried = (write_template(facts, seed) for seed in (first, *(f"{first}-{n}" for n in range(1, TEMPLATE_TRIES))))
        text = next((text for text in tried if text not in texts), None) or write_template(facts, first)
        if codes := audit(text, facts):
            raise InputError(
                f"reports: prompt {last.prompt_id}: the template of a row with {', '.join(facts)} does not pass the"
                f" audit ({', '.join(codes)}); leave the key whose value reads as something else out of the cohort's"
                " annotations"
            )
        texts.append(text)
    return texts
