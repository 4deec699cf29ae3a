"""Runs in the driver's container: one slixmpp client per server, commands on standard input, events on standard output.

It imports nothing of the testbed (only standard library, slixmpp and the exchanges beside it), decides nothing and judges
nothing: it says what the clients saw, when.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import slixmpp

USER, SECRET, RESOURCE = "tester", "secret", "testbed"
RETRY = 0.25  # seconds between two attempts to reach a server that still boots


def emit(event: str, **data: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, "time": time.time(), **data}) + "\n")
    sys.stdout.flush()


class Client(slixmpp.ClientXMPP):
    """One account at one server, without TLS: client encryption is not what is measured here."""

    def __init__(self, domain: str, exchanges: dict[str, Any], *, register: bool) -> None:
        super().__init__(
            f"{USER}@{domain}/{RESOURCE}",
            SECRET,
            plugin_config={"feature_mechanisms": {"unencrypted_plain": True, "use_mech": "PLAIN"}},
        )
        self.domain = domain
        self.enable_direct_tls = False
        self.enable_starttls = False
        self.enable_plaintext = True
        self.auto_reconnect = False
        self.ready = asyncio.Event()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if register:
            self.register_plugin("xep_0077")
            self["xep_0077"].force_registration = True
            self.add_event_handler("register", self._register)
        self.add_event_handler("session_start", self._start)
        for name in ("failed_all_auth", "connection_failed", "disconnected", "stream_error"):
            self.add_event_handler(name, lambda data, name=name: self._end(name, data))
        for exchange in exchanges.values():
            exchange.install(self, self._report)
        self.add_event_handler("message", self._sentinel)

    def _end(self, name: str, data: Any) -> None:
        if self.ready.is_set() and name == "disconnected":
            emit("disconnected", domain=self.domain, reason=str(data or ""))
        if not self.ended.done():
            self.ended.set_result(f"{name}: {data}" if data else name)

    async def _register(self, _form: Any) -> None:
        query = self.Iq()
        query["type"] = "set"
        query["register"]["username"] = USER
        query["register"]["password"] = SECRET
        try:
            await query.send(timeout=15)
        except slixmpp.exceptions.IqError as error:
            if error.condition != "conflict":  # the account is there already: log in
                self._end("registration refused", error.condition)
                self.abort()
        except slixmpp.exceptions.IqTimeout:
            self._end("registration", "no answer")
            self.abort()

    def _start(self, _event: Any) -> None:
        self.send_presence()
        self.ready.set()

    def _report(self, kind: str, token: str, **data: Any) -> None:
        if not token.startswith("sentinel-"):
            emit(kind, token=token, domain=self.domain, **data)

    def _sentinel(self, stanza: Any) -> None:
        if stanza["body"].startswith("sentinel-"):
            emit("alive", domain=self.domain, token=stanza["body"])


class Driver:
    """All clients of a federation."""

    def __init__(self) -> None:
        folder = Path(__file__).parent / "exchanges"
        sys.path.insert(0, str(folder))
        self.exchanges = {p.stem: importlib.import_module(p.stem) for p in folder.glob("*.py") if p.stem != "__init__"}
        self.clients: dict[str, Client] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def login(self, domain: str, address: str, port: int, timeout: float) -> None:
        began = time.monotonic()
        reason, register, tries = "nothing was tried", True, 0
        while (left := timeout - (time.monotonic() - began)) > 0:
            try:  # a cheap look first: slixmpp's own connection attempts back off
                _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 3)
                writer.close()
            except (OSError, asyncio.TimeoutError) as error:
                reason = f"port {port} does not answer: {error!r}"
                await asyncio.sleep(RETRY)
                continue
            client = Client(domain, self.exchanges, register=register)
            client.connect(address, port)
            ready = asyncio.ensure_future(client.ready.wait())
            # A port may answer before what stands behind it does, and then never say a word to this connection.
            tries += 1
            await asyncio.wait({ready, client.ended}, timeout=min(left, 2.0 * tries), return_when=asyncio.FIRST_COMPLETED)
            if client.ready.is_set():
                self.clients[domain] = client
                emit("online", domain=domain, seconds=time.monotonic() - began)
                return
            ready.cancel()
            reason = client.ended.result() if client.ended.done() else "the login did not end"
            client.abort()
            await asyncio.sleep(RETRY)
        emit("login-failed", domain=domain, reason=reason)

    def do(self, command: dict[str, Any]) -> None:
        kind = command.pop("do")
        match kind:
            case "login":
                task = asyncio.create_task(self.login(**command))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
            case "send":
                client = self.clients.get(command["sender"])
                if client is None or not client.is_connected():
                    emit("unsendable", token=command["token"], domain=command["sender"])
                    return
                self.exchanges[command["exchange"]].send(client, f"{USER}@{command['receiver']}", command["token"])
                emit("sent", token=command["token"])
            case "ping":
                client = self.clients.get(command["domain"])
                if client is not None:
                    client.send_message(mto=client.boundjid.full, mbody=command["token"], mtype="chat")
            case "reset":
                for client in self.clients.values():
                    client.del_event_handler("disconnected", client._end)
                    client.ready.clear()
                    client.abort()
                self.clients.clear()
                for task in self.tasks:
                    task.cancel()
                emit("reset")


async def main() -> None:
    """Read commands until standard input ends."""
    driver = Driver()
    reader = asyncio.StreamReader(limit=2**22)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    emit("ready")
    while line := await reader.readline():
        try:
            driver.do(json.loads(line))
        except Exception as error:  # the host must hear of it; a silent driver would look like a silent server
            emit("driver-error", command=line.decode(errors="replace").strip(), error=repr(error))


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    asyncio.run(main())
