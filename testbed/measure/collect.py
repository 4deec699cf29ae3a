"""What is left of a phase when it is measured: wire and logs become observations, capture and logs become evidence.

Rule: behind the observations of a capture or a log stands one that says that it was taken in, and whether as a whole: without it
nothing follows from what is absent.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from testbed.display import Display
from testbed.engine import federation
from testbed.engine.federation import Container, Log
from testbed.measure import serverlog
from testbed.measure.epoch import Epoch
from testbed.measure.pace import CAPTURE_KB
from testbed.measure.parts import Parts
from testbed.measure.tasks import task_group
from testbed.measure.wiretap.dissect import Dissector, Stream
from testbed.measure.wiretap.wiretap import S2S_PORT
from testbed.model import EngineError, InputError, Server
from testbed.plan.catalog import Catalog
from testbed.record import observations
from testbed.record.observations import STREAM, Observation

LEVEL = 3
"""Of gzip, for evidence: text to a tenth, in little time."""


class Collector:
    """Takes in what wire and logs have to say, into the record of one run."""

    def __init__(
        self, parts: Parts, catalog: Catalog, servers: Mapping[str, Server], domains: Iterable[str], display: Display
    ) -> None:
        """``servers`` by domain, the control pair's among them; ``domains``: those of the plan."""
        self.parts, self.catalog, self.servers, self.domains, self.display = parts, catalog, servers, set(domains), display
        self._bounded: set[str] = set()
        """Phases whose capture reached its bound."""
        self._read: set[str] = set()
        """Epochs, by id, whose logs were read before their phase's end."""

    @contextlib.asynccontextmanager
    async def capture(self, phase: str, cells: int, *, full: bool) -> AsyncIterator[None]:
        """The capture of a phase with so many ``cells``; ``full``: every packet, without a bound. Raises EngineError."""
        limit = 0 if full else CAPTURE_KB[0] + CAPTURE_KB[1] * cells
        await self.parts.wiretap.capture(phase, self.parts.mesh.bridge, limit, everything=full)
        yield
        captured = await self.parts.wiretap.stop_capture(phase)
        self.parts.journal.note(observations.WIRETAP_CAPTURED, **vars(captured))
        if captured.full:
            self._bounded.add(phase)
            self.display.say(f"{phase}: the capture reached its bound and ended early; measure again with --full-capture")

    async def collect(self, phase: str, epochs: Sequence[Epoch]) -> float:
        """Everything of a phase whose capture has ended; the containers go. Returns the seconds that it took."""
        began, stage = time.monotonic(), f"{phase}: evidence"
        containers = [(e, domain, c) for e in epochs if e.id not in self._read for domain, c in e.containers.items()]
        self.display.stage(stage, len(containers) + 1)
        async with task_group() as tasks:
            for epoch, domain, container in containers:
                tasks.create_task(self._read_log(epoch, domain, container, stage))
            tasks.create_task(self._dissect(phase, epochs))
        await self.parts.workers.do(lambda: self._keep_capture(phase))
        self.display.advance(stage)
        return time.monotonic() - began

    async def read_logs(self, epoch: Epoch) -> None:
        """The logs of an epoch that has ended, one after the other, while others of its phase go on; the containers go."""
        self._read.add(epoch.id)
        for domain, container in epoch.containers.items():
            await self._read_log(epoch, domain, container)

    async def keep_log(self, epoch: Epoch, domain: str, log: Log) -> None:
        """A server's log as evidence and as observations, and that it was taken in."""
        journal, unread = self.parts.journal, log.unread
        try:
            journal.extend(await self.parts.workers.do(lambda: self._parse_log(epoch, domain, log.raw)))
        except InputError as error:  # its patterns take too long
            unread = str(error)
            self.display.warn(f"the log of {domain} was not taken in: {error.file}: {error.message}")
        journal.note(observations.LOG_TAKEN_IN, epoch=epoch, domain=domain, ok=unread is None, size=len(log.raw), reason=unread)

    async def _dissect(self, phase: str, epochs: Sequence[Epoch]) -> None:
        """The streams of the capture, each for the epoch that had its addresses then."""
        dissector = Dissector(S2S_PORT)
        reply, journal = await self.parts.wiretap.dissect(phase, dissector.feed), self.parts.journal
        if reply.status:
            reason = f"tshark ended with {reply.status}: {reply.said}"
            journal.note(observations.WIRETAP_FAILED, phase=phase, reason=reason)
        if dissector.unread:
            reason = f"{dissector.unread} lines of tshark could not be read"
            journal.note(observations.WIRETAP_FAILED, phase=phase, reason=reason)
        streams = observations_of(dissector.streams.values(), phase, epochs)
        journal.extend(streams)
        until = max((s.end for s in dissector.streams.values()), default=0.0) if phase in self._bounded else None
        journal.note(observations.WIRE_TAKEN_IN, phase=phase, status=reply.status, streams=len(streams), until=until)

    def _keep_capture(self, phase: str) -> None:
        """The capture as evidence, compressed (Wireshark opens it as it is)."""
        with contextlib.suppress(EngineError):
            raw = federation.fetch(self.parts.wiretap.channel.container, f"/captures/{phase}.pcapng")
            self.parts.journal.writer.keep(gzip.compress(raw, LEVEL), phase, "s2s.pcapng.gz")

    async def _read_log(self, epoch: Epoch, domain: str, container: Container, stage: str | None = None) -> None:
        """A container's log is kept; then the container goes."""

        def read() -> Log:
            log = federation.read_log(container)
            federation.drop([container])
            return log

        await self.keep_log(epoch, domain, await self.parts.workers.do(read))
        if stage:
            self.display.advance(stage)

    def _parse_log(self, epoch: Epoch, domain: str, raw: bytes) -> list[Observation]:
        phase = epoch.phase.name
        self.parts.journal.writer.keep(gzip.compress(raw, LEVEL), phase, epoch.name, f"{domain}.log.gz")
        if domain not in self.servers:
            return []
        addresses = {ip: d for d, pair in epoch.addresses.items() for ip in pair if ip}
        return serverlog.observe(
            self.catalog.image(self.servers[domain].implementation).logs,
            itertools.takewhile(lambda _: not self.parts.workers.ended, serverlog.stamped(raw)),  # nobody waits for it any more
            server=domain,
            domains=self.domains & epoch.addresses.keys(),  # of who was met before, a server that goes on may still write
            addresses=addresses,
            phase=phase,
            epoch=epoch.name,
        )


def observations_of(streams: Iterable[Stream], phase: str, epochs: Sequence[Epoch]) -> list[Observation]:
    """TCP streams as observations; those between addresses that were no two servers' of one epoch are none.

    Two pairs measured alone, one after the other, may have had one slot's addresses: the time tells them apart.
    """
    observations = []
    for stream in streams:
        ends = [owner(ip, stream.start, epochs) for ip in (stream.initiator, stream.receiver)]
        if ends[0] and ends[1] and ends[0][0] == ends[1][0]:
            facts = {k: v for k, v in stream.facts().items() if k not in ("initiator", "receiver")}
            data = {"sender": ends[0][1], "receiver": ends[1][1], **facts}
            observations.append(STREAM.at(stream.start, data, phase=phase, epoch=ends[0][0]))
    return observations


def owner(ip: str, moment: float, epochs: Iterable[Epoch]) -> tuple[str, str] | None:
    """The epoch and the domain that an address belonged to at a time (Unix seconds)."""
    for epoch in epochs:
        if epoch.began <= moment <= epoch.ended:
            for domain, pair in epoch.addresses.items():
                if ip in pair:
                    return epoch.name, domain
    return None
