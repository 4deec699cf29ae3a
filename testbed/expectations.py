"""What ought to happen between two servers: one table, computed from dimensions and certificates, never from a preset's name.

Rule: each row cites its clause; a server's defect is not written into it, but shows as a surprise. Where documents disagree, each
reading of `disagreements` is held against the table, and what any of them gives is expected. Neither half's: planning says what
is expected, measuring knows by it what to doubt, judging compares with it. No I/O; rendered into docs/expectations.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from testbed.disagreements import readings
from testbed.model import Encryption, Expectation, ForwardSecrecy, Outcome
from testbed.sides import Side


@dataclass(frozen=True)
class Varying:
    """A cause that depends on the pair."""

    text: str
    """What it is, for a table: the words, or what they are taken from."""
    of: Callable[[Side, Side], str]
    """The word, of sender and receiver."""


@dataclass(frozen=True)
class Rule:
    """One row of the table: when it applies, what follows. The first row that applies is taken."""

    when: str
    applies: Callable[[Side, Side], bool]
    outcome: Outcome
    encryption: str | None
    cause: str | Varying | None
    clause: str


def _no_tls(a: Side, b: Side) -> bool:
    return Encryption.NONE in (a.policy.encryption, b.policy.encryption)


def _dialback(a: Side, b: Side) -> bool:
    refused = (a.demands_certificate and b.defect_as_server) or (b.demands_certificate and a.defect_as_client)
    return a.has_dialback and b.has_dialback and not refused


def _nothing_in_common(a: Side, b: Side) -> str:
    """The sender's dialback is not taken, or the receiver offers nothing that the sender has."""
    return "dialback-refused" if a.has_dialback and not b.has_dialback else "no-authentication-mechanism"


NOTHING_IN_COMMON = Varying("`dialback-refused` or `no-authentication-mechanism`", _nothing_in_common)
DEFECT_OF_RECEIVER = Varying("the defect of the receiver's certificate", lambda _, b: b.defect_as_server or "")
DEFECT_OF_SENDER = Varying("the defect of the sender's certificate", lambda a, _: a.defect_as_client or "")
DEFECT_ON_THE_STREAM_BACK = Varying("the defect of the receiver's certificate as a client", lambda _, b: b.defect_as_client or "")


def _no_common_version(a: Side, b: Side) -> bool:
    (low_a, high_a), (low_b, high_b) = a.policy.tls_range, b.policy.tls_range
    return max(low_a, low_b) > min(high_a, high_b)


def _no_common_cipher(a: Side, b: Side) -> bool:
    bare = any(side.policy.forward_secrecy is ForwardSecrecy.NONE and not side.static_rsa for side in (a, b))
    return bare or {a.policy.forward_secrecy, b.policy.forward_secrecy} == {ForwardSecrecy.NONE, ForwardSecrecy.REQUIRED}


