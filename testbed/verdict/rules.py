"""The tables of causes: ordered rules from evidence to one word of the closed vocabulary, most trusted source first.

A rule names its source. Nothing here guesses: where no rule applies, the cause is `unknown`, which is a bug to be looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from testbed.model import Fault, Observation


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
    mechanisms: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """What each side's software has at all: sender, receiver."""
    verifies: tuple[tuple[str, ...], ...] = (("chain", "name"), ("chain", "name"))
    """What each side looks at in a certificate that must verify."""
    dialback_over_verified: tuple[bool, bool] = (False, False)
    """Whether each side, strict, still takes dialback from a peer whose certificate verified."""

    def encryption(self, side: str) -> str:
        """`none`, `offered` or `required`."""
        settings = self.sender if side == "sender" else self.receiver
        return str(settings["dimensions"]["encryption"])

    def strict(self, side: str) -> bool:
        """True if that side demands a certificate that verifies."""
        settings = self.sender if side == "sender" else self.receiver
        return bool(settings["dimensions"]["authentication"] == ["external"])

    def defect(self, side: str) -> str | None:
        """What is wrong with the certificate that this side was issued."""
        settings = self.sender if side == "sender" else self.receiver
        return settings.get("defect")

    @property
    def answered(self) -> list[Observation]:
        """Streams in which the receiver's host answered."""
        return [s for s in self.streams if s.data.get("answered")]

    @property
    def tls(self) -> list[Observation]:
        """Streams in which the receiver's server answered the TLS handshake."""
        return [s for s in self.streams if s.data.get("server_hello")]


Finder = Callable[[Case], str | None]


@dataclass(frozen=True)
class CauseRule:
    """One row: the source it trusts, when it applies in words, and the function that names the cause or None."""

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

CERTIFICATE_CAUSES = {
    "certificate-self-signed",
    "certificate-expired",
    "certificate-not-yet-valid",
    "certificate-wrong-host",
    "certificate-untrusted",
    "certificate-purpose",
}


def _alert_on_certificate(case: Case) -> str | None:
    """An alert about a certificate; the alert's sender rejects the other side's, whose issued defect makes the word exact."""
    for streams, ends in ((case.streams, ("receiver", "sender")), (case.back, ("sender", "receiver"))):
        for stream in streams:
            for alert in stream.data.get("alerts", []):
                side, _, name = alert.partition(":")
                if name in CERTIFICATE_ALERTS:
                    rejected = ends[0] if side == "out" else ends[1]
                    if word := case.defect(rejected) or CERTIFICATE_ALERTS[name]:
                        return word
    return None


def _alert(case: Case, *names: str) -> bool:
    return any(a.partition(":")[2] in names for s in case.streams + case.back for a in s.data.get("alerts", []))


def _versions_disjoint(case: Case) -> str | None:
    """The receiver ended the handshake at the ClientHello, or said protocol_version."""
    return "no-common-tls-version" if _alert(case, "protocol_version") else None


def _handshake_failure(case: Case) -> str | None:
    hello_only = [s for s in case.streams + case.back if s.data.get("offered_versions") and not s.data.get("server_hello")]
    if _alert(case, "handshake_failure", "insufficient_security") and hello_only:
        return "no-common-cipher"
    return None


def _not_offered(case: Case) -> str | None:
    """The sender demands TLS, and the features that it got had none (or there were no features: no XMPP 1.0, no STARTTLS)."""
    if case.encryption("sender") != "required" or not case.answered or case.encryption("receiver") != "none":
        return None
    return "tls-not-offered" if not any(s.data.get("starttls_used") or s.data.get("server_hello") for s in case.streams) else None


def _tls_required(case: Case) -> str | None:
    if case.encryption("receiver") != "required" or not case.answered or case.encryption("sender") != "none":
        return None
    return "tls-required" if not any(s.data.get("starttls_used") or s.data.get("server_hello") for s in case.streams) else None


