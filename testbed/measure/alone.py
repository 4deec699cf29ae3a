"""Measures a pair alone: a federation of just the two beside the mesh, with a name server and addresses of its own.

Rule: new processes on an empty state, in containers that are kept for one pair after another (`engine/berths`); but a server
whose start is dear may go on for the next pair of its own, if that is as good (`kept`).
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from testbed.engine import federation
from testbed.engine.berths import Berth, Berths
from testbed.engine.images import Images
from testbed.measure import zone
from testbed.measure.attempts import Attempts, Progress
from testbed.measure.epoch import Epoch
from testbed.measure.epochs import Epochs
from testbed.measure.kept import Kept
from testbed.measure.pace import Slots
from testbed.measure.parts import Parts
from testbed.measure.tasks import task_group
from testbed.model import Cell, EngineError, Phase, Server
from testbed.record import observations
from testbed.record.legs import ALONE

Settled = Callable[[Epoch, Cell], bool]
"""Asked of a cell that failed once, alone in an epoch: whether it need not be tried a second time there."""
AFRESH = 2
"""Containers that a start of a kept server counts for: whoever may still meet the one that runs goes before."""
Lasting = Callable[[Phase, str, str], str | None]
"""Asked of the two domains of a pair: whose server may be kept for other pairs."""


class Alone:
    """Federations of two, so many at once as there are slots."""

    def __init__(
        self,
        parts: Parts,
        epochs: Epochs,
        attempts: Attempts,
        images: Images,
        servers: Mapping[str, Server],
        berths: Berths,
        names: Berths,
        lasting: Lasting | None = None,
    ) -> None:
        """``servers`` by domain; ``berths`` for them, ``names`` for their name servers; without ``lasting`` all start afresh."""
        self.parts, self.epochs, self.attempts, self.images, self.servers = parts, epochs, attempts, images, servers
        self.slots, self.berths, self.names = Slots(federation.SLOTS), berths, names
        self.lasting: Lasting = lasting or (lambda *_: None)
        self._numbers: dict[str, int] = defaultdict(int)
        self._serials = itertools.count(zone.FIRST + 1)
        self._kept: dict[tuple[str, str], Kept] = {}
        """By `Kept.key`, those that are in no epoch just now."""

    async def pair(
        self,
        phase: Phase,
        a: str,
        b: str,
        exchanges: Sequence[str],
        *,
        urgent: bool = False,
        progress: Progress = lambda _: None,
        settled: Settled = lambda *_: False,
    ) -> Epoch:
        """Measure both directions, ``a`` first; ``urgent``: before others that wait. What fails of it is noted, not raised."""
        servers = (self.servers[a], self.servers[b])
        there = {s.domain: image for s in servers if (image := self.images.server(s.implementation))}
        lasting = self.lasting(phase, a, b) if len(there) == len(servers) else None
        peer = b if lasting == a else a
        key = (phase.name, lasting) if lasting else None

        def cost() -> int:
            kept = self._kept.get(key) if key else None
            wanted = [image for domain, image in there.items() if not kept or domain != lasting]
            missing = self.berths.missing(wanted) + (0 if kept else self.names.missing([self.images.ids["dns"]]))
            if kept and not kept.may_meet(peer):
                return missing + AFRESH
            return -1 if urgent else missing

        async with self.slots.place(cost, key):
            self._numbers[phase.name] += 1
            name = self.parts.journal.epoch_name(ALONE, self._numbers[phase.name])
            epoch = Epoch(phase, name, servers, phase.settings, {}, "", lasting=lasting, waits=self.epochs.waits)
            kept = await self._take_kept(key, peer) if key else None
            taken: list[tuple[Berths, Berth]] = []
            try:
                names = await self._seat(epoch, there, kept, taken)
                async with self.epochs.running(epoch):
                    await self._serve(names, epoch)
                    await self.attempts.pair(
                        epoch, a, b, exchanges, progress=progress, settled=functools.partial(settled, epoch)
                    )  # fmt: skip
            except EngineError as error:
                await self._note_failure(epoch, error)
                async with task_group() as discards:
                    for berths, berth in taken:
                        discards.create_task(self.parts.workers.do(functools.partial(berths.discard, berth)))
                self.epochs.ended(epoch)
            else:
                if lasting and lasting in epoch.macs and lasting not in epoch.failed:
                    taken = await self._keep(epoch, lasting, peer, kept, taken)
                for berths, berth in taken:
                    berths.give(berth)
        return epoch

    async def release(self, phase: Phase) -> None:
        """End what is kept for a phase: none of its pairs is measured alone any more."""
        for kept in [self._kept.pop(key) for key in list(self._kept) if key[0] == phase.name]:
            await self._end(kept)

    async def _seat(self, epoch: Epoch, there: Mapping[str, str], kept: Kept | None, taken: list[tuple[Berths, Berth]]) -> Berth:
        """Berths for an epoch, each put among those ``taken`` at once; ``there``: images by domain. Returns the name server's."""
        avoid = frozenset(kept.met.values()) if kept else frozenset()

        async def take(berths: Berths, image: str) -> Berth:
            async with self.parts.starting:
                berth = await self.parts.workers.do(functools.partial(berths.take, image, avoid))
            taken.append((berths, berth))
            return berth

        if kept:
            epoch.kept[kept.domain] = kept
            taken += [(self.names, kept.names), (self.berths, kept.berth)]
        names = kept.names if kept else await take(self.names, self.images.ids["dns"])
        for domain, image in there.items():
            epoch.berths[domain] = kept.berth if kept and domain == kept.domain else await take(self.berths, image)
        epoch.dns, epoch.names = names.address[0], names.container
        epoch.addresses = {domain: berth.address for domain, berth in epoch.berths.items()}
        return names

    async def _take_kept(self, key: tuple[str, str], peer: str) -> Kept | None:
        """The server that is kept for a phase and domain, if it may meet this peer and lives; else it ends."""
        kept = self._kept.pop(key, None)  # before it is looked at: meanwhile nobody else may end it
        if kept and kept.may_meet(peer) and await self._lives(kept):
            return kept
        if kept:
            await self._end(kept)
        return None

    async def _lives(self, kept: Kept) -> bool:
        """Whether its process is there, and its client gets a message of its own back."""
        if await self.parts.workers.do(lambda: federation.ending(kept.berth.container)):
            return False
        return await self.parts.driver.alive(kept.client, self.epochs.waits.sentinel)

    async def _keep(
        self, epoch: Epoch, domain: str, peer: str, kept: Kept | None, taken: list[tuple[Berths, Berth]]
    ) -> list[tuple[Berths, Berth]]:
        """Let a server go on; if too many do, that one ends that fewest pairs wait for. Returns the other berths."""
        names = next(berth for berths, berth in taken if berths is self.names)
        kept = kept or Kept(epoch.phase.name, domain, epoch.berths[domain], names, epoch.client(domain), epoch.name)
        kept.met[peer] = epoch.addresses[peer][0]
        self._kept[kept.key] = kept
        if len(self._kept) > federation.KEPT:
            await self._end(self._kept.pop(min(self._kept, key=self.slots.waiting)))
        return [(berths, berth) for berths, berth in taken if berth not in (kept.berth, kept.names)]

    async def _end(self, kept: Kept) -> None:
        """End a server that nobody can take any more; what it logged since its last epoch is of none."""
        self.parts.driver.logout([kept.client])
        try:
            await self.parts.workers.do(kept.berth.stop)
        except EngineError:  # it has ended by itself, and its container with it
            await self.parts.workers.do(functools.partial(self.berths.discard, kept.berth))
        else:
            self.berths.give(kept.berth)
        self.names.give(kept.names)

    async def _note_failure(self, epoch: Epoch, error: EngineError) -> None:
        """Which of the two servers ended, with what they logged until then; else that the testbed could not go on."""
        await self.epochs.note_ended(epoch)
        if not epoch.failed:
            servers = [s.domain for s in epoch.servers]
            self.parts.journal.note(observations.EPOCH_FAILED, epoch=epoch, servers=servers, reason=str(error))
        for domain in epoch.macs.keys() - epoch.logged:
            berth = epoch.berths[domain]
            await self.epochs.keep_log(epoch, domain, await self.parts.workers.do(berth.log))

    async def _serve(self, berth: Berth, epoch: Epoch) -> None:
        """A name server for this epoch alone; returns when it answers with this epoch's zone. Raises EngineError."""
        serial = next(self._serials)
        text = zone.render_zone(epoch.addresses, serial=serial)
        await self.parts.workers.do(lambda: berth.start({"/etc/testbed/zone": text.encode()}, berth.address[0]))
        await self.parts.driver.zone_loaded(berth.address[0], serial)
