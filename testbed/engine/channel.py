"""Carries an agent's messages over the engine's attach stream; with a remote engine too. Knows nothing of what they mean."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Mapping
from typing import Any

from docker.models.containers import Container
from docker.utils.socket import STDERR, frames_iter

from testbed.engine.messages import Envelope, Failed, Ready, decode, encode
from testbed.model import EngineError

KEPT = 4000
"""Bytes of an agent's standard error that are kept, to be quoted when it fails."""


Handler = Callable[[Envelope], None]


class Channel:
    """One agent. What answers no command reaches whoever asked for that kind of message with `on`."""

    def __init__(self, container: Container, known: Mapping[str, type]) -> None:
        """Attach to a container that is not started yet. ``known``: name -> class of what the agent may say."""
        self.container, self.known = container, known
        self.closed = asyncio.Event()
        """Set when the agent has ended, or the connection to it."""
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._handlers: dict[type, Handler] = {}
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Envelope]] = {}
        self._stderr = b""
        self._stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        self._socket: Any = getattr(self._stream, "_sock", self._stream)  # with TLS it is the socket itself
        self._socket.settimeout(None)
        self._lock = threading.Lock()
        threading.Thread(target=self._read, name=f"channel-{container.name}", daemon=True).start()

    def on(self, kind: type, handler: Handler) -> None:
        """From now on, ``handler`` gets the events of this kind, on the event loop; others are passed over."""
        self._handlers[kind] = handler

    def tell(self, command: object) -> None:
        """Write a command that is not answered. Raises EngineError if the agent is gone."""
        self._write(encode(command))

    async def ask(self, command: object, timeout: float, what: str) -> Envelope:
        """Write a command and await its reply. Raises EngineError if it fails, or does not come in time."""
        number = next(self._ids)
        reply: asyncio.Future[Envelope] = self._loop.create_future()
        self._asked[number] = reply
        try:
            self._write(encode(command, number))
            await self._wait(reply, timeout, what)
        finally:
            del self._asked[number]
        envelope = reply.result()
        if isinstance(envelope.message, Failed):
            raise EngineError(f"{self.container.name}: {what} failed: {envelope.message.reason}")
        return envelope

    async def ready(self, timeout: float) -> None:
        """Await the agent's first word. Raises EngineError, as `ask`."""
        await self._wait(asyncio.ensure_future(self._ready.wait()), timeout, "its first word")

    async def _wait(self, awaited: asyncio.Future[Any], timeout: float, what: str) -> None:
        gone = asyncio.ensure_future(self.closed.wait())
        try:
            await asyncio.wait({awaited, gone}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not awaited.done():
                state = "ended" if self.closed.is_set() else f"said nothing of it for {timeout:.0f} s"
                raise EngineError(f"awaited from {self.container.name}: {what}; it {state}: {self.last_words()}")
        finally:
            gone.cancel()
            if not awaited.done():
                awaited.cancel()

    def last_words(self) -> str:
        """The last line of its standard error."""
        lines = self._stderr.decode(errors="replace").strip().splitlines()
        return lines[-1][-400:] if lines else "(no error output)"

    def close(self) -> None:
        """End the agent's standard input, upon which it ends itself."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def _write(self, line: str) -> None:
        try:
            with self._lock:
                self._socket.sendall(line.encode())
        except OSError as error:
            raise EngineError(f"{self.container.name} is gone ({error}): {self.last_words()}") from None

    def _read(self) -> None:
        """In a thread of its own, until the stream ends."""
        buffer = b""
        with contextlib.suppress(OSError, ValueError):
            for stream, data in frames_iter(self._stream, tty=False):  # type: ignore[no-untyped-call]
                if stream == STDERR:
                    self._stderr = (self._stderr + data)[-KEPT:]
                    continue
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    try:
                        envelope = decode(line, self.known)
                    except ValueError:
                        self._stderr = (self._stderr + line + b"\n")[-KEPT:]
                        continue
                    self._loop.call_soon_threadsafe(self._dispatch, envelope)
        with contextlib.suppress(RuntimeError):  # the loop may be gone already
            self._loop.call_soon_threadsafe(self.closed.set)

    def _dispatch(self, envelope: Envelope) -> None:
        if isinstance(envelope.message, Ready):
            self._ready.set()
        elif envelope.id is None:
            if handler := self._handlers.get(type(envelope.message)):
                handler(envelope)
        elif (reply := self._asked.get(envelope.id)) and not reply.done():
            reply.set_result(envelope)
