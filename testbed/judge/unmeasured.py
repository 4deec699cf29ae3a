"""Why of a cell, or of one attempt, nothing can be said of the servers. Pure.

Rule: the testbed's own failure is never charged to a server: a silence counts only if both clients were proven alive after it.
"""

from __future__ import annotations

from testbed.judge.evidence import Attempt, Evidence
from testbed.judge.federation import Federation
from testbed.model import Cell
from testbed.record.observations import SERVER_FAILED


def not_expressible(federation: Federation, cell: Cell) -> str | None:
    """Why a side cannot be set to its policy; None if both can."""
    reasons = [settings["unsupported"] for _, settings in federation.ends(cell)]
    return next((reason for reason in reasons if reason), None)


def why_no_attempt(evidence: Evidence, federation: Federation, cell: Cell) -> tuple[str, str]:
    """Cause and sentence for a cell without any attempt."""
    for server, _ in federation.ends(cell):
        if server["unavailable"]:
            name = f"{server['implementation']}@{server['release']}"
            return "image-unavailable", f"{name} is unavailable: {server['unavailable']}"
        for (phase, _, domain), (_, o) in evidence.broken.items():
            if (phase, domain) == (cell.phase, server["domain"]):
                cause = "image-unavailable" if o.kind == SERVER_FAILED.word else "testbed"
                return cause, f"{domain} was not there: {o.data.get('reason')}"
    for _, o in evidence.controls:
        if not o.data["ok"] and o.data["when"] == "first":
            return "testbed", f"nothing was measured, because the control pair did not get through before: {o.data.get('reason')}"
    return "testbed", "the run ended before this cell was measured"


def why_void(attempt: Attempt, cell: Cell) -> str | None:
    """Why an attempt says nothing of the servers; None if it does."""
    if attempt.received or attempt.bounced:
        return None
    if attempt.unsendable:
        return "the sender's client had lost its own server"
    if attempt.silence is None:
        return "the run ended before an answer, or its time, came"
    ends = ((cell.sender, "sender_alive"), (cell.receiver, "receiver_alive"))
    unproven = [domain for domain, key in ends if not attempt.silence.get(key)]
    if unproven:
        return f"nothing came, and the client at {' and '.join(unproven)} was not proven alive afterwards"
    return None
