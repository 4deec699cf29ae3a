"""JSON lines to and from an agent inside a container, over the engine's attach stream; works with a remote engine too.

It knows the framing of the stream (8-byte headers, Docker's attach protocol) and nothing of what is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from docker.models.containers import Container

from testbed.model import EngineError

Handler = Callable[[dict[str, Any]], None]
Match = Callable[[dict[str, Any]], bool]


class Channel:
    """One agent. Events reach ``handler`` on the event loop; ``send`` may be called from there."""

    def __init__(self, container: Container, handler: Handler) -> None:
        self.container, self.handler = container, handler
        self.loop = asyncio.get_running_loop()
        self.stderr = b""
        self.closed = asyncio.Event()
        self._waiting: list[tuple[Match, asyncio.Future[dict[str, Any]]]] = []
        self._stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        self._socket: Any = getattr(self._stream, "_sock", self._stream)  # with TLS it is the socket itself
        self._socket.settimeout(None)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, name=f"channel-{container.name}", daemon=True)

    def start(self) -> None:
        """Begin to read; call it before the container starts."""
        self._thread.start()

    def send(self, **command: Any) -> None:
        """Write one command. Raises EngineError if the agent is gone."""
        try:
            with self._lock:
                self._socket.sendall(json.dumps(command).encode() + b"\n")
        except OSError as error:
            raise EngineError(f"{self.container.name} is gone ({error}): {self.said()}") from None

    def expect(self, match: Match, timeout: float, what: str) -> Coroutine[Any, Any, dict[str, Any]]:
        """The next event that ``match`` accepts, from this call on (not from when it is awaited).

        Awaiting it raises EngineError after ``timeout`` seconds, or when the agent ends.
        """
        future: asyncio.Future[dict[str, Any]] = self.loop.create_future()
        self._waiting.append((match, future))
        return self._await(future, timeout, what)

    async def _await(self, future: asyncio.Future[dict[str, Any]], timeout: float, what: str) -> dict[str, Any]:
        gone = asyncio.ensure_future(self.closed.wait())
        try:
            both: set[asyncio.Future[Any]] = {future, gone}
            await asyncio.wait(both, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            state = "ended" if self.closed.is_set() else f"said nothing of it for {timeout:.0f} s"
            raise EngineError(f"awaited from {self.container.name}: {what}; it {state}: {self.said()}")
        finally:
            gone.cancel()
            self._waiting = [w for w in self._waiting if w[1] is not future]

    def said(self) -> str:
        """The last line of its standard error."""
        lines = self.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1][-400:] if lines else "(no error output)"

    def close(self) -> None:
        """End the agent's standard input, upon which it ends itself."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def _read(self) -> None:
        buffer = b""
        with contextlib.suppress(OSError, ValueError):
            while header := self._exactly(8):
                kind, size = struct.unpack(">BxxxL", header)
                data = self._exactly(size)
                if kind == 2:
                    self.stderr = (self.stderr + data)[-4000:]
                    continue
                buffer += data
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    try:
                        event = json.loads(line)
                    except ValueError:
                        self.stderr = (self.stderr + line + b"\n")[-4000:]
                        continue
                    self.loop.call_soon_threadsafe(self._dispatch, event)
        with contextlib.suppress(RuntimeError):  # the loop may be gone already
            self.loop.call_soon_threadsafe(self.closed.set)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(min(size - len(data), 1 << 20))
            if not more:
                return b""
            data += more
        return data

    def _dispatch(self, event: dict[str, Any]) -> None:
        for match, future in self._waiting:
            if not future.done() and match(event):
                future.set_result(event)
        self.handler(event)
