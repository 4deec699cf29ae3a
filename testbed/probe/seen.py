"""What was seen of a domain: dataclasses, and the same as JSON (the keys are documented in docs/probe.md). No I/O.

Three-valued throughout: True, False, and None for "cannot say", with the reason beside it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from testbed.model import TLS_VERSIONS


class Offer(str, Enum):
    """What the features said of STARTTLS (RFC 6120 §5.3.1)."""

    NO = "no"
    OFFERED = "offered"
    REQUIRED = "required"


class Srv(str, Enum):
    """What became of an SRV question."""

    RECORDS = "records"
    NONE = "none"
    REFUSED = "no-service"
    """The one record has the target ".": the domain says that it does not do this (RFC 2782)."""
    UNKNOWN = "cannot-say"


@dataclass(frozen=True)
class Target:
    """Where a domain is served, by an SRV record, by the fallback, or because the user said so."""

    host: str
    port: int
    direct_tls: bool
    priority: int | None = None
    weight: int | None = None

    def __str__(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@dataclass
class Names:
    """What DNS said."""

    starttls: Srv = Srv.UNKNOWN
    """`_xmpp-server._tcp`"""
    direct_tls: Srv = Srv.UNKNOWN
    """`_xmpps-server._tcp` (XEP-0368)"""
    fallback: bool = False
    """No SRV record: the domain's own address on port 5269 (RFC 6120 §3.2.2)."""
    authenticated: bool | None = None
    """The resolver set AD on the SRV answer (DNSSEC validated); None if it was not asked or did not answer."""
    targets: list[Target] = field(default_factory=list)
    """In the order in which a server would try them."""
    problem: str | None = None
    definite: bool = False
    """With `problem`: the name is known not to be served, rather than only not known."""


@dataclass
class Stream:
    """The peer's answer to one stream header."""

    answered: bool = False
    version: str | None = None
    features: bool = False
    starttls: Offer = Offer.NO
    dialback: bool = False
    """In the features (XEP-0220 §2.4.2)."""
    dialback_errors: bool = False
    dialback_namespace: bool = False
    """Declared on the stream header (XEP-0220 §2.4.1); one implementation does so without dialback."""
    mechanisms: list[str] = field(default_factory=list)
    bidi: bool = False
    other: list[str] = field(default_factory=list)
    """Namespaces of the remaining features."""
    error: str | None = None
    """The stream error's condition."""
    error_text: str | None = None
    problem: str | None = None
    """Why there is no more: silence, a closed connection, something that is no XMPP."""


@dataclass
class Handshake:
    """One attempt at TLS."""

    completed: bool = False
    answered: bool = False
    """A ServerHello came, so a version and a suite were agreed upon."""
    version: str | None = None
    cipher: str | None = None
    group: str | None = None
    alpn: str | None = None
    certificate_requested: bool = False
    problem: str | None = None
    refused: bool = False
    """With `problem`: the peer ended it; a silence proves nothing."""
    chain: list[bytes] = field(default_factory=list)
    """DER, leaf first, as the peer sent it."""

    @property
    def forward_secrecy(self) -> bool | None:
        """Whether the key exchange was ephemeral."""
        if not self.cipher:
            return None
        return self.version == "1.3" or self.cipher.startswith(("ECDHE", "DHE"))

    def to_json(self) -> dict[str, Any]:
        """For programs: of the chain only its length."""
        return {**dataclasses.asdict(self), "chain": len(self.chain), "forward_secrecy": self.forward_secrecy}


@dataclass(frozen=True)
class Try:
    """One thing that was tried of TLS: a version, or a kind of key exchange."""

    accepted: bool | None
    cipher: str | None = None
    why: str | None = None
    """How it was refused, or why it cannot be said."""


