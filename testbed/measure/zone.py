"""The DNS zone of a federation: a pure function from domains and addresses to a zone file.

The zone is the root: a name that is not of the federation gets NXDOMAIN at once, instead of a server waiting for the outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SERVICE = "_xmpp-server._tcp"
TTL = 300
FIRST = 1
"""Serial of the mesh's zone; those of pairs measured alone come after it."""


def render_zone(
    hosts: Mapping[str, tuple[str, str | None]], *, c2s_port: int = 5222, s2s_port: int = 5269, serial: int = FIRST
) -> str:
    """A zone file (RFC 1035 §5) for ``.``: per domain SRV (RFC 6120 §3.2.1), A and, where there is one, AAAA.

    ``hosts`` maps a domain to its IPv4 and IPv6 address (or None).
    """
    lines = [
        "$ORIGIN .",
        f"$TTL {TTL}",
        f". IN SOA ns.testbed.example. hostmaster.testbed.example. {serial} 3600 600 86400 {TTL}",
        ". IN NS ns.testbed.example.",
        "ns.testbed.example. IN A 127.0.0.1",
    ]
    for domain, (ipv4, ipv6) in sorted(hosts.items()):
        lines.append(f"{SERVICE}.{domain}. IN SRV 0 5 {s2s_port} xmpp.{domain}.")
        lines.append(f"_xmpp-client._tcp.{domain}. IN SRV 0 5 {c2s_port} xmpp.{domain}.")
        lines += [f"{name}. IN A {ipv4}" for name in (domain, f"xmpp.{domain}")]
        if ipv6:
            lines += [f"{name}. IN AAAA {ipv6}" for name in (domain, f"xmpp.{domain}")]
    return "\n".join(lines) + "\n"


def names(domains: Iterable[str]) -> list[str]:
    """Every owner name of the zone that belongs to a domain."""
    return [n for d in domains for n in (d, f"xmpp.{d}", f"{SERVICE}.{d}", f"_xmpp-client._tcp.{d}")]
