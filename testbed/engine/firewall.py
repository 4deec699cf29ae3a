"""What stands in the way of packets between containers, and the command that mends it: a pure function of the host's rules.

Rule: it names what the rules do with a packet of the mesh, by going through them as the kernel does (every base chain has to let
it through). A rule that it cannot read (an xtables extension, a named set) is passed over.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKET_RULES = Path(__file__).with_name("packet_rules.py")
"""What reads the facts, in a container on the engine's host."""
HOOKS = ("prerouting", "forward", "postrouting")
"""What a packet passes that is bridged from one container to another."""
OWN = "s2s_"
"""How the names of the testbed's own tables begin."""
BRIDGES = "s2s+"
"""Every federation's bridge, as iptables writes it."""
POOLS = {"ip": "198.18.0.0/15", "ip6": "fd53:3273::/32"}
"""Family -> the addresses of all federations (see `federation`)."""
WORDS = {"ip": "IPv4", "ip6": "IPv6"}

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """What was read on the engine's host (see `packet_rules`)."""

    ruleset: Sequence[Json]
    """nftables' rules, as libnftables-json(5) has them."""
    bridged: Mapping[str, bool]
    """By family: whether bridged packets pass its chains (br_netfilter)."""
    legacy: Mapping[str, str]
    """By family: FORWARD's policy in the older iptables, where that is in use."""


@dataclass(frozen=True)
class Obstacle:
    """Something that lets no packet through."""

    said: str
    command: str
    """What to type as root on the engine's host."""


@dataclass(frozen=True)
class Packet:
    """One of a conversation between two containers on a bridge."""

    family: str
    bridge: str
    protocol: str
    state: str
    source: str
    target: str
    source_port: int = 0
    target_port: int = 0


@dataclass(frozen=True)
class Chain:
    """A base chain that drops it."""

    family: str
    table: str
    name: str
    by_policy: bool
    """Because no rule accepts it; else a rule drops or rejects it."""
    at: str
    """The chain that has that rule."""


Chains = Mapping[tuple[str, str, str], Sequence[Json]]
"""(family, table, chain) -> its rules, in order."""
ACCEPTED, RETURNED = "accept", "return"
DROPS = ("drop", "reject")
ICMP6, SOLICIT = "ipv6-icmp", "nd-neighbor-solicit"
"""As nftables names them."""


@dataclass(frozen=True)
class Way:
    """From one container to another: the bridge that both are on, and their addresses."""

    family: str
    """`ip` or `ip6`."""
    bridge: str
    ends: tuple[str, str]


def new_way(family: str, bridge: str) -> Way:
    """On a bridge that a run could make: with addresses of the pool."""
    net = ipaddress.ip_network(POOLS[family])
    return Way(family, bridge, (str(net[3]), str(net[2])))


def obstacles(facts: Facts, way: Way) -> list[Obstacle]:
    """What lets no packet pass between two containers; empty if nothing was found."""
    family, bridge = way.family, way.bridge
    chains = dict.fromkeys(chain for packet in _packets(way) for chain in dropping(facts, packet))
    unwritten = bridge not in str(facts.ruleset)
    found = [_obstacle(chain, family, bridge, facts, unwritten=unwritten) for chain in chains]
    if facts.bridged.get(family) and facts.legacy.get(family) == "drop":
        name = "iptables-legacy" if family == "ip" else "ip6tables-legacy"
        found.append(
            Obstacle(
                f"the policy of {name}'s chain FORWARD is DROP (its rules cannot be read from here)",
                f"{name} -I FORWARD -i {BRIDGES} -o {BRIDGES} -j ACCEPT",
            )
        )
    return found


def sentence(facts: Facts, way: Way) -> str:
    """One sentence for a user: packets do not pass, why, and what to type."""
    begin = f"packets between containers do not pass over {WORDS[way.family]}"
    if found := obstacles(facts, way):
        commands = " && ".join(dict.fromkeys(o.command for o in found))
        return f"{begin}: {'; '.join(o.said for o in found)}. As root on the engine's host: {commands}"
    switch = "on" if facts.bridged.get(way.family) else "off"
    return (
        f"{begin}, and none of the rules that can be read on the engine's host says why (nftables' rules; the policies of "
        f"iptables-legacy; br_netfilter is {switch} for it). To look further, as root there: nft list ruleset"
    )


