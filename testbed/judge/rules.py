"""The tables of causes and faults: ordered rules from evidence to one word of the closed vocabulary, most trusted source first.

A rule names its sources. What the two were set to or issued is no evidence: it only makes a word exact where wire or logs show
that the negotiation came so far. Nothing here guesses: where no rule applies, the cause is `unknown`, which is a bug.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from testbed.causes import CAUSES, UNKNOWN, Group, group_of, words_in
from testbed.expectations import defect_as
from testbed.record.observations import Observation
from testbed.record.verdicts import Fault

SIDES = ("sender", "receiver")
TORN_WITHIN = 5.0
"""Seconds that a stream lasts at most which was torn down; a longer one ended when a timer ran out."""
WRITTEN_LATE = 0.05
"""Seconds after the end within which a log line still belongs to the cell, where the next cell writes into the same log."""


@dataclass(frozen=True)
class Case:
    """The evidence of one failed cell, as far as rules look at it."""

    sender: dict[str, Any]
    """The sender's settings in this phase, as in the manifest."""
    receiver: dict[str, Any]
    streams: list[Observation]
    """TCP streams from the sender's server to the receiver's."""
    back: list[Observation]
    """TCP streams the other way round."""
    sender_log: list[Observation] = field(default_factory=list)
    """What the sender's server logged of streams that it opened to the receiver."""
    receiver_log: list[Observation] = field(default_factory=list)
    """What the receiver's server logged of streams that the sender opened."""
    back_log: list[Observation] = field(default_factory=list)
    """What both logged of streams that the receiver opened (dialback)."""
    error: dict[str, Any] = field(default_factory=dict)
    verifies: tuple[tuple[str, ...], ...] = (("chain", "name"), ("chain", "name"))
    """What each side looks at in a certificate that must verify."""
    began: float = 0.0
    """When the stanza was written. What of the other direction ended before belongs to an earlier cell."""
    ended: float = float("inf")
    """When the sender was told. What of the other direction began after it belongs to the next cell."""
    dissected: bool = True
    """Whether the capture was read: only then does it say something that a stream is not there."""

    def settings(self, side: str) -> dict[str, Any]:
        """What a side was set to, as it acts in effect."""
        settings = self.sender if side == "sender" else self.receiver
        return dict(settings.get("effective") or settings["dimensions"])

    def strict(self, side: str) -> bool:
        """True if that side demands a certificate that verifies."""
        return bool(self.settings(side)["authentication"] == ["external"])

    def defect(self, side: str, role: str) -> str | None:
        """What is wrong with the certificate that this side was issued, as a TLS ``client`` or ``server``."""
        settings = self.sender if side == "sender" else self.receiver
        return defect_as(role, settings.get("defect"))

    def looks_at(self, side: str, defect: str) -> bool:
        """Whether the software of a side looks at what is defective at all."""
        return CAUSES[defect].examines in self.verifies[SIDES.index(side)]

    @property
    def answered(self) -> list[Observation]:
        """Streams in which the receiver's host answered."""
        return [s for s in self.streams if s.data.get("answered")]

    @property
    def directed(self) -> Iterator[tuple[Observation, str, str]]:
        """Every stream that may tell, who initiated and who received it.

        The sender's first, older ones too: a server that still tries for the last cell's sake puts this stanza on that stream.
        """
        for streams, ends in ((self.streams, SIDES), (self.called_back, SIDES[::-1])):
            for stream in sorted(streams, key=lambda s: s.data.get("end", s.time) < self.began):
                yield stream, *ends

    @property
    def called_back(self) -> list[Observation]:
        """Streams for dialback that were open while the cell lasted."""
        return [s for s in self.back if s.data.get("end", s.time) >= self.began and s.time <= self.ended]

    @property
    def returned(self) -> list[Observation]:
        """What was logged of the stream for dialback while the cell lasted."""
        return [o for o in self.back_log if self.began <= o.time <= self.ended + WRITTEN_LATE]

    def refusals(self) -> Iterator[tuple[str, str, str]]:
        """Who would refuse whose certificate for what: both ends of the sender's stream, then of the stream for dialback."""
        for initiator, receiver in (SIDES, SIDES[::-1]):
            for judge, holder, role in ((initiator, receiver, "server"), (receiver, initiator, "client")):
                if self.strict(judge) and (defect := self.defect(holder, role)):
                    yield judge, holder, defect


