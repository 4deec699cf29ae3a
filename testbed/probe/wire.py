"""One connection to a peer: read until something is there, in the clear or inside TLS, closed with a goodbye. Judges nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from OpenSSL import SSL

from testbed.probe import stream, tls
from testbed.probe.seen import Handshake
from testbed.probe.stream import Misbehaviour, Reader

SILENCE = "said nothing in time"


class Wire:
    """A connection that is read until something is there, in the clear or inside TLS, and that says goodbye."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float, goodbye: float) -> None:
        self._reader, self._writer, self._timeout, self._goodbye = reader, writer, timeout, goodbye
        self._tls: tls.Channel | None = None
        self._over = False
        self.open = False
        """A stream of ours is open, and is to be closed."""
        self.why = ""
        """Why the last reading came to an end without what was wanted."""
        self.sent = self.received = 0

    async def _write(self, data: bytes) -> None:
        if not data or self._over:
            return
        self.sent += len(data)
        with contextlib.suppress(OSError):  # a peer that closed meanwhile is seen by the next read
            self._writer.write(data)
            await self._writer.drain()

    async def _receive(self) -> bytes:
        """The next bytes; empty when the peer closed or reset the connection."""
        try:
            data = await self._reader.read(16384)
        except OSError:
            data = b""
        self.received += len(data)
        return data

    async def send(self, data: bytes) -> None:
        """Write, through TLS if it has begun."""
        if self._tls and not self._over:
            try:
                data = self._tls.encrypt(data)
            except SSL.Error:
                return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await self._write(data)

    async def read(self, reader: Reader, enough: Callable[[], bool], patience: float | None = None) -> bool:
        """Feed what comes to ``reader`` until there is enough; False if it ended before, with `why`. Raises Misbehaviour."""
        try:
            async with asyncio.timeout(patience or self._timeout):
                while not enough():
                    data = b"" if self._over else await self._receive()
                    closed = not data
                    if self._tls and data:
                        data, closed = self._tls.decrypt(data)
                    if data:
                        reader.feed(data)
                    if closed:
                        self._over = True
                        alert = self._tls.seen.problem if self._tls else None
                        self.why = alert or "closed the connection without a word"
                        return enough()
        except TimeoutError:
            self.why = SILENCE
            return False
        return True

    async def start_tls(self, channel: tls.Channel) -> Handshake:
        """Shake hands; what came of it."""
        self.open = False
        data: bytes | None = None
        try:
            async with asyncio.timeout(self._timeout):
                while not channel.step(data):
                    await self._write(channel.outgoing())
                    data = await self._receive()
                await self._write(channel.outgoing())
        except TimeoutError:
            channel.fail(SILENCE, refused=False)
        self._tls = channel
        self._over = not channel.seen.completed
        return channel.seen

    async def close(self) -> None:
        """`</stream:stream>`, the peer's own within a short time, close_notify, and the connection."""
        with contextlib.suppress(OSError, TimeoutError, Misbehaviour):
            async with asyncio.timeout(self._goodbye):
                if self.open and not self._over:
                    await self.send(stream.END)
                    while not self._over:
                        data = await self._receive()
                        ended = not data or (self._tls.decrypt(data)[1] if self._tls else stream.END in data)
                        self._over = self._over or not data
                        if ended:
                            break
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._goodbye):
                if self._tls and not self._over:
                    await self._write(self._tls.farewell())
                self._writer.close()
                await self._writer.wait_closed()
        self._writer.transport.abort()