def dropping(facts: Facts, packet: Packet) -> Iterator[Chain]:
    """The base chains that do not let a packet through."""
    rules: dict[tuple[str, str, str], list[Json]] = defaultdict(list)
    bases: list[Json] = []
    for item in facts.ruleset:
        if rule := item.get("rule"):
            rules[rule["family"], rule["table"], rule["chain"]].append(rule)
        elif (chain := item.get("chain")) and chain.get("hook") in HOOKS and not chain["table"].startswith(OWN):
            bases.append(chain)
    families = {"bridge"} | ({packet.family, "inet"} if facts.bridged.get(packet.family) else set())
    for base in bases:
        if base["family"] in families:
            key = (base["family"], base["table"], base["name"])
            verdict, at = _walk(rules, key, packet)
            if verdict in DROPS:
                yield Chain(*key, by_policy=False, at=at)
            elif verdict != ACCEPTED and base.get("policy") == "drop":
                yield Chain(*key, by_policy=True, at=base["name"])


def _walk(rules: Chains, key: tuple[str, str, str], packet: Packet, depth: int = 0) -> tuple[str | None, str]:
    """What a chain does with a packet, and which chain's rule; None, or `return`, if none of its rules decides."""
    for rule in rules.get(key, ()) if depth < 16 else ():  # NFT_JUMP_STACK_SIZE
        verdict = _verdict(rule.get("expr", ()), packet, key[0])
        if isinstance(verdict, Mapping):  # {"jump": {"target": …}}, or goto
            ((kind, data),) = verdict.items()
            inner, at = _walk(rules, (key[0], key[1], data["target"]), packet, depth + 1)
            if inner in (ACCEPTED, *DROPS):
                return inner, at
            if kind == "goto":
                return None, key[2]
        elif verdict:
            return verdict, key[2]
    return None, key[2]


def _verdict(statements: Iterable[Json], packet: Packet, family: str) -> str | Json | None:
    """What a rule does with a packet: a word, a jump, or None if it does not concern it, or it cannot be said."""
    for statement in statements:
        ((kind, data),) = statement.items()
        if kind == "match":
            if not _matches(data, packet, family):
                return None
        elif kind in (ACCEPTED, RETURNED, *DROPS):
            return str(kind)
        elif kind in ("jump", "goto"):
            return statement
        elif kind == "vmap":
            return _mapped(data, packet, family)
        elif kind not in ("counter", "log", "meta", "mangle", "notrack"):
            return None
    return None


def _mapped(data: Json, packet: Packet, family: str) -> str | Json | None:
    """The verdict of a verdict map's first element that fits; None of a named map, which is not looked up."""
    value = _field(data["key"], packet, family)
    elements = data["data"].get("set", ()) if isinstance(data["data"], Mapping) else ()
    for wanted, verdict in elements:
        if value is not None and _fits(value, wanted):
            ((kind, _),) = verdict.items()
            return verdict if kind in ("jump", "goto") else str(kind)
    return None


def _matches(data: Json, packet: Packet, family: str) -> bool:
    """Whether a match holds; not, where that cannot be said."""
    value = _field(data["left"], packet, family)
    if value is None:
        return False
    fits = _fits(value, data["right"])
    return fits is not None and fits is not (data["op"] == "!=")


def _field(left: Any, packet: Packet, family: str) -> str | int | None:
    """What a packet has where a match looks; None if it has no such field, or it is not known."""
    if not isinstance(left, Mapping):
        return None
    ((kind, data),) = left.items()
    if kind == "meta":
        ports = {} if family == "bridge" else {"iifname": packet.bridge, "oifname": packet.bridge}
        return {
            **ports,
            "ibrname": packet.bridge,
            "obrname": packet.bridge,
            "nfproto": "ipv4" if packet.family == "ip" else "ipv6",
            "protocol": packet.family,
            "l4proto": packet.protocol,
        }.get(data["key"])
    if kind == "ct":
        return packet.state if data["key"] == "state" else None
    if kind == "payload" and "protocol" in data:
        layers: dict[str, dict[str, str | int]] = {
            packet.family: {
                "saddr": packet.source,
                "daddr": packet.target,
                "protocol": packet.protocol,
                "nexthdr": packet.protocol,
            },
            packet.protocol: {"sport": packet.source_port, "dport": packet.target_port},
        }
        layers["th"] = layers[packet.protocol]
        if packet.protocol == ICMP6:
            layers["icmpv6"] = {"type": SOLICIT, "code": 0}
        if data["protocol"] == "ether":
            return {"type": packet.family}.get(data["field"])
        return layers.get(data["protocol"], {}).get(data["field"])
    return None