Finder = Callable[[Case], str | None]


@dataclass(frozen=True)
class CauseRule:
    """One row: the sources it trusts, when it applies in words, and the function that names the cause or None."""

    source: str
    when: str
    find: Finder


CERTIFICATE_ALERTS = {
    "certificate_expired": "certificate-expired",
    "unknown_ca": "certificate-untrusted",
    "bad_certificate": None,
    "certificate_unknown": None,
    "unsupported_certificate": "certificate-purpose",
    "certificate_required": "certificate-missing",
}
"""TLS alert -> cause, None where the alert says only that something is wrong (RFC 8446 §6.2)."""

CERTIFICATE_CAUSES, MECHANISM_CAUSES = words_in(Group.CERTIFICATE), words_in(Group.MECHANISM)
SYMPTOMS = words_in(Group.SYMPTOM)
"""Taken last, and in this order."""


# --- finders ----------------------------------------------------------------------------------------------------------


def _words(observations: Iterable[Observation]) -> list[str]:
    return [str(o.data["cause"]) for o in observations if o.data.get("cause")]


def _of(observations: Iterable[Observation], direction: str) -> list[Observation]:
    """Of the stream for dialback: what the receiver logged, which opened it (`out`), or the sender (`in`)."""
    return [o for o in observations if o.data.get("direction") == direction]


def _nobody_answers(case: Case) -> str | None:
    return "unreachable" if case.streams and not case.answered else None


def _without_tls(case: Case) -> bool:
    """The receiver answered, and no stream of the sender's came to TLS."""
    return bool(case.answered) and not any(
        s.data.get("starttls_used") or s.data.get("server_hello") or s.data.get("offered_versions") for s in case.streams
    )


def _not_offered(case: Case) -> bool:
    """The receiver's features were seen, and STARTTLS was never among them."""
    seen = {s.data["starttls_offered"] for s in case.answered if s.data.get("starttls_offered")}
    return _without_tls(case) and seen == {"no"}


def _not_offered_said(case: Case) -> str | None:
    """The sender says that it demands TLS: of its own stream, or of the one for dialback, where it receives."""
    demanded = "tls-not-offered" in _words(case.sender_log) or "tls-required" in _words(_of(case.returned, "in"))
    return "tls-not-offered" if _not_offered(case) and demanded else None


def _not_offered_demanded(case: Case) -> str | None:
    return "tls-not-offered" if _not_offered(case) and case.settings("sender")["encryption"] == "required" else None


def _not_used(case: Case) -> bool:
    """The sender went on without TLS: it sent a dialback key in clear, or has no TLS and ended there."""
    clear = any("out:result" in s.data.get("dialback", []) for s in case.streams)
    return _without_tls(case) and (clear or case.settings("sender")["encryption"] == "none")


def _required_advertised(case: Case) -> str | None:
    advertised = any(s.data.get("starttls_offered") == "required" for s in case.streams)
    return "tls-required" if _not_used(case) and advertised else None


def _required_said(case: Case) -> str | None:
    """The receiver says that it demands TLS: of the sender's stream, or of the one for dialback, which it opens."""
    demanded = "tls-required" in _words(case.receiver_log) or "tls-not-offered" in _words(_of(case.returned, "out"))
    return "tls-required" if _not_used(case) and demanded else None


def _required_demanded(case: Case) -> str | None:
    return "tls-required" if _not_used(case) and case.settings("receiver")["encryption"] == "required" else None


def _alerts(case: Case) -> Iterator[tuple[str, str, str]]:
    """TLS alerts in clear: the word, who sent it, who got it."""
    for stream, initiator, receiver in case.directed:
        for alert in stream.data.get("alerts", []):
            side, _, name = alert.partition(":")
            yield (name, initiator, receiver) if side == "out" else (name, receiver, initiator)


def _version_alert(case: Case) -> str | None:
    return "no-common-tls-version" if any(name == "protocol_version" for name, _, _ in _alerts(case)) else None


def _certificate_alert(case: Case) -> str | None:
    """The alert's sender rejects the other side's certificate, whose issued defect makes the word exact."""
    for name, said, blamed in _alerts(case):
        if name in CERTIFICATE_ALERTS:
            issued = next((d for judge, holder, d in case.refusals() if (judge, holder) == (said, blamed)), None)
            if word := issued or CERTIFICATE_ALERTS[name]:
                return word
    return None


