"""What became of a pair between two phases, and why the pairs of a phase failed: what every report counts.

Rule: one closed list, ``Change``, and one literal table, so that every pair falls into exactly one class and none is hidden:
what the testbed cannot say on either side is ``cannot-say``, never a success.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from testbed.record.verdicts import CellEntry
from testbed.report import words
from testbed.report.grid import KINDS, Address, Grid, Kind, state


class Change(str, Enum):
    """What became of a pair between two phases. Closed, disjoint and exhaustive: see ``CHANGES``."""

    KEPT = "kept"
    SECURED = "secured"
    RESTORED = "restored"
    STILL_IN_CLEARTEXT = "still-in-cleartext"
    WEAKENED = "weakened"
    NEWLY_BROKEN = "newly-broken"
    BROKEN_BEFORE_AND_AFTER = "broken-before-and-after"
    CANNOT_SAY = "cannot-say"


_K, _C = Kind, Change
CHANGES: dict[tuple[Kind, Kind], Change] = {
    (_K.TLS, _K.TLS): _C.KEPT,
    (_K.TLS, _K.CLEARTEXT): _C.WEAKENED,
    (_K.TLS, _K.UNSEEN): _C.CANNOT_SAY,
    (_K.TLS, _K.BROKEN): _C.NEWLY_BROKEN,
    (_K.TLS, _K.UNKNOWN): _C.CANNOT_SAY,
    (_K.CLEARTEXT, _K.TLS): _C.SECURED,
    (_K.CLEARTEXT, _K.CLEARTEXT): _C.STILL_IN_CLEARTEXT,
    (_K.CLEARTEXT, _K.UNSEEN): _C.CANNOT_SAY,
    (_K.CLEARTEXT, _K.BROKEN): _C.NEWLY_BROKEN,
    (_K.CLEARTEXT, _K.UNKNOWN): _C.CANNOT_SAY,
    # Delivered over an unobserved channel: enough to call a failure new or fixed, not enough to call a success encrypted.
    (_K.UNSEEN, _K.TLS): _C.CANNOT_SAY,
    (_K.UNSEEN, _K.CLEARTEXT): _C.CANNOT_SAY,
    (_K.UNSEEN, _K.UNSEEN): _C.CANNOT_SAY,
    (_K.UNSEEN, _K.BROKEN): _C.NEWLY_BROKEN,
    (_K.UNSEEN, _K.UNKNOWN): _C.CANNOT_SAY,
    (_K.BROKEN, _K.TLS): _C.RESTORED,
    (_K.BROKEN, _K.CLEARTEXT): _C.RESTORED,
    (_K.BROKEN, _K.UNSEEN): _C.RESTORED,
    (_K.BROKEN, _K.BROKEN): _C.BROKEN_BEFORE_AND_AFTER,
    (_K.BROKEN, _K.UNKNOWN): _C.CANNOT_SAY,
    (_K.UNKNOWN, _K.TLS): _C.CANNOT_SAY,
    (_K.UNKNOWN, _K.CLEARTEXT): _C.CANNOT_SAY,
    (_K.UNKNOWN, _K.UNSEEN): _C.CANNOT_SAY,
    (_K.UNKNOWN, _K.BROKEN): _C.CANNOT_SAY,
    (_K.UNKNOWN, _K.UNKNOWN): _C.CANNOT_SAY,
}
"""Before and after, to the class. A test holds that no combination is missing."""


def classify(before: CellEntry | None, after: CellEntry | None) -> Change:
    """What became of a pair: the cells of the two phases, None where the record has none."""
    return CHANGES[KINDS[state(before)], KINDS[state(after)]]


def changes(matrix: Grid, before: str, after: str, exchange: str | None = None) -> dict[Address, Change]:
    """The class of every address between two phases, of one exchange or of all."""
    return {
        address: classify(matrix.cell(before, address), matrix.cell(after, address))
        for address in matrix.addresses
        if exchange is None or address[2] == exchange
    }


def broken(matrix: Grid, phase: str) -> list[Address]:
    """The addresses that were not delivered in a phase, whatever was expected."""
    return [address for address, s in matrix.states(phase) if KINDS[s] is Kind.BROKEN]


def doubtful(matrix: Grid, by_address: Mapping[Address, Change]) -> list[Address]:
    """Addresses that were delivered in the first phase, and of which nothing is known in the last."""
    first, last = matrix.phases[0], matrix.phases[-1]
    worked = (Kind.TLS, Kind.CLEARTEXT, Kind.UNSEEN)
    return [
        address
        for address, change in by_address.items()
        if change is Change.CANNOT_SAY
        and KINDS[state(matrix.cell(first, address))] in worked
        and KINDS[state(matrix.cell(last, address))] is Kind.UNKNOWN
    ]


def causes(
    matrix: Grid, phase: str, exchange: str | None = None, *, only: Iterable[Address] | None = None
) -> list[dict[str, Any]]:
    """Why the pairs of a phase failed, most frequent first: ``cause``, ``count``, ``words`` and counts by ``fault``.

    ``only`` restricts it to some addresses, which need to be failures of that phase.
    """
    faults: dict[str | None, Counter[str | None]] = {}
    for address in broken(matrix, phase) if only is None else only:
        if exchange is None or address[2] == exchange:
            cell = matrix.cells[phase][address]
            faults.setdefault(cell.get("cause"), Counter())[cell.get("fault")] += 1
    rows: list[dict[str, Any]] = [
        {
            "cause": name,
            "count": counts.total(),
            "words": words.cause(name),
            "fault": {fault or "unknown": n for fault, n in counts.most_common()},
        }
        for name, counts in faults.items()
    ]
    return sorted(rows, key=lambda row: (-row["count"], row["cause"] or ""))
