"""Whose fault a cause is: a table from the cause to what the evidence says of it. Pure.

Rule: the fault is the side that would have to change something to reach what the standards ask for. Where both are within them,
or the record does not show whose it is, it is nobody's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from testbed.causes import CAUSES, Group, words_in
from testbed.judge.case import CIVIL, SIDES, Case, ended_by, named_in, proven, refused_in_clear, torn
from testbed.record.observations import Observation
from testbed.record.verdicts import Fault

RECEIVERS_OWN = {
    "host-unknown", "host-gone", "internal-server-error", "remote-connection-failed", "reset", "resource-constraint",
    "system-shutdown",
}  # fmt: skip
"""Stream errors with which a receiver speaks of itself (RFC 6120 §4.9.3)."""
OF_TIME = ("certificate-expired", "certificate-not-yet-valid")
"""What a server sees in a good certificate if its clock is wrong."""


def _one_of(found: Iterable[str]) -> Fault | None:
    """The side, if all name one; both, if both are named; None for none."""
    sides = set(found)
    return Fault.BOTH if len(sides) == 2 else Fault(sides.pop()) if sides else None


def _holders(cause: str, case: Case) -> Fault | None:
    """Who holds the certificate that was refused: on the sender's stream, else on the stream for dialback."""
    if cause == "certificate-missing":  # the server's comes first: without it there is no ServerHello
        return Fault.SENDER if any(s.data.get("server_hello") for s in case.streams) else Fault.RECEIVER
    if untimely(cause, case):
        return _accuser(cause, case)
    found = list(dict.fromkeys((judge, holder) for judge, holder, defect in case.refusals() if defect == cause))
    return _one_of(holder for _, holder in found)


def untimely(cause: str, case: Case) -> bool:
    """Whether a time is said to be past or to come of a certificate that was issued to neither side so: a clock is wrong."""
    return cause in OF_TIME and not any(case.defect(side, role) == cause for side in SIDES for role in ("client", "server"))


def _accuser(cause: str, case: Case) -> Fault | None:
    """Which side that demands certificates says so of the other's; None if both do, or if a log was not taken in.

    Who receives a stream judges in its own log. Who opens one may have written down what it was told: of SASL EXTERNAL always
    (RFC 6120 §6.4.1: it is the receiver that looks at the certificate), else only if nobody else says it.
    """
    if {"sender", "receiver"} & set(case.gaps):
        return None
    lines = [("sender", o) for o in case.sender_log] + [("receiver", o) for o in case.receiver_log]
    lines += [("sender" if o.data.get("direction") == "in" else "receiver", o) for o in case.back_log]
    judged, opened = set[str](), set[str]()
    for side, line in lines:
        if line.data.get("cause") != cause:
            continue
        other = SIDES[1 - SIDES.index(side)]
        if line.data.get("direction") == "in":
            judged.add(side)
        elif line.data.get("mechanism") == "external":
            judged.add(other)
        else:
            opened.add(side)
    found = {side for side in judged or opened if case.strict(side)}
    return Fault(found.pop()) if len(found) == 1 else None


def _weak(case: Case) -> Fault | None:
    """RFC 9325 §4.1: static RSA should not be negotiated."""
    sides = [s for s in SIDES if case.settings(s)["forward_secrecy"] == "none"]
    return Fault(sides[0]) if len(sides) == 1 else None


def _old(case: Case) -> Fault | None:
    """RFC 9325 §3.1.1: TLS 1.2 must be supported."""
    sides = [s for s in SIDES if (case.settings(s)["tls_max"] or "1.3") < "1.2"]
    return Fault(sides[0]) if len(sides) == 1 else None


def _tearer(case: Case) -> Fault | None:
    """RFC 8446 §6.1, RFC 6120 §4.4: who ends TLS or a stream says so. Whoever of the two did not, in any attempt."""
    return _one_of(case.tearers or {t.side for t in torn(case)})


def _unreached(case: Case) -> Fault:
    """A host that refuses the connection was reached, and does not listen there; silence is the network's."""
    return Fault.RECEIVER if any(s.data.get("reset_by") == "in" for s in case.streams) else Fault.NETWORK


def _not_called_back(case: Case) -> Fault | None:
    """XEP-0220 §2.1: the sender's domain must lead to a server that confirms the key."""
    current = case.called_back
    lost = {"dns", "unreachable"} & set(named_in(case.returned))
    return Fault.SENDER if lost or (current and not any(s.data.get("answered") for s in current)) else None


def _mute(case: Case) -> Fault | None:
    """Who answered the connection and then said nothing at all."""
    return Fault.RECEIVER if case.answered and not any(s.data.get("bytes_in") for s in case.answered) else None


def _closer(case: Case) -> Fault | None:
    """RFC 6120 §4.4, §4.9: a stream is closed by its end tag, an error is told. Under TLS it may have been."""
    clear = [s for s in case.answered if not s.data.get("server_hello")]
    return _one_of("sender" if side == "out" else "receiver" for s in clear if (side := _left_without_cause(s)))


def _left_without_cause(stream: Observation) -> str | None:
    """`out` or `in`: who closed a stream without a word, although what the other had sent was in order as far as it was seen."""
    side = ended_by(stream)
    if not side or any(e.startswith(f"{side}:") for e in stream.data.get("stream_errors", [])):
        return None
    sent = stream.data.get("bytes_in" if side == "out" else "bytes_out", 0)
    nameless = side == "out" and sent and not stream.data.get("starttls_offered")
    return None if sent > CIVIL or nameless else side


def _keeper(case: Case) -> Fault | None:
    """After the proof: who never sent the stanza on. That it crossed says nothing of what else crossed with it."""
    last = proven(case)
    return Fault.SENDER if last and not last.data.get("tokens") and last.data.get("bytes_out", 0) <= CIVIL else None


FAULTS: dict[str, Callable[[Case], Fault | None]] = {
    "tls-torn-down": _tearer,
    "no-common-cipher": _weak,
    "no-common-tls-version": _old,
    "dialback-failed": _not_called_back,
    "unreachable": _unreached,
    "negotiation-timeout": _mute,
    "connection-closed": _closer,
    "failed-after-proof": _keeper,
    "remote-server-error": lambda c: Fault.RECEIVER if refused_in_clear(c) & RECEIVERS_OWN else None,
    **{word: functools.partial(_holders, word) for word in words_in(Group.CERTIFICATE)},
}
"""Who would have to change something to reach what the standards ask for, where that takes the evidence and not the word alone
(`Cause.fault`). A cause that stands in neither is nobody's fault."""


def fault_of(cause: str, case: Case) -> Fault | None:
    """Whose fault a cause is; None where both are within the standards, or where the record does not show whose it is."""
    if whose := CAUSES[cause].fault:
        return Fault(whose)
    return FAULTS[cause](case) if cause in FAULTS else None
