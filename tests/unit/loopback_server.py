"""A server on the loopback interface that does exactly as it is told, well-behaved or hostile; for tests of the probe."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from testbed.measure import pki

STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
REQUIRED = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
DIALBACK = "<dialback xmlns='urn:xmpp:features:dialback'/>"
EXTERNAL = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>"
HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' "
    "xmlns:db='jabber:server:dialback' id='x' version='1.0'>"
)
PROCEED = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Manner:
    """How the server behaves."""

    clear: str = REQUIRED + DIALBACK
    secure: str = DIALBACK
    low: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    high: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ciphers: str = "DEFAULT"
    ask: ssl.VerifyMode = ssl.CERT_OPTIONAL
    direct: bool = False
    raw: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | None = None
    """Instead of all of it."""


@dataclass
class Server:
    """Where it listens, and what it saw."""

    port: int = 0
    heard: list[bytes] = field(default_factory=list)
    """What each connection wrote in the clear, or inside TLS after that."""
    at_once: int = 0
    most: int = 0
    """Connections at one time, now and at most."""


@contextlib.asynccontextmanager
async def serving(manner: Manner, issued: pki.Issued, folder: Path) -> AsyncIterator[Server]:
    """A server as long as the context lasts."""
    server = Server()
    pem = folder / "server.pem"
    pem.write_bytes(issued.key + issued.cert)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = manner.low, manner.high
    context.set_ciphers(f"{manner.ciphers}:@SECLEVEL=0")
    context.load_cert_chain(pem)
    context.load_verify_locations(cadata=issued.ca.decode())
    context.verify_mode = manner.ask

    async def hear(reader: asyncio.StreamReader, until: bytes) -> bytes:
        data = b""
        while until not in data and b"</stream:stream>" not in data:
            chunk = await reader.read(4096)
            if not chunk:
                break
            data += chunk
        server.heard.append(data)
        return data

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not manner.direct:
            await hear(reader, b"xml:lang='en'>")
            writer.write(f"{HEADER}<stream:features>{manner.clear}</stream:features>".encode())
            if b"starttls" not in await hear(reader, b"/>"):
                return
            writer.write(PROCEED.encode())
            await writer.drain()
            await writer.start_tls(context)
        await hear(reader, b"xml:lang='en'>")
        writer.write(f"{HEADER}<stream:features>{manner.secure}</stream:features>".encode())
        await hear(reader, b"</stream:stream>")
        writer.write(b"</stream:stream>")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.at_once += 1
        server.most = max(server.most, server.at_once)
        try:
            await (manner.raw or talk)(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            server.at_once -= 1
            writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context if manner.direct else None)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