def _nobody_answers(case: Case) -> str | None:
    return "unreachable" if case.streams and not case.answered else None


def _logged(observations: Iterable[Observation], case: Case) -> str | None:
    """The most exact cause in a log: a defect of a certificate that was really issued, else the first that is no symptom."""
    causes = [str(o.data["cause"]) for o in observations if o.data.get("cause")]
    # A server that tolerates a defect logs it all the same: it is a cause only where a side demands a certificate that verifies.
    strict = case.strict("sender") or case.strict("receiver")
    issued = {d for d in (case.defect("sender"), case.defect("receiver")) if d}
    exact = [c for c in causes if c in issued and strict]
    # a server that says "unreachable" of a host that did answer on the wire means that the connection did not last
    general = [
        c
        for c in causes
        if c not in SYMPTOMS and (c not in CERTIFICATE_CAUSES or strict) and not (c == "unreachable" and case.answered)
    ]
    if not exact and strict and any(c in CERTIFICATE_CAUSES for c in causes) and len(issued) == 1:
        return next(iter(issued))  # the server's word is one for several defects; the wire and the CA know which it was
    return next(iter(exact or general), None)


SYMPTOMS = {"tls-handshake-failed", "negotiation-timeout", "connection-closed", "remote-server-error"}
"""Causes that say how it ended rather than why: taken last."""


def _symptom(case: Case) -> str | None:
    for observations in (case.sender_log, case.receiver_log, case.back_log):
        for o in observations:
            if o.data.get("cause") in SYMPTOMS:
                return str(o.data["cause"])
    return None


def _no_mechanism(case: Case) -> str | None:
    """One side takes no dialback, EXTERNAL is not common to both, and the receiver did answer.

    A sender that looks at the receiver's certificate first has its reason there, if that is defective.
    """
    sides = ("sender", "receiver")
    external = all(
        "external" in m and "external" in s["dimensions"]["authentication"]
        for m, s in zip(case.mechanisms, (case.sender, case.receiver), strict=True)
    )
    if external or not case.answered or (case.strict("sender") and case.defect("receiver")):
        return None
    refuses = any(case.strict(side) and not verified for side, verified in zip(sides, case.dialback_over_verified, strict=True))
    return "no-authentication-mechanism" if refuses else None


def _hello_refused(case: Case) -> str | None:
    """The handshake ended at the ClientHello without an alert, and what the two are set to has nothing in common."""
    if not any(s.data.get("offered_versions") and not s.data.get("server_hello") for s in case.streams + case.back):
        return None
    a, b = case.sender["dimensions"], case.receiver["dimensions"]
    low = max(d["tls_min"] or "1.0" for d in (a, b))
    high = min("1.2" if d["forward_secrecy"] == "none" else d["tls_max"] or "1.3" for d in (a, b))
    if low > high:
        return "no-common-tls-version"
    return "no-common-cipher" if {a["forward_secrecy"], b["forward_secrecy"]} == {"none", "required"} else None


def _torn_down(case: Case) -> str | None:
    """TLS was up, and the stream was closed or reset with nothing said."""
    ended = [
        s
        for s in case.tls + [b for b in case.back if b.data.get("server_hello")]
        if s.data.get("reset_by") or s.data.get("closed_by")
    ]
    return "connection-closed" if ended else None


def _expected_certificate(case: Case) -> str | None:
    """TLS was up, nothing was delivered, a side demands a certificate that verifies, and exactly one was issued with a defect."""
    if not (case.tls or any(s.data.get("server_hello") for s in case.back)):
        return None
    for number, (strict, other) in enumerate((("sender", "receiver"), ("receiver", "sender"))):
        defect = case.defect(other) if case.strict(strict) else None
        if defect and (defect != "certificate-wrong-host" or "name" in case.verifies[number]):
            return defect
    return None


