"""Runs in the driver's container: one slixmpp client per server, commands on standard input, events on standard output.

It imports nothing of the testbed but what is copied beside it (the protocol, the exchanges), decides nothing and judges nothing:
it says what the clients saw, when.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
import secrets
import struct
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import messages
import protocol
import slixmpp

USER, RESOURCE = "tester", "testbed"
STREAMS = "http://etherx.jabber.org/streams"
ANSWER = re.compile(rb"<iq\b[^>]*(?:/>|>.*?</iq>)", re.S)
RETRY = 0.25  # seconds between two attempts to reach a server that still boots
SENTINEL = "sentinel-"
REPORTS = {"received": protocol.Received, "error": protocol.Bounced}


LINES: list[str] = []
"""Events on their way out: one write for all that the loop has at once, since each wakes four processes."""


def emit(message: object, id: int | None = None) -> None:
    """Say something: a reply to the command with ``id``, or an event."""
    if not LINES:
        asyncio.get_running_loop().call_soon(flush)
    LINES.append(messages.encode(message, id))


def flush() -> None:
    sys.stdout.write("".join(LINES))
    sys.stdout.flush()
    LINES.clear()


class Client(slixmpp.ClientXMPP):
    """One account at one server, without TLS: client encryption is not what is measured here."""

    def __init__(self, key: str, domain: str, password: str, exchanges: dict[str, Any]) -> None:
        super().__init__(
            f"{USER}@{domain}/{RESOURCE}",
            password,
            plugin_config={"feature_mechanisms": {"unencrypted_plain": True, "use_mech": "PLAIN"}},
        )
        self.key = key
        self.enable_direct_tls = False
        self.enable_starttls = False
        self.enable_plaintext = True
        self.auto_reconnect = False
        self.ready = asyncio.Event()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.pings: dict[str, int] = {}
        """Body of a message to itself -> the command that asked for it."""
        self.add_event_handler("session_start", self._start)
        for name in ("failed_all_auth", "connection_failed", "disconnected", "stream_error"):
            self.add_event_handler(name, lambda data, name=name: self._end(name, data))
        for exchange in exchanges.values():
            exchange.install(self, self._report)
        self.add_event_handler("message", self._sentinel)

    def _end(self, name: str, data: Any) -> None:
        if self.ready.is_set() and name == "disconnected":
            emit(protocol.Disconnected(self.key, str(data or "")))
        if not self.ended.done():
            self.ended.set_result(f"{name}: {data}" if data else name)

    def _start(self, _event: Any) -> None:
        self.send_presence()
        self.ready.set()

    def _report(self, kind: str, token: str, **facts: Any) -> None:
        if not token.startswith(SENTINEL):
            emit(REPORTS[kind](self.key, token, **facts))

    def ping(self, id: int) -> None:
        """Send a message to itself, through its own server."""
        body = f"{SENTINEL}{id}"
        self.pings[body] = id
        self.send_message(mto=self.boundjid, mbody=body, mtype="chat")

    def _sentinel(self, stanza: Any) -> None:
        if (id := self.pings.pop(stanza["body"], None)) is not None:
            emit(protocol.Alive(), id)


class Driver:
    """All clients of a federation."""

    def __init__(self) -> None:
        folder = Path(__file__).parent / "exchanges"
        sys.path.insert(0, str(folder))
        self.exchanges = {p.stem: importlib.import_module(p.stem) for p in folder.glob("*.py") if p.stem != "__init__"}
        self.clients: dict[str, Client] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def login(self, command: protocol.Login, id: int) -> None:
        client, domain, address, port, timeout = vars(command).values()
        password = secrets.token_hex(16)  # a server knows its own client's, and nobody else's
        began = time.monotonic()
        reason, tries = "nothing was tried", 0
        while (left := timeout - (time.monotonic() - began)) > 0:
            if (seen := await register(domain, address, port, password)) is not None:
                reason = seen
                await asyncio.sleep(RETRY)
                continue
            account = Client(client, domain, password, self.exchanges)
            account.connect(address, port)
            ready = asyncio.ensure_future(account.ready.wait())
            # What stands behind the port may still fall silent while it starts: first attempts are short ones.
            tries += 1
            either: set[asyncio.Future[Any]] = {ready, account.ended}
            await asyncio.wait(either, timeout=min(left, 3.0 * tries), return_when=asyncio.FIRST_COMPLETED)
            if account.ready.is_set():
                self.clients[client] = account
                emit(protocol.Online(time.monotonic() - began), id)
                return
            ready.cancel()
            reason = account.ended.result() if account.ended.done() else "the login did not end"
            account.abort()
            await asyncio.sleep(RETRY)
        emit(protocol.LoginFailed(reason), id)

    async def send(self, command: protocol.Send, id: int) -> None:
        client = self.clients.get(command.client)
        if client is None or not client.is_connected():
            emit(protocol.Unsendable(), id)
            return
        self.exchanges[command.exchange].send(client, f"{USER}@{command.receiver}", command.token)
        emit(protocol.Sent(), id)

    async def ping(self, command: protocol.Ping, id: int) -> None:
        if client := self.clients.get(command.client):
            client.ping(id)

    async def await_zone(self, command: protocol.AwaitZone, id: int) -> None:
        await serial(command.address, command.serial)
        emit(protocol.ZoneLoaded(), id)

    async def reach(self, command: protocol.Reach, id: int) -> None:
        ways = (answers(command.address, command.patience, over) for over in (over_udp, over_tcp))
        emit(protocol.Reached(*await asyncio.gather(*ways)), id)

    async def logout(self, command: protocol.Logout, _id: int | None) -> None:
        for key in command.clients:
            if client := self.clients.pop(key, None):
                client.ready.clear()  # an end that was asked for is no news
                client.abort()

    def do(self, envelope: messages.Envelope) -> None:
        """Begin what a command asks for; what goes wrong there is its reply."""
        method = getattr(self, messages.name_of(type(envelope.message)).replace("-", "_"))
        task = asyncio.create_task(answered(method(envelope.message, envelope.id), envelope.id))
        self.tasks.add(task)  # the loop itself holds no reference to it
        task.add_done_callback(self.tasks.discard)


async def answered(work: Coroutine[Any, Any, None], id: int | None) -> None:
    """Do ``work``. The host must hear of a failure: a silent driver would look like a silent server."""
    try:
        await work
    except Exception as error:
        emit(messages.Failed(repr(error)), id)


class Answer(asyncio.DatagramProtocol):
    """The first datagram that comes back."""

    def __init__(self) -> None:
        self.data: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _addr: Any) -> None:
        if not self.data.done():
            self.data.set_result(data)


QUESTION = b"\0" + struct.pack("!HH", 6, 1)
"""For the SOA of the root (RFC 1035 §4)."""
QUERY = struct.pack("!6H", 1, 0, 1, 0, 0, 0) + QUESTION


async def over_udp(address: str, patience: float) -> bytes:
    """What a name server answers to `QUERY`. Raises OSError, TimeoutError."""
    transport, answer = await asyncio.get_running_loop().create_datagram_endpoint(Answer, remote_addr=(address, 53))
    try:
        transport.sendto(QUERY)
        return await asyncio.wait_for(answer.data, patience)
    finally:
        transport.close()


async def over_tcp(address: str, patience: float) -> bytes:
    """The same over TCP (RFC 1035 §4.2.2). Raises OSError, TimeoutError."""
    async with asyncio.timeout(patience):
        reader, writer = await asyncio.open_connection(address, 53)
        try:
            writer.write(struct.pack("!H", len(QUERY)) + QUERY)
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            return await reader.readexactly(length)
        except asyncio.IncompleteReadError:
            raise OSError("the connection was closed") from None
        finally:
            writer.close()


async def answers(address: str, patience: float, over: Callable[[str, float], Coroutine[Any, Any, bytes]]) -> str | None:
    """Ask a name server until it answers, for so many seconds; None if it did, else what was seen last."""
    deadline, try_for = time.monotonic() + patience, 0.5
    while (left := deadline - time.monotonic()) > 0:
        try:
            await over(address, min(left, try_for))
            return None
        except TimeoutError:
            seen, try_for = "no answer", 2 * try_for
        except OSError as error:
            seen = str(error)
            await asyncio.sleep(min(left, 0.1))
    return seen


async def serial(address: str, serial: int) -> None:
    """Ask a name server for the SOA of the root until it has loaded the zone with this serial."""
    while True:
        try:
            said = (await over_udp(address, 0.5))[len(QUERY) :]
            said = said[2 if said[:1] >= b"\xc0" else 1 :]  # the owner's name: the root, or a pointer to it
            (length,) = struct.unpack("!H", said[8:10])
            if struct.unpack("!I", said[10 + length - 20 : 10 + length - 16])[0] == serial:
                return
        except (OSError, TimeoutError, struct.error):
            pass
        await asyncio.sleep(0.05)


async def register(domain: str, address: str, port: int, password: str) -> str | None:
    """Make the account in-band (XEP-0077); None once it is there, else what was seen.

    Also the test of readiness: a port may accept connections before anything stands behind it. By hand, because slixmpp goes on
    to log in without waiting for the registration's answer.
    """
    writer = None
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 3)
        namespaces = f"xmlns='jabber:client' xmlns:stream='{STREAMS}'"
        writer.write(f"<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' {namespaces}>".encode())
        await asyncio.wait_for(reader.readuntil(b"</stream:features>"), 2)
        account = f"<username>{USER}</username><password>{password}</password>"
        writer.write(f"<iq type='set' id='r' to='{domain}'><query xmlns='jabber:iq:register'>{account}</query></iq>".encode())
        answer = b""
        while not ANSWER.search(answer):
            more = await asyncio.wait_for(reader.read(4096), 15)
            if not more:
                return "the connection was closed upon the registration"
            answer += more
        return (
            None
            if b"result" in answer or b"<conflict" in answer
            else f"registration refused: {answer.decode(errors='replace')[:200]}"
        )
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        return f"port {port}: {error!r}"
    finally:
        if writer:
            writer.close()


async def main() -> None:
    """Read commands until standard input ends."""
    driver = Driver()
    reader = asyncio.StreamReader(limit=2**22)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    emit(messages.Ready())
    known = messages.vocabulary(protocol.COMMANDS)
    while line := await reader.readline():
        try:
            driver.do(messages.decode(line, known))
        except ValueError as error:
            emit(messages.Failed(f"{error}: {line.decode(errors='replace').strip()}"))


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    asyncio.run(main())
