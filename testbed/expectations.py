"""What ought to happen between two servers: one table, computed from dimensions and certificates, never from a preset's name.

Rule: each row cites its clause; a server's defect is not written into it, but shows as a surprise. Where documents in force
disagree (`DISAGREEMENTS`), each reading is held against the table, and what any of them gives is expected. Neither half's:
planning says what is expected, measuring knows by it what to doubt, judging compares with it. No I/O; rendered into
docs/expectations.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from testbed.model import Authentication, Encryption, Expectation, ForwardSecrecy, Outcome, Policy

CLIENT_ONLY = ("certificate-purpose",)
"""Defects that count only where the certificate's holder is the TLS client, that is, where it initiates the stream."""


def defect_as(role: str, defect: str | None, roles: Sequence[str] | None = None) -> str | None:
    """A certificate's defect, as far as it is one in the role of TLS ``client`` or ``server``.

    ``roles``: those in which it is, as its profile says; None for an old record's certificate, or a stranger's.
    """
    if roles is None:
        roles = ("client",) if defect in CLIENT_ONLY else ("client", "server")
    return defect if role in roles else None


@dataclass(frozen=True)
class Side:
    """One end of a Pair, as far as expectations depend on it."""

    policy: Policy
    certificate_defect: str | None
    """The cause that a strict peer would name (`certificate-expired`), or None for a certificate that verifies in both roles."""
    mechanisms: tuple[str, ...]
    """What the software has at all."""
    dialback_over_verified: bool
    """With authentication `external`: does it still take dialback from a peer whose certificate verified on that stream?"""
    defective_as: tuple[str, ...] | None = None
    """The roles of TLS in which the certificate is defective (see `defect_as`)."""

    @property
    def demands_certificate(self) -> bool:
        """True if the peer's certificate must verify."""
        return self.policy.authentication is Authentication.EXTERNAL

    @property
    def has_dialback(self) -> bool:
        """True if this side speaks dialback with a peer whose certificate is beyond reproach."""
        return "dialback" in self.mechanisms and (not self.demands_certificate or self.dialback_over_verified)

    @property
    def defect_as_client(self) -> str | None:
        """What a strict receiver finds wrong with the certificate of this side as the initiator."""
        return defect_as("client", self.certificate_defect, self.defective_as)

    @property
    def defect_as_server(self) -> str | None:
        """What a strict initiator finds wrong with the certificate of this side as the receiver."""
        return defect_as("server", self.certificate_defect, self.defective_as)

    @property
    def speaks_external(self) -> bool:
        """True if this side offers or uses SASL EXTERNAL (XEP-0178)."""
        return "external" in self.mechanisms and self.policy.authentication is not Authentication.DIALBACK


@dataclass(frozen=True)
class Rule:
    """One row of the table: when it applies, what follows. The first row that applies is taken."""

    when: str
    applies: Callable[[Side, Side], bool]
    outcome: Outcome
    encryption: str | None
    cause: str | Callable[[Side, Side], str] | None
    clause: str


def _no_tls(a: Side, b: Side) -> bool:
    return Encryption.NONE in (a.policy.encryption, b.policy.encryption)


def _dialback(a: Side, b: Side) -> bool:
    refused = (a.demands_certificate and b.defect_as_server) or (b.demands_certificate and a.defect_as_client)
    return a.has_dialback and b.has_dialback and not refused


def _nothing_in_common(a: Side, b: Side) -> str:
    """The exact word: the sender's dialback is not taken, or the receiver offers nothing that the sender has."""
    return "dialback-refused" if a.has_dialback and not b.has_dialback else "no-authentication-mechanism"


def _no_common_version(a: Side, b: Side) -> bool:
    (low_a, high_a), (low_b, high_b) = a.policy.tls_range, b.policy.tls_range
    return max(low_a, low_b) > min(high_a, high_b)


