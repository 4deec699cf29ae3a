"""What the host and the driver say to each other: one dataclass a message, one table of which command is answered by what.

Both sides use it: the file is copied into the driver's container, so it imports the standard library alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Login:
    """Be online as `client` at `domain`; try until `timeout` seconds have passed."""

    client: str
    domain: str
    address: str
    port: int
    timeout: float


@dataclass(frozen=True)
class Online:
    """The client is logged in and present, after `seconds`."""

    seconds: float


@dataclass(frozen=True)
class LoginFailed:
    """The client is not logged in; `reason` is what was seen last."""

    reason: str


@dataclass(frozen=True)
class Send:
    """Let `client` start `exchange` with the account at the domain `receiver`, as `token`."""

    client: str
    exchange: str
    receiver: str
    token: str


@dataclass(frozen=True)
class Sent:
    """The stanza was written to the sender's server."""


@dataclass(frozen=True)
class Unsendable:
    """The stanza was not written: the client has lost its own server."""


@dataclass(frozen=True)
class Ping:
    """Let `client` send a message to itself through its own server: the sentinel of a silence."""

    client: str


@dataclass(frozen=True)
class Alive:
    """The message came back."""


@dataclass(frozen=True)
class AwaitZone:
    """Ask the name server at `address` until its zone has this `serial`."""

    address: str
    serial: int


@dataclass(frozen=True)
class ZoneLoaded:
    """The zone has that serial."""


@dataclass(frozen=True)
class Reach:
    """Ask the name server at `address` over UDP and TCP, until it has answered over both or `patience` seconds have passed."""

    address: str
    patience: float


@dataclass(frozen=True)
class Reached:
    """What was seen last over `udp` and over `tcp`; null where it answered."""

    udp: str | None
    tcp: str | None


@dataclass(frozen=True)
class Logout:
    """Drop these `clients`: their servers are about to end."""

    clients: list[str]


@dataclass(frozen=True)
class Received:
    """`client` saw the stanza of `token`, from `sender`."""

    client: str
    token: str
    sender: str


@dataclass(frozen=True)
class Bounced:
    """`client` was told that the stanza of `token` failed: the error's condition, text and type, and who said so."""

    client: str
    token: str
    by: str
    condition: str
    text: str
    type: str


@dataclass(frozen=True)
class Disconnected:
    """`client` lost its server."""

    client: str
    reason: str


COMMANDS: dict[type, tuple[type, ...]] = {
    Login: (Online, LoginFailed),
    Send: (Sent, Unsendable),
    Ping: (Alive,),
    AwaitZone: (ZoneLoaded,),
    Reach: (Reached,),
    Logout: (),
}
"""Command -> the replies that it may get; any may be answered by Failed instead."""

EVENTS: tuple[type, ...] = (Received, Bounced, Disconnected)
"""What the driver says unasked."""