def _unanswered_hellos(case: Case) -> list[Observation]:
    """Streams whose handshake ended at the ClientHello."""
    return [s for s, _, _ in case.directed if s.data.get("offered_versions") and not s.data.get("server_hello")]


def _versions_apart(case: Case) -> str | None:
    """The ClientHello was not answered, and offered no version that its receiver was set to."""
    for stream, _, receiver in case.directed:
        offered = [v.removeprefix("TLSv") for v in stream.data.get("offered_versions", []) if v.startswith("TLSv")]
        if offered and not stream.data.get("server_hello"):
            policy = case.settings(receiver)
            high = "1.2" if policy["forward_secrecy"] == "none" else policy["tls_max"] or "1.3"
            if not any((policy["tls_min"] or "1.0") <= v <= high for v in offered):
                return "no-common-tls-version"
    return None


def _ciphers_apart(case: Case) -> str | None:
    """The ClientHello was not answered, and one side has no forward-secret suite, the other no other one."""
    secrecy = {case.settings(side)["forward_secrecy"] for side in SIDES}
    return "no-common-cipher" if _unanswered_hellos(case) and secrecy == {"none", "required"} else None


def _too_weak(case: Case) -> str | None:
    """RFC 8446 §6.2: "the server requires parameters more secure than those supported by the client"."""
    return "no-common-cipher" if any(name == "insufficient_security" for name, _, _ in _alerts(case)) else None


def _logged(observations: Iterable[Observation], case: Case) -> str | None:
    """The most exact cause in a log: a defect of a certificate that was really issued, else the first that is no symptom."""
    causes = _words(observations)
    # A server that tolerates a defect logs it all the same: it is a cause only where a side demands a certificate that verifies.
    issued = list(dict.fromkeys(defect for _, _, defect in case.refusals()))
    strict = any(case.strict(side) for side in SIDES)
    if exact := [c for c in causes if c in issued]:
        return exact[0]
    if strict and len(issued) == 1 and any(c in CERTIFICATE_CAUSES for c in causes):
        return issued[0]  # the server's word is one for several defects; the CA knows which it was
    general = [
        c
        for c in causes
        if group_of(c) not in (Group.SYMPTOM, Group.DIALBACK)
        and (strict or c not in CERTIFICATE_CAUSES)
        # a server that says "unreachable" of a host that did answer on the wire means that the connection did not last
        and not (c == "unreachable" and case.answered)
    ]
    plain = [c for c in general if c not in MECHANISM_CAUSES]
    return plain[0] if plain else general[-1] if general else None


def _logged_back(case: Case) -> str | None:
    """Of the stream for dialback. That it was not opened at all is no cause of its own: it is why dialback failed."""
    return _logged((o for o in case.returned if o.data.get("cause") not in ("dns", "unreachable")), case)


def ended_by(stream: Observation) -> str | None:
    """`out` (the initiator) or `in`: who reset the connection, else who closed it first."""
    side = stream.data.get("reset_by") or stream.data.get("closed_by")
    return str(side) if side else None


def _refused_certificate(case: Case) -> str | None:
    """After a ServerHello a side that demands certificates ended the stream, and looks at what is wrong with the other's."""
    for stream, initiator, receiver in case.directed:
        if not stream.data.get("server_hello") or not (side := ended_by(stream)):
            continue
        judge, holder, role = (initiator, receiver, "server") if side == "out" else (receiver, initiator, "client")
        defect = case.defect(holder, role)
        if defect and case.strict(judge) and case.looks_at(judge, defect):
            return defect
    return None


def torn(case: Case) -> list[tuple[str, bool]]:
    """Who reset streams that had come to TLS, before either side had closed them: the side, and whether the sender had opened it.

    A stream that was closed in order may have had its last word under TLS, where the wire does not show it.
    """
    found = []
    for stream, initiator, receiver in case.directed:
        d = stream.data
        silent = d.get("server_hello") and not d.get("alerts") and not d.get("stream_errors") and not d.get("closed_by")
        if d.get("end", stream.time) - stream.time > TORN_WITHIN:
            continue
        if silent and d.get("reset_by"):
            found.append((initiator if d["reset_by"] == "out" else receiver, initiator == "sender"))
    return found


