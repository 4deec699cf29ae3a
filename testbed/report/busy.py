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
    "processor": "give the run {more} processors of its own, or stop what else runs on this machine",
    "disk": "give the run a faster disk, or stop what else uses the disk",
    "memory": "give the run more memory, or stop what else runs on this machine",
    "stolen": "run it where the hypervisor leaves the processors to this machine",
}
"""What was lacked -> what to do."""
AGAIN = "then use the command 'testbed run FILE' again, or 'testbed rerun {run} {sender} {receiver}' for {pair}"


def is_busy(cell: CellEntry) -> bool:
    """Whether a cell is undecided because the machine was too busy."""
    return cell.get("cause") == STRAINED


def made_again(verdicts: Verdicts) -> list[str]:
    """``15 failed attempts do not count, because …``, where all was decided without them; empty if there is none."""
    entry = verdicts.get("strained")
    n = entry["attempts"] if entry else 0
    if not n or any(map(is_busy, verdicts["cells"])):
        return []
    verb, them = ("does", "it") if n == 1 else ("do", "them")
    lead = f"{words.count(n, 'failed attempt')} {verb} not count, because the machine was too busy then"
    return [f"{lead}; no result rests on {them}."]


def sentences(verdicts: Verdicts) -> list[str]:
    """``3 results could not be decided, because …. To decide them, give the run at least 9 …``; empty if there is none."""
    cells = [cell for cell in verdicts["cells"] if is_busy(cell)]
    if not (n := len(cells)):
        return []
    pairs = {(cell["sender"], cell["receiver"]) for cell in cells}
    sender, receiver = cells[0]["sender"], cells[0]["receiver"]
    pair = "its pair" if len(pairs) == 1 else "one of the pairs"
    again = AGAIN.format(run=verdicts["run"], sender=sender, receiver=receiver, pair=pair)
    lead = f"To decide {'it' if n == 1 else 'them'},"
    told = f"{words.count(n, 'result')} could not be decided, because the machine was too busy"
    entry = verdicts.get("strained")
    if not entry:
        return [f"{told}."]
    if entry["source"] == UNREAD:
        return [f"{told}: {NOTHING_READ}. {lead} {NEEDS['processor'].format(more='more')}, {again}."]
    waited = {name: entry["waited"].get(name, 0.0) for name in LACKED}
    worst = max(waited, key=lambda name: waited[name])
    who = "the servers of a pair and their name server" if entry["source"] == PRESSURE else "even a light process"
    together = "in all " if entry["source"] == PRESSURE else ""
    many = entry.get("attempts", 1)
    mean = f", on average of {many:,} attempts," if many > 1 else ""
    facts = f"{who} waited{mean} {together}{sum(waited.values()):.1f} s within {entry['window']:.1f} s, above all {LACKED[worst]}"
    processors, running = entry.get("processors"), entry.get("running")
    more = "more"
    if worst == "processor" and processors and running and running > processors:
        wanted = math.ceil(running)
        facts += f", which {wanted} processes wanted at once, of {processors}"
        more = f"at least {wanted}"
    return [f"{told}: {facts}. {lead} {NEEDS[worst].format(more=more)}, {again}."]
