"""Runs in a container inside a mesh: a hand-made XMPP server's two halves, which say what a server under check did.

It judges nothing, and imports nothing but the standard library and the protocol beside it. Without arguments it is the
authoritative server of its own domains (XEP-0220: every `db:verify` is answered `valid`), so that a dialback which a server
begins can succeed; with one argument, a Task, it asks a server and prints a Reply. By hand, because the steps that matter are
those that a library would not take: going on without TLS, with no certificate, with a bad one, with TLS 1.0.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import re
import secrets
import socket
import ssl
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import protocol
from protocol import CLEAR_PEER, PORT, SHOWN

FOLDER = Path("/opt/testbed")
STEP = 6.0
"""Seconds for which each answer of the server is awaited."""
HANDSHAKE = 8.0
"""Seconds for a TLS handshake."""
WRITING = 8.0
"""Seconds within which the server must have come to the peers that its user wrote to."""
RECORD = Path("/tmp/streams.jsonl")
"""What the receiving half saw, for the other half: one line each time that a server goes one step further."""
STREAMS = "http://etherx.jabber.org/streams"
FEATURES = re.compile(rb"<stream:features\b[^>]*/>|</stream:features>")
HEADER = re.compile(rb"<(?:\w+:)?stream\b[^>]*>")
RESULT = re.compile(rb"<(?:\w+:)?result\b[^>]*\btype=['\"](\w+)['\"]")
VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}

DONT_INSERT_EMPTY_FRAGMENTS = 0x800
"""SSL_OP_DONT_INSERT_EMPTY_FRAGMENTS (openssl/ssl.h), which Python does not name.

COMPAT: Python switches OpenSSL's empty TLS 1.0 records on (against BEAST, CVE-2011-3389), upon which one implementation drops
the stream; its peers in the field use OpenSSL's own default.
"""


class Wire:
    """A connection, in the clear or not, that is read until something is there."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.unread, self.closed = sock, b"", False

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a peer that closed meanwhile is seen by the next read
            self.sock.sendall(text.encode())

    def until(self, pattern: re.Pattern[bytes], patience: float) -> re.Match[bytes] | None:
        """The first match in what came since the last step; None when the peer closed or said nothing of it in time."""
        deadline = time.monotonic() + patience
        while True:
            if match := pattern.search(self.unread):
                return match
            left = deadline - time.monotonic()
            if left <= 0 or self.closed:
                return None
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                return None
            except OSError as error:
                data, self.unread = b"", self.unread + f"<!-- {error} -->".encode()
            if not data:
                self.closed = True
            self.unread += data

    def next(self) -> None:
        """Forget what was read: the next step looks only at what comes after it."""
        self.unread = b""


def header(sender: str, receiver: str) -> str:
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='{STREAMS}' "
        f"from='{sender}' to='{receiver}' version='1.0'"
    )


# --- the initiating half ----------------------------------------------------------------------------------------------


