"""What an operator should know of a peer though it decides nothing today: a literal table, each row with its clause. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from testbed.probe.seen import Certificate, Offer, Seen, Srv, TargetSeen

SOON = 21
"""Days before a certificate's end from which on it is worth a word; public authorities renew thirty days before."""


@dataclass(frozen=True)
class Finding:
    """One remark on one domain."""

    name: str
    text: str
    clause: str

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"name": self.name, "text": self.text, "clause": self.clause}


@dataclass(frozen=True)
class Remark:
    """One row: when it is made, and what it says."""

    name: str
    clause: str
    says: Callable[[Seen, TargetSeen], str | None]


def _certificate(says: Callable[[Certificate], str | None]) -> Callable[[Seen, TargetSeen], str | None]:
    return lambda _, t: says(t.certificate) if t.certificate else None


def _old(_: Seen, t: TargetSeen) -> str | None:
    old = [v for v in ("1.0", "1.1") if v in t.versions and t.versions[v].accepted]
    return f"accepts TLS {' and '.join(old)}, which are deprecated" if old else None


def _lacks(_: Seen, t: TargetSeen) -> str | None:
    if not t.newest or t.versions.get("1.2") is None or t.versions["1.2"].accepted is not False:
        return None
    return "does not accept TLS 1.2: servers without TLS 1.3 cannot reach it" if t.newest == "1.3" else "does not accept TLS 1.2"


def _differ(seen: Seen, t: TargetSeen) -> str | None:
    """Another target that would lead to another verdict, as far as a few words can tell."""

    def looks(target: TargetSeen) -> tuple[Any, ...]:
        clear, certificate = target.clear, target.certificate
        return clear.starttls if clear else None, target.newest, tuple(certificate.defects) if certificate else ()

    others = [o for o in seen.targets if o is not t and o.speaks and o.target.direct_tls == t.target.direct_tls]
    differing = [str(o.target) for o in others if looks(o) != looks(t)]
    return f"{', '.join(differing)} differs in its settings; the verdict is about {t.target}" if differing else None


def _down(seen: Seen, _: TargetSeen) -> str | None:
    down = [f"{t.target} ({t.problem})" for t in seen.targets if t.problem and not t.connected]
    return f"in DNS, but unreachable: {', '.join(down)}" if down else None


def _direct(seen: Seen, _: TargetSeen) -> str | None:
    broken = [t for t in seen.targets if t.target.direct_tls and t.connected and not (t.secure and t.secure.answered)]
    why = [f"{t.target} ({(t.secure and t.secure.problem) or (t.tls and t.tls.problem) or 'no stream'})" for t in broken]
    return f"direct TLS is in DNS but does not lead to a stream: {', '.join(why)}" if why else None


REMARKS: tuple[Remark, ...] = (
    Remark(
        "expires-soon",
        "RFC 5280 §4.1.2.5",
        _certificate(lambda c: f"its certificate ends in {c.days_left} days" if 0 <= c.days_left < SOON else None),
    ),
    Remark(
        "no-client-purpose",
        "RFC 5280 §4.2.1.12; XEP-0178 §3",
        _certificate(
            lambda c: (
                None
                if c.for_clients
                else "its certificate lacks clientAuth, as public authorities issue them from 2026 on: strict servers refuse it "
                "as proof when this one initiates"
            )
        ),
    ),
    Remark(
        "no-server-purpose",
        "RFC 5280 §4.2.1.12",
        _certificate(lambda c: None if c.for_servers else "its certificate lacks serverAuth: strict servers refuse it"),
    ),
    Remark("old-tls", "RFC 8996 §4, §5; RFC 9325 §3.1.1", _old),
    Remark("no-tls-1.2", "RFC 9325 §3.1.1", _lacks),
    Remark(
        "no-forward-secrecy",
        "RFC 9325 §4.1",
        lambda _, t: "has no forward-secret key exchange at all" if t.ephemeral.accepted is False else None,
    ),
    Remark(
        "static-rsa",
        "RFC 9325 §4.1",
        lambda _, t: (
            "accepts key exchange without forward secrecy (static RSA)"
            if t.static_rsa.accepted and t.ephemeral.accepted
            else None
        ),
    ),
    Remark("weak-key", "RFC 9325 §4.5", _certificate(lambda c: f"its key is weak: {c.key}" if c.key_weak else None)),
    Remark(
        "weak-signature",
        "RFC 9155 §2; RFC 9325 §4.5",
        _certificate(lambda c: f"its certificate is signed with {c.signature}" if c.signature in ("md5", "sha1") else None),
    ),
    Remark(
        "cleartext-offered",
        "RFC 7590 §3.1",
        lambda _, t: (
            "advertises dialback without TLS: anybody on the way can read what is sent like that"
            if t.clear and t.clear.dialback and t.clear.starttls is not Offer.REQUIRED
            else None
        ),
    ),
    Remark("targets-differ", "RFC 6120 §3.2.1", _differ),
    Remark("target-down", "RFC 6120 §3.2.1", _down),
    Remark("direct-tls-broken", "XEP-0368 §3", _direct),
    Remark(
        "only-direct-tls",
        "XEP-0368 §3",
        lambda s, _: (
            "is reachable by direct TLS alone: servers without XEP-0368 cannot reach it"
            if s.names.direct_tls is Srv.RECORDS and s.names.starttls is not Srv.RECORDS and not s.names.fallback
            else None
        ),
    ),
    Remark(
        "tlsa-unsigned",
        "RFC 7673 §3",
        lambda s, t: (
            "has TLSA records, but its answers are not DNSSEC-validated here: they must not be used"
            if t.tlsa and s.names.authenticated is False
            else None
        ),
    ),
)
"""Every remark, gravest first."""


def remarks(seen: Seen) -> list[Finding]:
    """What is to be said of a domain; nothing of one where no server answered."""
    target = seen.decisive
    if target is None:
        return []
    return [Finding(r.name, text, r.clause) for r in REMARKS if (text := r.says(seen, target))]
