"""What the record itself says against taking a cell at its word: one row per circumstance, with its words for every report.

Rule: a literal table over the keys of a cell that only some cells have. Pure; judges nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from testbed.record.verdicts import CellEntry, InterferenceEntry, shares_of
from testbed.report.grid import ARROW
from testbed.shares import TRIES, Share, tell


@dataclass(frozen=True)
class Circumstance:
    """One thing to know before one believes a cell."""

    key: Literal["history_dependent", "interference", "flaky", "shares", "confirmed"]
    """Of the cell."""
    title: str
    """Above a list of cells."""
    phrase: str
    """Of one cell, as a remark."""
    plural: str
    """Of several results: they ..."""
    detail: Callable[[CellEntry], str]
    """What is particular to a cell that has it; may be empty."""
    name: str
    """Before its fact, where the facts of one cell are listed."""
    fact: Callable[[CellEntry], str]
    """The whole of it, for that list; empty if the cell says nothing of it."""
    holds: Callable[[Any], bool] = bool
    """Of the key's value; None: the cell does not have the key."""
    unless: tuple[str, ...] = ()
    """Keys whose own circumstance tells it too."""

    def of(self, cell: CellEntry) -> bool:
        """Whether the cell has it."""
        return self.holds(cell.get(self.key)) and not any(cell.get(key) for key in self.unless)


def _parties(interference: InterferenceEntry) -> str:
    """``(c → b: a storm)`` with a space before it; empty if no third party is known."""
    parties = "; ".join(f"{by['sender']}{ARROW}{by['receiver']}: {by['because']}" for by in interference.get("by") or ())
    return f" ({parties})" if parties else ""


def _interference(cell: CellEntry) -> str:
    if not (entry := cell.get("interference")):
        return ""
    return f"mesh {entry['mesh']}, alone {entry['alone']}{_parties(entry)}"


def _interference_fact(cell: CellEntry) -> str:
    if not (entry := cell.get("interference")):
        return ""
    return f"in the mesh {entry['mesh']}, alone {entry['alone']}: third parties interfered{_parties(entry)}"


def _history_fact(cell: CellEntry) -> str:
    if not (outcomes := cell.get("history_dependent")):
        return ""
    return f"{outcomes['cold']} on a first contact, {outcomes['warm']} after the other direction"


def _flaky(cell: CellEntry) -> str:
    """The outcomes that differ: each once, where shares count them."""
    outcomes = [str(outcome) for outcome in cell.get("flaky") or ()]
    return ", ".join(dict.fromkeys(outcomes) if cell.get("shares") else outcomes)


def share(cell: CellEntry) -> str:
    """``delivers in 5 of 8 cold starts (31 to 86 %)``; empty where the cell tells no shares."""
    shares = shares_of(cell)
    return tell(shares) if shares else ""


def _with_share(text: str, cell: CellEntry) -> str:
    return "; ".join(filter(None, (text, share(cell))))


def _sometimes(shares: Any) -> bool:
    """Whether some of the attempts delivered and some did not."""
    counts = [Share(*pair) for kind, pair in (shares or {}).items() if kind in TRIES]
    return 0 < sum(s.delivered for s in counts) < sum(s.tries for s in counts)


HISTORY = Circumstance(
    key="history_dependent",
    title="The outcome depends on who wrote first",
    phrase="depends on whether the two had talked before",
    plural="depend on whether the two had talked before",
    detail=lambda cell: _with_share(
        ", ".join(f"{when} {outcome}" for when, outcome in cell.get("history_dependent", {}).items()), cell
    ),
    name="history",
    fact=_history_fact,
)
INTERFERENCE = Circumstance(
    key="interference",
    title="Disturbed by third parties in the mesh; the result of the pair alone counts",
    phrase="disturbed by third parties in the mesh",
    plural="were disturbed by third parties",
    detail=_interference,
    name="disturbed",
    fact=_interference_fact,
)
FLAKY = Circumstance(
    key="flaky",
    title="Attempts under the same conditions that disagree",
    phrase="attempts under the same conditions disagree",
    plural="have attempts under the same conditions that disagree",
    detail=lambda cell: _with_share(_flaky(cell), cell),
    name="attempts",
    fact=lambda cell: f"{outcomes}: attempts under the same conditions disagree" if (outcomes := _flaky(cell)) else "",
)
SHARES = Circumstance(
    key="shares",
    title="Delivered in some attempts of the pair alone, and not in others",
    phrase="delivered in some attempts and not in others",
    plural="were delivered in some attempts and not in others",
    detail=lambda cell: f"{cell['outcome']}; {share(cell)}",
    name="share",
    fact=share,
    holds=_sometimes,
    unless=("history_dependent", "flaky"),
)
UNCONFIRMED = Circumstance(
    key="confirmed",
    title="Not confirmed by a repeat measurement",
    phrase="not confirmed by a repeat measurement",
    plural="are not confirmed by a repeat measurement",
    detail=lambda cell: str(cell["outcome"]),
    name="confirmed",
    fact=lambda cell: {
        True: "by a repeat measurement",
        False: "no: neither a second attempt nor a measurement of the pair alone agreed",
        None: "",
    }[cell.get("confirmed")],
    holds=lambda confirmed: confirmed is False,
)
CIRCUMSTANCES = (HISTORY, INTERFERENCE, FLAKY, SHARES, UNCONFIRMED)
"""In the order in which they are shown."""


def facts(cell: CellEntry) -> list[tuple[str, str]]:
    """Name and text of each circumstance of the cell, also that it is confirmed; not what its explanation has."""
    return [(row.name, text) for row in CIRCUMSTANCES if (text := row.fact(cell)) and text not in (cell.get("explanation") or "")]


def doubts(cell: CellEntry) -> list[str]:
    """The cell's circumstances as remarks beside its result; a lack of confirmation only where that is a surprise."""
    remarks = [f"{row.phrase}: {row.detail(cell)}" for row in CIRCUMSTANCES if row is not UNCONFIRMED and row.of(cell)]
    return [*remarks, *([UNCONFIRMED.phrase] if cell["surprise"] and UNCONFIRMED.of(cell) else [])]
