"""The nouns: frozen dataclasses and enums. This file does no I/O and imports nothing local.

Every other module speaks in these words. A *Cell* (phase x pair x exchange) is the unit that is planned, measured, judged
and never missing from a result; an *Observation* is one timestamped fact with its source; a *Verdict* is computed from
Observations alone.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

SCHEMA = 1
"""Version of every file under ``results/<run-id>/``; changed when a key is renamed or dropped, not when one is added."""


class TestbedError(Exception):
    """Base of all errors that a user is meant to read; the text is the whole message, no traceback is shown."""

    __test__ = False  # pytest collects classes named Test*
    exit_status = 3


class InputError(TestbedError):
    """A scenario, an image folder or an argument is wrong. Names file, line, value, allowed values and remedy (exit 2)."""

    exit_status = 2

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        value: object = None,
        allowed: tuple[str, ...] = (),
        hint: str | None = None,
    ) -> None:
        self.message, self.file, self.line, self.value, self.allowed, self.hint = message, file, line, value, allowed, hint
        where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        text = where + message
        if allowed:
            text += "\n  allowed: " + ", ".join(allowed)
        if hint:
            text += "\n  hint: " + hint
        super().__init__(text)


class EngineError(TestbedError):
    """The Docker engine, an image or a container did not do what the run needs (exit 3)."""


# --- policy dimensions ------------------------------------------------------------------------------------------------


class Encryption(str, Enum):
    """Whether STARTTLS is spoken between servers (RFC 6120 section 5)."""

    NONE = "none"
    OFFERED = "offered"
    REQUIRED = "required"


class Authentication(str, Enum):
    """How a server proves its domain, and what it accepts as proof from its peers."""

    DIALBACK = "dialback"
    EXTERNAL = "external"
    EITHER = "either"

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The mechanisms that this value admits, in the words of ``verdicts.json``."""
        return ("dialback", "external") if self is Authentication.EITHER else (self.value,)


class ForwardSecrecy(str, Enum):
    """Which key exchanges a server offers (the statement of 2013; RFC 9325 section 4.1)."""

    NONE = "none"
    ANY = "any"
    PREFERRED = "preferred"
    REQUIRED = "required"


CONTROL_DOMAINS = ("control-a.example", "control-b.example")
"""Served by two servers of the run's own, which must get through; a scenario cannot have them."""

TLS_VERSIONS = ("1.0", "1.1", "1.2", "1.3")
"""TLS versions in ascending order, as written in a scenario."""


@dataclass(frozen=True)
class Policy:
    """What a server offers and demands: independent dimensions; ``preset`` is only the name that it is shown by."""

    preset: str
    encryption: Encryption
    authentication: Authentication
    tls_min: str | None = None
    tls_max: str | None = None
    forward_secrecy: ForwardSecrecy = ForwardSecrecy.ANY
    label: str = ""

    def dimensions(self) -> dict[str, Any]:
        """The dimensions as they stand in ``verdicts.json``."""
        return {
            "encryption": self.encryption.value,
            "authentication": list(self.authentication.mechanisms),
            "tls_min": self.tls_min,
            "tls_max": self.tls_max,
            "forward_secrecy": self.forward_secrecy.value,
        }

    @property
    def name(self) -> str:
        """Preset's name followed by the dimensions that differ from it: ``encrypted,tls_min=1.2``."""
        return self.label or self.preset


# --- federation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Implementation:
    """One server software in one release, written ``name@release``."""

    name: str
    release: str

    def __str__(self) -> str:
        return f"{self.name}@{self.release}"


@dataclass(frozen=True)
class Server:
    """Implementation + Policy + Certificate profile serving one Domain, as configured before any phase changes it."""

    domain: str
    implementation: Implementation
    policy: Policy
    certificate: str
    index: int
    """Position in the federation, from 0; the address is computed from it, so it is the same in every phase."""


@dataclass(frozen=True)
class Settings:
    """What one Server is set to in one Phase."""

    policy: Policy
    certificate: str
    unsupported: str | None = None
    """Why the implementation cannot express the policy; its cells are ``unsupported`` with this reason."""


@dataclass(frozen=True)
class Phase:
    """A regime of the federation: the Settings of every domain."""

    name: str
    settings: dict[str, Settings]


