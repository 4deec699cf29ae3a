"""The table of causes: ordered rules from evidence to one word of the closed vocabulary, most trusted source first.

A rule names its sources. What the two were set to or issued is no evidence: it only makes a word exact where wire or logs show
that the negotiation came so far. Nothing here guesses: where no rule applies, the cause is `unknown`, which is a bug.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from testbed.causes import UNKNOWN, Group, group_of, words_in
from testbed.judge.case import CIVIL, SIDES, Case, ended_by, named_in, proven, refused_in_clear, torn
from testbed.record.observations import Observation

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

CERTIFICATE_CAUSES = words_in(Group.CERTIFICATE)
WAY = (Group.ROUTE, Group.ENCRYPTION, Group.PARAMETERS, Group.CERTIFICATE, Group.MECHANISM, Group.DEFECT, Group.TESTBED)
ON_THE_WAY = tuple(word for group in WAY for word in words_in(group))
"""Causes in the order of a negotiation: the connection, TLS, its parameters, certificates, authentication."""
SYMPTOMS = words_in(Group.SYMPTOM)
"""Taken last, and in this order."""


# --- finders ----------------------------------------------------------------------------------------------------------


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
    """The receiver's features were seen, and STARTTLS was never among them; of features without an end nothing is absent."""
    ended = [s for s in case.answered if s.data.get("bytes_in", 0) <= CIVIL]
    seen = {s.data["starttls_offered"] for s in ended if s.data.get("starttls_offered")}
    return _without_tls(case) and seen == {"no"}


def _not_offered_said(case: Case) -> str | None:
    """The sender says that it demands TLS: of its own stream, or of the one for dialback, where it receives."""
    demanded = "tls-not-offered" in named_in(case.sender_log) or "tls-required" in named_in(_of(case.returned, "in"))
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
    demanded = "tls-required" in named_in(case.receiver_log) or "tls-not-offered" in named_in(_of(case.returned, "out"))
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
    """The most exact cause in a log: a defect of a certificate that was really issued, else the first on the way.

    On the way of a negotiation, not in the log: there lines of several streams stand in the order in which they were written.
    Symptoms are none.
    """
    causes = named_in(observations)
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
        # A server that says "unreachable" of a host that did answer on the wire means that the connection did not last; and
        # whose host answered, its name had been found: the line is of another look-up.
        and not (group_of(c) is Group.ROUTE and case.answered)
    ]
    return min(general, key=ON_THE_WAY.index, default=None)


def _logged_back(case: Case) -> str | None:
    """Of the stream for dialback. That it was not opened at all is no cause of its own: it is why dialback failed."""
    return _logged((o for o in case.answered_back if o.data.get("cause") not in ("dns", "unreachable")), case)


def _logged_later(case: Case) -> str | None:
    """What only says that a peer is not there any more is of the end of the servers."""
    return _logged((o for o in case.later if group_of(o.data.get("cause")) is not Group.ROUTE), case)


def _refused_certificate(case: Case) -> str | None:
    return _refused_on(case, case.directed)


def _refused_certificate_first(case: Case) -> str | None:
    return _refused_on(case, (d for d in case.directed if d[1] == "sender"))


def _refused_on(case: Case, directed: Iterable[tuple[Observation, str, str]]) -> str | None:
    """After a ServerHello a side that demands certificates ended the stream, and looks at what is wrong with the other's."""
    for stream, initiator, receiver in directed:
        if not stream.data.get("server_hello") or not (side := ended_by(stream)):
            continue
        judge, holder, role = (initiator, receiver, "server") if side == "out" else (receiver, initiator, "client")
        defect = case.defect(holder, role)
        if defect and case.strict(judge) and case.looks_at(judge, defect):
            return defect
    return None


def _torn_first(case: Case) -> str | None:
    return "tls-torn-down" if any(t.own for t in torn(case)) else None


def _torn_back(case: Case) -> str | None:
    return "tls-torn-down" if torn(case) else None


def _dialback_failed_in_clear(case: Case) -> str | None:
    words = [d for s in case.streams for d in s.data.get("dialback", [])]
    return "dialback-failed" if any(w in ("in:result:invalid", "in:result:error") for w in words) else None


def _dialback_failed_said(case: Case) -> str | None:
    said = named_in([*case.sender_log, *case.receiver_log])
    return "dialback-failed" if "dialback-failed" in said else None


def _handshake_failed(case: Case) -> str | None:
    answered = any(s.data.get("server_hello") for s in case.streams)
    return "tls-handshake-failed" if _unanswered_hellos(case) and not answered else None


def _stream_error(case: Case) -> str | None:
    return "remote-server-error" if refused_in_clear(case) else None


