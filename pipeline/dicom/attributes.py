"""Reads allow-listed attributes of one data set as plain text; nothing else can be asked for."""

from typing import Any

from pydicom import Dataset

from pipeline.dicom.deidentify import ALLOWED

# Sequences inside the allowed ones whose codes may be read.
NESTED = ("ViewModifierCodeSequence",)


def attribute(dataset: Dataset, keyword: str) -> Any:
    """An allow-listed attribute, None where absent or empty.

    Raises:
        ValueError: the attribute is not on the allow-list.
    """
    if keyword not in ALLOWED and keyword not in NESTED:
        raise ValueError(f"{keyword} is not on the allow-list of deidentify.py")
    value = dataset.get(keyword)
    return None if value in (None, "") else value


def texts(dataset: Dataset, keyword: str) -> list[str]:
    """Every value of an attribute as upper-case text without padding."""
    value = attribute(dataset, keyword)
    values = [] if value is None else [value] if isinstance(value, str) else list(value)
    return [str(each).strip().upper() for each in values]


def first_text(dataset: Dataset, keyword: str) -> str | None:
    """The first value of an attribute as upper-case text without padding; None where absent or empty."""
    return next((text for text in texts(dataset, keyword) if text), None)


def code_values(dataset: Dataset, keyword: str) -> list[str]:
    """CodeValue (0008,0100) of every item of a code sequence that has one."""
    items = attribute(dataset, keyword) or ()
    return [code for item in items if (code := str(item.get("CodeValue") or "").strip())]
