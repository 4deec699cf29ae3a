"""Runs beside the wiretap's agent: the firewall on the bridge, an nftables table of the bridge family.

Rule: whatever is not let through is dropped, in both versions of IP: between any two members, and between a member and the host.
The *wall* lets everybody ask the name servers, the driver (or prober) talk to everybody, and addresses be resolved; the *gate* in
it lets through the pairs that are measured right now. A member is known by its hardware address and its IP addresses together,
which nobody inside can forge: that takes NET_RAW or NET_ADMIN, or an address that is not one's own (IPV6_FREEBIND), which is
dropped here. The table belongs to this process (`flags owner`): it vanishes with it, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable
from pathlib import Path

import nftables
import protocol

HOLD = 0.5
"""Seconds between two looks at whether servers are still there when nobody commands any more."""
# COMPAT nftables 1.0.6: `tcp sport != X tcp dport != X` is merged into one comparison that means something else; each rule here
# names one port only.
TABLE = """
table {table} {{
    flags owner
    set macs {{ type ether_addr; elements = {{ {macs} }}; }}
    set names {{ type ether_addr; elements = {{ {names} }}; }}
    set members4 {{ type ether_addr . ipv4_addr; elements = {{ {members4} }}; }}
    set members6 {{ type ether_addr . ipv6_addr; {elements6} }}
    set pairs {{ type ether_addr . ether_addr; size 65536; }}
    set attempts {{ type ether_addr . ether_addr; flags dynamic; size 65536; timeout 10s; }}
    set storm {{ type ether_addr . ether_addr; flags dynamic; size 65536; counter; }}
    chain forward {{
        type filter hook forward priority 0; policy accept;
        ether saddr != @macs accept comment "on another bridge of this host"
        ether saddr . ip saddr @members4 goto member
        ether saddr . ip6 saddr @members6 goto member
        ether type arp accept
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
        counter drop
    }}
    chain member {{
        {pair} @pairs goto pair
        ether saddr {driver} accept
        ether daddr {driver} tcp flags & (syn | ack) != syn accept
        {listens}
        ether saddr @names udp sport 53 accept
        ether saddr @names tcp sport 53 accept
        ether saddr @names meta l4proto {{ icmp, ipv6-icmp }} accept
        ether daddr @names udp dport 53 accept
        ether daddr @names tcp dport 53 accept
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
        counter drop
    }}
    chain pair {{
        tcp dport {{ {clients} }} drop
        tcp flags & (syn | ack) == syn {over} update @storm {{ {pair} }} drop
        meta l4proto tcp accept
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
        counter drop
    }}
    chain input {{
        type filter hook input priority 0; policy accept;
        ether saddr != @macs accept
        ether daddr @macs accept comment "on its way to another member: the capture sees it here"
        ether type arp accept
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
        counter drop
    }}
    chain output {{
        type filter hook output priority 0; policy accept;
        ether daddr @macs counter drop
        ether saddr {own} counter drop
    }}
}}
"""
PAIR = "ether saddr . ether daddr"


class Gate:
    """The wall around a federation, and who may talk to whom in it."""

    def __init__(self, command: protocol.Prepare) -> None:
        self.nft = nftables.Nftables()
        self.ports = Path(f"/sys/class/net/{command.interface}/brif")
        self.table = f"bridge {command.name}"
        six = [(mac, ip6) for mac, _, ip6 in command.members if ip6]
        rate = command.attempts
        self.run(
            TABLE.format(
                table=self.table,
                own=Path(f"/sys/class/net/{command.interface}/address").read_text().strip(),
                macs=", ".join(mac for mac, _, _ in command.members),
                names=", ".join(command.names),
                members4=_elements((mac, ip) for mac, ip, _ in command.members),
                elements6=f"elements = {{ {_elements(six)} }};" if six else "size 1;",
                driver=command.driver,
                listens=f"ether daddr {command.driver} tcp dport {command.listens} accept" if command.listens else "",
                clients=", ".join(str(port) for port in command.clients),
                pair=PAIR,
                over=f"update @attempts {{ {PAIR} limit rate over {rate}/second burst {rate * 3} packets }}",
            )
        )

    def run(self, text: str) -> str:
        code, output, error = self.nft.cmd(text)
        if code:
            raise RuntimeError(f"nft: {error.strip()}")
        return str(output)

    def change(self, verb: str, pairs: list[list[str]]) -> None:
        self.run(f"{verb} element {self.table} pairs {{ {_elements(pairs)} }}")

    def hold(self) -> None:
        """Let nobody through any more; returns when nothing is plugged into the bridge, or the bridge is gone."""
        with contextlib.suppress(RuntimeError):
            self.run(f"flush set {self.table} pairs")
        with contextlib.suppress(FileNotFoundError):
            while any(self.ports.iterdir()):
                time.sleep(HOLD)

    def storms(self, among: list[str]) -> list[tuple[str, str, int]]:
        """Pairs among these addresses whose connection attempts were cut, with how many; they are forgotten then."""
        self.nft.set_json_output(True)
        try:
            listing = json.loads(self.run(f"list set {self.table} storm"))
        finally:
            self.nft.set_json_output(False)
        storms: list[tuple[str, str, int]] = []
        for item in listing.get("nftables", []):
            for element in item.get("set", {}).get("elem", []):
                inner = element.get("elem", {}) if isinstance(element, dict) else {}
                if "val" in inner:
                    a, b = inner["val"]["concat"]
                    if a in among and b in among:
                        storms.append((a, b, inner.get("counter", {}).get("packets", 0)))
        if storms:
            self.run(f"delete element {self.table} storm {{ {_elements((a, b) for a, b, _ in storms)} }}")
        return storms


def _elements(pairs: Iterable[Iterable[str]]) -> str:
    return ", ".join(" . ".join(pair) for pair in pairs)
