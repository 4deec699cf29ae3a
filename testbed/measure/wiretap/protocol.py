"""What the host and the wiretap say to each other: one dataclass a message, one table of which command is answered by what.

Both sides use it: the file is copied into the wiretap's container, so it imports the standard library alone. A pair is two
hardware addresses, the sender's first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FIELDS = (
    "frame.time_epoch", "tcp.stream", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "tcp.flags",
    "tcp.len", "tls.record.content_type", "tls.handshake.type", "tls.handshake.version",
    "tls.handshake.extensions.supported_version", "tls.handshake.ciphersuite", "tls.alert_message.desc",
    "tls.handshake.extensions_server_name", "tcp.payload",
)  # fmt: skip
"""What tshark says of a packet: one line each, with `|` between."""
RECORDS = FIELDS.index("tls.record.content_type")


def shortened(line: str) -> str:
    """A line of tshark's without its payload where TLS records are in it: of those nobody reads more than the fields."""
    if len(fields := line.split("|", RECORDS + 1)) > RECORDS and fields[RECORDS]:
        return line[: line.rindex("|") + 1]
    return line


@dataclass(frozen=True)
class Prepare:
    """Size the neighbour table for so many `servers`, and shut the gate `name` on the bridge `interface`.

    `members`: hardware, IPv4 and IPv6 address (or null) of everybody that there can be. Everybody may ask the `names`; the
    `driver` may talk to everybody, and is answered; on the port that it `listens` on (0: none) everybody may talk to it. All
    else is shut, to and from the host too. What is opened for a pair is TCP, but for the ports of `clients`. A pair may make
    `attempts` connections a second; more are cut, and counted as a storm.
    """

    name: str
    interface: str
    servers: int
    members: list[tuple[str, str, str | None]]
    names: list[str]
    driver: str
    listens: int
    clients: list[int]
    attempts: int


@dataclass(frozen=True)
class Prepared:
    """The gate is shut: no server reaches another, or the host."""


@dataclass(frozen=True)
class TableTooSmall:
    """The neighbour table holds `before` entries, `need` are needed, and it may not be raised: `command` would do it as root."""

    need: int
    before: int
    command: str


@dataclass(frozen=True)
class ReadRules:
    """Read what may stand in the way of packets between containers; it may take a second."""


@dataclass(frozen=True)
class Rules:
    """nftables' `ruleset` as JSON; by family, whether bridged packets pass its chains, and the older iptables' FORWARD policy."""

    ruleset: list[dict[str, Any]]
    bridged: dict[str, bool]
    legacy: dict[str, str]


@dataclass(frozen=True)
class Open:
    """Let these pairs through the gate."""

    pairs: list[list[str]]


@dataclass(frozen=True)
class Opened:
    """They may talk now."""


@dataclass(frozen=True)
class Close:
    """Shut the gate on these pairs again."""

    pairs: list[list[str]]


@dataclass(frozen=True)
class Answer:
    """Say something: the time that it takes tells how strained the machine is."""


@dataclass(frozen=True)
class Answered:
    """Said."""


@dataclass(frozen=True)
class ListStorms:
    """Which pairs `among` these hardware addresses tried to connect without pause? They are forgotten then."""

    among: list[str]


@dataclass(frozen=True)
class Storms:
    """Pairs with the number of connection attempts that were cut."""

    pairs: list[tuple[str, str, int]]


@dataclass(frozen=True)
class Capture:
    """Write what the BPF `filter` takes on `interface` to the file `name`, of at most `limit` kB (0: no bound)."""

    name: str
    interface: str
    filter: str
    limit: int


@dataclass(frozen=True)
class Capturing:
    """Every packet from now on is taken."""


@dataclass(frozen=True)
class StopCapture:
    """End the capture `name`."""

    name: str


@dataclass(frozen=True)
class Captured:
    """It ended: its `size` in bytes, whether it was `full`, and what dumpcap `said`."""

    name: str
    said: str
    size: int
    full: bool


@dataclass(frozen=True)
class Dissect:
    """Run tshark over the capture `name`; its lines come as Packets, before the reply."""

    name: str


@dataclass(frozen=True)
class Dissected:
    """tshark ended with `status`, and `said` this on its standard error."""

    status: int
    said: str


@dataclass(frozen=True)
class Packets:
    """Lines of tshark, one a packet, of the capture `name`."""

    name: str
    lines: list[str]


@dataclass(frozen=True)
class Neighbours:
    """The neighbour table of a `family`, as it was and as it is: entries `before` and `after`, and how many are needed.

    `ok` is false if it is too small and may not be raised: `error` says why, `command` would do it.
    """

    family: str
    ok: bool
    before: int
    need: int
    raised: bool | None = None
    after: int | None = None
    error: str | None = None
    command: str | None = None


COMMANDS: dict[type, tuple[type, ...]] = {
    Prepare: (Prepared, TableTooSmall),
    ReadRules: (Rules,),
    Open: (Opened,),
    Close: (),
    Answer: (Answered,),
    ListStorms: (Storms,),
    Capture: (Capturing,),
    StopCapture: (Captured,),
    Dissect: (Dissected,),
}
"""Command -> the replies that it may get; any may be answered by Failed instead."""

EVENTS: tuple[type, ...] = (Neighbours, Packets)
"""What the wiretap says unasked."""
