"""What a run records: one row per kind of observation, with its source, its fields and its meaning.

Rule: whoever writes an observation and whoever reads one names its kind by a row of this file, never by a string; what no row
names is not recorded. The rows are rendered into docs/measuring.md and schemas/observation.schema.json. A record of an older
testbed lacks fields that are optional here; a kind that no row has (a newer testbed's) is read and passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from testbed.record.strain import READ, SOURCES


class Source(str, Enum):
    """Who saw it, in the order of trust that a verdict gives them."""

    RECEIVER = "receiver"
    WIRE = "wire"
    LOG = "log"
    SENDER = "sender"
    ENGINE = "engine"


@dataclass(frozen=True)
class Observation:
    """One timestamped fact. ``time`` is Unix seconds on the clock of the engine's host; ``data`` is flat JSON."""

    time: float
    source: Source
    kind: str
    phase: str | None = None
    epoch: str | None = None
    """Which start of the phase's servers: ``mesh``, or ``alone-N`` where pairs were measured by themselves (see `legs`)."""
    cell: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


class Scope(Enum):
    """What an observation is about; its value names the keys that it has besides `time`, `source`, `kind` and `data`."""

    RUN = ()
    PHASE = ("phase",)
    EPOCH = ("phase", "epoch")
    CELL = ("phase", "epoch", "cell")


@dataclass(frozen=True)
class Field:
    """One key of an observation's `data`."""

    name: str
    type: Any
    """A Python type, as JSON has it: `str`, `int`, `float`, `bool`, or a list of one of them."""
    meaning: str
    unit: str = ""
    values: tuple[str, ...] = ()
    """All values that it can have; empty: any of its type."""
    optional: bool = False
    """Absent where it was not seen or does not apply, and in records that are older than it."""
    null: bool = False
    """May be null."""
    least: float | None = None
    """The lowest value that a number can have; None: any."""


@dataclass(frozen=True)
class Kind:
    """One row: a kind of observation. ``word`` is its `kind` in the record."""

    word: str
    source: Source
    scope: Scope
    meaning: str
    fields: tuple[Field, ...] = ()
    others: Field | None = None
    """What keys are like that no field names; None: there are none."""
    loose: bool = False
    """The keys of its scope may be absent."""

    @property
    def all_fields(self) -> tuple[Field, ...]:
        """The fields, and what other keys are like."""
        return (*self.fields, self.others) if self.others else self.fields

    def at(
        self, time: float, data: dict[str, Any], *, phase: str | None = None, epoch: str | None = None, cell: str | None = None
    ) -> Observation:
        """An observation of this kind; ``time`` in Unix seconds. What `data` holds is not checked: evidence is never refused."""
        return Observation(time, self.source, self.word, phase, epoch, cell, data)


SIDES = ("out", "in")
TOKEN = Field("token", str, "the stanza's body, which no other attempt has")
DOMAIN = Field("domain", str, "whose server or client it is")
SENDING = Field("sender", str, "domain of the server that opened the connection")
RECEIVING = Field("receiver", str, "domain of the server that it was opened to")


def _reason(what: str) -> Field:
    return Field("reason", str, what)


# --- cells: what the testbed did, and what the clients saw ------------------------------------------------------------

