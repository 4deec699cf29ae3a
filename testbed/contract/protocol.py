"""What the host and the prober say to each other: a Task in, a Reply out, each one line of JSON.

Both sides use it: the file is copied into the prober's container beside `agent.py`, so it imports the standard library alone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

CLEAR_PEER, TLS_PEER, BAD_PEER = "clear.peer.example", "tls.peer.example", "bad.peer.example"
"""The prober's own domains: one that has no TLS at all, one that offers STARTTLS with a good certificate, one with a bad one."""
PORT = 5269
"""Where the prober listens, and connects to."""
SHOWN = {TLS_PEER: "ca", BAD_PEER: "self-signed"}
"""Own domain -> the certificate profile that it shows where servers connect to it."""


# --- a task -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """One stream to the server, from a peer that does just this."""

    peer: str = TLS_PEER
    """The own domain that it is from."""
    tls: bool = False
    """STARTTLS, if it is offered; else the stream goes on without."""
    certificate: str | None = None
    """The profile of the certificate that is shown; None: none is."""
    low: str = "1.0"
    high: str = "1.3"
    """TLS versions that are offered."""
    again: Sequence[str] = ()
    """If it is not let in: the highest TLS version of each further try."""
    ciphers: str | None = None
    """OpenSSL's cipher string (TLS 1.2 and below); None: all that there are."""
    prove: Sequence[str] = ()
    """Mechanisms with which the peer proves its domain, one after the other until it is let in: `external`, `dialback`."""


@dataclass(frozen=True)
class Task:
    """Everything that is asked of one server, in this order."""

    address: str
    domain: str
    knock: Sequence[int] = ()
    """Ports that must take connections."""
    account: int | None = None
    """The port for clients: make an account in-band (XEP-0077) and log in."""
    patience: float = 0.0
    """Seconds for which ports and account are tried."""
    write_to: Sequence[str] = ()
    """Own domains that the account writes to; only after a login."""
    probes: Mapping[str, Probe] = field(default_factory=dict)
    """Name -> probe; after a login, if there is to be one."""


# --- a reply ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Session:
    """TLS as it was negotiated."""

    version: str
    cipher: str | None
    fingerprint: str
    """SHA-256 of the server's certificate, hexadecimal."""


@dataclass
class Stream:
    """What came of a probe; the last try of several."""

    connected: bool = False
    error: str | None = None
    """Why there is no connection."""
    answered: bool = False
    """The server sent a stream header."""
    features: bool = False
    """It sent stream features, as of the last stream header."""
    starttls: bool = False
    """It offers STARTTLS."""
    required: bool = False
    """It says that STARTTLS is required."""
    mechanisms: Sequence[str] = ()
    """SASL mechanisms that it offers."""
    tls: Session | None = None
    tls_error: str | None = None
    """Why there is none, though it was asked for and offered."""
    external: str | None = None
    dialback: str | None = None
    """What became of the proof, in one word (`success`, `valid`, an error, `closed`, `silence`); None: it was not tried."""
    closed: bool = False
    """The server closed the connection."""

    @property
    def let_in(self) -> str | None:
        """By which mechanism the peer was let in, if it was."""
        if self.external == "success":
            return "external"
        return "dialback" if self.dialback == "valid" else None


@dataclass
class Account:
    """How far a client came."""

    registered: bool = False
    login: bool = False
    error: str | None = "nothing was tried"
    """What went wrong last, if it did not come to the login."""
    features: str = ""
    """The last stream features, as they came."""


@dataclass
class Reply:
    """What the prober saw; what was not asked is None or empty."""

    open: list[int] = field(default_factory=list)
    """Ports that took a connection."""
    account: Account | None = None
    steps: dict[str, list[str]] | None = None
    """Own domain -> how far the server came with it, in its order.

    `stream` (in the clear), `starttls`, `tls`, `tls-stream`, and `result` (it sent its dialback key), `tls-result` over TLS.
    """
    steps_error: str | None = None
    """Why there are none."""
    streams: dict[str, Stream] = field(default_factory=dict)
    """Name of the probe -> what came of it."""


# --- on the line ------------------------------------------------------------------------------------------------------


def encode(document: Task | Reply) -> str:
    """One line."""
    return json.dumps(dataclasses.asdict(document))


def read_task(line: str) -> Task:
    """A Task of its line."""
    fields = json.loads(line)
    fields["probes"] = {name: Probe(**probe) for name, probe in fields["probes"].items()}
    return Task(**fields)


def read_reply(line: str) -> Reply:
    """A Reply of its line."""
    fields = json.loads(line)
    account, streams = fields.pop("account"), fields.pop("streams")
    for stream in streams.values():
        stream["tls"] = stream["tls"] and Session(**stream["tls"])
    return Reply(
        **fields,
        account=account and Account(**account),
        streams={name: Stream(**stream) for name, stream in streams.items()},
    )
