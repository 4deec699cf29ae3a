"""Two runs, cell by cell: what changed, and whether for the worse.

Rule: an ordered table of kinds, each cell in exactly one; a cell of which one side cannot tell is a kind of its own, never
a regression and never a pass. Worse and better are judged by the expectation first, then by what the channel is worth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from testbed.compare.cells import FAILED, Subject, absent, brief, cannot_say, differences
from testbed.model import SCHEMA, InputError, Outcome
from testbed.record.verdicts import CellEntry, unexplained
from testbed.report.cell import admitted, unstable
from testbed.report.grid import PLACE, state


class Kind(str, Enum):
    """In what two judgements of one cell differ. Closed; in the order in which they are shown."""

    NEWLY_FAILING = "newly-failing"
    NEWLY_UNSTABLE = "newly-unstable"
    """Attempts under the same conditions disagree now."""
    FAILS_OTHERWISE = "fails-otherwise"
    """Bounced, then lost, or the reverse: whether the sender gets an error."""
    CHANGED_CAUSE = "changed-cause"
    CHANGED_CHANNEL = "changed-channel"
    NEWLY_SURPRISING = "newly-surprising"
    """The same thing happened, and the expectation is another."""
    NO_LONGER_SURPRISING = "no-longer-surprising"
    NO_LONGER_UNSTABLE = "no-longer-unstable"
    NEWLY_PASSING = "newly-passing"
    """Not delivered, then delivered: for the worse where it ought not to be."""
    COULD_NOT_TELL = "could-not-tell"
    MISSING = "missing"
    NEW = "new"
    NEWLY_UNSUPPORTED = "newly-unsupported"
    NEWLY_SUPPORTED = "newly-supported"


MIRROR: dict[Kind, Kind] = {
    Kind.NEWLY_FAILING: Kind.NEWLY_PASSING,
    Kind.NEWLY_UNSTABLE: Kind.NO_LONGER_UNSTABLE,
    Kind.NO_LONGER_UNSTABLE: Kind.NEWLY_UNSTABLE,
    Kind.FAILS_OTHERWISE: Kind.FAILS_OTHERWISE,
    Kind.CHANGED_CAUSE: Kind.CHANGED_CAUSE,
    Kind.CHANGED_CHANNEL: Kind.CHANGED_CHANNEL,
    Kind.NEWLY_SURPRISING: Kind.NO_LONGER_SURPRISING,
    Kind.NO_LONGER_SURPRISING: Kind.NEWLY_SURPRISING,
    Kind.NEWLY_PASSING: Kind.NEWLY_FAILING,
    Kind.COULD_NOT_TELL: Kind.COULD_NOT_TELL,
    Kind.MISSING: Kind.NEW,
    Kind.NEW: Kind.MISSING,
    Kind.NEWLY_UNSUPPORTED: Kind.NEWLY_SUPPORTED,
    Kind.NEWLY_SUPPORTED: Kind.NEWLY_UNSUPPORTED,
}
"""What a kind becomes when the two sides change places."""


class Direction(str, Enum):
    """What a change means for a gate."""

    WORSE = "worse"
    BETTER = "better"
    OTHER = "other"
    """Changed, and neither worse nor better."""
    UNKNOWN = "unknown"
    """One side does not say, so there is nothing to judge."""


SCALES: dict[str, tuple[Any, ...]] = {
    "encryption": ("cleartext", "tls"),
    "body_in_clear": (True, False),
    "tls_version": ("SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "forward_secrecy": (False, True),
    "authentication": ("none", "dialback", "external"),
    "cipher": (),
}
"""Facts of a channel, each with its values from the weakest up; a value that is not listed is no better than another."""

OPPOSITE = {Direction.WORSE: Direction.BETTER, Direction.BETTER: Direction.WORSE}


@dataclass(frozen=True)
class Change:
    """One cell that is not the same on both sides."""

    id: str
    kind: Kind
    direction: Direction
    a: CellEntry | None
    b: CellEntry | None
    channel: dict[str, tuple[Any, Any]]
    """The facts of the channel that changed, of a delivery on both sides."""

    @property
    def surprise(self) -> str | None:
        """``newly``, ``no longer``, or None where that is as it was or one side lacks the cell."""
        if self.a is None or self.b is None or self.a["surprise"] == self.b["surprise"]:
            return None
        return "newly" if self.b["surprise"] else "no longer"

    def to_json(self) -> dict[str, Any]:
        """As it stands in the document."""
        cell = self.b or self.a
        return {
            "id": self.id,
            "kind": self.kind.value,
            "direction": self.direction.value,
            "surprise": self.surprise,
            **({key: cell[key] for key in PLACE} if cell else {}),
            "a": brief(self.a),
            "b": brief(self.b),
            "channel": {k: list(v) for k, v in self.channel.items()},
        }


def classify(a: CellEntry | None, b: CellEntry | None) -> tuple[Kind, Direction, dict[str, tuple[Any, Any]]] | None:
    """What changed from ``a`` to ``b`` (None: the side lacks the cell), or None if nothing did."""
    if a is None or b is None:
        return _one_sided(a, b)
    if cannot_say(a) or cannot_say(b):
        return None if absent(a) and absent(b) else (Kind.COULD_NOT_TELL, Direction.UNKNOWN, {})
    unsupported = [c["outcome"] == Outcome.UNSUPPORTED.value for c in (a, b)]
    if all(unsupported):
        return None
    if unsupported[1]:
        return Kind.NEWLY_UNSUPPORTED, Direction.UNKNOWN, {}
    if unsupported[0]:
        return Kind.NEWLY_SUPPORTED, Direction.WORSE if b["surprise"] else Direction.OTHER, {}
    return _both_measured(a, b)


def _one_sided(a: CellEntry | None, b: CellEntry | None) -> tuple[Kind, Direction, dict[str, tuple[Any, Any]]] | None:
    if b is None:
        return (Kind.MISSING, Direction.UNKNOWN, {}) if a is not None else None
    if cannot_say(b):
        return Kind.NEW, Direction.UNKNOWN, {}
    return Kind.NEW, Direction.WORSE if b["surprise"] else Direction.OTHER, {}


def _both_measured(a: CellEntry, b: CellEntry) -> tuple[Kind, Direction, dict[str, tuple[Any, Any]]] | None:
    by_expectation = {(False, True): Direction.WORSE, (True, False): Direction.BETTER}.get((a["surprise"], b["surprise"]))
    shaky = [unstable(c) for c in (a, b)]
    if shaky == [False, True]:
        return Kind.NEWLY_UNSTABLE, by_expectation or Direction.BETTER, {}  # else it always went wrong
    if shaky == [True, False]:
        return Kind.NO_LONGER_UNSTABLE, by_expectation or Direction.WORSE, {}
    failed = [state(c) in FAILED for c in (a, b)]
    if failed == [False, True]:
        return Kind.NEWLY_FAILING, by_expectation or Direction.WORSE, {}
    if failed == [True, False]:
        return Kind.NEWLY_PASSING, by_expectation or Direction.BETTER, {}
    if all(failed) and a["outcome"] != b["outcome"]:
        by_outcome = Direction.WORSE if b["outcome"] == Outcome.LOST.value else Direction.BETTER
        return Kind.FAILS_OTHERWISE, by_expectation or by_outcome, {}
    if all(failed) and (unexplained(a) or unexplained(b)):
        return Kind.COULD_NOT_TELL, Direction.UNKNOWN, {}
    if all(failed) and a.get("cause") != b.get("cause"):
        return Kind.CHANGED_CAUSE, by_expectation or _of_causes(a, b), {}
    channel = _channel(a, b) if not any(failed) else {}
    if channel:
        return Kind.CHANGED_CHANNEL, by_expectation or _worth(channel), channel
    if by_expectation:
        kind = Kind.NEWLY_SURPRISING if by_expectation is Direction.WORSE else Kind.NO_LONGER_SURPRISING
        return kind, by_expectation, {}
    return None


def _of_causes(a: CellEntry, b: CellEntry) -> Direction:
    """A surprise for another reason is another failure; an expected failure is as it ought to be with the expected cause."""
    if b["surprise"]:
        return Direction.WORSE
    ought = [any(e.get("cause") == c.get("cause") for e in admitted(c)) for c in (a, b)]
    return {(True, False): Direction.WORSE, (False, True): Direction.BETTER}.get((ought[0], ought[1]), Direction.OTHER)


def _channel(a: CellEntry, b: CellEntry) -> dict[str, tuple[Any, Any]]:
    before, after = a.get("channel") or {}, b.get("channel") or {}
    return {fact: (before.get(fact), after.get(fact)) for fact in SCALES if before.get(fact) != after.get(fact)}


def _worth(channel: Mapping[str, tuple[Any, Any]]) -> Direction:
    """Worse if any fact is: TLS 1.3 with dialback instead of TLS 1.2 with a certificate is no gain to pay for the loss with."""
    directions = set()
    for fact, (before, after) in channel.items():
        scale = SCALES[fact]
        if before in scale and after in scale:
            directions.add(Direction.WORSE if scale.index(after) < scale.index(before) else Direction.BETTER)
    return next((d for d in (Direction.WORSE, Direction.BETTER) if d in directions), Direction.OTHER)


def compare(a: Subject, b: Subject) -> list[Change]:
    """Every cell that changed, in the order of B's cells, then those that only A has.

    Raises InputError if the two have no cell in common.
    """
    if a.cells and b.cells and not a.cells.keys() & b.cells.keys():
        raise InputError(
            f"nothing to compare: no cell of {a.run} ({a.verdicts['scenario']}) stands in {b.run} ({b.verdicts['scenario']})",
            value=b.run,
            hint="compare two runs of one scenario; cells are matched by phase, sender, receiver and exchange",
        )
    changes = []
    for id_ in dict.fromkeys([*b.cells, *a.cells]):
        before, after = a.cells.get(id_), b.cells.get(id_)
        if classified := classify(before, after):
            kind, direction, channel = classified
            changes.append(Change(id_, kind, direction, before, after, channel))
    return changes


def exit_status(a: Subject, b: Subject, changes: list[Change], *, allow_missing: bool = False) -> int:
    """0 nothing worse · 1 worse · 3 a side could not tell. What is worse is so whatever else is unknown."""
    if any(c.direction is Direction.WORSE for c in changes):
        return 1
    gone = (Kind.MISSING, Kind.NEWLY_UNSUPPORTED) if allow_missing else ()
    unknown = any(c.direction is Direction.UNKNOWN and c.kind not in gone for c in changes)
    return 3 if unknown or not (a.sound and b.sound) or not b.cells else 0


def document(a: Subject, b: Subject, *, allow_missing: bool = False) -> dict[str, Any]:
    """The whole diff as JSON: both sides, in what else they differ, the changes, the exit status. Raises InputError."""
    changes = compare(a, b)
    order = {kind: place for place, kind in enumerate(Kind)}
    shown = sorted(changes, key=lambda c: order[c.kind])
    kinds, directions = Counter(c.kind for c in changes), Counter(c.direction for c in changes)
    return {
        "schema": SCHEMA,
        "compared": "runs",
        "a": a.to_json(),
        "b": b.to_json(),
        "differences": [d.to_json() for d in differences(a, b)],
        "counts": {d.value: directions[d] for d in Direction} | {"same": len(b.cells.keys() | a.cells.keys()) - len(changes)},
        "kinds": {k.value: kinds[k] for k in Kind if kinds[k]},
        "changes": [c.to_json() for c in shown],
        "status": exit_status(a, b, changes, allow_missing=allow_missing),
    }
