"""The closed vocabulary of causes, over all implementations: one row per cause. No I/O, no local import.

Rule: a cause that no row names does not exist; tests ask for a real recording of every row.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """One word of the closed vocabulary."""

    word: str
    meaning: str
    """One clause, in the present or past tense, that completes "because"."""
    clause: str
    """Where the standards speak of it; "-" for what is the testbed's own."""
    remedy: str
    """What to do on any implementation; the exact setting stands in images/*/image.yaml."""


VOCABULARY: tuple[Cause, ...] = (
    Cause(
        "tls-not-offered",
        "the sender requires TLS, and the receiver does not offer it",
        "RFC 6120 §5.2, §5.3.1; RFC 7590 §3.1",
        "give the receiver a certificate and switch STARTTLS on; or let the sender go without",
    ),
    Cause(
        "tls-required",
        "the receiver requires TLS, and the sender does not use it",
        "RFC 6120 §5.3.1; RFC 7590 §3.1",
        "give the sender a certificate and switch STARTTLS on; or let the receiver take peers without",
    ),
    Cause(
        "tls-handshake-failed",
        "the TLS handshake ended before it was answered, and nothing says why",
        "RFC 6120 §5.4.3.2; RFC 8446 §6.2",
        "compare versions, cipher suites, groups and key types of the two",
    ),
    Cause(
        "tls-torn-down",
        "TLS was up, and one side reset the connection instead of closing it",
        "RFC 8446 §6.1; RFC 6120 §4.4",
        "look into the log and the bug tracker of the server that ended it: this is a defect, not a policy",
    ),
    Cause(
        "certificate-self-signed",
        "the peer's certificate is signed by itself",
        "RFC 6120 §13.7.2; RFC 5280 §6.1",
        "a certificate of an authority that the peers trust; or let the other side take dialback",
    ),
    Cause(
        "certificate-expired",
        "the peer's certificate is past its validity",
        "RFC 6120 §13.7.2; RFC 5280 §4.1.2.5",
        "renew the certificate, and see that the server has read it; or let the other side take dialback",
    ),
    Cause(
        "certificate-not-yet-valid",
        "the peer's certificate is not valid yet",
        "RFC 6120 §13.7.2; RFC 5280 §4.1.2.5",
        "compare both clocks; else a certificate that is valid today; or let the other side take dialback",
    ),
    Cause(
        "certificate-wrong-host",
        "the peer's certificate does not name its domain",
        "RFC 6120 §13.7.2; RFC 9525 §6",
        "a certificate whose subjectAltName names the XMPP domain, not the machine; or let the other side take dialback",
    ),
    Cause(
        "certificate-untrusted",
        "the peer's certificate leads to no trusted authority",
        "RFC 6120 §13.7.2; RFC 5280 §6.1",
        "send the intermediate certificates along, or use an authority that the peers trust; or let the other side take dialback",
    ),
    Cause(
        "certificate-purpose",
        "the initiating server's certificate may not be used by a TLS client",
        "RFC 5280 §4.2.1.12; XEP-0178 §3",
        "a certificate with clientAuth too; or let the receiver take serverAuth alone, or dialback",
    ),
    Cause(
        "certificate-missing",
        "a server had no certificate to present: the receiver for TLS itself, or the sender where one is demanded",
        "XEP-0178 §3; RFC 8446 §4.4.2",
        "give that server a certificate, and see that it can read it; without one dialback over TLS fails too",
    ),
    Cause(
        "no-common-tls-version",
        "the two have no TLS version in common",
        "RFC 8446 §4.2.1; RFC 9325 §3.1.1",
        "allow TLS 1.2 and 1.3 on both sides",
    ),
    Cause(
        "no-common-cipher",
        "the two have no cipher suite in common",
        "RFC 5246 §7.4.1.3; RFC 9325 §4.2",
        "allow the suites that RFC 9325 recommends on both sides",
    ),
    Cause(
        "dialback-refused",
        "the sender proves its domain by dialback, and the receiver does not take it",
        "XEP-0220 §2; RFC 6120 §13.7.1; RFC 6120 §6.3.3",
        "let the receiver take dialback; or a sender that has SASL EXTERNAL and a certificate that verifies",
    ),
    Cause(
        "dialback-failed",
        "dialback was tried, and the sender's domain did not confirm the key",
        "XEP-0220 §2",
        "see that the records of the sender's domain lead to the server that sent the key, and that it can be reached",
    ),
    Cause(
        "no-authentication-mechanism",
        "the receiver offers no way of authentication that the sender has",
        "RFC 6120 §6.3.3; XEP-0178 §3",
        "let the sender use dialback; or a receiver that offers SASL EXTERNAL",
    ),
    Cause(
        "dns",
        "the receiver's name did not resolve",
        "RFC 6120 §3.2.1",
        "publish an SRV record _xmpp-server._tcp and address records for the receiver's domain",
    ),
    Cause(
        "unreachable",
        "no connection to the receiver could be opened",
        "RFC 6120 §3.2",
        "see that the port of the SRV record is listened on and open, over IPv4 and IPv6",
    ),
    Cause(
        "negotiation-timeout",
        "the connection was opened, and the stream's negotiation did not end in time",
        "RFC 6120 §4.9.3.4",
        "see what the silent side waits for: it says so in its log, if anywhere",
    ),
    Cause(
        "connection-closed",
        "the connection was closed during negotiation, and nothing that can be read says why",
        "RFC 6120 §4.4, §4.9",
        "see in the log of the side that closed it; is it an XMPP server for servers that listens there?",
    ),
    Cause(
        "remote-server-error",
        "the receiver's server ended the stream with an error that no other word here names",
        "RFC 6120 §4.9.3",
        "the stream error's name says it; block lists and wrong ports are the usual reasons",
    ),
    Cause("policy-not-expressible", "an implementation cannot be set to the policy", "-", "another policy, or implementation"),
    Cause("image-unavailable", "an image could not be built, or its server did not start", "-", "read the reason that is given"),
    Cause("testbed", "the testbed itself failed", "-", "run it again; if it stays, it is a bug of the testbed"),
    Cause("unstable", "attempts under the same conditions came out differently", "-", "measure the pair alone: testbed rerun"),
    Cause("unknown", "nothing in the record says why", "-", "report it with the record: it is a bug of the testbed"),
)


CAUSES: dict[str, str] = {cause.word: cause.meaning for cause in VOCABULARY}
"""The closed vocabulary of causes, over all implementations: word -> what it means."""
