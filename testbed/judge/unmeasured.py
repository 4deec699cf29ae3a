"""Why of a cell, or of one attempt, nothing can be said of the servers. Pure.

Rule: the testbed's own failure is never charged to a server: a silence counts only if both clients were proven alive after it,
and a bounce only if both servers were alive until it came. Either counts only if the machine gave the servers their time.
Nor is a server's end the testbed's: it has a cause of its own.
"""

from __future__ import annotations

from typing import NamedTuple

from testbed.judge.evidence import Attempt, Evidence
from testbed.judge.federation import Federation
from testbed.model import Cell
from testbed.record.observations import LOGIN_FAILED, Observation

IMAGE, SERVER, TESTBED, STRAINED = "image-unavailable", "server-failed", "testbed", "testbed-strained"
ENDED = "the run ended before"
"""How a sentence begins about what an interrupted run did not come to."""


class Void(NamedTuple):
    """Why nothing can be said: a cause, and a sentence."""

    cause: str
    text: str


def not_expressible(federation: Federation, cell: Cell) -> str | None:
    """Why a side cannot be set to its policy; None if both can."""
    reasons = [settings["unsupported"] for _, settings in federation.ends(cell)]
    return next((reason for reason in reasons if reason), None)


def why_no_attempt(evidence: Evidence, federation: Federation, cell: Cell) -> Void:
    """Cause and sentence for a cell without any attempt."""
    for server, _ in federation.ends(cell):
        if server["unavailable"]:
            name = f"{server['implementation']}@{server['release']}"
            return Void(IMAGE, f"{name} is unavailable: {server['unavailable']}")
        for (phase, _, domain), (_, o) in evidence.failures.items():
            if (phase, domain) == (cell.phase, server["domain"]):
                return Void(SERVER, f"{domain} was not there: {reason_of(o)}")
    for (phase, _), (_, o) in evidence.given_up.items():
        if phase == cell.phase and {cell.sender, cell.receiver} == set(o.data["servers"]):
            return Void(TESTBED, f"the testbed could not go on: {o.data['reason']}")
    for _, o in evidence.controls:
        if not o.data["ok"] and o.data["when"] == "first":
            reason = o.data.get("reason")
            return Void(TESTBED, f"nothing was measured, because the control pair did not get through before: {reason}")
    return Void(TESTBED, f"{ENDED} this cell was measured")


def why_void(evidence: Evidence, cell: Cell, attempt: Attempt) -> Void | None:
    """Why an attempt says nothing of the servers; None if it does."""
    if attempt.received:
        return None
    if failure := evidence.failure(cell, attempt):
        return Void(SERVER, f"{failure.data['domain']} failed before the stanza's fate was known: {reason_of(failure)}")
    if attempt.strain and attempt.strain.exceeded:
        return Void(STRAINED, f"the machine was too busy while it was measured: {attempt.strain}")
    if attempt.bounced:
        return None
    if attempt.unsendable:
        return Void(TESTBED, "the sender's client had lost its own server")
    if attempt.silence is None:
        return Void(TESTBED, f"{ENDED} an answer, or its time, came")
    ends = ((cell.sender, "sender_alive"), (cell.receiver, "receiver_alive"))
    unproven = [domain for domain, key in ends if not attempt.silence.get(key)]
    if unproven:
        return Void(TESTBED, f"nothing came, and the client at {' and '.join(unproven)} was not proven alive afterwards")
    return None


def reason_of(failure: Observation) -> str:
    """Why a server was not there, as a clause that can stand alone."""
    reason = str(failure.data.get("reason") or "no reason was recorded")
    return f"its client cannot log in: {reason}" if failure.kind == LOGIN_FAILED.word else reason
