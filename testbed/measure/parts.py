"""What all servers of a run share: network, name server, wiretap (gate and capture), driver. Raised once, removed at the end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.engine import federation
from testbed.engine.channel import Channel
from testbed.engine.host import Engine
from testbed.engine.images import Images
from testbed.engine.messages import Failed
from testbed.measure import zone
from testbed.measure.driver import driver
from testbed.measure.driver.driver import Driver
from testbed.measure.journal import Journal
from testbed.measure.meter import meter as meters
from testbed.measure.meter.meter import Meter
from testbed.measure.pace import FIRST_WORD, NAMES, PROBE, SILENT, STARTS, Admission
from testbed.measure.reachability import packets_pass
from testbed.measure.tasks import Workers, finish, task_group
from testbed.measure.wiretap import wiretap
from testbed.measure.wiretap.protocol import Neighbours
from testbed.measure.wiretap.wiretap import Wiretap
from testbed.model import EngineError, Server, TestbedError
from testbed.record import legs, observations

IPV6 = Path("/proc/sys/net/ipv6")


@dataclass(frozen=True)
class Parts:
    """What is there before any server is, and what every epoch uses."""

    mesh: federation.Mesh
    workers: Workers
    journal: Journal
    wiretap: Wiretap
    driver: Driver
    starting: asyncio.Semaphore
    """A place for each container that may be started at once."""
    admission: Admission = field(default_factory=Admission)
    names: federation.Container | None = None
    """The mesh's name server."""
    meter: Meter | None = None
    """Knows whether servers are given their time; None: nobody does, and every attempt counts."""

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """While this lasts pressure is measured, and a part that ends raises EngineError: an engine may be killed."""
        channels = [self.wiretap.channel, self.wiretap.dissector, self.driver.channel]
        if self.meter:
            channels.append(self.meter.channel)
            self.meter.told = self.admission.server_waited
        try:
            async with task_group() as watchers:
                tasks = [watchers.create_task(_until_gone(channel)) for channel in channels]
                tasks.append(watchers.create_task(self._watch_pressure()))
                tasks.append(watchers.create_task(self._watch_names()))
                if self.meter:
                    tasks.append(watchers.create_task(_watch_meter(self.meter)))
                yield
                for task in tasks:
                    task.cancel()
        except EngineError:
            # whose question was left open is the consequence of the end, not the news: not even if it was the watcher's own
            for channel in channels:
                if channel.closed.is_set():
                    await _until_gone(channel)
            raise
        finally:
            if self.meter:
                self.meter.end()

    async def _watch_pressure(self) -> None:
        """Measure how strained the machine is, also while no gate is opened."""
        while True:
            asked = time.monotonic()
            await self.wiretap.answer()
            self.admission.measured(time.monotonic() - asked)
            await asyncio.sleep(PROBE)

    async def _watch_names(self) -> None:
        """Ask the mesh's name server now and then. Raises EngineError when it has ended, or is silent for `SILENT` seconds.

        It is no agent, so that nobody hears its end; and servers would say of their peers that they cannot be found.
        """
        while (container := self.names) is not None:
            await asyncio.sleep(NAMES)
            asked = asyncio.ensure_future(self.driver.zone_loaded(self.mesh.addresses.dns[0], zone.FIRST))
            try:
                for _ in range(round(SILENT / NAMES)):
                    if (await asyncio.wait({asked}, timeout=NAMES))[0]:
                        break
                    if ending := await self.workers.do(lambda: federation.ending(container)):
                        raise EngineError(f"{container.name}, the name server of the mesh, {ending.how} in the middle of the run")
                else:
                    # the question goes through the driver: this is answered whatever the name server does, or names the driver
                    await self.driver.reach(self.mesh.addresses.dns[0], 1.0)
                    name = f"{container.name}, the name server of the mesh,"
                    raise EngineError(f"{name} runs, but has not answered for {SILENT:.0f} s")
                await asked
            finally:
                asked.cancel()


async def _watch_meter(meter: Meter) -> None:
    """Raises EngineError when the meter runs and says nothing: nobody would know whether servers are given their time."""
    meter.heard = meter.clock()
    looks = 0
    while looks < 2:  # this process may have been held up itself, so that what was said is not heard yet
        await asyncio.sleep(NAMES)
        looks = looks + 1 if meter.clock() - meter.heard > FIRST_WORD else 0
    name, seconds = meter.channel.container.name, meter.clock() - meter.heard
    raise EngineError(f"{name}, which reads how long servers wait, runs, but has said nothing for {seconds:.0f} s")


async def _until_gone(channel: Channel) -> None:
    """Raises EngineError when an agent has ended."""
    await channel.closed.wait()
    container = channel.container
    if isinstance(channel.failure, TestbedError):  # the record takes no more
        raise channel.failure
    if channel.failure:
        raise RuntimeError(f"what {container.name} said could not be dealt with") from channel.failure
    how = await asyncio.to_thread(lambda: federation.state_of(container))
    raise EngineError(f"{container.name} {how} in the middle of the run: {channel.last_words()}")


