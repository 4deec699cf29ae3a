"""That third parties made another outcome of a cell in the mesh than the pair has alone, and which of them it may be. Pure.

Rule: a third party is named only where the wire shows a stream of its own with one of the two that failed at that time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.judge.channel import SLACK
from testbed.judge.evidence import Attempt, Evidence
from testbed.judge.weigh import Weighed
from testbed.model import Cell
from testbed.record.verdicts import Interference, ThirdParty

LONGEST = 30.0
"""Seconds, times the run's stretch, after which an attempt without an answer no longer counts as going on."""
MOST_PARTIES = 3
"""Third parties that are named for one cell."""


def interference_of(evidence: Evidence, cell: Cell, weighed: Weighed) -> Interference | None:
    """What the mesh saw instead, and who may have caused it; None where nothing but the two made the outcome."""
    if not (weighed.disturbed and weighed.mesh and weighed.outcome):
        return None
    return Interference(weighed.mesh, weighed.outcome, third_parties(evidence, cell, weighed.disturbed))


def third_parties(evidence: Evidence, cell: Cell, attempt: Attempt) -> tuple[ThirdParty, ...]:
    """Whose broken streams with one of the two were open while the mesh's attempt went on; storms first."""
    ends = {cell.sender, cell.receiver}
    parties = {
        (s["sender"], s["receiver"]): "connection attempts without a pause, cut by the gate"
        for s in evidence.storms.get((cell.phase, attempt.epoch), [])
        if len(ends & {s["sender"], s["receiver"]}) == 1
    }
    end, slack = min(attempt.end, attempt.started + LONGEST * evidence.stretch), SLACK * evidence.stretch
    for stream in evidence.streams_with_others(cell, attempt.epoch, attempt.started - slack, end + slack):
        if why := trouble(stream.data):
            parties.setdefault((stream.data["sender"], stream.data["receiver"]), why)
    return tuple(ThirdParty(a, b, why) for (a, b), why in list(parties.items())[:MOST_PARTIES])


def trouble(stream: Mapping[str, Any]) -> str | None:
    """What went wrong with a stream, as far as the wire shows it; None for one that is well."""
    if stream.get("alerts"):
        return f"a TLS alert at that time: {', '.join(a.partition(':')[2] for a in stream['alerts'])}"
    if stream.get("offered_versions") and not stream.get("server_hello"):
        return "a TLS handshake that ended at the ClientHello at that time"
    if stream.get("server_hello") and stream.get("reset_by"):
        return "a TLS stream that was reset at that time"
    return None