@dataclass(frozen=True, order=True)
class Cell:
    """Phase x Pair x Exchange."""

    phase: str
    sender: str
    receiver: str
    exchange: str

    @property
    def id(self) -> str:
        """``before/a.example/b.example/message``, stable over runs."""
        return f"{self.phase}/{self.sender}/{self.receiver}/{self.exchange}"


@dataclass(frozen=True)
class Plan:
    """A scenario, expanded: what will be measured, before anything starts."""

    scenario: str
    title: str
    file: str
    servers: tuple[Server, ...]
    phases: tuple[Phase, ...]
    exchanges: tuple[str, ...]
    timers: str
    seed: int
    pairs: tuple[tuple[str, str], ...]
    """Unordered pairs of domains that are measured, both directions each: all of the federation, or a part of them."""
    ipv6: bool = True
    description: str = ""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Everything that will be measured, in the order of phases, exchanges and servers."""
        wanted = {frozenset(pair) for pair in self.pairs}
        domains = [s.domain for s in self.servers]
        return tuple(
            Cell(phase.name, a, b, exchange)
            for phase in self.phases
            for exchange in self.exchanges
            for a in domains
            for b in domains
            if a != b and frozenset((a, b)) in wanted
        )

    def server(self, domain: str) -> Server:
        """The Server of ``domain``; KeyError if there is none."""
        for server in self.servers:
            if server.domain == domain:
                return server
        raise KeyError(domain)


# --- causes -----------------------------------------------------------------------------------------------------------


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


# --- record -----------------------------------------------------------------------------------------------------------


class Source(str, Enum):
    """Who saw it, in the order of trust that a verdict gives them."""

    RECEIVER = "receiver"
    WIRE = "wire"
    LOG = "log"
    SENDER = "sender"
    ENGINE = "engine"


@dataclass(frozen=True)
class Observation:
    """One timestamped fact. ``time`` is Unix seconds on the clock of the engine's host; ``data`` is flat JSON."""

    time: float
    source: Source
    kind: str
    phase: str | None = None
    epoch: str | None = None
    """Which start of the phase's servers: ``mesh``, or ``alone-N`` where pairs were measured by themselves."""
    cell: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


class Outcome(str, Enum):
    """What became of the stanza, for the people at both ends."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    LOST = "lost"
    UNSUPPORTED = "unsupported"
    INCONCLUSIVE = "inconclusive"


class Fault(str, Enum):
    """Who would have to change something."""

    SENDER = "sender"
    RECEIVER = "receiver"
    BOTH = "both"
    NETWORK = "network"
    TESTBED = "testbed"


@dataclass(frozen=True)
class Channel:
    """What the stanza travelled over, as seen on the wire (authentication also from the logs)."""

    encryption: str | None = None
    tls_version: str | None = None
    cipher: str | None = None
    forward_secrecy: bool | None = None
    authentication: str | None = None
    body_in_clear: bool | None = None


@dataclass(frozen=True)
class Expectation:
    """What ought to happen, and the clause that says so."""

    outcome: Outcome
    because: str
    encryption: str | None = None
    cause: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The judgement of one Cell."""

    cell: Cell
    outcome: Outcome
    channel: Channel
    cause: str | None
    fault: Fault | None
    explanation: str
    expected: Expectation
    surprise: bool
    seconds: float | None
    attempts: int
    evidence: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The cell as it stands in ``derived/verdicts.json``."""
        return {
            "id": self.cell.id,
            "phase": self.cell.phase,
            "sender": self.cell.sender,
            "receiver": self.cell.receiver,
            "exchange": self.cell.exchange,
            "outcome": self.outcome.value,
            "channel": dataclasses.asdict(self.channel),
            "cause": self.cause,
            "fault": self.fault.value if self.fault else None,
            "explanation": self.explanation,
            "expected": {
                "outcome": self.expected.outcome.value,
                "because": self.expected.because,
                "encryption": self.expected.encryption,
                "cause": self.expected.cause,
            },
            "surprise": self.surprise,
            "seconds": self.seconds,
            "attempts": self.attempts,
            "evidence": list(self.evidence),
        }
