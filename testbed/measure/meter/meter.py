"""The meter as the host speaks with it: what it is told to watch, and whether an attempt's servers were given their time.

Rule: times of readings and of attempts are those of clocks that are never set; they are compared by what the quickest of the last
messages took, so that an engine elsewhere may have another clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from testbed.engine.channel import Channel, agent_files
from testbed.engine.federation import Container
from testbed.engine.messages import Envelope
from testbed.engine.rights import SERVER
from testbed.measure.meter import protocol
from testbed.measure.meter.stalls import Stalls
from testbed.measure.pace import ANSWER, BEHIND, MACHINE, READINGS, REMEMBERED, STRAINED
from testbed.model import EngineError
from testbed.record.strain import HEARTBEAT, PRESSURE, RESOURCES, Strain

QUICKEST = 240
"""Messages of which the quickest tells how the two clocks differ."""

Noted = Callable[[dict[str, Any]], None]
"""Takes what is to be noted of the machine now and then, as the data of an observation."""


def files() -> dict[str, bytes]:
    """What the meter's container needs."""
    return agent_files(Path(__file__).parent)


class Meter:
    """How long the containers of a run had to wait."""

    def __init__(self, container: Container, noted: Noted = lambda _: None, clock: Callable[[], float] = time.monotonic) -> None:
        """Attach to a container that is not started yet. All times are of ``clock``."""
        self.channel = Channel(container, protocol.COMMANDS, protocol.EVENTS)
        self.noted: Noted | None = noted
        self.clock = clock
        self.source, self.reason = HEARTBEAT, ""
        """How strain is known; why not better."""
        self.heard = float("-inf")
        """When it said something last."""
        self.stalls = Stalls(REMEMBERED)
        self.measured: Counter[str] = Counter()
        """By id: containers of servers that are measured just now, and how many attempts of theirs go on."""
        self.told: Callable[[float], None] = lambda _: None
        """Told with every reading for which share of the last `BEHIND` seconds that one of them waited which waited longest."""
        self._delays: deque[float] = deque(maxlen=QUICKEST)
        self._pending: dict[str, list[float]] = {}
        """What was read of containers and is to be added with the next reading that is later than the last: it is said once."""
        self._read = asyncio.Event()
        self._awaited: list[tuple[float, Callable[[], object]]] = []
        """What is to be done when what was read reaches up to a time."""
        self._before: tuple[float, protocol.Readings] | None = None
        self._running: list[int] = []
        self.channel.on(protocol.Readings, self._take)

    async def begin(self) -> None:
        """Have it begin; from then on it reads. Raises EngineError."""
        reply = (await self.channel.ask(protocol.Begin(READINGS, SERVER.processors), ANSWER, "its readings")).message
        assert isinstance(reply, protocol.Began)
        self.source, self.reason = PRESSURE if reply.pressure else HEARTBEAT, reply.reason

    def watch(self, *containers: Container) -> None:
        """Read the pressure of these too, until they are gone. A meter that is gone ends the run elsewhere."""
        with contextlib.suppress(EngineError):
            self.channel.tell(protocol.Watch([str(c.id) for c in containers]))

    def end(self) -> None:
        """Nothing more is to be noted."""
        self.noted = None

    async def has_read(self, moment: float) -> None:
        """Return when what was read reaches up to a time, or nothing has come for `ANSWER` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER):
                while self.stalls.last < moment:
                    self._read.clear()
                    await self._read.wait()

    def when_read(self, moment: float, act: Callable[[], object]) -> None:
        """Do something when what was read reaches up to a time, if ever."""
        self._awaited.append((moment, act))

    @contextlib.contextmanager
    def measuring(self, *containers: Container) -> Iterator[None]:
        """While this lasts, an attempt of the servers in these goes on."""
        ids = [str(c.id) for c in containers]
        self.measured.update(ids)
        try:
            yield
        finally:
            self.measured.subtract(ids)
            self.measured = +self.measured

    def strain(self, containers: Sequence[Container], start: float, end: float, timer: float) -> Strain:
        """How long these waited between two times, in the worst window as long as a server's ``timer``."""
        ids = [str(c.id) for c in containers]
        return self.stalls.strain(ids, start, end, window=timer, shares=STRAINED)

    def _take(self, envelope: Envelope) -> None:
        readings: protocol.Readings = envelope.message
        self.heard = self.clock()
        self._delays.append(self.heard - readings.at)
        at = readings.at + min(self._delays)
        self._pending |= readings.waited
        if at <= self.stalls.last:
            return  # clocks that drift: the next one is later
        self.stalls.add(at, self._pending, stolen=readings.stolen, late=readings.late)
        self._pending = {}
        self._running.append(readings.running)
        self.told(self.stalls.share(self.measured, BEHIND))
        if self._before is None:
            self._before = at, readings
        elif at - self._before[0] >= MACHINE:
            if self.noted:
                self.noted(self._since(*self._before, at, readings))
            self._before, self._running = (at, readings), []
        self._read.set()
        due = [act for moment, act in self._awaited if moment <= at]
        self._awaited = [(moment, act) for moment, act in self._awaited if moment > at]
        for act in due if self.noted else ():
            act()

    def _since(self, before: float, old: protocol.Readings, at: float, new: protocol.Readings) -> dict[str, Any]:
        """Which shares of the time since then something on the machine has waited."""
        seconds = at - before
        data: dict[str, Any] = {"seconds": round(seconds, 3), "source": self.source}
        for name, a, b in zip(RESOURCES, old.machine or (), new.machine or (), strict=False):
            data[name] = round((b - a) / seconds, 3)
        running = sum(self._running) / len(self._running)
        return (
            ({"reason": self.reason} if self.reason else {})
            | data
            | {
                "stolen": round((new.stolen - old.stolen) / seconds, 3),
                "late": round((new.late - old.late) / seconds, 3),
                "running": round(running, 1),
            }
        )
