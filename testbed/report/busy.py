"""Cells that are undecided because the machine was too busy: how many, and what it would need, in one sentence.

Rule: a pure function of the verdicts; it claims no more than was recorded.
"""

from __future__ import annotations

import math

from testbed.judge.unmeasured import STRAINED
from testbed.record.strain import LACKED, NOTHING_READ, PRESSURE, UNREAD
from testbed.record.verdicts import CellEntry, Verdicts
from testbed.report import words

NEEDS = {
    "processor": "run it with {more} processors, or while nothing else runs there",
    "disk": "run it with a faster disk, or while nothing else uses the disk",
    "memory": "run it with more memory, or while nothing else runs there",
    "stolen": "run it where the hypervisor leaves the processors to this machine",
}
"""What was lacked -> what to do."""


def is_busy(cell: CellEntry) -> bool:
    """Whether a cell is undecided because the machine was too busy."""
    return cell.get("cause") == STRAINED


def sentences(verdicts: Verdicts) -> list[str]:
    """``3 results could not be decided, because …: run it with 9 processors, …``; empty if there is none."""
    n = sum(map(is_busy, verdicts["cells"]))
    if not n:
        return []
    told = f"{words.count(n, 'result')} could not be decided, because the machine was too busy"
    entry = verdicts.get("strained")
    if not entry:
        return [f"{told}."]
    if entry["source"] == UNREAD:
        return [f"{told}: {NOTHING_READ}. To decide {'it' if n == 1 else 'them'}, {NEEDS['processor'].format(more='more')}."]
    waited = {name: entry["waited"].get(name, 0.0) for name in LACKED}
    worst = max(waited, key=lambda name: waited[name])
    who = "the servers of a pair together" if entry["source"] == PRESSURE else "even a light process"
    facts = f"{who} waited {sum(waited.values()):.1f} s within {entry['window']:.1f} s, above all {LACKED[worst]}"
    processors, running = entry.get("processors"), entry.get("running")
    more = "more"
    if worst == "processor" and processors and running and running > processors:
        wanted = math.ceil(running)
        facts += f", which {wanted} processes wanted at once, of {processors}"
        more = f"up to {wanted}"
    return [f"{told}: {facts}. To decide {'it' if n == 1 else 'them'}, {NEEDS[worst].format(more=more)}."]
