"""The certificate profiles: each a certificate that is good, or defective in one named way. `measure/pki` issues them.

Rule: rows of one table, with at most one defect each: the cause that a strict peer would name. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.causes import CAUSES

ROLES = ("client", "server")


@dataclass(frozen=True)
class Profile:
    """A named kind of certificate: at most one defect, and the cause that a strict peer would give."""

    name: str
    meaning: str
    defect: str | None
    issuer: str
    """`ca`, `self`, or `other`: a CA that nobody trusts."""
    names: str = "own"
    """`own` or `other`: whether it names the server's domain."""
    days: tuple[int, int] = (-1, 90)
    """Not before and not after, in days from the moment of issue."""
    xmpp_addr: bool = False
    """Also id-on-xmppAddr (RFC 6120 §13.7.1.4), which public authorities do not issue, and which one server crashes on."""
    purposes: tuple[str, ...] = ("server", "client")
    """The extended key usage (RFC 5280 §4.2.1.12). Both: a server is a TLS client when it initiates a stream (XEP-0178 §3)."""

    @property
    def defective_as(self) -> tuple[str, ...]:
        """In which roles of TLS a strict peer finds the defect; a purpose that is missing, only in that role."""
        roles = tuple(r for r in ROLES if r not in self.purposes) or ROLES
        return roles if self.defect else ()

    @property
    def found_by(self) -> str | None:
        """What a peer has to examine to find the defect: `chain`, `name` or `purpose`."""
        return CAUSES[self.defect].examines if self.defect else None


PROFILES: dict[str, Profile] = {
    p.name: p
    for p in (
        Profile("ca", "issued by the CA that every server trusts, for the right name, in its time", None, "ca"),
        Profile("xmpp-addr", "as `ca`, with the name as id-on-xmppAddr too", None, "ca", xmpp_addr=True),
        Profile("self-signed", "signed by its own key", "certificate-self-signed", "self"),
        Profile(
            "expired",
            "issued by the trusted CA, past its validity for thirty days",
            "certificate-expired",
            "ca",
            days=(-120, -30),
        ),
        Profile(
            "not-yet-valid",
            "issued by the trusted CA, valid from thirty days hence",
            "certificate-not-yet-valid",
            "ca",
            days=(30, 120),
        ),
        Profile("wrong-host", "issued by the trusted CA for another domain", "certificate-wrong-host", "ca", names="other"),
        Profile("untrusted-ca", "issued by a CA that nobody trusts, which it sends along", "certificate-untrusted", "other"),
        Profile(
            "server-only",
            "as `ca`, without the client purpose, as public authorities issue it from 2026: defective where its server initiates",
            "certificate-purpose",
            "ca",
            purposes=("server",),
        ),
    )
}