ATTEMPT = Kind(
    "attempt",
    Source.ENGINE,
    Scope.CELL,
    "the cell's stanza is about to be written",
    (
        TOKEN,
        Field(
            "cold",
            bool,
            "whether it is the cell's first attempt in this epoch, in the direction of the pair that goes first there; "
            "absent in old records",
            optional=True,
        ),
    ),
)
SENT = Kind("sent", Source.SENDER, Scope.CELL, "the stanza was handed to the sender's server", (TOKEN,))
RECEIVED = Kind(
    "received",
    Source.RECEIVER,
    Scope.CELL,
    "the receiver's client has the stanza",
    (TOKEN, Field("sender", str, "full address that the stanza came from", optional=True)),
)
ERROR = Kind(
    "error",
    Source.SENDER,
    Scope.CELL,
    "the bounce, as the sender's client saw it",
    (
        TOKEN,
        Field("by", str, "address that the error came from", optional=True, null=True),
        Field("condition", str, "the stanza error's defined condition (RFC 6120 §8.3.3)", optional=True, null=True),
        Field("text", str, "the error's text", optional=True, null=True),
        Field("type", str, "the error's type (RFC 6120 §8.3.2)", optional=True, null=True),
    ),
)
STRAIN = Kind(
    "strain",
    Source.ENGINE,
    Scope.CELL,
    "the part of an attempt in which its servers, with their name server, waited longest for what the machine lacked; of a "
    "delivery only where that was too long",
    (
        TOKEN,
        Field("window", float, "how long that part, the window, lasted", "s", least=0.0),
        Field(
            "limit",
            float,
            "waiting in it beyond which the attempt, if it failed, says nothing of the servers: it is void",
            "s",
            least=0.0,
        ),
        Field("processor", float, "waited for a processor, added up; of a `heartbeat`, that it was held up", "s", least=0.0),
        Field("disk", float, "waited for the disk, added up", "s", least=0.0),
        Field("memory", float, "waited for memory, added up", "s", least=0.0),
        Field("stolen", float, "time that the hypervisor took from each processor", "s", least=0.0),
        Field(
            "source",
            str,
            "what it was read from; `unread`: the meter said nothing in time, so that the attempt is void",
            values=SOURCES,
        ),
    ),
)
UNSENDABLE = Kind("unsendable", Source.SENDER, Scope.CELL, "the sender's client had lost its own server", (TOKEN,))
SILENCE = Kind(
    "silence",
    Source.ENGINE,
    Scope.CELL,
    "neither receipt nor error came in time; then each client sent a message to itself",
    (
        Field("token", str, "the attempt's; absent in old records", optional=True),
        Field("waited", float, "how long an answer was waited for", "s"),
        Field("sender_alive", bool, "whether the sender's client got its own message back", optional=True),
        Field("receiver_alive", bool, "whether the receiver's client got its own message back", optional=True),
    ),
)

# --- what crossed the wire --------------------------------------------------------------------------------------------

STREAM = Kind(
    "stream",
    Source.WIRE,
    Scope.EPOCH,
    "one TCP connection between two servers; what was not seen is absent",
    (
        SENDING,
        RECEIVING,
        Field("number", int, "Wireshark's `tcp.stream`", optional=True),
        Field("port", int, "TCP port of the initiator", optional=True),
        Field("start", float, "time of its first packet", "Unix s"),
        Field("end", float, "time of its last packet", "Unix s"),
        Field("syns", int, "connection attempts", "packets", optional=True),
        Field("answered", bool, "whether the receiver's host accepted the connection", optional=True),
        Field("reset_by", str, "who sent the first RST; `out`: the initiator", values=SIDES, optional=True),
        Field("closed_by", str, "who sent the first FIN; `out`: the initiator", values=SIDES, optional=True),
        Field("bytes_out", int, "TCP payload from the initiator", "bytes", optional=True),
        Field("bytes_in", int, "TCP payload to the initiator", "bytes", optional=True),
        Field("starttls_offered", str, "STARTTLS in the features in clear", values=("no", "offered", "required"), optional=True),
        Field("starttls_used", bool, "whether the receiver said `proceed`", optional=True),
        Field("offered_versions", list[str], "TLS versions of the ClientHello", optional=True),
        Field("server_name", str, "SNI of the ClientHello", optional=True),
        Field("server_hello", bool, "whether the ClientHello was answered by a ServerHello", optional=True),
        Field("tls_version", str, "version that the ServerHello chose", optional=True),
        Field("cipher", str, "cipher suite that the ServerHello chose, IANA's name", optional=True),
        Field("forward_secrecy", bool, "whether that suite's key exchange is ephemeral", optional=True),
        Field("alerts", list[str], "TLS alerts in clear: `out:` or `in:`, and IANA's name", optional=True),
        Field("stream_errors", list[str], "stream errors in clear: `out:` or `in:`, and the condition", optional=True),
        Field("dialback", list[str], "dialback elements in clear: `out:result`, `in:result:valid`, …", optional=True),
        Field("tokens", list[str], "bodies of cells in clear", optional=True),
        Field("tls_data_out", list[float], "times of the initiator's TLS records, thinned to 40", "Unix s", optional=True),
    ),
)
STORM = Kind(
    "storm",
    Source.WIRE,
    Scope.EPOCH,
    "connection attempts without a pause, which the gate cut",
    (SENDING, RECEIVING, Field("cut", int, "attempts that were cut", "packets")),
)

# --- what a server's log says of a peer -------------------------------------------------------------------------------

