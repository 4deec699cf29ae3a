"""Words for a failed cell: why, whose fault, and the setting to change on that implementation. Pure; decides nothing.

The remedies are those of the manifest, one per implementation, cause and role; where two are listed for one cause and role, one
mends what is this server's own (it sets the certificate), the other lets it bear what is its peer's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from testbed.causes import VOCABULARY
from testbed.judge.rules import CERTIFICATE_CAUSES, SYMPTOMS
from testbed.model import Fault, Outcome

Remedies = Mapping[str, Sequence[Mapping[str, Any]]]
"""Implementation -> what image.yaml lists: `cause`, `as`, `text`, `set`."""

Party = Mapping[str, Any]
"""A server of the manifest: `domain`, `title`, `implementation`."""

CAUSES = {cause.word: cause for cause in VOCABULARY}
UNDECIDED = {*SYMPTOMS, *CERTIFICATE_CAUSES, "dialback-failed", "tls-torn-down", "unknown"}
"""Causes for which no fault means that the record does not show whose it is, not that nobody is at fault."""
CONFLICT = "a conflict of policies: both are within the standards"


def explain(outcome: Outcome, cause: str | None, fault: Fault | None, sender: Party, receiver: Party, known: Remedies) -> str:
    """One sentence that a person can act on."""
    word = CAUSES.get(cause or "unknown", CAUSES["unknown"])
    told = "the sender was told" if outcome is Outcome.BOUNCED else "nobody was told"
    parts = [f"{word.meaning} ({told})"]
    sides = {"sender": sender, "receiver": receiver}
    if fault in (Fault.SENDER, Fault.RECEIVER, Fault.BOTH):
        at_fault = list(sides) if fault is Fault.BOTH else [fault.value]
        if fault is Fault.BOTH:
            parts.append("both are at fault")
        else:
            parts.append(f"the fault is with the {fault.value}, {sides[fault.value]['domain']}")
        found = _remedies(word.word, at_fault, sides, known, own=True)
        parts.append("; ".join(found) if found else f"to mend it: {word.remedy}")
        return "; ".join(parts)
    if fault is Fault.NETWORK:
        parts.append("the fault is with names or routes between the two")
    elif fault is None:
        parts.append("the record does not show whose fault it is" if word.word in UNDECIDED else CONFLICT)
    found = _remedies(word.word, sides, sides, known, own=False)
    if len(found) == 2:
        parts.append(f"either side can mend it: {' — or '.join(found)}")
    else:
        parts.append(found[0] if found else f"to mend it: {word.remedy}")
    return "; ".join(parts)


def _remedies(cause: str, roles: Iterable[str], sides: Mapping[str, Party], known: Remedies, *, own: bool) -> list[str]:
    """The remedy of each of the ``roles`` that has one; ``own``: of a certificate's causes what mends it at its holder."""
    found = []
    for role in roles:
        server = sides[role]
        listed = [r for r in known.get(server["implementation"], ()) if r["cause"] == cause and r["as"] == role]
        if cause in CERTIFICATE_CAUSES:
            listed = [r for r in listed if ("certificate" in (r.get("set") or {})) is own] or listed
        if listed:
            found.append(f"at the {role}, {server['title']}: {str(listed[0]['text']).rstrip('.')}")
    return found