def _no_common_cipher(a: Side, b: Side) -> bool:
    return {a.policy.forward_secrecy, b.policy.forward_secrecy} == {ForwardSecrecy.NONE, ForwardSecrecy.REQUIRED}


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
        _nothing_in_common,
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
        "one has no forward-secret suite, the other requires one",
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
        lambda _, b: b.defect_as_server or "",
        "RFC 6120 §13.7.2: the initiating entity must validate; RFC 7590 §3.4; RFC 9525 §6",
    ),
    Rule(
        "no mechanism in common, whatever the certificates",
        lambda a, b: not (a.has_dialback and b.has_dialback) and not (a.speaks_external and b.speaks_external),
        Outcome.BOUNCED,
        "tls",
        _nothing_in_common,
        "RFC 6120 §6.3.3: a mechanism that both support is needed; one side takes no dialback (XEP-0220), one has no EXTERNAL",
    ),
    Rule(
        "the receiver demands a certificate that verifies, and the sender's does not",
        lambda a, b: b.demands_certificate and a.defect_as_client is not None,
        Outcome.BOUNCED,
        "tls",
        lambda a, _: a.defect_as_client or "",
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
        lambda _, b: b.defect_as_client or "",
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
        _nothing_in_common,
        "RFC 6120 §6.3.3: a mechanism that both support is needed; XEP-0220 is refused or missing on one side",
    ),
)
"""What ought to happen to a stanza from the first Side to the second, cold; the first row that applies is taken."""


# --- where documents disagree -----------------------------------------------------------------------------------------

Reading = Callable[[Side], Side]
"""A side as another document reads it; the same side where it says nothing else of it."""


@dataclass(frozen=True)
class Disagreement:
    """A point on which two documents in force say different things of the same pair."""

    point: str
    table: str
    """What the rows go by."""
    other: str
    """What another document says, with its clause."""
    reading: Reading | None = None
    """What makes it open: a side as the other document has it. None: it is decided."""
    decided: str = ""
    """Why it is not open."""
    clause: str = ""
    """Of an open one: what stands in an expectation for the other reading."""


def _purpose_ignored(side: Side) -> Side:
    return replace(side, certificate_defect=None) if side.certificate_defect == "certificate-purpose" else side


def _no_old_versions(side: Side) -> Side:
    """Of a pair that has only old versions in common, one side has no other."""
    low, high = side.policy.tls_range
    return replace(side, policy=replace(side.policy, tls_min="1.2")) if low <= high < "1.2" else side