LOGGED = (
    Field("server", str, "domain whose log it is"),
    Field("peer", str, "domain of the other end"),
    Field("line", int, "line number in that log", optional=True),
    Field("direction", str, "`out`: this server initiated the stream", values=SIDES, optional=True),
    Field("session", str, "the server's own name of the stream", optional=True),
    Field("address", str, "IP address of the other end, as logged", optional=True),
    Field("tls_version", str, "TLS version, as logged", optional=True),
    Field("cipher", str, "cipher suite, as logged", optional=True),
    Field("mechanism", str, "how the domain was proven, or was to be", values=("dialback", "external"), optional=True),
    Field("reason", str, "why, in the server's words", optional=True),
    Field("errors", str, "what is wrong with a certificate, in the server's words", optional=True),
    Field("cause", str, "the word of [causes.md](causes.md) that those words mean", optional=True),
)


def _logged(word: str, meaning: str) -> Kind:
    return Kind(word, Source.LOG, Scope.EPOCH, meaning, LOGGED)


S2S_SESSION = _logged(
    "s2s-session", "the log ties a stream to a peer; kept only where the line also says what is wrong with a certificate"
)
S2S_CONNECTING = _logged("s2s-connecting", "a connection was opened, or is being opened")
S2S_ENCRYPTED = _logged("s2s-encrypted", "the stream has TLS")
S2S_AUTHENTICATED = _logged("s2s-authenticated", "a domain was proven")
S2S_ESTABLISHED = _logged("s2s-established", "the stream can carry stanzas")
S2S_FAILED = _logged("s2s-failed", "the stream failed, or could not be opened")
S2S_CLOSED = _logged("s2s-closed", "the stream was closed")

# --- the run itself ---------------------------------------------------------------------------------------------------

