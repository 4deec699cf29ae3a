"""One end of a pair, as far as it matters for what ought to happen.

Rule: values and what follows from one side alone; what follows from two stands in `expectations`. No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from testbed.model import Authentication, Policy

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
    static_rsa: bool = True
    """False: it negotiates no suite whose key exchange is static RSA, even where it is set to have no other (RFC 10015)."""

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
