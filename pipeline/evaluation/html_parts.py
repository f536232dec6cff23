"""Cells and tables of the report: small pure functions from numbers to HTML."""

import re
from collections.abc import Sequence
from html import escape
from string import ascii_lowercase
from typing import Any, NamedTuple

WORDS = ' class="words"'
DASH = '<span class="none">–</span>'
REASON = re.compile('<sup class="why">(.*?)</sup>')


class Row(NamedTuple):
    """One row of cells that are HTML already; kind: a CSS class (ours, published, group)."""

    cells: Sequence[str]
    kind: str = ""


def table(heads: Sequence[Sequence[tuple[str, int]]], rows: Sequence[Row], caption: str, words: int = 1) -> str:
    """A table that scrolls sideways on a narrow screen; reasons for n/a become footnotes below it, marked in the cells.

    Args:
        heads: Header lines, each of (HTML, number of columns it spans).
        rows: Body; a row of kind `group` holds one cell over the whole width.
        caption: HTML below the table.
        words: How many leading columns hold words, aligned left; the others hold numbers.
    """
    width = sum(span for _, span in heads[-1])
    lines = "".join(
        "<tr>" + "".join(_head(name, span, column < words) for column, (name, span) in enumerate(line)) + "</tr>"
        for line in heads
    )
    body, notes = _footnotes("".join(_row(row, width, words) for row in rows))
    return (
        f'<figure class="table"><div class="scroll"><table><thead>{lines}</thead><tbody>{body}</tbody></table></div>'
        f"<figcaption>{caption}{notes}</figcaption></figure>"
    )


def plain_heads(*names: str) -> list[list[tuple[str, int]]]:
    """One header line, one column each."""
    return [[(escape(name), 1) for name in names]]


def statistic(entry: dict[str, Any] | None, key: str, signed: bool = False, decimals: int = 3) -> str:
    """A number with its interval below; n/a with the reason; a dash where nothing was measured."""
    if entry is None:
        return DASH
    if entry.get(key) is None:
        return missing(entry)
    spec = f".{decimals}f"
    strong = f"<b>{entry[key]:{'+' if signed else ''}{spec}}</b>"
    if entry.get("low") is not None:
        strong += f"<small>{entry['low']:{spec}} to {entry['high']:{spec}}</small>"
    return strong.replace("-", "−")


def own_limits(entry: dict[str, Any], key: str) -> dict[str, Any]:
    """The entry as `statistic` reads it, of a number whose interval is <key>_low to <key>_high."""
    return entry | {"low": entry.get(f"{key}_low"), "high": entry.get(f"{key}_high")}


def missing(entry: dict[str, Any]) -> str:
    """n/a and why, in words; within a table a footnote says it."""
    return f'<span class="none">n/a<sup class="why">{escape(entry.get("flag", "too few patients"))}</sup></span>'


def gain(entry: dict[str, Any] | None, key: str = "auc") -> str:
    """A paired difference, coloured where its interval excludes zero."""
    cell = statistic(entry, key, signed=True)
    if entry is None or entry.get(key) is None or entry["low"] is None:
        return cell
    kind = "up" if entry["low"] > 0 else "down" if entry["high"] < 0 else "level"
    return f'<span class="{kind}">{cell}</span>'


def number(value: float | int | None, decimals: int = 3) -> str:
    """A plain number; integers with thin thousands."""
    if value is None:
        return DASH
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else f"{value:.{decimals}f}"


def share(value: float | None) -> str:
    """A share as a percentage."""
    return DASH if value is None else f"{100 * value:.1f} %"


def definitions(pairs: Sequence[tuple[str, str]]) -> str:
    """Names and values side by side; plain text on both sides."""
    return "<dl>" + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in pairs) + "</dl>"


def section(anchor: str, title: str, *blocks: str) -> str:
    """A section of the page."""
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>{"".join(blocks)}</section>'


def folded(summary: str, *blocks: str) -> str:
    """Blocks below a line of HTML that opens and closes them; tables are open on paper (page.css)."""
    return f"<details><summary>{summary}</summary>{''.join(blocks)}</details>"


def paragraph(html: str) -> str:
    """A paragraph of HTML."""
    return f"<p>{html}</p>"


def picture(uri: str, description: str) -> str:
    """A figure of the page; description is its text for those who cannot see it."""
    return f'<figure class="plot"><img src="{uri}" alt="{escape(description)}"></figure>'


def _footnotes(body: str) -> tuple[str, str]:
    """The rows with a letter for each reason, and the lines that explain the letters."""
    marks = dict(zip(dict.fromkeys(REASON.findall(body)), ascii_lowercase, strict=False))
    marked = REASON.sub(lambda found: f"<sup>{marks[found[1]]}</sup>", body)
    lines = "".join(f'<span class="note"><sup>{mark}</sup> n/a: {reason}.</span>' for reason, mark in marks.items())
    return marked, lines


def _head(name: str, span: int, holds_words: bool) -> str:
    """One <th> of a header line."""
    return f'<th colspan="{span}" scope="col"{WORDS if holds_words else ""}>{name}</th>'


def _row(row: Row, width: int, words: int) -> str:
    """One <tr>."""
    if row.kind == "group":
        return f'<tr class="group"><th colspan="{width}" scope="rowgroup">{row.cells[0]}</th></tr>'
    first, *others = row.cells
    cells = "".join(f"<td{WORDS if column < words else ''}>{cell}</td>" for column, cell in enumerate(others, start=1))
    return f'<tr class="{row.kind}"><th scope="row">{first}</th>{cells}</tr>'
