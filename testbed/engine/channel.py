"""Carries an agent's messages over the engine's attach stream, with a remote engine too. Knows nothing of what they mean.

Rule: a command gets a reply that its protocol lists, or an error that says what was awaited; an agent's end fails what is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from docker.models.containers import Container

from testbed.engine import messages
from testbed.engine.host import ENGINE_ERRORS
from testbed.engine.messages import Envelope, Failed, Ready, decode, encode, name_of, vocabulary
from testbed.model import EngineError

KEPT = 4000
"""Bytes of an agent's standard error that are kept, to be quoted when it fails."""
HEADER = struct.Struct(">BxxxL")
"""Docker's attach protocol: which stream a frame belongs to, and its size."""
STDERR = 2

Handler = Callable[[Envelope], None]


def agent_files(folder: Path) -> dict[str, bytes]:
    """What an agent's container needs: the agent and its protocol, from ``folder``, and how messages are written."""
    paths = (folder / "agent.py", folder / "protocol.py", Path(messages.__file__))
    return {path.name: path.read_bytes() for path in paths}


class AgentError(EngineError):
    """The agent lives, but did not do what it was told: it failed, or is behind with its work. Concerns that command alone."""


class Channel:
    """One agent. What answers no command reaches whoever asked for that kind of message with `on`."""

    def __init__(self, container: Container, commands: Mapping[type, tuple[type, ...]], events: Sequence[type]) -> None:
        """Attach to a container that is not started yet. ``commands``: each with the replies that it may get.

        Raises EngineError.
        """
        self.container = container
        self.closed = asyncio.Event()
        """Set when the agent has ended, or the connection to it, or what it said could not be dealt with."""
        self.failure: Exception | None = None
        """Why what the agent said could not be dealt with: a bug of the testbed."""
        self._commands = commands
        self._known = vocabulary([*(reply for replies in commands.values() for reply in replies), *events])
        self._loop = asyncio.get_running_loop()
        self._handlers: dict[type, Handler] = {}
        self._ids = itertools.count(1)
        self._ready: asyncio.Future[Envelope] = self._loop.create_future()
        self._asked: dict[int, asyncio.Future[Envelope]] = {}
        self._stderr = b""
        try:
            self._stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        except ENGINE_ERRORS as error:
            raise EngineError(f"{container.name} cannot be attached to: {error}") from None
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
        """Write a command and await its reply.

        Raises AgentError if the agent fails or says nothing for ``timeout`` seconds, EngineError if it ends.
        """
        if self.closed.is_set():  # it ended before; the kernel would still take what is written
            raise EngineError(f"awaited from {self.container.name}: {what}; it ended: {self.last_words()}")
        number = next(self._ids)
        reply: asyncio.Future[Envelope] = self._loop.create_future()
        self._asked[number] = reply
        try:
            self._write(encode(command, number))
            envelope = await self._await(reply, timeout, what)
        finally:
            del self._asked[number]
        if isinstance(envelope.message, Failed):
            raise AgentError(f"{self.container.name}: {what} failed: {envelope.message.reason}")
        if type(envelope.message) not in self._commands[type(command)]:
            name = name_of(type(envelope.message))
            raise AgentError(f"{self.container.name}: {what} was answered by `{name}`, which is no reply to it")
        return envelope

    async def ready(self, timeout: float) -> None:
        """Await the agent's first word. Raises EngineError, as `ask`."""
        await self._await(self._ready, timeout, "its first word")

    async def _await(self, awaited: asyncio.Future[Envelope], timeout: float, what: str) -> Envelope:
        try:
            async with asyncio.timeout(timeout):
                return await awaited
        except TimeoutError:
            state = f"it said nothing of it for {timeout:.0f} s"
        except ConnectionError:
            state = "it ended"
        kind = EngineError if self.closed.is_set() else AgentError
        raise kind(f"awaited from {self.container.name}: {what}; {state}: {self.last_words()}")

    def last_words(self) -> str:
        """The last line of its standard error."""
        lines = self._stderr.decode(errors="replace").strip().splitlines()
        return lines[-1][-400:] if lines else "(no error output)"

    def close(self) -> None:
        """End the agent's standard input, upon which it ends itself (the wiretap holds the gate until the servers are gone)."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # closing alone ends nothing: the thread that reads still has it
        with contextlib.suppress(OSError):
            self._stream.close()
            self._socket.close()

    def _write(self, line: str) -> None:
        try:
            with self._lock:
                self._socket.sendall(line.encode())
        except OSError as error:
            self._end()
            raise EngineError(f"{self.container.name} is gone ({error}): {self.last_words()}") from None

    def _read(self) -> None:
        """In a thread of its own, until the stream ends."""
        started: list[bytes] = []
        """Pieces of a line whose end has not come yet; a long one has hundreds."""
        with contextlib.suppress(OSError):
            while len(header := self._exactly(HEADER.size)) == HEADER.size:
                stream, size = HEADER.unpack(header)
                data = self._exactly(size)
                if stream == STDERR:
                    self._stderr = (self._stderr + data)[-KEPT:]
                    continue
                if b"\n" not in data:
                    started.append(data)
                    continue
                *lines, rest = b"".join((*started, data)).split(b"\n")
                started = [rest] if rest else []
                for line in lines:
                    try:
                        envelope = decode(line, self._known)
                    except ValueError:
                        self._stderr = (self._stderr + line + b"\n")[-KEPT:]
                        continue
                    try:
                        self._loop.call_soon_threadsafe(self._dispatch, envelope)
                    except RuntimeError:  # the loop is gone, and with it whoever would hear of it
                        return
        with contextlib.suppress(RuntimeError):  # the loop may be gone already
            self._loop.call_soon_threadsafe(self._end)

    def _exactly(self, size: int) -> bytes:
        """So many bytes, or fewer if the stream ends.

        COMPAT docker 7: `docker.utils.socket.frames_iter` polls the descriptor before each read; with TLS what was decrypted
        with the header does not show there, and it would wait for ever.
        """
        data = b""
        while len(data) < size and (more := self._socket.recv(min(size - len(data), 1 << 20))):
            data += more
        return data

    def _dispatch(self, envelope: Envelope) -> None:
        """Give a message to who waits for it, or to who handles its kind."""
        waiting = self._ready if isinstance(envelope.message, Ready) else self._asked.get(envelope.id or 0)
        if waiting and not waiting.done():
            waiting.set_result(envelope)
        elif envelope.id is None and (handler := self._handlers.get(type(envelope.message))):
            try:
                handler(envelope)
            except Exception as error:
                self.failure = self.failure or error
                self._end()

    def _end(self) -> None:
        """Nobody waits any longer for an agent that is gone."""
        self.closed.set()
        for waiting in (self._ready, *self._asked.values()):
            if not waiting.done():
                waiting.set_exception(ConnectionError(self.container.name))
                waiting.exception()  # it is no news where nobody waits
