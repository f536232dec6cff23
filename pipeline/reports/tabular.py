"""Tabular to text: what the table holds of a breast before anyone reads its images, one short text per fact."""

from pipeline.reports.prompt import PRE_READING_KEYS, Facts, spell_value

# From the whole to its parts; each text names its level. Together they hold PRE_READING_KEYS and nothing else.
# Source: method.md, Breast Cancer VLMs: a hierarchical tokenisation; how the paper divides the facts is not public.
LEVELS = {
    "patient": ("age_band",),
    "exam": ("vendor",),
    "breast": ("laterality", "density", "implant"),
    "images": ("views",),
}


def fact_texts(facts: Facts) -> list[str]:
    """`level, key: value` of every fact, in the order of LEVELS; what is unknown has no text.

    Args:
        facts: From `select_facts` with PRE_READING_KEYS.

    Raises:
        ValueError: a fact is none of PRE_READING_KEYS, as a finding or BI-RADS, which only a reader knows.

    >>> fact_texts({"density": "D", "laterality": "L", "age_band": "50-59"})
    ['patient, age band: 50-59', 'breast, laterality: left', 'breast, density: extremely dense']
    """
    if told_by_readers := sorted(set(facts) - set(PRE_READING_KEYS)):
        raise ValueError(
            f"facts: {', '.join(told_by_readers)}: not known before reading; allowed: {', '.join(PRE_READING_KEYS)}"
        )
    return [
        f"{level}, {key.replace('_', ' ')}: {spell_value(key, facts[key])}"
        for level, keys in LEVELS.items()
        for key in keys
        if key in facts
    ]