def _reset_under_tls(case: Case) -> str | None:
    return "tls-torn-down" if torn(case) else None


def _dialback_failed_in_clear(case: Case) -> str | None:
    words = [d for s in case.streams for d in s.data.get("dialback", [])]
    return "dialback-failed" if any(w in ("in:result:invalid", "in:result:error") for w in words) else None


def _dialback_failed_said(case: Case) -> str | None:
    said = _words([*case.sender_log, *case.receiver_log])
    return "dialback-failed" if "dialback-failed" in said else None


def _handshake_failed(case: Case) -> str | None:
    answered = any(s.data.get("server_hello") for s in case.streams)
    return "tls-handshake-failed" if _unanswered_hellos(case) and not answered else None


def _refused_in_clear(case: Case) -> set[str]:
    """Stream errors that the receiver sent in clear, but for the one that only says that time ran out."""
    said = {e.partition(":")[2] for s in case.streams for e in s.data.get("stream_errors", []) if e.startswith("in:")}
    return said - {"connection-timeout"}


def _stream_error(case: Case) -> str | None:
    return "remote-server-error" if _refused_in_clear(case) else None


def _symptom(case: Case) -> str | None:
    said = _words([*case.sender_log, *case.receiver_log, *case.returned])
    return next((word for word in SYMPTOMS if word in said), None)


def _timed_out(case: Case) -> str | None:
    errors = {e.partition(":")[2] for s in case.streams for e in s.data.get("stream_errors", [])}
    return "negotiation-timeout" if "connection-timeout" in errors else None


def _closed(case: Case) -> str | None:
    return "connection-closed" if any(ended_by(s) for s in case.answered) else None


def _no_look_up(case: Case) -> str | None:
    absent = case.dissected and not case.streams
    return "dns" if absent and case.error.get("condition") == "remote-server-not-found" else None


RULES: tuple[CauseRule, ...] = (
    CauseRule("wire", "connection attempts, and none was answered", _nobody_answers),
    CauseRule("wire, sender's log", "no STARTTLS among the features; the sender says that it demands it", _not_offered_said),
    CauseRule("wire, settings", "no STARTTLS among the features; the sender was set to demand it", _not_offered_demanded),
    CauseRule("wire", "STARTTLS was advertised as required, and the sender went on without", _required_advertised),
    CauseRule("wire, receiver's log", "the sender went on without TLS; the receiver says that it demands it", _required_said),
    CauseRule("wire, settings", "the sender went on without TLS; the receiver was set to demand it", _required_demanded),
    CauseRule("wire", "TLS alert protocol_version", _version_alert),
    CauseRule("wire", "TLS alert about a certificate, named by what was issued where the alert is not exact", _certificate_alert),
    CauseRule("wire", "TLS alert insufficient_security", _too_weak),
    CauseRule("wire, settings", "no ServerHello, and no version offered that the other was set to", _versions_apart),
    CauseRule("wire, settings", "no ServerHello; one has only ephemeral suites, the other none", _ciphers_apart),
    CauseRule("sender's log", "a cause in what the sender's server logged", lambda c: _logged(c.sender_log, c)),
    CauseRule("receiver's log", "a cause in what the receiver's server logged", lambda c: _logged(c.receiver_log, c)),
    CauseRule("both logs", "a cause in what was logged of the stream for dialback", _logged_back),
    CauseRule("wire, certificates", "who demands a certificate ended TLS, and the other's is defective", _refused_certificate),
    CauseRule("wire", "TLS was up, and one side reset the connection without a word", _reset_under_tls),
    CauseRule("wire", "dialback in clear: the key was refused", _dialback_failed_in_clear),
    CauseRule("logs", "a server says that the verification of the key failed", _dialback_failed_said),
    CauseRule("wire", "the ClientHello was not answered by a ServerHello, and nothing says why", _handshake_failed),
    CauseRule("wire", "a stream error of the receiver, in clear", _stream_error),
    CauseRule("logs", "how it ended, where nothing says why", _symptom),
    CauseRule("wire", "a stream error in clear: time ran out", _timed_out),
    CauseRule("wire", "the connection was closed, and nothing says why", _closed),
    CauseRule("sender", "no connection attempt, and the sender's client was told that there is no such server", _no_look_up),
)