EPOCH_STARTED = Kind(
    "epoch-started",
    Source.ENGINE,
    Scope.EPOCH,
    "servers are about to be started",
    (Field("servers", list[str], "domains of the servers"),),
)
EPOCH_FAILED = Kind(
    "epoch-failed",
    Source.ENGINE,
    Scope.EPOCH,
    "the testbed could not go on with a pair that is measured alone; no server of it is known to have ended",
    (Field("servers", list[str], "domains of the pair"), _reason("why")),
)
EPOCH_ENDED = Kind("epoch-ended", Source.ENGINE, Scope.EPOCH, "those servers are measured no more")
SERVER_STARTED = Kind(
    "server-started",
    Source.ENGINE,
    Scope.EPOCH,
    "a server's process was started",
    (
        DOMAIN,
        Field("image", str, "id of its image"),
        Field("mac", str, "hardware address of its interface"),
        Field("address", str, "IPv4 address"),
        Field("address6", str, "IPv6 address; null where the mesh has none", optional=True, null=True),
    ),
)
SERVER_KEPT = Kind(
    "server-kept",
    Source.ENGINE,
    Scope.EPOCH,
    "a server that an earlier epoch has started serves this one too: it had not met this peer, and goes on with its client",
    (
        DOMAIN,
        Field("since", str, "the epoch that started it"),
        Field("mac", str, "hardware address of its interface"),
        Field("address", str, "IPv4 address"),
        Field("address6", str, "IPv6 address; null where the mesh has none", optional=True, null=True),
    ),
)
ONLINE = Kind(
    "online",
    Source.ENGINE,
    Scope.EPOCH,
    "a client is logged in and present",
    (DOMAIN, Field("seconds", float, "from the order to log in", "s")),
)
SERVER_FAILED = Kind(
    "server-failed",
    Source.ENGINE,
    Scope.EPOCH,
    "a server could not be started, ended by itself, or lost its client; its time is when it ended, where the engine knows",
    (DOMAIN, _reason("why")),
)
LOGIN_FAILED = Kind(
    "login-failed", Source.ENGINE, Scope.EPOCH, "a client could not log in", (DOMAIN, _reason("what was seen last"))
)
DISCONNECTED = Kind(
    "disconnected", Source.ENGINE, Scope.EPOCH, "a client lost its server", (DOMAIN, _reason("why, in the client's words"))
)
VERSION = Kind(
    "version",
    Source.ENGINE,
    Scope.RUN,
    "what dpkg says inside the running container",
    (
        Field("implementation", str, "name of the software"),
        Field("release", str, "which release of it"),
        Field("version", str, "the package's version", optional=True, null=True),
    ),
)
CONTROL = Kind(
    "control",
    Source.ENGINE,
    Scope.EPOCH,
    "whether the control pair got through",
    (
        Field("when", str, "before the first pair, or after everything else", values=("first", "last")),
        Field("ok", bool, "whether both directions were delivered"),
        Field("reason", str, "what came instead; null if it got through", optional=True, null=True),
        Field("tries", int, "how often it was tried, each time with fresh servers, until it got through", optional=True),
        Field(
            "seconds",
            float,
            "the slower direction's, from the writing to the receipt",
            unit="s",
            optional=True,
            null=True,
        ),
    ),
)
UNCONFIRMED = Kind(
    "unconfirmed",
    Source.ENGINE,
    Scope.PHASE,
    "pairs that would have been measured alone, beyond the bound",
    (Field("pairs", list[list[str]], "the two domains of each pair"),),
)
PRESSURE = Kind(
    "pressure",
    Source.ENGINE,
    Scope.PHASE,
    "how slowly the wiretap answered in this phase",
    (
        Field("median", float, "median delay of its answers", "s"),
        Field("highest", float, "highest delay of its answers", "s"),
        Field("limit", float, "negotiations that may go on at once, at the phase's end"),
    ),
)
MACHINE = Kind(
    "machine",
    Source.ENGINE,
    Scope.RUN,
    "in which share of the time since the last such line something on this machine had to wait",
    (
        Field("seconds", float, "since the last such line", "s"),
        Field("source", str, "what an attempt's strain is read from", values=READ),
        Field("processor", float, "for a processor; absent where the kernel does not tell", optional=True),
        Field("disk", float, "for the disk", optional=True),
        Field("memory", float, "for memory", optional=True),
        Field("stolen", float, "share of the processors' time that the hypervisor took"),
        Field("late", float, "by how much a light process was held up, as a share"),
        Field("running", float, "processes that had or wanted a processor, on the average"),
        Field("reason", str, "why strain is not read from the pressure of containers", optional=True),
    ),
)
WIRETAP_NEIGHBOURS = Kind(
    "wiretap-neighbours",
    Source.ENGINE,
    Scope.RUN,
    "whether the host's neighbour table is large enough for the federation",
    (
        Field("family", str, "address family", values=("ipv4", "ipv6")),
        Field("ok", bool, "whether the table holds all addresses of the federation"),
        Field("need", int, "entries that the federation needs"),
        Field("before", int, "`gc_thresh3` as it was"),
        Field("after", int, "`gc_thresh3` as it is now; absent where it could not be set", optional=True),
        Field("raised", bool, "whether it was raised; absent where it could not be set", optional=True),
        Field("error", str, "why it could not be set", optional=True),
        Field("command", str, "the command that sets it", optional=True),
    ),
)
WIRETAP_CAPTURED = Kind(
    "wiretap-captured",
    Source.ENGINE,
    Scope.RUN,
    "the capture of a phase ended",
    (
        Field("name", str, "the phase"),
        Field("said", str, "dumpcap's counts"),
        Field("size", int, "size of the capture", "bytes", optional=True),
        Field("full", bool, "whether it ended because it had reached its bound", optional=True),
    ),
)
WIRETAP_FAILED = Kind(
    "wiretap-failed",
    Source.ENGINE,
    Scope.PHASE,
    "capture or dissection failed; without `phase` where it was the wiretap itself",
    (_reason("what it said"), Field("command", str, "the command that it could not carry out", optional=True)),
    loose=True,
)
WIRE_TAKEN_IN = Kind(
    "wire-taken-in",
    Source.ENGINE,
    Scope.PHASE,
    "the capture of a phase was read; the streams that it holds stand before this line",
    (
        Field("status", int, "exit status of tshark; 0: it read the whole capture"),
        Field("streams", int, "TCP connections between two servers that were found in it"),
        Field(
            "until",
            float,
            "time of the last packet, where the capture ended early because it had reached its bound; null: it did not",
            "Unix s",
            null=True,
        ),
    ),
)
LOG_TAKEN_IN = Kind(
    "log-taken-in",
    Source.ENGINE,
    Scope.EPOCH,
    "a server's log of this epoch was read, or could not be; what it says of peers stands before this line",
    (
        DOMAIN,
        Field("ok", bool, "whether the whole log was read"),
        Field("size", int, "size of what was read", "bytes"),
        Field("reason", str, "why it could not be read; null if it was", optional=True, null=True),
    ),
)
DRIVER_ERROR = Kind(
    "driver-error",
    Source.ENGINE,
    Scope.RUN,
    "the driver could not carry out a command: a bug of the testbed",
    (Field("command", str, "the command; only in old records", optional=True), Field("error", str, "the exception")),
)
TIMING = Kind(
    "timing",
    Source.ENGINE,
    Scope.RUN,
    "how long the stages of the run took",
    others=Field("STAGE", float, "one key per stage: `certificates`, `first_container`, `PHASE_boot`, …, `total`", "s"),
)
PHASE_COMPLETE = Kind(
    "phase-complete",
    Source.ENGINE,
    Scope.PHASE,
    "the phase was measured to its end: cells, doubts, wire and logs; if evidence has no gap, it is not measured again",
)
RUN_RESUMED = Kind(
    "run-resumed",
    Source.ENGINE,
    Scope.RUN,
    "an interrupted run goes on: one more leg begins",
    (
        Field("leg", int, "which, from 2"),
        Field("interrupted", float, "time of the last observation before", "Unix s"),
        Field("phases", list[str], "what is measured from here on"),
        Field("cells", int, "how many cells that are"),
        Field("argv", list[str], "the command line"),
        Field("cut", int, "what was taken off: an unfinished last line, which was no observation", "bytes", optional=True),
        Field("certificates", list[list[str]], "those issued anew: domain, profile, SHA-256 of the leaf, not after"),
        Field("differs", list[str], "what is not as in the manifest, and is no reason to refuse: kernel, Python", optional=True),
    ),
)
RUN_COMPLETE = Kind(
    "run-complete",
    Source.ENGINE,
    Scope.RUN,
    "the closing record: without it a run is incomplete",
    (Field("observations", int, "how many there are before it"),),
)

