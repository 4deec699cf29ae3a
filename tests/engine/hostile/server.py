"""A hostile peer: clients are served as they should be, other servers are not. The first word of the domain says how.

    bouncer   proves its domain by dialback, then sends its client's stanza back instead of on
    flood     opens a stream and sends XML without end
    endless   answers a stream with XML without end
    garbage   answers a stream with what is no XML

tests/golden/hostile was cut from `testbed run tests/engine/hostile/hostile.yaml --server tests/engine/hostile --confirm 0`.
"""

import contextlib
import re
import socket
import socketserver
import threading
import time
from pathlib import Path

DOMAIN = Path("/etc/testbed/domain").read_text().strip()
MODE = DOMAIN.partition(".")[0]
STREAMS = "http://etherx.jabber.org/streams"
CLIENTS = {}


def attribute(name, text):
    found = re.search(rf"\b{name}=['\"]([^'\"]*)", text)
    return found[1] if found else ""


class Reader:
    """What a peer sent, up to what is awaited."""

    def __init__(self, connection):
        self.connection, self.text = connection, ""

    def until(self, pattern):
        while not (found := re.search(pattern, self.text, re.S)):
            more = self.connection.recv(65536)
            if not more:
                raise EOFError
            self.text += more.decode(errors="replace")
        self.text = self.text[found.end() :]
        return found


def header(namespace, more=""):
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{namespace}' xmlns:db='jabber:server:dialback' "
        f"xmlns:stream='{STREAMS}' from='{DOMAIN}' {more}version='1.0'>"
    )


class Client(socketserver.BaseRequestHandler):
    """A client's stream: registration, SASL PLAIN, binding, messages to itself and to others."""

    def handle(self):
        reader, send = Reader(self.request), lambda text: self.request.sendall(text.encode())
        with contextlib.suppress(EOFError, OSError):
            self.serve(reader, send)

    def serve(self, reader, send):
        known = False
        while True:
            stanza = reader.until(r"<(stream:stream|auth|iq|message|presence|/stream:stream)\b([^>]*)>(?:(.*?)</\1>)?")
            kind, attributes, body = stanza[1], stanza[2], stanza[3] or ""
            if kind == "stream:stream":
                features = (
                    "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"
                    if known
                    else "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
                )
                send(header("jabber:client", "id='c' ") + f"<stream:features>{features}</stream:features>")
            elif kind == "auth":
                known = True
                send("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            elif kind == "iq":
                if not body and not attributes.endswith("/"):
                    continue
                jid = f"tester@{DOMAIN}/testbed"
                bind = f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{jid}</jid></bind>" if "<bind" in body else ""
                send(f"<iq type='result' id='{attribute('id', attributes)}'>{bind}</iq>")
                if bind:
                    CLIENTS[DOMAIN] = send
            elif kind == "message":
                to, id_ = attribute("to", attributes), attribute("id", attributes)
                if to.partition("@")[2].partition("/")[0] == DOMAIN:
                    send(f"<message from='tester@{DOMAIN}/testbed' to='{to}' type='chat' id='{id_}'>{body}</message>")
                else:
                    threading.Thread(target=outgoing, args=(to, id_, body, send), daemon=True).start()
            elif kind == "/stream:stream":
                return


def outgoing(to, id_, body, send):
    """A client's stanza to another server."""
    peer = to.partition("@")[2]
    print(f"connecting to {peer}", flush=True)
    try:
        with socket.create_connection((peer, 5269), 5) as connection:
            connection.settimeout(8)
            reader = Reader(connection)
            connection.sendall(header("jabber:server", f"to='{peer}' ").encode())
            if MODE == "flood":
                connection.sendall(b"<message>")
                while True:
                    connection.sendall(b"<a>" * 4096)
                    time.sleep(0.01)
            reader.until(r"<stream:features.*?(</stream:features>|/>)")
            connection.sendall(f"<db:result from='{DOMAIN}' to='{peer}'>key</db:result>".encode())
            reader.until(r"type=.valid.")
            bounce(to, id_, body, send)
            time.sleep(30)
    except (EOFError, OSError):
        bounce(to, id_, body, send)


def bounce(to, id_, body, send):
    send(
        f"<message from='{to}' to='tester@{DOMAIN}/testbed' type='error' id='{id_}'>{body}<error type='cancel'>"
        "<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    )


class Server(socketserver.BaseRequestHandler):
    """Another server's stream."""

    def handle(self):
        reader, send = Reader(self.request), lambda text: self.request.sendall(text.encode())
        with contextlib.suppress(EOFError, OSError):
            self.serve(reader, send)

    def serve(self, reader, send):
        if MODE == "garbage":
            reader.until("<stream:stream[^>]*>")
            self.request.sendall(b"\x00\xff\x00not XML at all\r\n" * 20)
            time.sleep(5)
            return
        opened = reader.until("<stream:stream([^>]*)>")
        send(header("jabber:server", f"id='s' to='{attribute('from', opened[1])}' "))
        if MODE == "endless":
            send("<stream:features>")
            while True:
                send("<a>" * 4096)
                time.sleep(0.01)
        send("<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>")
        while True:
            element = reader.until(r"<db:(result|verify)\b([^>]*)>")
            who, attributes = element[1], element[2]
            id_ = f" id='{attribute('id', attributes)}'" if who == "verify" else ""
            to = attribute("from", attributes)
            send(f"<db:{who} from='{DOMAIN}' to='{to}'{id_} type='valid'/>")


class Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, address_family = True, True, socket.AF_INET6


if __name__ == "__main__":
    servers = [Listener(("::", port), handler) for port, handler in ((5222, Client), (5269, Server))]
    for server in servers:
        threading.Thread(target=server.serve_forever).start()