def cause_of(case: Case) -> tuple[str, str]:
    """The cause of a failed cell, and the sources that named it, the most trusted first."""
    for rule in RULES:
        if word := rule.find(case):
            return word, rule.source
    return UNKNOWN, "nothing"


# --- faults -----------------------------------------------------------------------------------------------------------

RECEIVERS_OWN = {
    "host-unknown", "host-gone", "internal-server-error", "remote-connection-failed", "reset", "resource-constraint",
    "system-shutdown",
}  # fmt: skip
"""Stream errors with which a receiver speaks of itself (RFC 6120 §4.9.3)."""


def _one_of(found: Iterable[str]) -> Fault | None:
    """The side, if all name one; both, if both are named; None for none."""
    sides = set(found)
    return Fault.BOTH if len(sides) == 2 else Fault(sides.pop()) if sides else None


def _holders(cause: str, case: Case) -> Fault | None:
    """Who holds the certificate that was refused: on the sender's stream, else on the stream for dialback."""
    if cause == "certificate-missing":  # the server's comes first: without it there is no ServerHello
        return Fault.SENDER if any(s.data.get("server_hello") for s in case.streams) else Fault.RECEIVER
    found = list(dict.fromkeys((judge, holder) for judge, holder, defect in case.refusals() if defect == cause))
    return _one_of(holder for _, holder in found)


def _weak(case: Case) -> Fault | None:
    """RFC 9325 §4.1: static RSA should not be negotiated."""
    sides = [s for s in SIDES if case.settings(s)["forward_secrecy"] == "none"]
    return Fault(sides[0]) if len(sides) == 1 else None


def _old(case: Case) -> Fault | None:
    """RFC 9325 §3.1.1: TLS 1.2 must be supported."""
    sides = [s for s in SIDES if (case.settings(s)["tls_max"] or "1.3") < "1.2"]
    return Fault(sides[0]) if len(sides) == 1 else None


def _tearer(case: Case) -> Fault | None:
    """RFC 8446 §6.1, RFC 6120 §4.4: who ends TLS or a stream says so. Who ended most streams; the sender's count first."""
    found = torn(case)
    own = [side for side, sender in found if sender] or [side for side, _ in found]
    return Fault(Counter(own).most_common(1)[0][0]) if own else None


def _unreached(case: Case) -> Fault:
    """A host that refuses the connection was reached, and does not listen there; silence is the network's."""
    return Fault.RECEIVER if any(s.data.get("reset_by") == "in" for s in case.streams) else Fault.NETWORK


def _not_called_back(case: Case) -> Fault | None:
    """XEP-0220 §2.1: the sender's domain must lead to a server that confirms the key."""
    current = case.called_back
    lost = {"dns", "unreachable"} & set(_words(case.returned))
    return Fault.SENDER if lost or (current and not any(s.data.get("answered") for s in current)) else None


def _mute(case: Case) -> Fault | None:
    """Who answered the connection and then said nothing at all."""
    return Fault.RECEIVER if case.answered and not any(s.data.get("bytes_in") for s in case.answered) else None


def _closer(case: Case) -> Fault | None:
    """RFC 6120 §4.4, §4.9: a stream is closed by its end tag, an error is told. Under TLS it may have been."""
    clear = [s for s in case.answered if not s.data.get("server_hello")]
    return _one_of("sender" if ended_by(s) == "out" else "receiver" for s in clear if ended_by(s))


FAULTS: dict[str, Callable[[Case], Fault | None]] = {
    "tls-torn-down": _tearer,
    "no-common-cipher": _weak,
    "no-common-tls-version": _old,
    "dialback-failed": _not_called_back,
    "unreachable": _unreached,
    "negotiation-timeout": _mute,
    "connection-closed": _closer,
    "remote-server-error": lambda c: Fault.RECEIVER if _refused_in_clear(c) & RECEIVERS_OWN else None,
    **{word: functools.partial(_holders, word) for word in CERTIFICATE_CAUSES},
}
"""Who would have to change something to reach what the standards ask for, where that takes the evidence and not the word alone
(`Cause.fault`). A cause that stands in neither is nobody's fault."""


def fault_of(cause: str, case: Case) -> Fault | None:
    """Whose fault a cause is; None where both are within the standards, or where the record does not show whose it is."""
    if whose := CAUSES[cause].fault:
        return Fault(whose)
    return FAULTS[cause](case) if cause in FAULTS else None