@contextlib.asynccontextmanager
async def removed(engine: Engine, run: str) -> AsyncIterator[None]:
    """Whatever becomes of the block: afterwards, nothing of the run is left on the engine."""
    try:
        yield
    finally:
        await finish(asyncio.to_thread(lambda: federation.remove(engine, federation.labels_of(run))))


@contextlib.asynccontextmanager
async def parts_of(
    engine: Engine, images: Images, servers: Sequence[Server], journal: Journal, *, ipv6: bool
) -> AsyncIterator[Parts]:
    """The parts of a federation of ``servers``, running. Raises EngineError."""
    writer = journal.writer
    # first the threads end, then what they made is removed
    async with removed(engine, writer.label), Workers(STARTS + 4) as workers:
        wanted = ipv6 and IPV6.is_dir()
        mesh = await workers.do(lambda: federation.Mesh(engine, writer.label, len(servers), ipv6=wanted))
        text = zone.render_zone({s.domain: mesh.addresses.of(s.index) for s in servers})
        writer.keep(text.encode(), legs.epoch_name("zone", leg=writer.leg))
        async with task_group() as starts:
            names = starts.create_task(workers.do(lambda: mesh.start_dns(images.ids["dns"], text, mesh.addresses.dns)))
            tap = starts.create_task(_wiretap(mesh, images, workers, journal))
            clients = starts.create_task(_driver(mesh, images, workers, journal))
            meter = starts.create_task(_meter(mesh, images, workers, journal))
            starts.create_task(packets_pass(mesh, names, clients, tap, workers))
        with contextlib.ExitStack() as channels:
            for channel in (tap.result().channel, tap.result().dissector, clients.result().channel, meter.result().channel):
                channels.enter_context(contextlib.closing(channel))
            meter.result().watch(names.result())
            await tap.result().prepare(mesh, len(servers))
            yield Parts(
                mesh, workers, journal, tap.result(), clients.result(), asyncio.Semaphore(STARTS), names=names.result(),
                meter=meter.result(),
            )  # fmt: skip


async def _wiretap(mesh: federation.Mesh, images: Images, workers: Workers, journal: Journal) -> Wiretap:
    """On the engine's host network, with the dissector on none."""
    image = images.ids["wiretap"]
    container = await workers.do(lambda: mesh.create_agent("wiretap", image, wiretap.files(), inside=False))
    dissector = await workers.do(lambda: mesh.create_dissector(image, container))
    tap = Wiretap(container, dissector)
    for channel in (tap.channel, tap.dissector):
        channel.on(Failed, lambda e: journal.note(observations.WIRETAP_FAILED, at=e.time, reason=e.message.reason))
    tap.channel.on(Neighbours, lambda e: journal.note(observations.WIRETAP_NEIGHBOURS, at=e.time, **_known(vars(e.message))))
    async with task_group() as starts:
        for each in (container, dissector):
            starts.create_task(workers.do(functools.partial(federation.start, each)))
    for channel in (tap.channel, tap.dissector):
        await _first_word(mesh, channel)
    return tap


async def _driver(mesh: federation.Mesh, images: Images, workers: Workers, journal: Journal) -> Driver:
    """In the mesh, beside the servers."""
    container = await workers.do(lambda: mesh.create_agent("driver", images.ids["driver"], driver.files(), inside=True))
    clients = Driver(container)
    clients.channel.on(Failed, lambda e: journal.note(observations.DRIVER_ERROR, at=e.time, error=e.message.reason))
    await workers.do(lambda: federation.start(container))
    await _first_word(mesh, clients.channel)
    return clients


async def _meter(mesh: federation.Mesh, images: Images, workers: Workers, journal: Journal) -> Meter:
    """Beside everything. Where the engine does not let it see the host's control groups, it does without, by its heartbeat."""

    async def started(*, shown: bool) -> Meter:
        container = await workers.do(lambda: mesh.create_meter(images.ids["wiretap"], meters.files(), shown=shown))
        meter = Meter(container, lambda data: journal.note(observations.MACHINE, **data))
        try:
            await workers.do(lambda: federation.start(container))
            await _first_word(mesh, meter.channel)
        except EngineError:
            meter.channel.close()
            await workers.do(lambda: federation.drop([container]))
            raise
        return meter

    reason = ""
    try:
        meter = await started(shown=True)
    except EngineError as error:
        reason = f"the meter does not start where it is shown the host's control groups: {error}"
        meter = await started(shown=False)
    await meter.begin()
    meter.reason = reason or meter.reason
    return meter


async def _first_word(mesh: federation.Mesh, channel: Channel) -> None:
    """Await an agent's first word. Raises EngineError, with all that may tell why its container did not say it."""
    try:
        await channel.ready(FIRST_WORD)
    except EngineError as error:
        told = await asyncio.to_thread(lambda: federation.circumstances(mesh.engine, channel.container))
        raise EngineError(f"{error}; {told}") from None


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in facts.items() if v is not None}
