"""The closed vocabulary of causes, over all implementations: one row per cause. No I/O, no local import.

Rule: all that is known of a cause by its word alone stands in its row; a cause that no row names does not exist. What finds it is
a rule of `judge/rules.py` or a reason in `images/*/logs.yaml`. Tests ask for a real recording of every row.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Group(str, Enum):
    """What kind of cause it is: causes of one group are found, excused and blamed alike."""

    ENCRYPTION = "encryption"
    PARAMETERS = "TLS parameters"
    CERTIFICATE = "certificate"
    """Whoever holds the certificate is at fault; as each side is the TLS client once, that may be either."""
    MECHANISM = "mechanism"
    """A server may log one of them and try the next mechanism: the first row counts, of the mechanism that is tried last."""
    DIALBACK = "dialback"
    DEFECT = "defect"
    ROUTE = "name or route"
    SYMPTOM = "symptom"
    """Says how it ended rather than why: taken last, in the order of the rows."""
    TESTBED = "testbed"
    """No cause that a server could have."""


CONFLICTS = {Group.ENCRYPTION, Group.PARAMETERS, Group.MECHANISM}
"""Groups in which no fault means that both sides are within the standards; elsewhere the record does not show whose it is."""


class Inconclusive(str, Enum):
    """What a cell amounts to that is inconclusive for this cause."""

    CANNOT_TELL = "cannot-tell"
    """The testbed failed to measure it."""
    ABSENT = "absent"
    """There was nothing to measure: not a failure of the run."""
    FINDING = "finding"
    """It was measured, and is a fact about the pair: neither a success nor a failure."""


@dataclass(frozen=True)
class Cause:
    """One word of the closed vocabulary."""

    word: str
    group: Group
    meaning: str
    """One clause, in the present or past tense, that completes "because"; in the terms of the standards."""
    plain: str
    """The same for a reader who runs a server and has not read the standards."""
    clause: str
    """Where the standards speak of it; "-" for what is the testbed's own."""
    remedy: str
    """What to do on any implementation; the exact setting stands in images/*/image.yaml."""
    fault: str | None = None
    """`sender`, `receiver`, `network` or `testbed`, where it is the same whatever the evidence; else `judge/rules.py` looks."""
    inconclusive: Inconclusive = Inconclusive.CANNOT_TELL
    """Of a cause that makes its cell inconclusive."""
    short: str = ""
    """Of a certificate that does not verify: a word or two for a column."""
    examines: str = "chain"
    """Of a certificate: what a peer has to examine to find the defect: `chain`, `name` or `purpose`."""