CELLS = (ATTEMPT, SENT, RECEIVED, ERROR, UNSENDABLE, SILENCE, STRAIN)
WIRE = (STREAM, STORM)
LOGS = (S2S_SESSION, S2S_CONNECTING, S2S_ENCRYPTED, S2S_AUTHENTICATED, S2S_ESTABLISHED, S2S_FAILED, S2S_CLOSED)
LOG_WORDS = {kind.word for kind in LOGS}
"""What a server's log can say."""
RUN = (
    EPOCH_STARTED,
    SERVER_STARTED,
    SERVER_KEPT,
    ONLINE,
    SERVER_FAILED,
    LOGIN_FAILED,
    DISCONNECTED,
    EPOCH_FAILED,
    EPOCH_ENDED,
    VERSION,
    CONTROL,
    UNCONFIRMED,
    PRESSURE,
    MACHINE,
    WIRETAP_NEIGHBOURS,
    WIRETAP_CAPTURED,
    WIRETAP_FAILED,
    WIRE_TAKEN_IN,
    LOG_TAKEN_IN,
    DRIVER_ERROR,
    TIMING,
    PHASE_COMPLETE,
    RUN_RESUMED,
    RUN_COMPLETE,
)
TAKEN_IN = (WIRE_TAKEN_IN, LOG_TAKEN_IN)
"""What says that evidence stands in the record; records of older testbeds lack both."""

JUDGED = (
    *CELLS, *WIRE, *LOGS, *TAKEN_IN, SERVER_FAILED, LOGIN_FAILED, EPOCH_FAILED, VERSION, CONTROL, UNCONFIRMED, MACHINE, TIMING,
    PHASE_COMPLETE, RUN_RESUMED, RUN_COMPLETE,
)  # fmt: skip
"""Kinds that verdicts depend on: of these a line that lacks something is refused when a record is read."""

KINDS: dict[str, Kind] = {kind.word: kind for kind in (*CELLS, *WIRE, *LOGS, *RUN)}
"""Every kind of observation, by its word."""


def misfits(observation: Observation) -> list[str]:
    """Why an observation does not fit its row; empty if it does. For tests: a record is read whatever it holds."""
    kind = KINDS.get(observation.kind)
    if kind is None:
        return [f"no row for `{observation.kind}`"]
    wrong = []
    if observation.source is not kind.source:
        wrong.append(f"its source is {observation.source.value}, not {kind.source.value}")
    scope = tuple(key for key in Scope.CELL.value if getattr(observation, key) is not None)
    if scope != kind.scope.value and not (kind.loose and not scope):
        wrong.append(f"it has {scope}, not {kind.scope.value}")
    known = {f.name: f for f in kind.fields}
    wrong += [f"`{f.name}` is missing" for f in kind.fields if not f.optional and f.name not in observation.data]
    if kind.others is None:
        wrong += [f"no field `{name}`" for name in observation.data if name not in known]
    return wrong