def _dialback_failed(case: Case) -> str | None:
    words = [d for s in case.streams for d in s.data.get("dialback", [])]
    return "dialback-failed" if any(w in ("in:result:invalid", "in:result:error") for w in words) else None


def _stream_ended(case: Case) -> str | None:
    errors = {e.partition(":")[2] for s in case.streams for e in s.data.get("stream_errors", [])}
    if "connection-timeout" in errors:
        return "negotiation-timeout"
    return "remote-server-error" if errors else None


def _no_look_up(case: Case) -> str | None:
    return "dns" if not case.streams and case.error.get("condition") == "remote-server-not-found" else None


RULES: tuple[CauseRule, ...] = (
    CauseRule("wire", "connection attempts, and none was answered", _nobody_answers),
    CauseRule("wire", "the sender demands TLS; the receiver's stream had none to offer", _not_offered),
    CauseRule("wire", "the receiver demands TLS; the sender's stream used none", _tls_required),
    CauseRule("wire", "TLS alert protocol_version", _versions_disjoint),
    CauseRule("wire", "TLS alert about a certificate", _alert_on_certificate),
    CauseRule("wire", "TLS alert handshake_failure before a ServerHello", _handshake_failure),
    CauseRule("wire", "the handshake ended at the ClientHello, and the settings have nothing in common", _hello_refused),
    CauseRule("wire", "a certificate is demanded, EXTERNAL is not common to both, and the stream ended", _no_mechanism),
    CauseRule("sender's log", "a cause in what the sender's server logged", lambda c: _logged(c.sender_log, c)),
    CauseRule("receiver's log", "a cause in what the receiver's server logged", lambda c: _logged(c.receiver_log, c)),
    CauseRule("both logs", "a cause in what was logged of the stream for dialback", lambda c: _logged(c.back_log, c)),
    CauseRule("wire", "TLS was up, a certificate had to verify, and the one issued has a defect", _expected_certificate),
    CauseRule("wire", "dialback in clear: the key was refused", _dialback_failed),
    CauseRule("log", "how it ended, where nothing says why", _symptom),
    CauseRule("wire", "a stream error in clear", _stream_ended),
    CauseRule("wire", "TLS was up, and the connection ended without a word", _torn_down),
    CauseRule("sender", "no connection attempt, and the sender's client was told that there is no such server", _no_look_up),
)


def cause_of(case: Case) -> tuple[str, str]:
    """The cause of a failed cell, and the source that named it."""
    for rule in RULES:
        if word := rule.find(case):
            return word, rule.source
    return "unknown", "nothing"


def fault_of(cause: str, case: Case) -> Fault | None:
    """Who would have to change something to reach what the standards ask for; None where both are within them."""
    match cause:
        case "tls-not-offered":
            return Fault.RECEIVER  # RFC 6120 §5.2: support of STARTTLS is required of every server
        case "tls-required":
            return Fault.SENDER
        case _ if cause in CERTIFICATE_CAUSES:
            sides = [Fault(s) for s in ("sender", "receiver") if case.defect(s) == cause]
            return Fault.BOTH if len(sides) == 2 else sides[0] if sides else None
        case "no-common-cipher":
            weak = [
                Fault(s)
                for s, d in (("sender", case.sender), ("receiver", case.receiver))
                if d["dimensions"]["forward_secrecy"] == "none"
            ]
            return weak[0] if len(weak) == 1 else None  # RFC 9325 §4.1: static RSA should not be negotiated
        case "no-common-tls-version":
            old = [
                Fault(s)
                for s, d in (("sender", case.sender), ("receiver", case.receiver))
                if (d["dimensions"]["tls_max"] or "1.3") < "1.2"
            ]
            return old[0] if len(old) == 1 else None  # RFC 9325 §3.1.1: TLS 1.2 must be supported
        case "dns" | "unreachable":
            return Fault.NETWORK
        case "image-unavailable" | "testbed":
            return Fault.TESTBED
        case _:
            return None