VOCABULARY: tuple[Cause, ...] = (
    Cause(
        "tls-not-offered",
        Group.ENCRYPTION,
        "the sender requires TLS, and the receiver does not offer it",
        "the sender insists on encryption, the receiver offers none",
        "RFC 6120 §5.2, §5.3.1; RFC 7590 §3.1",
        "give the receiver a certificate and switch STARTTLS on; or let the sender go without TLS",
        fault="receiver",  # RFC 6120 §5.2: support of STARTTLS is required of every server
    ),
    Cause(
        "tls-required",
        Group.ENCRYPTION,
        "the receiver requires TLS, and the sender does not use it",
        "the receiver insists on encryption, the sender does not use it",
        "RFC 6120 §5.3.1; RFC 7590 §3.1",
        "give the sender a certificate and switch STARTTLS on; or let the receiver accept peers without TLS",
        fault="sender",
    ),
    Cause(
        "tls-torn-down",
        Group.DEFECT,
        "TLS was up, and one side reset the connection instead of closing it",
        "encryption was up, and one side ended the connection without a word",
        "RFC 8446 §6.1; RFC 6120 §4.4",
        "check the log and the bug tracker of the server that ended it: this is a defect, not a policy",
    ),
    Cause(
        "certificate-self-signed",
        Group.CERTIFICATE,
        "the peer's certificate is signed by itself",
        "a certificate is self-signed",
        "RFC 6120 §13.7.2; RFC 5280 §6.1",
        "get a certificate from an authority that the peers trust; or let the other side accept dialback",
        short="self-signed",
    ),
    Cause(
        "certificate-expired",
        Group.CERTIFICATE,
        "the peer's certificate has expired",
        "a certificate has expired",
        "RFC 6120 §13.7.2; RFC 5280 §4.1.2.5",
        "renew the certificate, and check that the server has loaded it; or let the other side accept dialback",
        short="expired",
    ),
    Cause(
        "certificate-not-yet-valid",
        Group.CERTIFICATE,
        "the peer's certificate is not valid yet",
        "a certificate is not valid yet",
        "RFC 6120 §13.7.2; RFC 5280 §4.1.2.5",
        "compare both clocks; else get a certificate that is valid today; or let the other side accept dialback",
        short="not yet valid",
    ),
    Cause(
        "certificate-wrong-host",
        Group.CERTIFICATE,
        "the peer's certificate does not name its domain",
        "a certificate names another host",
        "RFC 6120 §13.7.2; RFC 9525 §6",
        "get a certificate whose subjectAltName names the XMPP domain, not the machine; or let the other side accept dialback",
        short="wrong host",
        examines="name",
    ),
    Cause(
        "certificate-untrusted",
        Group.CERTIFICATE,
        "the peer's certificate leads to no trusted authority",
        "a certificate comes from an authority that the other side does not trust",
        "RFC 6120 §13.7.2; RFC 5280 §6.1",
        "send the intermediate certificates, or use an authority that the peers trust; or let the other side accept dialback",
        short="untrusted",
    ),
    Cause(
        "certificate-purpose",
        Group.CERTIFICATE,
        "the initiating server's certificate may not be used by a TLS client",
        "the sender's certificate was not issued for a client",
        "RFC 5280 §4.2.1.12; XEP-0178 §3",
        "get a certificate with clientAuth too; or let the receiver accept serverAuth alone, or dialback",
        examines="purpose",
    ),
    Cause(
        "certificate-missing",
        Group.CERTIFICATE,
        "a server had no certificate to present: the receiver for TLS itself, or the sender where one is demanded",
        "a server has no certificate to present",
        "XEP-0178 §3; RFC 8446 §4.4.2",
        "give that server a certificate, and check that it can read it; without one dialback over TLS fails too",
    ),
    Cause(
        "no-common-tls-version",
        Group.PARAMETERS,
        "the two have no TLS version in common",
        "the two have no TLS version in common",
        "RFC 8446 §4.2.1; RFC 9325 §3.1.1",
        "allow TLS 1.2 and 1.3 on both sides",
    ),
    Cause(
        "no-common-cipher",
        Group.PARAMETERS,
        "the two have no cipher suite in common",
        "the two have no cipher in common",
        "RFC 5246 §7.4.1.3; RFC 9325 §4.2",
        "allow the suites that RFC 9325 recommends on both sides",
    ),
    Cause(
        "dialback-refused",
        Group.MECHANISM,
        "the sender proves its domain by dialback, and the receiver does not accept it",
        "the sender relies on dialback and the receiver refuses it",
        "XEP-0220 §2; RFC 6120 §13.7.1; RFC 6120 §6.3.3",
        "let the receiver accept dialback; or use a sender that has SASL EXTERNAL and a certificate that verifies",
    ),
    Cause(
        "dialback-failed",
        Group.DIALBACK,
        "dialback was tried, and the sender's domain did not confirm the key",
        "the dialback check failed",
        "XEP-0220 §2",
        "check that the records of the sender's domain lead to the server that sent the key, and that it can be reached",
    ),
    Cause(
        "no-authentication-mechanism",
        Group.MECHANISM,
        "the receiver offers no way of authentication that the sender has",
        "the receiver offers no proof of identity that the sender has",
        "RFC 6120 §6.3.3; XEP-0178 §3",
        "let the sender use dialback; or use a receiver that offers SASL EXTERNAL",
    ),
    Cause(
        "dns",
        Group.ROUTE,
        "the receiver's name did not resolve",
        "the name was not found in DNS",
        "RFC 6120 §3.2.1",
        "publish an SRV record _xmpp-server._tcp and address records for the receiver's domain",
        fault="network",
    ),
    Cause(
        "unreachable",
        Group.ROUTE,
        "no connection to the receiver could be opened",
        "the other server could not be reached",
        "RFC 6120 §3.2",
        "check that a server listens on the port of the SRV record and that the port is open, over IPv4 and IPv6",
    ),
    Cause(
        "remote-server-error",
        Group.SYMPTOM,
        "the receiver's server ended the stream with an error that no other word here names",
        "the receiver's server answered with an error of another kind",
        "RFC 6120 §4.9.3",
        "look up the stream error by its name; block lists and wrong ports are the usual reasons",
    ),
    Cause(
        "tls-handshake-failed",
        Group.SYMPTOM,
        "the TLS handshake ended before it was answered, and nothing says why",
        "the encrypted handshake failed, and neither side said why",
        "RFC 6120 §5.4.3.2; RFC 8446 §6.2",
        "compare versions, cipher suites, groups and key types of the two",
    ),
    Cause(
        "negotiation-timeout",
        Group.SYMPTOM,
        "the connection was opened, and the stream's negotiation did not end in time",
        "the negotiation never came to an end",
        "RFC 6120 §4.9.3.4",
        "find out what the silent side waits for: its log says so, if anything does",
    ),
    Cause(
        "stream-refused",
        Group.SYMPTOM,
        "the sender's server ended the stream with an error, about what the receiver's server had sent",
        "the sender's server refused what the other server answered",
        "RFC 6120 §4.9.3",
        "look up the stream error by its name, and look in the capture at what the receiver's server had sent before",
    ),
    Cause(
        "failed-after-proof",
        Group.SYMPTOM,
        "the sender's domain was proven on the stream, and the stanza did not arrive all the same",
        "the servers were connected and identified, and the message did not arrive all the same",
        "RFC 6120 §8.1, §10.5",
        "look for this stanza in the logs of both: one did not send it on, or the other did not deliver it",
    ),
    Cause(
        "connection-closed",
        Group.SYMPTOM,
        "the connection was closed during negotiation, and nothing that can be read says why",
        "the connection was closed without a reason",
        "RFC 6120 §4.4, §4.9",
        "check the log of the side that closed it; check that this is the server-to-server port",
    ),
    Cause(
        "policy-not-expressible",
        Group.TESTBED,
        "an implementation cannot be set to the policy",
        "a server does not support the requested setting",
        "-",
        "use another policy, or another implementation",
    ),
    Cause(
        "server-failed",
        Group.TESTBED,
        "a server did not start, ended by itself, or its client could not log in or was lost",
        "a server failed while it was measured",
        "-",
        "read the reason that is given, and the log of that server; a crash at a peer's stanza is a finding about the server",
    ),
    Cause(
        "image-unavailable",
        Group.TESTBED,
        "an image could not be built",
        "a server's image could not be built",
        "-",
        "read the reason that is given",
        fault="testbed",
        inconclusive=Inconclusive.ABSENT,
    ),
    Cause(
        "testbed",
        Group.TESTBED,
        "the testbed itself failed",
        "the testbed itself failed",
        "-",
        "run it again; if it fails again, it is a bug of the testbed",
        fault="testbed",
    ),
    Cause(
        "testbed-strained",
        Group.TESTBED,
        "the machine did not give the servers their time, in every attempt that failed",
        "the machine was too busy to tell",
        "-",
        "stop what else runs on this machine, or give it more of what it lacked (the message names it), and measure again: "
        "'testbed run', or 'testbed rerun' for one pair",
        fault="testbed",
    ),
    Cause(
        "unstable",
        Group.TESTBED,
        "attempts under the same conditions came out differently",
        "attempts under the same conditions came out differently",
        "-",
        "count on it to fail now and then; 'testbed explain' shows an attempt of each kind; if it was not measured alone: "
        "'testbed rerun'",
        inconclusive=Inconclusive.FINDING,
    ),
    Cause(
        "unknown",
        Group.TESTBED,
        "nothing in the record says why",
        "no reason could be found in the record",
        "-",
        "report it with the record: it is a bug of the testbed",
    ),
)


CAUSES: dict[str, Cause] = {cause.word: cause for cause in VOCABULARY}
"""The closed vocabulary by its words."""


UNKNOWN = "unknown"
"""No rule found a cause: a bug of the testbed."""
FINDINGS = tuple(cause.word for cause in VOCABULARY if cause.inconclusive is Inconclusive.FINDING)
"""Causes of inconclusive cells that are facts about the pair."""


def words_in(group: Group) -> tuple[str, ...]:
    """The causes of a group, in the order of the rows."""
    return tuple(cause.word for cause in VOCABULARY if cause.group is group)


def group_of(word: str | None) -> Group | None:
    """The group of a cause; None of none, and of a word that an older or a later record has and no row names."""
    return CAUSES[word].group if word in CAUSES else None


def inconclusive_as(word: str | None) -> Inconclusive:
    """What an inconclusive cell with this cause amounts to; the pessimistic default for a word that no row names."""
    return CAUSES[word].inconclusive if word in CAUSES else Inconclusive.CANNOT_TELL