RULES: tuple[Rule, ...] = (
    Rule(
        "the sender requires TLS and the receiver has none",
        lambda a, b: a.policy.encryption is Encryption.REQUIRED and b.policy.encryption is Encryption.NONE,
        Outcome.BOUNCED,
        None,
        "tls-not-offered",
        "RFC 7590 §3.1: a server that mandates TLS does not go on without it; RFC 6120 §10.4: the sender's client is told",
    ),
    Rule(
        "the receiver requires TLS and the sender has none",
        lambda a, b: b.policy.encryption is Encryption.REQUIRED and a.policy.encryption is Encryption.NONE,
        Outcome.BOUNCED,
        None,
        "tls-required",
        "RFC 6120 §5.3.1: TLS is mandatory-to-negotiate; RFC 6120 §10.4: the sender's client is told",
    ),
    Rule(
        "no TLS on one side, and both speak dialback",
        lambda a, b: _no_tls(a, b) and _dialback(a, b) and not (a.demands_certificate or b.demands_certificate),
        Outcome.DELIVERED,
        "cleartext",
        None,
        "XEP-0220 §2: dialback needs no TLS; XEP-0238: the lower rungs of the ladder",
    ),
    Rule(
        "no TLS on one side, and one demands a certificate or does not speak dialback",
        _no_tls,
        Outcome.BOUNCED,
        None,
        NOTHING_IN_COMMON,
        "RFC 6120 §13.7.1, XEP-0178 §3: EXTERNAL needs a certificate, hence TLS; without dialback nothing is left",
    ),
    Rule(
        "no TLS version in common",
        _no_common_version,
        Outcome.BOUNCED,
        None,
        "no-common-tls-version",
        "RFC 8446 §4.2.1: handshake fails; RFC 6120 §5.4.3.2: the stream ends",
    ),
    Rule(
        "no cipher suite in common, such as one without forward secrecy and one that demands it",
        _no_common_cipher,
        Outcome.BOUNCED,
        None,
        "no-common-cipher",
        "RFC 5246 §7.4.1.3: handshake_failure; RFC 6120 §5.4.3.2: the stream ends",
    ),
    Rule(
        "the sender demands a certificate that verifies, and the receiver's does not",
        lambda a, b: a.demands_certificate and b.defect_as_server is not None,
        Outcome.BOUNCED,
        "tls",
        DEFECT_OF_RECEIVER,
        "RFC 6120 §13.7.2: the initiating entity must validate; RFC 7590 §3.4; RFC 9525 §6",
    ),
    Rule(
        "no mechanism in common, whatever the certificates",
        lambda a, b: not (a.has_dialback and b.has_dialback) and not (a.speaks_external and b.speaks_external),
        Outcome.BOUNCED,
        "tls",
        NOTHING_IN_COMMON,
        "RFC 6120 §6.3.3: a mechanism that both support is needed; one side takes no dialback (XEP-0220), one has no EXTERNAL",
    ),
    Rule(
        "the receiver demands a certificate that verifies, and the sender's does not",
        lambda a, b: b.demands_certificate and a.defect_as_client is not None,
        Outcome.BOUNCED,
        "tls",
        DEFECT_OF_SENDER,
        "RFC 6120 §13.7.2; XEP-0178 §3: the receiving entity refuses; RFC 7590 §3.4; RFC 5280 §4.2.1.12 for the purpose",
    ),
    Rule(
        "both speak EXTERNAL and the sender's certificate verifies",
        lambda a, b: a.speaks_external and b.speaks_external and a.defect_as_client is None,
        Outcome.DELIVERED,
        "tls",
        None,
        "XEP-0178 §3: SASL EXTERNAL after STARTTLS",
    ),
    Rule(
        "both speak dialback over TLS, and the sender demands what the receiver's certificate is not as a client",
        lambda a, b: _dialback(a, b) and a.demands_certificate and b.defect_as_client is not None,
        Outcome.BOUNCED,
        "tls",
        DEFECT_ON_THE_STREAM_BACK,
        "XEP-0220 §2.1.2: the receiver opens a stream back to verify the key; RFC 6120 §13.7.2: the sender validates there, too",
    ),
    Rule(
        "both speak dialback over TLS",
        _dialback,
        Outcome.DELIVERED,
        "tls",
        None,
        "XEP-0220 §2 after RFC 6120 §5; RFC 7590 §3.4: encrypted, though not authenticated by certificate",
    ),
    Rule(
        "no mechanism in common",
        lambda *_: True,
        Outcome.BOUNCED,
        "tls",
        NOTHING_IN_COMMON,
        "RFC 6120 §6.3.3: a mechanism that both support is needed; XEP-0220 is refused or missing on one side",
    ),
)
"""What ought to happen to a stanza from the first Side to the second, cold; the first row that applies is taken."""


def expect(sender: Side, receiver: Side) -> Expectation:
    """What ought to happen to a stanza from ``sender`` to ``receiver``, and the clause that says so.

    Where documents disagree, what the other readings of them give are its alternatives: each side may follow either.
    """
    expected, others = _by_the_table(sender, receiver), list[Expectation]()
    for clauses, a, b in readings(sender, receiver):
        other = _by_the_table(a, b)
        known = (expected, *others)
        if not any((e.outcome, e.encryption, e.cause) == (other.outcome, other.encryption, other.cause) for e in known):
            others.append(replace(other, because=f"{'; '.join(clauses)}: {other.because}"))
    # Where all of them fail alike, and only for another cause, nothing is open.
    differ = any((e.outcome, e.encryption) != (expected.outcome, expected.encryption) for e in others)
    return replace(expected, alternatives=tuple(others)) if differ else expected


def _by_the_table(sender: Side, receiver: Side) -> Expectation:
    for rule in RULES:
        if rule.applies(sender, receiver):
            cause = rule.cause.of(sender, receiver) if isinstance(rule.cause, Varying) else rule.cause
            return Expectation(rule.outcome, f"{rule.clause} ({rule.when})", rule.encryption, cause)
    raise AssertionError("the last rule applies to everything")
