"""Runs in a container inside a mesh: a hand-made XMPP server's two halves, which say what a server under check did.

It judges nothing, and imports nothing but the standard library. Without arguments it is the authoritative server of its own
domains (XEP-0220: every `db:verify` is answered `valid`), so that a dialback which a server begins can succeed; with one
argument, a JSON document, it probes a server and prints what it saw, one JSON document. By hand, because the steps that matter
are those that a library would not take: going on without TLS, with no certificate, with a bad one, with TLS 1.0.
"""

from __future__ import annotations

import base64
import contextlib
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
from pathlib import Path
from typing import Any

FOLDER = Path("/opt/testbed")
PORT = 5269
CLEAR_PEER, TLS_PEER, BAD_PEER = "clear.peer.example", "tls.peer.example", "bad.peer.example"
"""The agent's own domains: one that has no TLS at all, one that offers STARTTLS with a good certificate, one with a bad one."""
SHOWN = {TLS_PEER: "ca", BAD_PEER: "self-signed"}
"""Own domain -> the certificate profile that it shows."""
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
        self.sock, self.seen, self.closed = sock, b"", False

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a peer that closed meanwhile is seen by the next read
            self.sock.sendall(text.encode())

    def until(self, pattern: re.Pattern[bytes], patience: float) -> re.Match[bytes] | None:
        """The first match in what came since the last step; None when the peer closed or said nothing of it in time."""
        deadline = time.monotonic() + patience
        while True:
            if found := pattern.search(self.seen):
                return found
            left = deadline - time.monotonic()
            if left <= 0 or self.closed:
                return None
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                return None
            except OSError as error:
                data, self.seen = b"", self.seen + f"<!-- {error} -->".encode()
            if not data:
                self.closed = True
            self.seen += data

    def next(self) -> None:
        """Forget what was read: the next step looks only at what comes after it."""
        self.seen = b""


def header(sender: str, receiver: str) -> str:
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='{STREAMS}' "
        f"from='{sender}' to='{receiver}' version='1.0'"
    )


# --- the initiating half ----------------------------------------------------------------------------------------------


