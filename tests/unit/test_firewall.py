"""What stands between two containers is read off the host's rules, and each sentence has the command that mends it.

The rules under tests/golden/firewalls are `nft -j list ruleset` of Debian's packages, cut to what a forwarded packet meets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from testbed.doctor import State, firewall_of
from testbed.engine.firewall import POOLS, Facts, Packet, Way, dropping, new_way, obstacles, sentence

BRIDGE = "s2s01234567"
GOLDEN = Path(__file__).parents[1] / "golden" / "firewalls"
ON, OFF = {"ip": True, "ip6": True}, {"ip": False, "ip6": False}


def recorded(name: str) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = json.loads((GOLDEN / f"{name}.json").read_text())
    return rules


def chain(family: str, table: str, name: str, policy: str = "accept", hook: str = "forward") -> dict[str, Any]:
    return {
        "chain": {"family": family, "table": table, "name": name, "type": "filter", "hook": hook, "prio": 0, "policy": policy}
    }


def rule(family: str, table: str, name: str, *statements: dict[str, Any]) -> dict[str, Any]:
    return {"rule": {"family": family, "table": table, "chain": name, "expr": list(statements)}}


def match(left: dict[str, Any], right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str) -> dict[str, Any]:
    return {"meta": {"key": key}}


def field(protocol: str, name: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": name}}


ACCEPT, DROP = {"accept": None}, {"drop": None}
FORWARD = ("ip", "filter", "FORWARD")
MINE = ("inet", "mine", "forward")


def prefix(address: str, length: int) -> dict[str, Any]:
    return {"prefix": {"addr": address, "len": length}}


CASES: dict[str, tuple[Facts, dict[str, tuple[str, str]]]] = {
    "the rules of engine 26.1 beside its own bridge": (Facts(recorded("engine-26.1"), ON, {}), {}),
    "the rules of engine 28.5, whose policy for IPv6 is DROP": (Facts(recorded("engine-28.5"), ON, {}), {}),
    "an engine without rules of its own, beside a policy of DROP": (
        Facts(recorded("iptables-drop"), ON, {}),
        {
            "ip": ("nor did the engine write a rule for it", "iptables -I FORWARD -i s2s+ -o s2s+ -j ACCEPT"),
            "ip6": ('is its option "ip6tables" false', "ip6tables -I FORWARD -i s2s+ -o s2s+ -j ACCEPT"),
        },
    ),
    "the same, mended": (
        Facts(
            [
                *recorded("iptables-drop"),
                rule(*FORWARD, match(meta("iifname"), "s2s*"), match(meta("oifname"), "s2s*"), ACCEPT),
            ],
            {"ip": True, "ip6": False},
            {},
        ),
        {},
    ),
    "the same where bridged packets pass no such chain": (Facts(recorded("iptables-drop"), OFF, {"ip": "drop"}), {}),
    "ufw": (
        Facts(recorded("ufw"), ON, {}),
        {
            "ip": ("ufw's chain FORWARD lets nothing pass", "ufw route allow from 198.18.0.0/15"),
            "ip6": ("ufw's chain FORWARD lets nothing pass", "ufw route allow from fd53:3273::/32"),
        },
    ),
    "ufw that lets conversations through, but no neighbour discovery": (
        Facts(
            [
                rule("ip6", "filter", "ufw6-user-forward", match(field("ip6", "saddr"), prefix("fd53:3273::", 32)),
                     match(field("ip6", "daddr"), prefix("fd53:3273::", 32)), ACCEPT),
                rule("ip", "filter", "ufw-user-forward", match(field("ip", "saddr"), prefix("198.18.0.0", 15)), ACCEPT),
                *recorded("ufw"),
            ],
            ON,
            {},
        ),
        {"ip6": ("ufw", "ufw route allow from fd53:3273::/32")},
    ),
    "firewalld": (
        Facts(recorded("firewalld"), ON, {}),
        {
            "ip": ("firewalld lets nothing pass", "firewall-cmd --zone=trusted --add-source=198.18.0.0/15"),
            "ip6": ("firewalld lets nothing pass", "firewall-cmd --zone=trusted --add-source=fd53:3273::/32"),
        },
    ),
    "iptables-legacy": (
        Facts([], ON, {"ip": "drop", "ip6": "accept"}),
        {"ip": ("policy of iptables-legacy's chain FORWARD is DROP", "iptables-legacy -I FORWARD -i s2s+ -o s2s+ -j ACCEPT")},
    ),
    "a rule set of the user's own that drops what it does not know": (
        Facts([chain(*MINE, policy="drop"),
               rule(*MINE, match({"ct": {"key": "state"}}, ["established", "related"], "in"), ACCEPT)], ON, {}),
        dict.fromkeys(POOLS, ("nftables' chain inet mine forward: its policy is drop", "nft insert rule inet mine forward")),
    ),
    "a rule of the user's own that drops one protocol of one family": (
        Facts([chain(*MINE), rule(*MINE, match(field("ip", "saddr"), prefix("198.18.0.0", 24)),
                                  match(field("udp", "dport"), {"set": [{"range": [1, 52]}, 53]}), DROP)], ON, {}),
        {"ip": ("a rule of its chain forward drops", "nft insert rule inet mine forward")},
    ),
    "a rule that concerns others": (
        Facts([chain(*MINE), rule(*MINE, match(meta("iifname"), "eth0"), DROP),
               rule(*MINE, match(meta("iifname"), "s2s*", "!="), DROP)], ON, {}),
        {},
    ),
    "a rule that cannot be read": (
        Facts([chain(*MINE), rule(*MINE, {"xt": {"type": "match", "name": "recent"}}, DROP),
               rule(*MINE, match(field("ip", "saddr"), "@blocked"), DROP)], ON, {}),
        {},
    ),
    "a verdict map, a goto and a return": (
        Facts(
            [
                chain(*MINE),
                rule(*MINE, {"vmap": {"key": meta("l4proto"), "data": {"set": [["tcp", {"jump": {"target": "tcp"}}]]}}}),
                rule(*MINE, {"goto": {"target": "last"}}),
                rule("inet", "mine", "tcp", {"return": None}),
                rule("inet", "mine", "tcp", DROP),
                rule("inet", "mine", "last", {"reject": None}),
            ],
            ON,
            {},
        ),
        dict.fromkeys(POOLS, ("a rule of its chain last drops", "nft insert rule inet mine forward")),
    ),
    "a chain of the bridge family, which br_netfilter has no say in": (
        Facts([chain("bridge", "mine", "between", policy="drop")], OFF, {}),
        dict.fromkeys(POOLS, ("nftables' chain bridge mine between: its policy is drop", "nft insert rule bridge mine between")),
    ),
    "the gate of another run": (Facts([chain("bridge", "s2s_89abcdef", "forward", policy="drop")], ON, {}), {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_stands_in_the_way_is_named_with_its_command(case: str) -> None:
    facts, expected = CASES[case]
    found = {family: obstacles(facts, new_way(family, BRIDGE)) for family in POOLS}
    assert {family for family in POOLS if found[family]} == set(expected)
    for family, (words, command) in expected.items():
        text = sentence(facts, new_way(family, BRIDGE))
        assert words in text
        assert f"As root on the engine's host: {command}" in text


def test_the_rules_of_an_engine_are_gone_through_with_the_addresses_of_its_network() -> None:
    """They drop what comes to a bridge from elsewhere: with addresses of another network they would seem to drop everything."""
    facts = Facts(recorded("engine-26.1"), ON, {})
    assert obstacles(facts, Way("ip", BRIDGE, ("198.18.0.3", "198.18.0.2"))) == []
    (found,) = obstacles(facts, Way("ip", BRIDGE, ("198.18.7.3", "198.18.7.2")))
    assert "a rule of its chain DOCKER-ISOLATION-STAGE-1 drops it" in found.said


def test_where_no_rule_says_why_the_sentence_says_that() -> None:
    text = sentence(Facts([], ON, {}), new_way("ip", BRIDGE))
    assert text.startswith("packets between containers do not pass over IPv4, and none of the rules")
    assert "br_netfilter is on" in text


@pytest.mark.parametrize(
    ("left", "right", "op", "fits"),
    [
        (meta("nfproto"), "ipv4", "==", True),
        (meta("protocol"), "ip6", "==", False),
        (field("th", "dport"), {"range": [50, 60]}, "==", True),
        (field("tcp", "dport"), 53, "==", False),
        (field("ip", "daddr"), {"set": ["198.18.0.2", "198.18.0.9"]}, "==", True),
        (field("ip6", "daddr"), "::1", "!=", False),
        ({"ct": {"key": "status"}}, "dnat", "!=", False),
        ({"fib": {"result": "type"}}, "local", "==", False),
        (field("ether", "type"), "ip", "==", True),
    ],
)
def test_a_match_that_cannot_be_said_decides_nothing(left: Mapping[str, Any], right: Any, op: str, fits: bool) -> None:
    packet = Packet("ip", BRIDGE, "udp", "new", "198.18.0.3", "198.18.0.2", 40000, 53)
    facts = Facts([chain(*MINE), rule(*MINE, match(dict(left), right, op), DROP)], ON, {})
    assert bool(list(dropping(facts, packet))) is fits


def test_the_doctor_says_it_of_the_bridges_that_are_there() -> None:
    closed, open_ = Facts(recorded("iptables-drop"), ON, {}), Facts(recorded("engine-26.1"), ON, {})
    found = firewall_of(closed, [new_way("ip", BRIDGE), new_way("ip6", BRIDGE)], ipv6=True)
    assert found.state is State.PROBLEM
    assert found.said.startswith("packets between containers do not pass over IPv4: iptables' chain FORWARD: its policy is DROP")
    assert found.command
    assert [c.split()[1] for c in found.command.split(" && ")] == ["iptables", "ip6tables"]
    assert firewall_of(open_, [new_way("ip", BRIDGE)], ipv6=True).state is State.OK


def test_of_a_bridge_that_is_not_there_yet_the_doctor_says_what_it_needs() -> None:
    found = firewall_of(Facts(recorded("engine-28.5"), ON, {}), [], ipv6=True)
    assert (found.state, "a run is possible if the engine writes a rule" in found.said) == (State.NOTE, True)
    assert firewall_of(Facts(recorded("engine-28.5"), ON, {}), [], ipv6=False).state is State.OK
    assert firewall_of(Facts([], ON, {}), [], ipv6=True).state is State.OK


def test_rules_without_end_are_no_endless_loop() -> None:
    facts = Facts([chain(*MINE, policy="drop"), rule(*MINE, {"jump": {"target": "forward"}})], ON, {})
    assert obstacles(facts, new_way("ip", BRIDGE))
