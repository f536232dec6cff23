"""What is wrong with an archive: counted, listed with examples, and fatal where the profile says so."""

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from pipeline.errors import InputError
from pipeline.sections import ProblemKind

EXAMPLES = 5
# What to do about each kind, and what becomes of the record where the profile does not make the kind fatal.
CURES: dict[ProblemKind, str] = {
    "row_without_file": "complete the download; the row is left out",
    "file_without_row": "nothing is known about the file; it is left out",
    "duplicate_image": "keep one row of each image; the first is taken",
    "patient_in_two_splits": "give every patient one split; all images of the patient go to test",
    "unknown_value": "correct the cell, or empty it; it counts as unknown",
    "contradiction": "make the rows agree; what they disagree on counts as unknown",
    "row_without_image": "restore the published files; the row is left out",
    "unreadable_folder": "make the folder readable; its files count as absent",
}


class Problem(NamedTuple):
    """One kind of trouble in one place.

    Attributes:
        kind: A key of CURES.
        place: File, column and what was expected there; no cell's text.
        records: How many records.
        examples: Up to EXAMPLES lines or ids.
    """

    kind: ProblemKind
    place: str
    records: int
    examples: list[str]


class Problems:
    """Collects what reading an archive meets, so that one run names everything that is wrong with it.

    Attributes:
        found: In the order in which they were met.
        quoting: Whether messages may repeat short cells; never where ids are keyed, since a name may be misplaced.
    """

    def __init__(self, quoting: bool = True) -> None:
        self.found: list[Problem] = []
        self.quoting = quoting

    def note(self, kind: ProblemKind, place: str, records: Iterable[str]) -> None:
        """Adds a problem of these records, each named by a line or an id; none, no problem."""
        named = list(records)
        if named:
            self.found.append(Problem(kind, place, len(named), named[:EXAMPLES]))

    def table(self) -> pd.DataFrame:
        """The problems as rows of tables.PROBLEMS, in the order in which they were met."""
        return pd.DataFrame(self.found, columns=list(Problem._fields))

    def refuse(self, cohort: str, fatal: Iterable[ProblemKind]) -> None:
        """Raises an InputError that lists every problem of a fatal kind."""
        kinds = set(fatal)
        if lines := [sentence(problem) for problem in self.found if problem.kind in kinds]:
            raise InputError(
                f"{cohort}: what the profile calls fatal (archives.{cohort}.fatal) was found:\n  " + "\n  ".join(lines)
            )


def sentence(problem: Problem) -> str:
    """One problem in words: kind, place, count, examples, what to do."""
    more = ", ..." if problem.records > len(problem.examples) else ""
    return (
        f"{problem.kind}: {problem.place}: {problem.records} found ({', '.join(problem.examples)}{more});"
        f" {CURES[problem.kind]}"
    )