def _symptom(case: Case) -> str | None:
    said = named_in([*case.sender_log, *case.receiver_log, *case.answered_back])
    return next((word for word in SYMPTOMS if word in said and word != "connection-closed"), None)


def _refused_answer(case: Case) -> str | None:
    """The sender complains in clear of what it was answered; that time ran out is no complaint."""
    errors = {e for s in case.streams for e in s.data.get("stream_errors", []) if e.startswith("out:")}
    return "stream-refused" if errors - {"out:connection-timeout"} else None


def _failed_after_proof(case: Case) -> str | None:
    return "failed-after-proof" if proven(case) else None


def _closed_said(case: Case) -> str | None:
    said = named_in([*case.sender_log, *case.receiver_log, *case.answered_back])
    return "connection-closed" if "connection-closed" in said else None


def _timed_out(case: Case) -> str | None:
    errors = {e.partition(":")[2] for s in case.streams for e in s.data.get("stream_errors", [])}
    return "negotiation-timeout" if "connection-timeout" in errors else None


def _closed(case: Case) -> str | None:
    return "connection-closed" if any(ended_by(s) for s in case.answered) else None


def _never_ended(case: Case) -> str | None:
    """No answer came, and a stream in clear neither came to a proof nor was ended."""
    waiting = [s for s in case.answered if not s.data.get("server_hello") and not ended_by(s)]
    return "negotiation-timeout" if waiting and not case.error and not proven(case) else None


def _no_look_up(case: Case) -> str | None:
    return "dns" if not case.streams and case.error.get("condition") == "remote-server-not-found" else None


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
    CauseRule("wire", "dialback in clear: the key was accepted on the last stream, which no error ended", _failed_after_proof),
    CauseRule("sender's log", "a cause in what the sender's server logged", lambda c: _logged(c.sender_log, c)),
    CauseRule("receiver's log", "a cause in what the receiver's server logged", lambda c: _logged(c.receiver_log, c)),
    CauseRule(
        "wire, certificates", "who demands a certificate ended TLS, and the other's is defective", _refused_certificate_first
    ),
    CauseRule("wire", "TLS was up, and one side ended the stream without a word, before any for dialback", _torn_first),
    CauseRule("both logs", "a cause in what was logged of the sender's streams later: late, or of a retry", _logged_later),
    CauseRule("both logs", "a cause in what was logged of the stream for dialback", _logged_back),
    CauseRule(
        "wire, certificates",
        "of the stream for dialback: who demands a certificate ended TLS, and the other's is defective",
        _refused_certificate,
    ),
    CauseRule("wire", "of the stream for dialback: TLS was up, and one side ended it without a word", _torn_back),
    CauseRule("wire", "dialback in clear: the key was refused", _dialback_failed_in_clear),
    CauseRule("logs", "a server says that the verification of the key failed", _dialback_failed_said),
    CauseRule("wire", "the ClientHello was not answered by a ServerHello, and nothing says why", _handshake_failed),
    CauseRule("wire", "a stream error of the receiver, in clear", _stream_error),
    CauseRule("logs", "how it ended, where nothing says why", _symptom),
    CauseRule("wire", "a stream error of the sender, in clear", _refused_answer),
    CauseRule("logs", "the connection was closed, and nothing says why", _closed_said),
    CauseRule("wire", "a stream error in clear: time ran out", _timed_out),
    CauseRule("wire", "the connection was closed, and nothing says why", _closed),
    CauseRule("wire", "no answer came, the connection was open in clear, and nothing ended it", _never_ended),
    CauseRule("sender", "no connection attempt, and the sender's client was told that there is no such server", _no_look_up),
)


NEEDS = {
    "wire": ("wire",),
    "wire, settings": ("wire",),
    "wire, certificates": ("wire",),
    "wire, sender's log": ("wire", "sender"),
    "wire, receiver's log": ("wire", "receiver"),
    "sender's log": ("sender",),
    "receiver's log": ("receiver",),
    "both logs": ("sender", "receiver"),
    "logs": ("sender", "receiver"),
    "sender": ("wire",),
}
"""Sources of a rule -> what has to be taken in for it to find something, or to be passed over (`Case.gaps`)."""


def cause_of(case: Case) -> tuple[str | None, str]:
    """The cause of a failed cell, and the sources that named it, the most trusted first.

    None, and what is missing, where a rule comes to its turn whose evidence was not taken in: it might have named another cause.
    """
    for rule in RULES:
        if gaps := [case.gaps[need] for need in NEEDS[rule.source] if need in case.gaps]:
            return None, gaps[0]
        if word := rule.find(case):
            return word, rule.source
    return UNKNOWN, "nothing"
