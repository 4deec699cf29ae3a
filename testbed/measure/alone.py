"""Measures a pair alone: a federation of just the two beside the mesh, with a name server and addresses of its own.

Rule: new processes on an empty state, in containers that are kept for one pair after another (`engine/berths`).
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence

from testbed.engine import federation
from testbed.engine.berths import Berth, Berths
from testbed.engine.images import Images
from testbed.measure import zone
from testbed.measure.attempts import Attempts, Progress
from testbed.measure.epoch import Epoch
from testbed.measure.epochs import Epochs
from testbed.measure.pace import Slots
from testbed.measure.parts import Parts
from testbed.measure.tasks import task_group
from testbed.model import EngineError, Phase, Server
from testbed.record import observations
from testbed.record.legs import ALONE


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
    ) -> None:
        """``servers`` by domain; ``berths`` for them, ``names`` for their name servers."""
        self.parts, self.epochs, self.attempts, self.images, self.servers = parts, epochs, attempts, images, servers
        self.slots, self.berths, self.names = Slots(federation.SLOTS), berths, names
        self._numbers: dict[str, int] = defaultdict(int)
        self._serials = itertools.count(zone.FIRST + 1)

    async def pair(
        self, phase: Phase, a: str, b: str, exchanges: Sequence[str], *, urgent: bool = False, progress: Progress = lambda _: None
    ) -> Epoch:
        """Measure both directions, ``a`` first; ``urgent``: before others that wait. What fails of it is noted, not raised."""
        servers = (self.servers[a], self.servers[b])
        there = {s.domain: image for s in servers if (image := self.images.server(s.implementation))}
        wanted = [(self.names, self.images.ids["dns"]), *((self.berths, image) for image in there.values())]

        def cost() -> int:
            return -1 if urgent else sum(b.missing([i for own, i in wanted if own is b]) for b in (self.names, self.berths))

        async with self.slots.place(cost):
            self._numbers[phase.name] += 1
            name = self.parts.journal.epoch_name(ALONE, self._numbers[phase.name])
            epoch = Epoch(phase, name, servers, phase.settings, {}, "", waits=self.epochs.waits)
            taken: list[Berth] = []
            try:
                for berths, image in wanted:
                    async with self.parts.starting:
                        taken.append(await self.parts.workers.do(functools.partial(berths.take, image)))
                epoch.dns = taken[0].address[0]
                epoch.berths = dict(zip(there, taken[1:], strict=True))
                epoch.addresses = {domain: berth.address for domain, berth in epoch.berths.items()}
                async with self.epochs.running(epoch):
                    await self._serve(taken[0], epoch)
                    await self.attempts.pair(epoch, a, b, exchanges, progress=progress)
            except EngineError as error:
                await self._note_failure(epoch, error)
                async with task_group() as discards:
                    for (berths, _), berth in zip(wanted, taken, strict=False):
                        discards.create_task(self.parts.workers.do(functools.partial(berths.discard, berth)))
                self.epochs.ended(epoch)
            else:
                for (berths, _), berth in zip(wanted, taken, strict=True):
                    berths.give(berth)
        return epoch

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
