"""What a machine lacked that did not give the servers their time, over all attempts that are void for it. Pure.

Rule: only what was recorded: how long servers waited and for what, and how many processes wanted a processor meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.judge.evidence import Attempt, Evidence
from testbed.judge.unmeasured import STRAINED
from testbed.record.manifest import Manifest
from testbed.record.strain import LACKED, READ, UNREAD
from testbed.record.verdicts import CellEntry, StrainedEntry

NOTED_LATE = 2.5
"""Seconds after an attempt within which a note of the machine still tells of it."""


def strained(evidence: Evidence, cells: Sequence[CellEntry], manifest: Manifest) -> StrainedEntry | None:
    """How many cells are undecided for it, and what the machine lacked; None where no attempt is void for it."""
    void = [a for attempts in evidence.attempts.values() for a in attempts if not a.received and a.strain and a.strain.exceeded]
    if not void:
        return None
    strains = [a.strain for a in void if a.strain]
    strains = [s for s in strains if s.source in READ] or strains

    def mean(name: str) -> float:
        return round(sum(float(getattr(s, name)) for s in strains) / len(strains), 2)

    processors = (manifest.get("machine") or {}).get("cpus")
    entry: StrainedEntry = {
        "cells": sum(c["cause"] == STRAINED for c in cells),
        "attempts": len(void),
        "window": mean("window"),
        "waited": {name: mean(name) for name in LACKED},
        "source": strains[0].source if strains[0].source in READ else UNREAD,
        "processors": processors if isinstance(processors, int) else None,
    }
    running = [o.data["running"] for o in evidence.machine if any(_during(o.time, a) for a in void)]
    return {**entry, "running": round(sum(running) / len(running), 1)} if running else entry


def _during(time: float, attempt: Attempt) -> bool:
    return attempt.started <= time <= (attempt.bounced or attempt.silent or attempt.started) + NOTED_LATE
