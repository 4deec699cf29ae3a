"""Reads, on the engine's host, what may stand in the way of packets between containers; judges nothing (see `firewall`).

Copied into a container of the wiretap's image on the host's network, with the right NET_ADMIN: it imports the standard library
and nftables alone. What cannot be read is left out.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

import nftables

BRIDGED = {"ip": "bridge-nf-call-iptables", "ip6": "bridge-nf-call-ip6tables"}
"""Family, as nftables names it -> the switch by which bridged packets pass its chains (br_netfilter)."""
LEGACY = {
    "ip": ("ip_tables_names", socket.AF_INET, socket.IPPROTO_IP, 88),
    "ip6": ("ip6_tables_names", socket.AF_INET6, socket.IPPROTO_IPV6, 140),
}
"""Family -> where the older iptables' tables in use stand, how to ask for them, where an entry says where its target begins."""
GET_INFO, GET_ENTRIES = 64, 65
"""IPT_SO_GET_INFO and IPT_SO_GET_ENTRIES (linux/netfilter_ipv4/ip_tables.h), the same numbers for IPv6."""
FORWARD = 2
"""NF_INET_FORWARD."""
POLICIES = {-1: "drop", -2: "accept"}
"""A standard target's verdict -> policy."""


def read() -> dict[str, Any]:
    """`ruleset`: nftables' JSON (libnftables-json(5)); `bridged`: family -> bool; `legacy`: family -> policy of FORWARD."""
    nft = nftables.Nftables()
    nft.set_json_output(True)
    code, output, _ = nft.cmd("list ruleset")
    return {
        "ruleset": json.loads(output)["nftables"] if code == 0 and output else [],
        "bridged": {family: _on(switch) for family, switch in BRIDGED.items()},
        "legacy": {family: policy for family in LEGACY if (policy := _legacy_policy(family))},
    }


def _on(switch: str) -> bool:
    with contextlib.suppress(OSError):
        return (Path("/proc/sys/net/bridge") / switch).read_text().strip() == "1"
    return False


def _legacy_policy(family: str) -> str | None:
    """The policy of FORWARD in the older iptables' table `filter`, which nftables does not show; None if it is not in use."""
    listing, domain, level, target_at = LEGACY[family]
    try:
        if "filter" not in (Path("/proc/net") / listing).read_text().split():  # to ask for it would make it
            return None
        with socket.socket(domain, socket.SOCK_RAW, socket.IPPROTO_RAW) as asked:
            info = _option(asked, level, GET_INFO, struct.pack("32s52x", b"filter"))
            underflow, size = struct.unpack_from("5I", info, 56)[FORWARD], struct.unpack_from("I", info, 80)[0]
            entries = _option(asked, level, GET_ENTRIES, struct.pack("32sI4x", b"filter", size) + bytes(size))[40:]
        target = underflow + struct.unpack_from("H", entries, underflow + target_at)[0]
        return POLICIES.get(struct.unpack_from("i", entries, target + 32)[0])
    except (OSError, struct.error):
        return None


def _option(asked: socket.socket, level: int, name: int, question: bytes) -> bytes:
    """getsockopt(2) with a question in its buffer, which Python's own does not pass on."""
    buffer, length = ctypes.create_string_buffer(question, len(question)), ctypes.c_uint32(len(question))
    if ctypes.CDLL(None, use_errno=True).getsockopt(asked.fileno(), level, name, buffer, ctypes.byref(length)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return buffer.raw
