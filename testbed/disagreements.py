"""Where documents disagree, or are silent: what another reading of them makes of a side.

Rule: a point is open only where a document that was seen says otherwise of what a server does; then its reading is held against
the same table of expectations. What was not seen in its own words is marked (`UNSEEN`). No I/O; rendered into
docs/expectations.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from testbed.model import ForwardSecrecy
from testbed.sides import Side

LOOKED_UP = "2026-11-28"
"""When these documents, and what updates or obsoletes them, were last looked up, in stored copies of public pages."""
XEPS = "2026-06-30"
"""The state of github.com/xsf/xeps that was read."""
NEWEST = ("RFC 9846", "RFC 10015")
"""The newest RFCs that were found to concern a row; both of July 2026."""
UNSEEN = "†"
"""After a section whose own words were not at hand that day: cited as it was when the table was written."""

Reading = Callable[[Side], Side]
"""A side as another document reads it; the same side where it says nothing else of it."""


@dataclass(frozen=True)
class Disagreement:
    """A point on which two documents say different things of the same pair, or one does not say what the other does."""

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
    """Of a certificate that lacks the client's purpose alone: none that lacks the server's is taken by any document."""
    lacks = side.certificate_defect == "certificate-purpose" and side.defect_as_server is None
    return replace(side, certificate_defect=None) if lacks else side


def _no_old_versions(side: Side) -> Side:
    """Of a pair that has only old versions in common, one side has no other."""
    low, high = side.policy.tls_range
    return replace(side, policy=replace(side.policy, tls_min="1.2")) if low <= high < "1.2" else side


def _no_static_rsa(side: Side) -> Side:
    """Who is set to have nothing else has no suite at all."""
    return replace(side, static_rsa=False) if side.policy.forward_secrecy is ForwardSecrecy.NONE else side


DISAGREEMENTS: tuple[Disagreement, ...] = (
    Disagreement(
        "a certificate with the purpose serverAuth alone, whose holder initiates a stream",
        "RFC 5280 §4.2.1.12: a certificate that names purposes is used only for those, and who initiates a stream is a TLS "
        "client",
        "the XMPP texts are silent: XEP-0178 §3 (version 1.2, 2020) lets a server prove its domain by its certificate, "
        "validated by the rules of RFC 6120 (step 7), and names no purpose, nor does RFC 6120 §13.7†; XEP-0178 §1 only calls its "
        "certificates those of RFC 5280. Practice differs: the largest public authority issues serverAuth alone (Let's "
        "Encrypt by default since 2026-02-11, without exception since 2026-07-08), and all that Chrome trusts must from "
        "2027-03-15 (Root Program Policy 1.8); "
        "makers of servers take such certificates on purpose, and early in 2026 one proposed to write "
        "that into XEP-0178, where it did not stand on 2026-06-30 (see [finding "
        "6](findings.md#6-certificates-without-the-client-purpose)). A certificate without serverAuth is not meant: that "
        "proposal, too, demands it in both directions",
        _purpose_ignored,
        clause="XEP-0178 §3 and RFC 6120 §13.7 name no purpose; the largest public authority issues serverAuth alone since "
        "2026-07-08, and makers of servers accept it on purpose",
    ),
    Disagreement(
        "two servers that have only TLS 1.0 or 1.1 in common",
        "what the two were set to: by RFC 5246 appendix E.1† and RFC 8446 §4.2.1† (both obsolete since RFC 9846 of July 2026) "
        "the highest version that both have is negotiated",
        "RFC 8996 §4, §5 and RFC 9325 §3.1.1 (for XMPP by RFC 7590 §1): TLS 1.0 and 1.1 must not be negotiated",
        _no_old_versions,
        clause="RFC 8996 §4, §5; RFC 9325 §3.1.1: TLS 1.0 and 1.1 must not be negotiated, whatever was configured",
    ),
    Disagreement(
        "a server that has only cipher suites without forward secrecy (`forward_secrecy: none`: static RSA)",
        "what the two were set to: RFC 6120 §13.8† makes such a suite mandatory to implement, and RFC 9325 §4.1 (for XMPP by "
        "RFC 7590 §1) only advised against it",
        "RFC 10015 (July 2026, Proposed Standard; updates RFC 9325) deprecates key exchange by RSA in TLS 1.2: clients must not "
        "offer such suites, nor servers select them (section RSA of the draft of November 2025; of the RFC "
        "its head and abstract were seen)",
        _no_static_rsa,
        clause="RFC 10015 (July 2026), which updates RFC 9325, deprecates key exchange by RSA in TLS 1.2, whatever was "
        "configured",
    ),
    Disagreement(
        "a certificate that does not verify, between servers that take dialback",
        "RFC 7590 §3.4† (2015): encryption without authentication is better than none; XEP-0220 §2: dialback decides",
        "RFC 6120 §13.7.2†: both validate what they are presented; XEP-0178 §3, step 7: the receiver closes the connection",
        decided="the setting says it: who takes dialback as a proof asks for no certificate that verifies; `external` does. "
        "Expired, self-signed, untrusted and misnamed certificates alike",
    ),
    Disagreement(
        "SASL EXTERNAL was refused, and both have dialback",
        "XEP-0178 §3, steps 9 and 11 (since version 1.2, 2020): the receiver may go on with dialback",
        "the same steps: it may close the connection instead; RFC 6120 §6.4.5†: a failed authentication may be tried again",
        decided="the setting says it: dialback is taken as a proof",
    ),
    Disagreement(
        "a domain that only the common name of a certificate names",
        "RFC 9525 appendix A† (2023): the common name is not looked at",
        "RFC 6125 §6.4.4† (2011; obsolete, but cited by RFC 6120 §13.7.2†, XEP-0178 §3): it may be, without a subjectAltName",
        decided="no profile is such a certificate: each has a subjectAltName, and then both agree",
    ),
    Disagreement(
        "a server without TLS",
        "XEP-0220 §2: two servers may talk by dialback in cleartext (XEP-0238 of 2008 has the rungs, but was deferred and "
        "never in force)",
        "RFC 6120 §5.2†, RFC 7590 §3.1†: every implementation has STARTTLS; an initiator should try it though it is not offered",
        decided="it is set to have none (`encryption: none`), and its peer to require it or not",
    ),
    Disagreement(
        "a stanza that cannot be delivered",
        "RFC 6120 §10.4†: the sender's server returns an error",
        "RFC 6121 §8.5†: some stanzas are answered by nothing, so as not to tell who is there",
        decided="that is said of stanzas that reached the recipient's server; where streams fail, an error is due: a loss is a "
        "surprise",
    ),
)
"""All points that were looked up, the open ones first."""

OPEN: tuple[Disagreement, ...] = tuple(d for d in DISAGREEMENTS if d.reading)


def readings(sender: Side, receiver: Side) -> Iterator[tuple[list[str], Side, Side]]:
    """The pair as other documents have it, with their clauses: the fewest differences first."""
    choices = [(d, end) for d in OPEN for end, side in enumerate((sender, receiver)) if d.reading and d.reading(side) is not side]
    for count in range(1, len(choices) + 1):
        for chosen in itertools.combinations(choices, count):
            sides = [sender, receiver]
            for disagreement, end in chosen:
                sides[end] = disagreement.reading(sides[end]) if disagreement.reading else sides[end]
            yield list(dict.fromkeys(d.clause for d, _ in chosen)), sides[0], sides[1]