def _fits(value: str | int, wanted: Any) -> bool | None:
    """Whether a value is what a rule wants: one, several, a range, a prefix; None if that cannot be said."""
    if isinstance(wanted, list):
        return any(_fits(value, w) for w in wanted)
    if isinstance(wanted, Mapping):
        if "set" in wanted:
            return _fits(value, wanted["set"])
        if "prefix" in wanted:
            return _within(value, f"{wanted['prefix']['addr']}/{wanted['prefix']['len']}")
        if "range" in wanted and isinstance(value, int):
            low, high = wanted["range"]
            return int(low) <= value <= int(high)
        return None
    if isinstance(wanted, str) and wanted.startswith("@"):
        return None
    if isinstance(wanted, str) and wanted.endswith("*"):
        return str(value).startswith(wanted[:-1])
    return str(value) == str(wanted)


def _within(value: str | int, network: str) -> bool | None:
    try:
        address, net = ipaddress.ip_address(value), ipaddress.ip_network(network, strict=False)
    except ValueError:
        return None
    return address.version == net.version and address in net


def _packets(way: Way) -> Iterator[Packet]:
    """What has to pass for a question and its answer."""
    family, bridge, (a, b) = way.family, way.bridge, way.ends
    for protocol in ("udp", "tcp"):
        yield Packet(family, bridge, protocol, "new", a, b, 40000, 53)
        yield Packet(family, bridge, protocol, "established", b, a, 53, 40000)
    if family == "ip6":  # without neighbour discovery (RFC 4861 §4.3) nobody learns where the other is
        yield Packet(family, bridge, ICMP6, "untracked", a, "ff02::1:ff00:2")


# --- in words ---------------------------------------------------------------------------------------------------------


def _obstacle(chain: Chain, family: str, bridge: str, facts: Facts, *, unwritten: bool) -> Obstacle:
    """Whose chain it is, what it does, and the command of its own tool."""
    pool = POOLS[family]
    nothing = f"nothing accepts what passes the bridge {bridge}"
    if chain.table == "firewalld":
        return Obstacle(
            f"firewalld lets nothing pass the bridge {bridge} (its chain {chain.at})",
            f"firewall-cmd --zone=trusted --add-source={pool}",
        )
    if (chain.family, chain.table, chain.name) == (family, "filter", "FORWARD"):
        does = f"its policy is DROP and {nothing}" if chain.by_policy else f"a rule of its chain {chain.at} drops it"
        if any("ufw" in item.get("chain", {}).get("name", "") for item in facts.ruleset):
            return Obstacle(f"ufw's chain FORWARD lets nothing pass between containers: {does}", f"ufw route allow from {pool}")
        tool = "iptables" if family == "ip" else "ip6tables"
        written = f' (nor did the engine write a rule for it: is its option "{tool}" false?)' if unwritten else ""
        does = f"its policy is DROP and {nothing}{written}" if chain.by_policy else does
        return Obstacle(f"{tool}' chain FORWARD: {does}", f"{tool} -I FORWARD -i {BRIDGES} -o {BRIDGES} -j ACCEPT")
    where = f"{chain.family} {chain.table} {chain.name}"
    does = (
        f"its policy is drop and {nothing}" if chain.by_policy else f"a rule of its chain {chain.at} drops what passes {bridge}"
    )
    ports = "veth*" if chain.family == "bridge" else "s2s*"  # a bridge's ports are the containers' own
    return Obstacle(
        f"nftables' chain {where}: {does}", f"nft insert rule {where} iifname '\"{ports}\"' oifname '\"{ports}\"' accept"
    )