@dataclass(frozen=True)
class Certificate:
    """What the peer presented, and what is wrong with it for a strict peer."""

    subject: str
    issuer: str
    dns_names: list[str]
    srv_names: list[str]
    xmpp_addresses: list[str]
    matched: str | None
    """Which kind of name proves the domain: `dNSName`, `SRVName`, `xmppAddr` (RFC 6120 §13.7.1.2), or None."""
    not_before: str
    not_after: str
    days_left: int
    self_signed: bool
    trusted: bool | None
    """Leads to an authority of the store that was used; None if there is no store."""
    untrusted_because: str | None
    purposes: list[str] | None
    """`serverAuth`, `clientAuth`, other OIDs; None where the certificate does not narrow its use."""
    for_servers: bool
    """May prove a receiving server: serverAuth, or no narrowing at all (RFC 5280 §4.2.1.12)."""
    for_clients: bool
    """May prove an initiating server: clientAuth, or no narrowing at all (XEP-0178 §3)."""
    key: str
    key_weak: bool
    signature: str | None
    chain: int
    """How many certificates were sent."""
    fingerprint: str
    defects: list[str]
    """Words of the closed list of causes, the one that a strict peer meets first in front. `certificate-purpose`
    counts only in the role that the purposes leave out."""


@dataclass
class TargetSeen:
    """Everything that was seen at one target."""

    target: Target
    address: str | None = None
    connected: bool = False
    problem: str | None = None
    tlsa: int | None = None
    """TLSA records at the target (RFC 7673); None if the question had no answer."""
    clear: Stream | None = None
    """None for direct TLS."""
    tls: Handshake | None = None
    """The first attempt, with everything on offer."""
    secure: Stream | None = None
    """The stream inside TLS."""
    tls_again: Handshake | None = None
    """With TLS 1.2 at most, where the stream inside TLS 1.3 came to nothing; `secure` is then that of this attempt."""
    versions: dict[str, Try] = field(default_factory=dict)
    static_rsa: Try = Try(None, why="not tried")
    ephemeral: Try = Try(None, why="not tried")
    """Forward-secret key exchange, in any version."""
    certificate: Certificate | None = None
    dialback_clear: str | None = None
    """With ``--dialback``: the answer to a key without TLS: the word of the answer, `closed`, `silence`."""
    dialback_tls: str | None = None
    connections: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0

    @property
    def speaks(self) -> bool:
        """True if an XMPP server answered."""
        return any(s and s.answered for s in (self.clear, self.secure))

    @property
    def newest(self) -> str | None:
        """The highest TLS version that was accepted."""
        return max((v for v in TLS_VERSIONS if v in self.versions and self.versions[v].accepted), default=None)

    @property
    def insists_on_certificate(self) -> bool | None:
        """Whether it refuses a peer inside TLS for want of a certificate that verifies; None if it closed without saying why."""
        if not self.tls or not self.tls.answered or not self.tls.certificate_requested:
            return False
        again = self.tls_again
        if again and again.answered and again.certificate_requested and not again.completed and again.refused:
            return True  # version and suite were agreed upon: it left at the certificate
        problems = f"{self.tls.problem or ''} {self.secure.problem or '' if self.secure else ''}"
        if "certificate" in problems or "unknown_ca" in problems:
            return True
        if self.secure and self.secure.error in ("not-authorized", "policy-violation"):
            return True
        return None if not (self.secure and self.secure.answered) else False

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        document = dataclasses.asdict(self)
        document.pop("target")
        if self.tls:
            document["tls"] = self.tls.to_json()
        if self.tls_again:
            document["tls_again"] = self.tls_again.to_json()
        return {**dataclasses.asdict(self.target), **document, "insists_on_certificate": self.insists_on_certificate}


@dataclass
class Seen:
    """Everything that was seen of one domain."""

    domain: str
    own: str
    """The domain that the probe gave as its own."""
    certificate_shown: bool
    names: Names
    targets: list[TargetSeen] = field(default_factory=list)
    left_out: list[Target] = field(default_factory=list)
    """Targets beyond the bound, which were not asked."""
    seconds: float = 0.0
    problem: str | None = None
    """The probe itself could not go on."""

    @property
    def decisive(self) -> TargetSeen | None:
        """The target by which the domain is judged: the first that spoke STARTTLS or cleartext, else direct TLS."""
        speaking = [t for t in self.targets if t.speaks]
        return next((t for t in speaking if not t.target.direct_tls), speaking[0] if speaking else None)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        names = dataclasses.asdict(self.names)
        names["targets"] = [dataclasses.asdict(t) for t in self.names.targets]
        return {
            "domain": self.domain,
            "from": self.own,
            "certificate_shown": self.certificate_shown,
            "dns": names,
            "targets": [t.to_json() for t in self.targets],
            "left_out": [dataclasses.asdict(t) for t in self.left_out],
            "seconds": round(self.seconds, 2),
            "problem": self.problem,
        }