def client_context(probe: protocol.Probe) -> ssl.SSLContext:
    """TLS as asked for; security level 0, for TLS 1.0 and 1.1 need SHA-1 (OpenSSL 3)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.options |= DONT_INSERT_EMPTY_FRAGMENTS
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # what it presents is the question
    context.minimum_version, context.maximum_version = VERSIONS[probe.low], VERSIONS[probe.high]
    context.set_ciphers(f"{probe.ciphers or 'ALL'}:@SECLEVEL=0")
    if probe.certificate:
        context.load_cert_chain(FOLDER / f"peer-{probe.certificate}.pem")
    return context


def try_stream(address: str, domain: str, probe: protocol.Probe) -> protocol.Stream:
    """One stream to a server."""
    stream = protocol.Stream()
    try:
        wire = Wire(socket.create_connection((address, PORT), 5))
    except OSError as error:
        stream.error = str(error)
        return stream
    stream.connected = True
    try:
        open_stream(wire, probe.peer, domain, stream)
        if probe.tls:
            if not stream.starttls:
                return stream
            try:
                stream.tls = start_tls(wire, probe)
            except OSError as error:
                stream.tls_error = str(error)
                return stream
            if probe.prove:
                wire.next()
                open_stream(wire, probe.peer, domain, stream)
        for mechanism in probe.prove:
            if wire.closed or (mechanism == "external" and "EXTERNAL" not in stream.mechanisms):
                continue
            wire.next()
            setattr(stream, mechanism, prove(wire, mechanism, probe.peer, domain))
            if stream.let_in:
                break
        stream.closed = wire.closed
        return stream
    finally:
        with contextlib.suppress(OSError):
            wire.sock.close()


def open_stream(wire: Wire, own: str, domain: str, stream: protocol.Stream) -> None:
    """Send a stream header and note what the features say; what they say of STARTTLS only before TLS."""
    wire.write(header(own, domain) + ">")
    answer = wire.until(HEADER, STEP)
    features = wire.until(FEATURES, STEP) if answer and b"version=" in answer.group() else None
    text = wire.unread[: features.end()] if features else wire.unread
    stream.answered, stream.features = bool(answer), bool(features)
    if not stream.tls:
        stream.starttls = bool(re.search(rb"<(?:\w+:)?starttls\b", text))
        stream.required = bool(re.search(rb"<(?:\w+:)?starttls\b[^>]*>\s*<(?:\w+:)?required\b", text))
    stream.mechanisms = [m.decode() for m in re.findall(rb"<mechanism\b[^>]*>\s*([\w-]+)\s*<", text)]


def start_tls(wire: Wire, probe: protocol.Probe) -> protocol.Session:
    """STARTTLS on an open stream. Raises OSError."""
    wire.next()
    wire.write("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    if not wire.until(re.compile(rb"<(?:\w+:)?proceed\b[^>]*>"), STEP):
        raise OSError(f"no <proceed/>: {wire.unread[-200:].decode(errors='replace')}")
    context = client_context(probe)
    wire.sock.settimeout(HANDSHAKE)
    wire.sock = secure = context.wrap_socket(wire.sock)
    suite, certificate = secure.cipher(), secure.getpeercert(binary_form=True)
    return protocol.Session(secure.version(), suite[0] if suite else None, hashlib.sha256(certificate or b"").hexdigest())


def prove(wire: Wire, mechanism: str, own: str, domain: str) -> str:
    """Prove the own domain: what became of it, in one word (`success`, `valid`, …, `closed`, `silence`)."""
    if mechanism == "external":
        identity = base64.b64encode(own.encode()).decode()
        wire.write(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>{identity}</auth>")
        answer = wire.until(re.compile(rb"<(success|failure|(?:\w+:)?error)\b"), STEP)
    else:
        wire.write(f"<db:result from='{own}' to='{domain}'>{secrets.token_hex(20)}</db:result>")
        # A server may close the stream upon the answer: the answer counts.
        answer = wire.until(re.compile(RESULT.pattern + rb"|<(?:\w+:)?(error)\b"), STEP)
    if answer:
        return next(group for group in answer.groups() if group).decode().rpartition(":")[2]
    return "closed" if wire.closed else "silence"


def log_in(address: str, port: int, domain: str, patience: float) -> protocol.Account:
    """Make an account in-band (XEP-0077) and log in with SASL PLAIN, as soon as the server can."""
    deadline, user, secret = time.monotonic() + patience, "checker", "secret"
    account = protocol.Account()
    plain = base64.b64encode(f"\0{user}\0{secret}".encode()).decode()
    steps = (
        (
            "registered",
            "<iq type='set' id='r'><query xmlns='jabber:iq:register'>"
            f"<username>{user}</username><password>{secret}</password></query></iq>",
            re.compile(rb"<iq\b[^>]*\btype=['\"]result['\"]|<(?:\w+:)?conflict\b"),
        ),
        (
            "login",
            f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>",
            re.compile(rb"<success\b"),
        ),
    )
    while time.monotonic() < deadline:
        for name, stanza, wanted in steps:
            if getattr(account, name):
                continue
            try:
                with socket.create_connection((address, port), 3) as sock:
                    wire = Wire(sock)
                    wire.write(f"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='{STREAMS}' ")
                    wire.write(f"to='{domain}' version='1.0'>")
                    if not wire.until(FEATURES, 3):
                        raise OSError(f"no stream features: {wire.unread[-200:].decode(errors='replace')}")
                    account.features = wire.unread[-1500:].decode(errors="replace")
                    wire.next()
                    wire.write(stanza)
                    if not wire.until(wanted, 10):
                        raise OSError(f"{name}: {wire.unread[-200:].decode(errors='replace')}")
                    setattr(account, name, True)
            except OSError as error:
                account.error = str(error)
                time.sleep(0.3)
                break
        else:
            account.error = None
            return account
    return account


def knock(address: str, ports: Sequence[int], patience: float) -> list[int]:
    """Which of the ports take a connection, waiting for all of them."""
    deadline = time.monotonic() + patience
    open_: set[int] = set()
    while len(open_) < len(ports) and time.monotonic() < deadline:
        for port in set(ports) - open_:
            with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
                open_.add(port)
        time.sleep(0.1)
    return sorted(open_)


def write_to(address: str, port: int, domain: str, peers: Sequence[str]) -> dict[str, list[str]]:
    """Let the account of `log_in` write to peers of ours. Returns the steps of a Reply. Raises OSError."""
    secret = base64.b64encode(b"\0checker\0secret").decode()
    stream = f"<stream:stream xmlns='jabber:client' xmlns:stream='{STREAMS}' to='{domain}' version='1.0'>"
    bind = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
    session = "<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>"
    steps = (
        (stream, FEATURES),
        (f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>", re.compile(rb"<success\b")),
        (stream, FEATURES),
        (bind, re.compile(rb"<iq\b[^>]*\btype=['\"]result['\"]")),
        (session, re.compile(rb"<iq\b[^>]*\btype=['\"](?:result|error)['\"]")),
    )
    with socket.create_connection((address, port), 3) as sock:
        wire = Wire(sock)
        for text, wanted in steps:
            wire.next()
            wire.write(text)
            if not wire.until(wanted, 5):
                raise OSError(f"{text[:60]}… was answered with {wire.unread[-200:]!r}")
        for peer in peers:
            wire.write(f"<message to='somebody@{peer}' type='chat'><body>hello</body></message>")
        deadline = time.monotonic() + WRITING
        while time.monotonic() < deadline:
            reached = {peer: recorded(domain, peer) for peer in peers}
            if all(far and far[-1].endswith("result") for far in reached.values()):
                break
            wire.until(re.compile(rb"(?!)"), 0.2)  # reads what comes, so that the server is not held up
        return reached


def recorded(server: str, peer: str) -> list[str]:
    """How far ``server`` came with a peer of ours."""
    if not RECORD.exists():
        return []
    lines = [json.loads(line) for line in RECORD.read_text().splitlines()]
    return list(dict.fromkeys(line["step"] for line in lines if line["server"] == server and line["peer"] == peer))


# --- the receiving half -----------------------------------------------------------------------------------------------


def record(server: str, peer: str, step: str) -> None:
    """Note a step; one write of one line, so that threads do not mix theirs."""
    with RECORD.open("a") as out:
        out.write(json.dumps({"server": server, "peer": peer, "step": step}) + "\n")


def serve(sock: socket.socket) -> None:
    """Answer one stream: STARTTLS for the domain that has it, and `valid` to everything that dialback asks."""
    wire = Wire(sock)
    pattern = re.compile(
        rb"<(?:\w+:)?(?P<stream>stream)\b(?P<attributes>[^>]*)>|<(?:\w+:)?(?P<starttls>starttls)\b[^>]*>"
        rb"|<db:(?P<dialback>result|verify)\b(?P<question>[^>]*)>[^<]*</db:(?:result|verify)>"
    )
    secure, own, peer = False, CLEAR_PEER, ""
    while request := wire.until(pattern, 60):
        wire.unread = wire.unread[request.end() :]
        if request["stream"]:
            values = attributes(request["attributes"])
            own, peer = values.get("to", CLEAR_PEER), values.get("from", "")
            record(peer, own, "tls-stream" if secure else "stream")
            text = header(own, peer) + f" id='{secrets.token_hex(8)}'>"
            if "version" in values:
                offer = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" if own in SHOWN and not secure else ""
                text += f"<stream:features>{offer}<dialback xmlns='urn:xmpp:features:dialback'/></stream:features>"
            wire.write(text)
        elif request["starttls"]:
            wire.write("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = VERSIONS["1.0"]
            context.options |= DONT_INSERT_EMPTY_FRAGMENTS
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.load_cert_chain(FOLDER / f"peer-{SHOWN[own]}.pem")
            wire.sock.settimeout(10)
            record(peer, own, "starttls")
            wire.sock = context.wrap_socket(wire.sock, server_side=True)
            secure = True
            record(peer, own, "tls")
            wire.next()
        else:
            values = attributes(request["question"])
            identity = f" id='{values['id']}'" if "id" in values else ""
            kind = request["dialback"].decode()
            if kind == "result":
                record(values["from"], values["to"], "tls-result" if secure else "result")
            wire.write(f"<db:{kind} from='{values['to']}' to='{values['from']}'{identity} type='valid'/>")


def attributes(text: bytes) -> dict[str, str]:
    return {a.decode(): v.decode() for a, _, v in re.findall(rb"([\w:]+)\s*=\s*(['\"])(.*?)\2", text)}


def listen() -> None:
    """Serve for ever."""

    def guarded(sock: socket.socket) -> None:
        try:
            with sock:
                serve(sock)
        except (OSError, KeyError) as error:  # no business of ours, but it may explain a refusal
            print(f"{sock}: {error!r}", file=sys.stderr, flush=True)

    server = socket.create_server(("", PORT), backlog=64)
    while True:
        sock, _ = server.accept()
        threading.Thread(target=guarded, args=(sock,), daemon=True).start()


def ask(task: protocol.Task) -> protocol.Reply:
    """Everything that a task asks."""
    reply = protocol.Reply()
    if task.knock:
        reply.open = knock(task.address, task.knock, task.patience)
    if task.account is not None:
        reply.account = log_in(task.address, task.account, task.domain, task.patience)
        if not reply.account.login:
            return reply
        if task.write_to:
            try:
                reply.steps = write_to(task.address, task.account, task.domain, task.write_to)
            except OSError as error:
                reply.steps_error = str(error)
    for name, probe in task.probes.items():
        for high in (probe.high, *probe.again):
            reply.streams[name] = try_stream(task.address, task.domain, dataclasses.replace(probe, high=high))
            if reply.streams[name].let_in:
                break
    return reply


def main() -> None:
    """Serve, or ask."""
    warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.0 and 1.1 are named on purpose
    if len(sys.argv) < 2:
        listen()
    print(protocol.encode(ask(protocol.read_task(sys.argv[1]))))


if __name__ == "__main__":
    main()