def client_context(certificate: str | None, low: str | None, high: str | None, ciphers: str | None) -> ssl.SSLContext:
    """TLS as asked for; security level 0, for TLS 1.0 and 1.1 need SHA-1 (OpenSSL 3)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.options |= DONT_INSERT_EMPTY_FRAGMENTS
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # what it presents is the question
    context.minimum_version, context.maximum_version = VERSIONS[low or "1.0"], VERSIONS[high or "1.3"]
    context.set_ciphers(f"{ciphers or 'ALL'}:@SECLEVEL=0")
    if certificate:
        context.load_cert_chain(FOLDER / f"peer-{certificate}.pem")
    return context


def probe(address: str, domain: str, options: dict[str, Any]) -> dict[str, Any]:
    """One stream to a server. Options: `as` (own domain), `tls`, `certificate`, `low`, `high`, `ciphers`, `prove`, `patience`."""
    patience, own = options.get("patience", 6.0), options.get("as", TLS_PEER)
    seen: dict[str, Any] = {"connected": False}
    try:
        wire = Wire(socket.create_connection((address, PORT), 5))
    except OSError as error:
        return {**seen, "error": str(error)}
    seen["connected"] = True
    try:
        open_stream(wire, own, domain, seen, patience)
        if options.get("tls"):
            if not seen["starttls"]:
                return seen
            wire.next()
            wire.write("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            if not wire.until(re.compile(rb"<(?:\w+:)?proceed\b[^>]*>"), patience):
                return {**seen, "tls_error": f"no <proceed/>: {wire.seen[-200:].decode(errors='replace')}"}
            context = client_context(*(options.get(k) for k in ("certificate", "low", "high", "ciphers")))
            wire.sock.settimeout(8)
            try:
                wire.sock = secure = context.wrap_socket(wire.sock)
            except OSError as error:
                return {**seen, "tls_error": str(error)}
            suite = secure.cipher()
            seen["tls"] = {
                "version": secure.version(),
                "cipher": suite[0] if suite else None,
                "fingerprint": hashlib.sha256(secure.getpeercert(binary_form=True) or b"").hexdigest(),
            }
            if options.get("prove"):
                wire.next()
                open_stream(wire, own, domain, seen, patience)
        for mechanism in options.get("prove", ()):
            if wire.closed or (mechanism == "external" and "EXTERNAL" not in seen["mechanisms"]):
                continue
            wire.next()
            seen[mechanism] = prove(wire, mechanism, own, domain, patience)
            if seen[mechanism] in ("success", "valid"):
                break
        seen["ended"] = "closed by the server" if wire.closed else "open"
        return seen
    finally:
        with contextlib.suppress(OSError):
            wire.sock.close()


def open_stream(wire: Wire, own: str, domain: str, seen: dict[str, Any], patience: float) -> None:
    """Send a stream header and note what the features say."""
    wire.write(header(own, domain) + ">")
    answered = wire.until(HEADER, patience)
    found = wire.until(FEATURES, patience) if answered and b"version=" in answered.group() else None
    text = wire.seen[: found.end()] if found else wire.seen
    seen["stream"], seen["features"] = bool(answered), bool(found)
    if not seen.get("tls"):
        seen["starttls"] = bool(re.search(rb"<(?:\w+:)?starttls\b", text))
        seen["required"] = bool(re.search(rb"<(?:\w+:)?starttls\b[^>]*>\s*<(?:\w+:)?required\b", text))
    seen["mechanisms"] = [m.decode() for m in re.findall(rb"<mechanism\b[^>]*>\s*([\w-]+)\s*<", text)]


def prove(wire: Wire, mechanism: str, own: str, domain: str, patience: float) -> str:
    """Prove the own domain: what became of it, in one word (`success`, `valid`, …, `closed`, `silence`)."""
    if mechanism == "external":
        identity = base64.b64encode(own.encode()).decode()
        wire.write(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>{identity}</auth>")
        found = wire.until(re.compile(rb"<(success|failure|(?:\w+:)?error)\b"), patience)
    else:
        wire.write(f"<db:result from='{own}' to='{domain}'>{secrets.token_hex(20)}</db:result>")
        # A server may close the stream upon the answer: the answer counts.
        found = wire.until(re.compile(RESULT.pattern + rb"|<(?:\w+:)?(error)\b"), patience)
    if found:
        return next(group for group in found.groups() if group).decode().rpartition(":")[2]
    return "closed" if wire.closed else "silence"


def account(address: str, port: int, domain: str, patience: float) -> dict[str, Any]:
    """Make an account in-band (XEP-0077) and log in with SASL PLAIN, as soon as the server can."""
    deadline, user, secret = time.monotonic() + patience, "checker", "secret"
    seen: dict[str, Any] = {"registered": False, "login": False, "error": "nothing was tried"}
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
            if seen[name]:
                continue
            try:
                with socket.create_connection((address, port), 3) as sock:
                    wire = Wire(sock)
                    wire.write(f"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='{STREAMS}' ")
                    wire.write(f"to='{domain}' version='1.0'>")
                    if not wire.until(FEATURES, 3):
                        raise OSError(f"no stream features: {wire.seen[-200:].decode(errors='replace')}")
                    seen["features"] = wire.seen[-1500:].decode(errors="replace")
                    wire.next()
                    wire.write(stanza)
                    seen[name] = bool(wire.until(wanted, 10))
                    if not seen[name]:
                        raise OSError(f"{name}: {wire.seen[-200:].decode(errors='replace')}")
            except OSError as error:
                seen["error"] = str(error)
                time.sleep(0.3)
                break
        else:
            return {**seen, "error": None}
    return seen


def knock(address: str, ports: list[int], patience: float) -> list[int]:
    """Which of the ports take a connection, waiting for all of them."""
    deadline = time.monotonic() + patience
    open_: set[int] = set()
    while len(open_) < len(ports) and time.monotonic() < deadline:
        for port in set(ports) - open_:
            with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
                open_.add(port)
        time.sleep(0.1)
    return sorted(open_)


def write_to(address: str, port: int, domain: str, peers: list[str], patience: float) -> dict[str, list[str]]:
    """Let the account of `account` write to peers of ours. Peer -> how far the server came with it, in its order.

    `stream` (in the clear), `tls`, and `result` (it sent its dialback key) with `tls-` before it where that was over TLS.
    """
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
                raise OSError(f"{text[:60]}… was answered with {wire.seen[-200:]!r}")
        for peer in peers:
            wire.write(f"<message to='somebody@{peer}' type='chat'><body>hello</body></message>")
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            found = {peer: recorded(domain, peer) for peer in peers}
            if all(steps and steps[-1].endswith("result") for steps in found.values()):
                break
            wire.until(re.compile(rb"(?!)"), 0.2)  # reads what comes, so that the server is not held up
        return found


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
    while found := wire.until(pattern, 60):
        wire.seen = wire.seen[found.end() :]
        if found["stream"]:
            values = attributes(found["attributes"])
            own, peer = values.get("to", CLEAR_PEER), values.get("from", "")
            record(peer, own, "tls-stream" if secure else "stream")
            text = header(own, peer) + f" id='{secrets.token_hex(8)}'>"
            if "version" in values:
                offer = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" if own in SHOWN and not secure else ""
                text += f"<stream:features>{offer}<dialback xmlns='urn:xmpp:features:dialback'/></stream:features>"
            wire.write(text)
        elif found["starttls"]:
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
            values = attributes(found["question"])
            identity = f" id='{values['id']}'" if "id" in values else ""
            kind = found["dialback"].decode()
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
        except (
            OSError,
            KeyError,
        ) as error:  # no business of ours, but it may explain a refusal
            print(f"{sock}: {error!r}", file=sys.stderr, flush=True)

    server = socket.create_server(("", PORT), backlog=64)
    while True:
        sock, _ = server.accept()
        threading.Thread(target=guarded, args=(sock,), daemon=True).start()


def main() -> None:
    """Serve, or probe."""
    warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.0 and 1.1 are named on purpose
    if len(sys.argv) < 2:
        listen()
    task = json.loads(sys.argv[1])
    seen: dict[str, Any] = {}
    if "knock" in task:
        seen["open"] = knock(task["address"], task["knock"], task["patience"])
    if "account" in task:
        seen["account"] = account(task["address"], task["account"], task["domain"], task["patience"])
    if seen.get("account", {"login": True})["login"]:
        if "write_to" in task:
            try:
                seen["wrote"] = write_to(task["address"], task["account"], task["domain"], task["write_to"], 8)
            except OSError as error:
                seen["wrote_error"] = str(error)
        for name, options in task.get("probes", {}).items():
            tries = options.pop("tries", [{}])
            for changes in tries:  # the first that is let in ends it
                seen[name] = probe(task["address"], task["domain"], {**options, **changes})
                if seen[name].get("external") == "success" or seen[name].get("dialback") == "valid":
                    break
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
