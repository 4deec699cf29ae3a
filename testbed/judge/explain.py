"""Words for a failed cell: why, whose fault, and the setting to change on that implementation. Pure; decides nothing.

The remedies are those of the manifest, one per implementation, cause and role; where two are listed for one cause and role, one
renews what is this server's own (it sets the certificate), the other makes it accept what is its peer's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.causes import CAUSES, CONFLICTS, UNKNOWN, Group
from testbed.model import Outcome
from testbed.record.manifest import Role
from testbed.record.verdicts import Fault, Remedy

Known = Mapping[str, Sequence[Mapping[str, Any]]]
"""Implementation -> what image.yaml lists: `cause`, `as`, `text`, `set`."""

Party = Mapping[str, Any]
"""A server of the manifest: `domain`, `title`, `implementation`."""

CONFLICT = "a conflict of policies: both are within the standards"
UNTIMELY = "although it was issued as valid by the testbed's clock"
SENT_BACK = {
    Outcome.BOUNCED: "an error came back to the sender",
    Outcome.LOST: "silently dropped",
}
"""What the sender's user learnt of it."""
ONE_SIDE: dict[Fault | None, Role] = {Fault.SENDER: "sender", Fault.RECEIVER: "receiver"}
AT_FAULT = (Fault.SENDER, Fault.RECEIVER, Fault.BOTH)
"""Faults for which it is the blamed who have to change something; else whoever can."""


@dataclass(frozen=True)
class Explanation:
    """Why a cell failed, and how to fix it."""

    reason: str
    """What happened, and whose fault it is."""
    fault: Fault | None
    remedies: tuple[Remedy, ...]

    @property
    def text(self) -> str:
        """One sentence that a person can act on."""
        return f"{self.reason}; {fix([r.to_json() for r in self.remedies], self.fault)}" if self.remedies else self.reason


def fix(remedies: Sequence[Mapping[str, Any]], fault: str | None) -> str:
    """The remedies of a cell as one clause: ``fix at the receiver, NAME: do this``; empty if there are none."""
    if len(remedies) > 1 and fault not in AT_FAULT:
        return f"fix at either side: {' — or '.join(map(advice, remedies))}"
    return "; ".join(f"fix {advice(r)}" if r["role"] else f"to fix it: {advice(r)}" for r in remedies)


def advice(remedy: Mapping[str, Any]) -> str:
    """One remedy of a cell: ``at the receiver, NAME: do this``, or ``do this`` where it holds for every implementation."""
    return f"at the {remedy['role']}, {remedy['title']}: {remedy['text']}" if remedy["role"] else str(remedy["text"])


def explain(
    outcome: Outcome,
    cause: str | None,
    fault: Fault | None,
    sender: Party,
    receiver: Party,
    known: Known,
    *,
    untimely: bool = False,
) -> Explanation:
    """Why a cell failed that has this cause and fault, and how to fix it; ``untimely``: no such certificate was issued."""
    row = CAUSES.get(cause or UNKNOWN, CAUSES[UNKNOWN])
    meaning = f"a server says that {row.meaning}, {UNTIMELY}" if untimely else row.meaning
    parts = [f"{meaning} ({SENT_BACK[outcome]})"]
    sides: dict[Role, Party] = {"sender": sender, "receiver": receiver}
    blamed = list(sides)
    if side := ONE_SIDE.get(fault):
        blamed = [side]
        parts.append(f"the fault is with the {side}, {sides[side]['domain']}")
    elif fault is Fault.BOTH:
        parts.append("both are at fault")
    elif fault is Fault.NETWORK:
        parts.append("the fault is with names or routes between the two")
    elif fault is None:
        parts.append(CONFLICT if row.group in CONFLICTS else "the record does not show whose fault it is")
    if untimely:
        whose = f"of {sides[side]['domain']}" if side else "of both servers"
        return Explanation("; ".join(parts), fault, (Remedy(f"compare the clock {whose} with the true time"),))
    remedies = tuple(_remedies(row.word, blamed, sides, known, own=fault in AT_FAULT)) or (Remedy(row.remedy),)
    return Explanation("; ".join(parts), fault, remedies)


def without_cause(outcome: Outcome, gap: str) -> Explanation:
    """Of a failed cell whose cause cannot be said, because evidence was not taken in: ``gap`` says which."""
    return Explanation(f"why it failed cannot be said ({SENT_BACK[outcome]}): {gap}", None, ())


def _remedies(cause: str, roles: Iterable[Role], sides: Mapping[Role, Party], known: Known, *, own: bool) -> Iterable[Remedy]:
    """The remedy of each of the ``roles`` that has one; ``own``: of a certificate's causes what renews it at its holder."""
    for role in roles:
        server = sides[role]
        listed = [r for r in known.get(server["implementation"], ()) if r["cause"] == cause and r["as"] == role]
        if CAUSES[cause].group is Group.CERTIFICATE:
            listed = [r for r in listed if ("certificate" in (r.get("set") or {})) is own] or listed
        if listed:
            text, settings = str(listed[0]["text"]).rstrip("."), listed[0].get("set")
            yield Remedy(text, role, server["domain"], server["title"], settings)