DISAGREEMENTS: tuple[Disagreement, ...] = (
    Disagreement(
        "a certificate with the purpose serverAuth alone, whose holder initiates a stream",
        "RFC 5280 §4.2.1.12: a certificate serves only the purposes that it names, and who initiates a stream is a TLS client",
        "XEP-0178 §3 (version 1.2, 2020) lets a server prove its domain by its certificate and names no purpose, nor does RFC "
        "6120 §13.7.1. Since 2026 public authorities issue no other one (Let's Encrypt by default from 2026-02-11, without "
        "exception from 2026-07-08; Chrome Root Program Policy 1.8 asks it of every new certificate from 2027-03-15), and makers "
        "of servers accept it on purpose (see [finding 6](findings.md#6-certificates-without-the-client-purpose))",
        _purpose_ignored,
        clause="XEP-0178 §3 and RFC 6120 §13.7.1 ask for no purpose, and since 2026 public authorities issue serverAuth alone",
    ),
    Disagreement(
        "two servers that have only TLS 1.0 or 1.1 in common",
        "what the two were set to: by RFC 5246 appendix E.1 and RFC 8446 §4.2.1 the highest version that both have is negotiated",
        "RFC 8996 §4, §5 and RFC 9325 §3.1.1 (for XMPP by RFC 7590 §1): TLS 1.0 and 1.1 must not be negotiated",
        _no_old_versions,
        clause="RFC 8996 §4, §5; RFC 9325 §3.1.1: TLS 1.0 and 1.1 must not be negotiated, whatever was configured",
    ),
    Disagreement(
        "a certificate that does not verify, between servers that take dialback",
        "RFC 7590 §3.4 (2015): encryption without authentication is better than none; XEP-0220 §2: dialback decides",
        "RFC 6120 §13.7.2: both validate what they are presented; XEP-0178 §3, step 7: the receiver closes the connection",
        decided="the setting says it: who takes dialback as a proof asks for no certificate that verifies; `external` does. "
        "Expired, self-signed, untrusted and misnamed certificates alike",
    ),
    Disagreement(
        "SASL EXTERNAL was refused, and both have dialback",
        "XEP-0178 §3, steps 9 and 11 (since version 1.2, 2020): the receiver may go on with dialback",
        "the same steps: it may close the connection instead; RFC 6120 §6.4.5: a failed authentication may be tried again",
        decided="the setting says it: dialback is taken as a proof",
    ),
    Disagreement(
        "a domain that only the common name of a certificate names",
        "RFC 9525 appendix A (2023): the common name is not looked at",
        "RFC 6125 §6.4.4 (2011; obsolete, but cited by RFC 6120 §13.7.2, XEP-0178 §3): it may be, without a subjectAltName",
        decided="no profile is such a certificate: each has a subjectAltName, and then both agree",
    ),
    Disagreement(
        "a cipher suite without forward secrecy",
        "what the two were set to",
        "RFC 6120 §13.8 makes static RSA mandatory to implement; RFC 9325 §4.1 (for XMPP by RFC 7590 §1) advises against it",
        decided="the later document advises and forbids nothing; the setting says it (`forward_secrecy`)",
    ),
    Disagreement(
        "a server without TLS",
        "XEP-0220 §2, XEP-0238: two servers may talk by dialback in cleartext",
        "RFC 6120 §5.2, RFC 7590 §3.1: every implementation has STARTTLS; an initiator may try it though it is not offered",
        decided="it is set to have none (`encryption: none`), and its peer to require it or not",
    ),
    Disagreement(
        "a stanza that cannot be delivered",
        "RFC 6120 §10.4: the sender's server returns an error",
        "RFC 6121 §8.5: some stanzas are answered by nothing, so as not to tell who is there",
        decided="that is said of stanzas that reached the recipient's server; where streams fail, an error is due: a loss is a "
        "surprise",
    ),
)
"""All points that were looked up, the open ones first. The texts are those in force in 2026 (XEPs: 2026-06-30)."""

OPEN: tuple[Disagreement, ...] = tuple(d for d in DISAGREEMENTS if d.reading)


def expect(sender: Side, receiver: Side) -> Expectation:
    """What ought to happen to a stanza from ``sender`` to ``receiver``, and the clause that says so.

    Where documents disagree, what the other readings of them give are its alternatives: each side may follow either.
    """
    expected, others = _by_the_table(sender, receiver), list[Expectation]()
    for clauses, a, b in _readings(sender, receiver):
        other = _by_the_table(a, b)
        known = (expected, *others)
        if not any((e.outcome, e.encryption) == (other.outcome, other.encryption) for e in known):
            others.append(replace(other, because=f"{'; '.join(clauses)}: {other.because}"))
    return replace(expected, alternatives=tuple(others)) if others else expected


def _readings(sender: Side, receiver: Side) -> Iterator[tuple[list[str], Side, Side]]:
    """The pair as other documents have it, with their clauses: the fewest differences first."""
    choices = [(d, end) for d in OPEN for end, side in enumerate((sender, receiver)) if d.reading and d.reading(side) is not side]
    for count in range(1, len(choices) + 1):
        for chosen in itertools.combinations(choices, count):
            sides = [sender, receiver]
            for disagreement, end in chosen:
                sides[end] = disagreement.reading(sides[end]) if disagreement.reading else sides[end]
            yield list(dict.fromkeys(d.clause for d, _ in chosen)), sides[0], sides[1]


def _by_the_table(sender: Side, receiver: Side) -> Expectation:
    for rule in RULES:
        if rule.applies(sender, receiver):
            cause = rule.cause(sender, receiver) if callable(rule.cause) else rule.cause
            return Expectation(rule.outcome, f"{rule.clause} ({rule.when})", rule.encryption, cause)
    raise AssertionError("the last rule applies to everything")
