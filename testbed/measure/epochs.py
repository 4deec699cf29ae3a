"""Starts and ends the servers of an epoch, and logs their clients in.

Rule: whoever begins an epoch ends it. Its servers are new processes on an empty state; only their logs outlive it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping

from testbed.display import Display
from testbed.engine import federation
from testbed.engine.images import Images
from testbed.engine.messages import Envelope
from testbed.measure.driver.protocol import Disconnected, Online
from testbed.measure.epoch import Epoch
from testbed.measure.pace import ALIVE, HEAVY, LINGER, LOOK, LOOKS, STARTS, Waits
from testbed.measure.parts import Parts
from testbed.measure.pki import Issued
from testbed.measure.tasks import task_group
from testbed.model import EngineError, Implementation, Plan, Server
from testbed.plan.catalog import Catalog
from testbed.record import observations
from testbed.record.legs import CONTROL, MESH

KeepLog = Callable[[Epoch, str, federation.Log], Awaitable[None]]
"""Takes what the server of a domain logged in an epoch."""


class Epochs:
    """Starts and ends the servers of epochs."""

    def __init__(
        self,
        parts: Parts,
        plan: Plan,
        catalog: Catalog,
        images: Images,
        issued: Mapping[tuple[str, str], Issued],
        keep_log: KeepLog,
        display: Display,
    ) -> None:
        self.parts, self.plan, self.catalog, self.images = parts, plan, catalog, images
        self.issued, self.keep_log, self.display = issued, keep_log, display
        self.waits = Waits.first(plan.timers)
        """How long the servers of epochs wait that begin from now on."""
        self._epochs: dict[str, Epoch] = {}
        self._gone_on: dict[str, Epoch] = {}
        """Client of a server that went on -> the epoch that it is in, or was in last."""
        self._watches: dict[str, asyncio.TaskGroup] = {}
        """By epoch's id, while its servers are to run."""
        self._versions: set[Implementation] = set()
        parts.driver.channel.on(Disconnected, self._disconnected)

    @contextlib.asynccontextmanager
    async def running(self, epoch: Epoch, *, lag: float = 0.0) -> AsyncIterator[None]:
        """The servers of ``epoch``, light ones first; the block may talk to each as soon as its client is online.

        When the block is done, the gate is given ``lag`` seconds or `LINGER`, and the servers end, but for the `lasting` one. If
        it fails, nothing more is done: what is left is removed with the run, or by who gave the berths. Raises EngineError.
        """
        self._epochs[epoch.id], epoch.began = epoch, time.time()
        self._gone_on |= {epoch.client(domain): epoch for domain in epoch.kept}
        epoch.online = {s.domain: asyncio.get_running_loop().create_future() for s in epoch.servers}
        self.parts.journal.note(observations.EPOCH_STARTED, epoch=epoch, servers=[s.domain for s in epoch.servers])
        async with task_group() as tasks:
            boots = [tasks.create_task(self._start(epoch, server)) for server in self._in_order(epoch.servers)]
            tasks.create_task(self._note_booted(epoch, boots))
            with self._watching(epoch, tasks):
                yield
        await asyncio.sleep(max(LINGER + 0.1, lag))
        await self._note_storms(epoch)
        await self.note_ended(epoch)
        await self._halt(epoch)
        self.ended(epoch)

    @contextlib.contextmanager
    def _watching(self, epoch: Epoch, tasks: asyncio.TaskGroup) -> Iterator[None]:
        """While this lasts, a client that loses its server has somebody look, as one of the ``tasks``."""
        self._watches[epoch.id] = tasks
        try:
            yield
        finally:
            del self._watches[epoch.id]

    async def note_ended(self, epoch: Epoch) -> None:
        """Note which servers of an epoch have ended by themselves: a client does not always hear of it."""
        containers = {d: epoch.container(d) for d in epoch.macs}
        mesh = self.parts.mesh
        if not containers or not (gone := await self.parts.workers.do(lambda: federation.ended(mesh.engine, mesh.run))):
            return
        for domain, container in containers.items():
            if container.id in gone:
                await self._look(epoch, domain)

    async def _look(self, epoch: Epoch, domain: str, lost: Envelope | None = None) -> None:
        """Note that a server has ended, if it has; or that its client ``lost`` it, although it seems to run."""
        for _ in range(LOOKS):
            ending = await self.parts.workers.do(lambda: federation.ending(epoch.container(domain)))
            if ending or not lost:
                break
            await asyncio.sleep(LOOK)  # the process may be gone before the engine knows
        if epoch.halting or domain in epoch.failed or not (ending or lost):
            return
        at = ending.at if ending else None
        if ending:
            reason = f"the server {ending.how} after its client was online"
        else:
            reason = f"its client lost it, although its container runs ({(lost and lost.message.reason) or 'no reason given'})"
        self._fail(epoch, domain, reason, at=at or (lost.time if lost else None))

    def _fail(self, epoch: Epoch, domain: str, reason: str, *, at: float | None = None) -> None:
        epoch.failed.add(domain)
        self.parts.journal.note(observations.SERVER_FAILED, at=at, epoch=epoch, domain=domain, reason=reason)
        self.display.say(f"{epoch.phase.name}: {domain}: {reason}")

    def ended(self, epoch: Epoch) -> None:
        """From now on its addresses are others'."""
        epoch.ended = time.time()
        self.parts.journal.note(observations.EPOCH_ENDED, epoch=epoch)
        self.parts.journal.writer.flush()

    def _in_order(self, servers: Iterable[Server]) -> list[Server]:
        """Light servers first: their pairs can talk while the heavy ones still boot."""
        return sorted(servers, key=lambda s: (self.catalog.image(s.implementation).spec.boot_weight, s.index))

    async def _note_booted(self, epoch: Epoch, boots: list[asyncio.Task[None]]) -> None:
        await asyncio.gather(*boots)
        epoch.booted.set()

    async def _start(self, epoch: Epoch, server: Server) -> None:
        """Raise one server and log its client in; the outcome is in ``epoch.online``."""
        online, image = epoch.online[server.domain], self.images.server(server.implementation)
        if epoch.settings[server.domain].unsupported or image is None:
            online.set_result(False)
        elif server.domain in epoch.kept:
            self._go_on(epoch, server.domain)
        else:
            try:
                await self._boot(epoch, server, image)
                await self._note_version(epoch, server)
            except EngineError as error:
                self._fail(epoch, server.domain, str(error))
                epoch.absent[server.domain] = str(error)
                if not online.done():
                    online.set_result(False)
        if epoch.kind == MESH:
            self.display.advance(f"{epoch.phase.name}: servers")

    def _go_on(self, epoch: Epoch, domain: str) -> None:
        """Take over a server that is there, with its client."""
        kept = epoch.kept[domain]
        epoch.macs[domain] = kept.berth.mac
        address, address6 = epoch.addresses[domain]
        self.parts.journal.note(
            observations.SERVER_KEPT, epoch=epoch, domain=domain, since=kept.since, mac=kept.berth.mac,
            address=address, address6=address6,
        )  # fmt: skip
        epoch.online[domain].set_result(True)

    async def _boot(self, epoch: Epoch, server: Server, image: str) -> None:
        """Container, server, client. Raises EngineError."""
        # a heavy boot keeps its place until it is done: more at once only take longer each
        heavy = self.catalog.image(server.implementation).spec.boot_weight >= HEAVY
        async with self.parts.starting:
            await self._start_container(epoch, server, image)
            if heavy:
                await self._log_in(epoch, server)
        if not heavy:
            await self._log_in(epoch, server)

    async def _start_container(self, epoch: Epoch, server: Server, image: str) -> None:
        """Create and start a server's container, or start it in its berth. Raises EngineError."""
        parts, domain = self.parts, server.domain
        # what a user brings is rendered in a process of its own: the event loop does not wait for that
        rendered = await parts.workers.do(lambda: self._rendered(server, epoch))
        files, address = self._kept(server, epoch, rendered), epoch.addresses[domain]
        if berth := epoch.berths.get(domain):
            await parts.workers.do(lambda: berth.start({f"/etc/testbed/{name}": data for name, data in files.items()}, epoch.dns))
            epoch.macs[domain] = berth.mac
        else:
            name = f"{epoch.phase.name}-{epoch.name}-{domain.split('.')[0]}"
            container = await parts.workers.do(lambda: parts.mesh.create_server(name, image, files, address, epoch.dns))
            epoch.containers[domain] = container
            await parts.workers.do(lambda: federation.start(container))
            epoch.macs[domain] = await parts.workers.do(lambda: parts.mesh.mac_of(container, address))
        if parts.meter:
            parts.meter.watch(epoch.container(domain), *([epoch.names] if epoch.names else []))
        parts.journal.note(
            observations.SERVER_STARTED, epoch=epoch, domain=domain, image=image, mac=epoch.macs[domain],
            address=address[0], address6=address[1],
        )  # fmt: skip

    def _rendered(self, server: Server, epoch: Epoch) -> dict[str, bytes]:
        """The part of the server's /etc/testbed that says how it is set. Blocks."""
        settings, ipv6, waits = epoch.settings[server.domain], self.parts.mesh.addresses.net6 is not None, epoch.waits
        image = self.catalog.image(server.implementation)
        return image.render(server, settings, timers=waits.timers, stretch=waits.stretch, ipv6=ipv6)

    def _kept(self, server: Server, epoch: Epoch, rendered: Mapping[str, bytes]) -> dict[str, bytes]:
        """Everything that stands in the server's /etc/testbed; the rendered part is kept as evidence, keys are not."""
        issued = self.issued[server.domain, epoch.settings[server.domain].certificate].files()
        for name, data in {**rendered, "cert.pem": issued["cert.pem"]}.items():
            self.parts.journal.writer.keep(data, epoch.phase.name, "config", server.domain, name)
        return {**rendered, **issued}

    async def _log_in(self, epoch: Epoch, server: Server) -> None:
        """Have the server's client online, or not. Raises EngineError if the server ends before."""
        domain, container = server.domain, epoch.container(server.domain)
        async with task_group() as tasks:
            login = tasks.create_task(
                self.parts.driver.login(epoch.client(domain), domain, epoch.addresses[domain][0], epoch.patience)
            )
            while not (await asyncio.wait({login}, timeout=ALIVE))[0]:
                if ending := await self.parts.workers.do(lambda: federation.ending(container)):
                    raise EngineError(f"the server {ending.how} before its client was online")
        envelope = login.result()
        online = isinstance(envelope.message, Online)
        kind = observations.ONLINE if online else observations.LOGIN_FAILED
        self.parts.journal.note(kind, at=envelope.time, epoch=epoch, domain=domain, **vars(envelope.message))
        epoch.online[domain].set_result(online)
        if not online:
            epoch.failed.add(domain)
            epoch.absent[domain] = f"its client cannot log in: {envelope.message.reason}"
            self.display.say(f"{epoch.phase.name}: {domain}: {epoch.absent[domain]}")

    async def _note_version(self, epoch: Epoch, server: Server) -> None:
        """What the running server's package says of its version; asked once per release, again if it could not be asked."""
        implementation = server.implementation
        if implementation in self._versions or not epoch.online[server.domain].result():
            return
        self._versions.add(implementation)
        package, container = self.catalog.image(implementation).spec.package, epoch.container(server.domain)
        if (version := self.images.version(implementation)) is None:
            try:
                query = ["dpkg-query", "-W", "-f=${Version}", package]
                version = await self.parts.workers.do(lambda: federation.execute(container, query))
            except EngineError as error:  # says nothing of the server: if it has ended, somebody looks
                self._versions.discard(implementation)
                self.display.say(f"{server.domain}: its version is not known: {error}")
                return
        name, release = implementation.name, implementation.release
        self.parts.journal.note(observations.VERSION, implementation=name, release=release, version=version)

    async def _note_storms(self, epoch: Epoch) -> None:
        """Who tried to connect without pause; of the cells' servers, not of the control pair. Raises EngineError."""
        if epoch.kind == CONTROL:
            return
        domains = {mac: domain for domain, mac in epoch.macs.items()}
        for a, b, attempts in await self.parts.wiretap.storms(list(domains)):
            self.parts.journal.note(observations.STORM, epoch=epoch, sender=domains[a], receiver=domains[b], cut=attempts)

    async def _halt(self, epoch: Epoch) -> None:
        """End an epoch's servers; what those in containers of their own logged stays for `collect`. Raises EngineError.

        One that goes on keeps its client, and gives what it has logged in this epoch.
        """
        parts, epoch.halting = self.parts, True
        lasting = epoch.lasting if epoch.lasting not in epoch.failed else None
        parts.driver.logout(epoch.client(s.domain) for s in epoch.servers if s.domain != lasting)

        async def part(domain: str) -> None:
            berth = epoch.berths[domain]
            await self.keep_log(epoch, domain, await parts.workers.do(berth.log if domain == lasting else berth.stop))
            epoch.logged.add(domain)

        # whoever goes on has its log read when its peer is gone
        there = [domain for domain in epoch.berths if domain in epoch.macs]
        for domains in ([d for d in there if d != lasting], [d for d in there if d == lasting]):
            async with task_group() as parting:
                for domain in domains:
                    parting.create_task(part(domain))
        containers = list(epoch.containers.values())
        async with task_group() as halts:
            for share in (containers[n::STARTS] for n in range(min(STARTS, len(containers)))):
                halts.create_task(parts.workers.do(functools.partial(federation.halt, share)))

    def _disconnected(self, envelope: Envelope) -> None:
        """A client lost its server."""
        name, _, domain = envelope.message.client.rpartition(":")
        epoch = self._gone_on.get(envelope.message.client) or self._epochs.get(name)
        if epoch and domain in epoch.online and not epoch.halting:
            reason = envelope.message.reason
            self.parts.journal.note(observations.DISCONNECTED, at=envelope.time, epoch=epoch, domain=domain, reason=reason)
            if tasks := self._watches.get(epoch.id):
                look = self._look(epoch, domain, envelope)
                try:
                    tasks.create_task(look)
                except RuntimeError:  # the group is ending, of an error that is the news
                    look.close()
