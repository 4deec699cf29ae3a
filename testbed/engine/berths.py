"""Containers that hold one server after another, for what is measured alone: a container's start costs more than a server's.

Every server begins as a new process on the state that its image gave it (`images/_base/testbed-start` sees to that); what
stays is the container and its addresses. A berth is not shared: whoever takes it has it until it is given back.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from docker.models.containers import Container

from testbed.engine import federation
from testbed.engine.files import pack
from testbed.engine.host import ENGINE_ERRORS
from testbed.model import EngineError

STOPPED = 20.0
"""Seconds within which a server must be gone."""
SAYS = b"testbed-start: "


@dataclass
class Berth:
    """One container, and the server that it holds just now."""

    container: Container
    image: str
    address: tuple[str, str | None]
    mac: str
    token: str = ""
    began: float = 0.0
    read: int = 0
    """Bytes of the server's log that were given out."""

    def start(self, files: dict[str, bytes], dns: str) -> None:
        """Start a server that has ``files`` and asks the name server at ``dns``; one that is there ends. Raises EngineError."""
        self.token, self.began, self.read = secrets.token_hex(8), time.time(), 0
        archive = pack(files)
        self._tell(f"start {self.token} {dns} {len(archive)}\n".encode() + archive)

    def stop(self) -> federation.Log:
        """End the server, and give back what it logged. Raises EngineError if it does not end."""
        self._tell(f"stop {self.token}\n".encode(), until=SAYS + f"stop {self.token}".encode())
        return self.log()

    def log(self) -> federation.Log:
        """What the server logged since it was started, or since this was asked before."""
        logged = federation.read_log(self.container, self.began - 1)  # the engine's clock is read later than ours
        _, start, raw = logged.raw.partition(SAYS + f"start {self.token}\n".encode())
        raw, self.read = raw[self.read :], max(self.read, len(raw))
        return federation.Log(raw, logged.unread or (None if start else "its beginning is not in what the engine kept"))

    def _tell(self, command: bytes, *, until: bytes | None = None) -> None:
        """Write to the container's standard input; with ``until``, wait until it has said that. Raises EngineError."""
        try:
            stream = self.container.attach_socket(params={"stdin": 1, "stdout": int(until is not None), "stream": 1})
            raw: Any = getattr(stream, "_sock", stream)  # with TLS it is the socket itself
            with contextlib.closing(stream):
                raw.settimeout(STOPPED)
                raw.sendall(command)
                said = b""
                while until is not None and until not in said:
                    more = raw.recv(65536)
                    if not more:
                        raise OSError(f"it {federation.state_of(self.container)}")
                    said = said[-200:] + more
        except (*ENGINE_ERRORS, OSError) as error:
            raise EngineError(f"{self.container.name} cannot be told what to do: {error}") from None


class Berths:
    """All berths of a run for servers, or for name servers; safe to use from threads."""

    def __init__(self, mesh: federation.Mesh, addresses: Sequence[tuple[str, str | None]], *, name: str = "berth") -> None:
        """``name``: how containers are named, with a number."""
        self.mesh, self.name, self._addresses = mesh, name, list(addresses)
        self._free: list[Berth] = []
        self._lock = threading.Lock()
        self._made = 0

    def missing(self, images: Sequence[str]) -> int:
        """How many containers would have to be started for servers of these images."""
        with self._lock:
            return sum((Counter(images) - Counter(b.image for b in self._free)).values())

    def take(self, image: str, avoid: Collection[str] = ()) -> Berth:
        """A berth of an image: a free one, a new one, or a new one in the place of one of another image. Raises EngineError.

        ``avoid``: IPv4 addresses that it must not have. No more may be taken or avoided at once than there are addresses.
        """
        with self._lock:
            free = [b for b in self._free if b.address[0] not in avoid]
            for berth in reversed(free):
                if berth.image == image:
                    self._free.remove(berth)
                    return berth
            unused = [a for a in self._addresses if a[0] not in avoid]
            spare = None if unused else free[0]
            address = spare.address if spare else unused[0]
            if spare:
                self._free.remove(spare)
            else:
                self._addresses.remove(address)
            self._made += 1
            name = f"{self.name}-{self._made}"
        if spare:
            federation.drop([spare.container])
        container = self.mesh.create_berth(name, image, address)
        try:
            federation.start(container)
            return Berth(container, image, address, self.mesh.mac_of(container, address))
        except EngineError:
            federation.drop([container])
            with self._lock:
                self._addresses.append(address)
            raise

    def give(self, berth: Berth) -> None:
        """Give a berth back, whose server is stopped."""
        with self._lock:
            self._free.append(berth)

    def discard(self, berth: Berth) -> None:
        """Give a berth up of which nobody knows what goes on in it."""
        federation.drop([berth.container])
        with self._lock:
            self._addresses.append(berth.address)
