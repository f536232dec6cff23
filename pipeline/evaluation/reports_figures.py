"""The figures of the reports page: how long the reports are."""

from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from pipeline.evaluation.figures import INITIAL, PIXELS_PER_INCH, STYLE, ZERO_SHOT
from pipeline.evaluation.reports_rates import count_words

SIZE_INCHES = (3.7, 2.5)  # three side by side on a wide screen
STEP_WORDS = 2  # width of a bin
ORIGINS = {"llm": ("written by the LLM", ZERO_SHOT), "template": ("template", INITIAL)}


def draw_lengths(title: str, rows: pd.DataFrame, longest: int, file: Path) -> Path:
    """Draws how many breasts carry reports of how many words, byte-stable.

    Args:
        title: Of the figure.
        rows: tables.REPORTS.
        longest: Words at which the axis ends; the same for figures to compare.
        file: PNG to write.

    Returns:
        file.
    """
    words = {origin: count_words(rows.loc[rows["origin"] == origin, "report"]).to_numpy(int) for origin in ORIGINS}
    names, colours = zip(*ORIGINS.values(), strict=True)
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        axes = figure.subplots()
        bins = range(0, longest + STEP_WORDS + 1, STEP_WORDS)
        axes.hist(list(words.values()), bins=bins, stacked=True, color=colours, label=names)
        axes.set(title=title, xlabel="words", ylabel="breasts", xlim=(0, bins[-1]))
        figure.legend(loc="outside lower center", ncols=len(ORIGINS))
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=PIXELS_PER_INCH, metadata={"Software": None})
    return file
