"""The gate around a federation that is not measured: for whoever starts servers without an event loop of a run's.

Rule: no server is started before the gate is shut, and it stays shut until the block is left and the servers are gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from testbed import interruption
from testbed.engine import federation
from testbed.engine.federation import Mesh
from testbed.measure.wiretap import wiretap
from testbed.measure.wiretap.wiretap import Gate, Wiretap

T = TypeVar("T")


@dataclass(frozen=True)
class Wall:
    """A gate that is shut, asked from any thread."""

    tap: Wiretap
    loop: asyncio.AbstractEventLoop

    def ask(self, question: Coroutine[Any, Any, T]) -> T:
        """What a method of the wiretap answers. Raises EngineError."""
        return asyncio.run_coroutine_threadsafe(question, self.loop).result()

    def open(self, gate: Gate) -> None:
        """Let two servers reach each other. Raises EngineError."""
        self.ask(self.tap.open(gate))

    def close(self, gate: Gate) -> None:
        """Shut the gate on them again; it is shut when this returns. Raises EngineError."""
        self.tap.close(gate)
        self.ask(self.tap.answer())


@contextlib.contextmanager
def walled(mesh: Mesh, image: str, size: int, *, listens: int = 0) -> Iterator[Callable[[], Wall]]:
    """Begin to shut the gate around a mesh of ``size`` servers; what is given awaits it, and raises EngineError if it cannot be.

    ``image``: the wiretap's; ``listens``: a port on which everybody reaches the driver, or the prober in its place.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="wall", daemon=True)
    thread.start()
    taps: list[Wiretap] = []

    async def shut() -> Wall:
        container = await asyncio.to_thread(lambda: mesh.create_agent("wiretap", image, wiretap.files(), inside=False))
        tap = Wiretap(container)
        taps.append(tap)
        await asyncio.to_thread(lambda: federation.start(container))
        await tap.ready()
        await tap.prepare(mesh, size, listens=listens)
        return Wall(tap, loop)

    async def end() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for tap in taps:
            tap.channel.close()

    pending: Future[Wall] = asyncio.run_coroutine_threadsafe(shut(), loop)
    try:
        yield pending.result
    finally:
        with interruption.held():
            asyncio.run_coroutine_threadsafe(end(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
