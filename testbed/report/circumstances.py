"""What the record itself says against taking a cell at its word: one row per circumstance, with its words for every report.

Rule: a literal table over the keys of a cell that only some cells have. Pure; judges nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from testbed.report.grid import ARROW

Cell = Mapping[str, Any]


@dataclass(frozen=True)
class Circumstance:
    """One thing to know before one believes a cell."""

    key: str
    """Of the cell."""
    title: str
    """Above a list of cells."""
    phrase: str
    """Of one cell, as a remark."""
    plural: str
    """Of several results: they ..."""
    detail: Callable[[Cell], str]
    """What is particular to a cell that has it; may be empty."""
    holds: Callable[[Any], bool] = bool
    """Of the key's value."""

    def of(self, cell: Cell) -> bool:
        """Whether the cell has it."""
        return self.key in cell and self.holds(cell[self.key])


def _third_parties(cell: Cell) -> str:
    found = cell["interference"]
    parties = "; ".join(f"{by['sender']}{ARROW}{by['receiver']}: {by['because']}" for by in found.get("by") or ())
    return f"mesh {found.get('mesh')}, alone {found.get('alone')}" + (f" ({parties})" if parties else "")


HISTORY = Circumstance(
    "history_dependent",
    "The outcome depends on who wrote first",
    "depends on whether the two had talked before",
    "depend on whether the two had talked before",
    lambda cell: ", ".join(f"{when} {outcome}" for when, outcome in cell["history_dependent"].items()),
)
INTERFERENCE = Circumstance(
    "interference",
    "Disturbed by third parties in the mesh; the result of the pair alone counts",
    "disturbed by third parties in the mesh",
    "were disturbed by third parties",
    _third_parties,
)
FLAKY = Circumstance(
    "flaky",
    "Attempts under the same conditions that disagree",
    "attempts under the same conditions disagree",
    "have attempts under the same conditions that disagree",
    lambda cell: ", ".join(map(str, cell["flaky"])),
)
UNCONFIRMED = Circumstance(
    "confirmed",
    "Not confirmed by a repeat measurement",
    "not confirmed by a repeat measurement",
    "are not confirmed by a repeat measurement",
    lambda cell: str(cell["outcome"]),
    lambda confirmed: confirmed is False,
)
CIRCUMSTANCES = (HISTORY, INTERFERENCE, FLAKY, UNCONFIRMED)
"""In the order in which they are shown."""
