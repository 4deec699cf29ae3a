"""The one orchestration loop: raises the federation of each phase, lets every pair talk, writes Observations. Judges nothing.

A phase is measured in *epochs*: ``mesh`` starts all servers; ``alone-N`` starts the two servers of one pair again, beside it,
with a name server of their own; ``control-first`` and ``control-last`` start two servers that must get through. In every epoch a
pair may talk only while it is measured (the gate), so that one broken pair cannot disturb another; how many talk at once follows
the pressure that is measured on the machine. What fails is tried twice; what fails unexpectedly, or not always, is measured
alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import gzip
import hashlib
import itertools
import random
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from testbed.display import Display
from testbed.engine import federation
from testbed.engine.berths import Berth, Berths
from testbed.engine.channel import Channel
from testbed.engine.federation import Container
from testbed.engine.host import Engine
from testbed.engine.images import Images
from testbed.expectations import expect
from testbed.measure import driver, manifest, pki, serverlog, wiretap, zone
from testbed.measure.pace import (
    ALIVE,
    ATTEMPTS,
    BOOT,
    CAPTURE_KB,
    CAPTURE_LAG,
    CONFIRM,
    HEAVY,
    LINGER,
    MOST_ALONE,
    NEGOTIATION,
    OVERLAP,
    PATIENCE,
    PROBE,
    RECOVERY,
    SENTINEL,
    STARTS,
    Admission,
    Rank,
    Slots,
)
from testbed.measure.wiretap.dissect import Dissector
from testbed.model import (
    CONTROL_DOMAINS,
    Cell,
    EngineError,
    Implementation,
    Outcome,
    Phase,
    Plan,
    Server,
    Settings,
)
from testbed.plan.catalog import Catalog
from testbed.plan.policy import PRESETS
from testbed.plan.profiles import PROFILES
from testbed.record.observations import Observation, Source
from testbed.record.store import CLOSING, Writer

S2S_PORT = 5269
CONTROL_POLICY = "opportunistic"


@dataclass
class Epoch:
    """One start of servers within a phase: the ``mesh``, a pair that is measured ``alone-N``, or the control pair."""

    phase: Phase
    name: str
    servers: tuple[Server, ...]
    settings: Mapping[str, Settings]
    addresses: dict[str, tuple[str, str | None]]
    """Domain -> IPv4 and IPv6 address."""
    dns: str
    """The name server that these servers ask."""
    containers: dict[str, Container] = field(default_factory=dict)
    berths: dict[str, Berth] = field(default_factory=dict)
    """Of a pair that is measured alone: what its servers run in, and others before and after them."""
    macs: dict[str, str] = field(default_factory=dict)
    online: dict[str, asyncio.Future[bool]] = field(default_factory=dict)
    results: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Cell id -> of each attempt `received` · `error` · `silence` · `unsendable`, or once `not-started`."""

    began: float = 0.0
    ended: float = float("inf")

    @property
    def id(self) -> str:
        """Unique within the run."""
        return f"{self.phase.name}:{self.name}"

    def container(self, domain: str) -> Container:
        """What the server of ``domain`` runs in. KeyError if it was not started."""
        return self.berths[domain].container if domain in self.berths else self.containers[domain]

    def key(self, domain: str) -> str:
        """The name of the client that is logged in at ``domain`` in this epoch."""
        return f"{self.id}:{domain}"


@dataclass
class Round:
    """A phase while it is measured."""

    phase: Phase
    epochs: list[Epoch] = field(default_factory=list)
    alone: dict[tuple[str, str], asyncio.Task[None]] = field(default_factory=dict)
    unconfirmed: list[list[str]] = field(default_factory=list)
    booted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the mesh is up: until then the machine is for it."""
    done: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when every cell is measured."""
    control: asyncio.Task[None] | None = None
    """The control pair that runs last."""

    def answers(self, cell: Cell, *, alone: bool, first: bool | None = None) -> list[str]:
        """What came of a cell in the mesh or alone; ``first``: only where its direction went first, or only where it did not."""
        found: list[str] = []
        for epoch in self.epochs:
            if (epoch.name != "mesh") is alone and epoch.results.get(cell.id):
                results = epoch.results[cell.id]
                cold = results[:1] if epoch.servers[0].domain == cell.sender else []
                found += results if first is None else cold if first else results[len(cold) :]
        return found


@dataclass(frozen=True)
class Manner:
    """How a plan is measured; stands in the manifest."""

    isolated: bool = False
    """Every direction of every pair in a federation of just the two, started for it."""
    confirm: int | None = CONFIRM
    """Pairs that are measured alone per phase at most, where the mesh is doubted; None: all of them."""
    full_capture: bool = False
    """Every packet of the federation, without a bound, rather than what verdicts need."""


class Runner:
    """Measures one plan on one engine into one record."""

    def __init__(
        self,
        plan: Plan,
        catalog: Catalog,
        engine: Engine,
        images: Images,
        writer: Writer,
        display: Display,
        *,
        manner: Manner | None = None,
        argv: Sequence[str] = (),
    ) -> None:
        self.plan, self.catalog, self.engine = plan, catalog, engine
        self.images, self.writer, self.display = images, writer, display
        self.manner, self.argv = manner or Manner(), list(argv)
        self.isolated = self.manner.isolated
        self.timing: dict[str, float] = {}
        self.random = random.Random(plan.seed)
        self.issued: dict[tuple[str, str], pki.Issued] = {}
        self.threads = ThreadPoolExecutor(STARTS + 4, thread_name_prefix="engine")
        self.waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.tokens: dict[str, tuple[Cell, Epoch]] = {}
        self.epochs: dict[str, Epoch] = {}
        self.dissectors: dict[str, Dissector] = {}
        self.versions: set[Implementation] = set()
        self.alone_number: dict[str, int] = defaultdict(int)
        self.serial = 1
        self.background: list[asyncio.Task[None]] = []
        self.domains = {s.domain for s in plan.servers}
        self.controls = control_pair(plan, catalog, images)
        self.by_domain = {s.domain: s for s in (*plan.servers, *self.controls)}

    # --- the record ---

    def note(
        self,
        source: Source,
        kind: str,
        *,
        time_: float | None = None,
        phase: str | None = None,
        cell: Cell | None = None,
        epoch: Epoch | None = None,
        **data: Any,
    ) -> None:
        """Append one observation."""
        phase = epoch.phase.name if epoch else cell.phase if cell else phase
        self.writer.append(
            Observation(time_ or time.time(), source, kind, phase, epoch.name if epoch else None, cell.id if cell else None, data)
        )

    # --- the run ---

    async def run(self, after: Callable[[], None] = lambda: None) -> None:
        """Measure everything; when the record is complete, do ``after`` in a thread, while the containers go.

        Raises EngineError if the testbed itself cannot go on; what was recorded until then stays.
        """
        began = time.monotonic()
        self.loop = asyncio.get_running_loop()
        self.starting = asyncio.Semaphore(STARTS)
        self.admission = Admission()
        self.controlling = asyncio.Lock()  # its addresses are the same every time
        self.slots = Slots(federation.SLOTS)
        authorities = await self.off(lambda: pki.make_pki(dt.datetime.now(dt.UTC).replace(microsecond=0)))
        wanted = {(d, s.certificate): None for p in self.plan.phases for d, s in p.settings.items()}
        wanted |= {(s.domain, s.certificate): None for s in self.controls}
        self.display.stage("certificates", len(wanted))
        self.issued = await self.off(lambda: authorities.issue_all(wanted))
        self.display.advance("certificates", len(wanted))
        content = manifest.build(self.plan, self.catalog, self.images, self.issued, engine=self.engine.version)
        self.writer.manifest({**content, "argv": self.argv, **asdict(self.manner)})
        self.timing["certificates"] = time.monotonic() - began
        ipv6 = Path("/proc/sys/net/ipv6").is_dir() and self.plan.ipv6
        try:
            self.mesh = await self.off(lambda: federation.Mesh(self.engine, self.writer.id, len(self.by_domain), ipv6=ipv6))
            self.berths = Berths(self.mesh, self.mesh.addresses.alone(len(self.by_domain)))
            await self.raise_parts()
            self.timing["first-container"] = time.monotonic() - began
            await self.watched(self.measure_all())
            self.timing["total"] = time.monotonic() - began
            seconds: dict[str, Any] = {k.replace("-", "_"): round(v, 3) for k, v in self.timing.items()}
            self.writer.append(Observation(time.time(), Source.ENGINE, "timing", data=seconds))
            self.writer.close(Observation(time.time(), Source.ENGINE, CLOSING, data={"observations": self.writer.count}))
            then = asyncio.ensure_future(asyncio.to_thread(after))
        finally:
            self.writer.flush()
            await self.raze()
        await then

    async def raze(self) -> None:
        """Remove everything that the run has on the engine, when no thread can make more of it."""
        await asyncio.to_thread(lambda: self.threads.shutdown(cancel_futures=True))
        await asyncio.to_thread(lambda: federation.remove(self.engine.client, {federation.RUN_LABEL: self.writer.id}))

    async def measure_all(self) -> None:
        """Phase after phase; then wait for what is left of each, and raise what went wrong there."""
        for phase in self.plan.phases:
            await self.measure_phase(phase)
        awaited = 0
        while left := self.background[awaited:]:  # what is left may start more
            awaited += len(left)
            await asyncio.gather(*left)

    async def watched(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work`` while both agents live. Raises EngineError when one ends: an engine may be killed at any moment."""
        task, pressure = asyncio.ensure_future(work), asyncio.ensure_future(self.watch_pressure())
        ends = {asyncio.ensure_future(c.closed.wait()): c for c in (self.tap, self.talker)}
        try:
            await asyncio.wait({task, pressure, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and any(end.done() for end in ends):
                gone = next(channel for end, channel in ends.items() if end.done())
                how = await self.off(lambda: federation.fate(gone.container))
                raise EngineError(
                    f"{gone.container.name} {how} in the middle of the run: {gone.said()}; "
                    f"what was measured until then is kept: testbed report {self.writer.path}"
                )
            await (task if task.done() else pressure)
        finally:
            for pending in (task, pressure, *ends, *self.background):
                pending.cancel()

    async def off(self, work: Any) -> Any:
        """Do blocking work in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)

    async def raise_parts(self) -> None:
        """Name server, wiretap and driver."""
        addresses = self.mesh.addresses
        hosts = {s.domain: addresses.of(s.index) for s in self.by_domain.values()}
        self.writer.evidence("zone").write_text(zone.render_zone(hosts))
        dns, tap, talker = await asyncio.gather(
            self.off(lambda: self.mesh.start_dns(self.images.ids["dns"], zone.render_zone(hosts), addresses.dns)),
            self.off(lambda: self.mesh.create_agent("wiretap", self.images.ids["wiretap"], wiretap.files(), inside=False)),
            self.off(lambda: self.mesh.create_agent("driver", self.images.ids["driver"], driver.files(), inside=True)),
        )
        del dns
        self.tap, self.talker = Channel(tap, self.on_tap), Channel(talker, self.on_driver)
        for channel in (self.tap, self.talker):
            channel.start()
            await self.off(lambda channel=channel: federation.start(channel.container))
            await channel.expect(lambda e: e["event"] == "ready", 60, "its first word")
        self.tap.send(
            do="prepare",
            name=f"s2s_{self.mesh.short}",
            interface=self.mesh.bridge,
            servers=len(self.by_domain),
            subnets=addresses.subnets,
            port=S2S_PORT,
            attempts=ATTEMPTS,
        )
        ready = await self.tap.expect(lambda e: e["event"] in ("prepared", "failed") or e.get("ok") is False, 60, "the gate")
        if ready["event"] == "neighbours":
            raise EngineError(
                f"{len(self.plan.servers)} servers need {ready['need']} entries in the neighbour table, which holds "
                f"{ready['before']}; only root can raise it: {ready['command']}"
            )
        if ready["event"] == "failed":
            raise EngineError(f"the gate between servers cannot be made: {ready['reason']}")

    async def measure_phase(self, phase: Phase) -> None:
        """The mesh; what comes out otherwise than expected is measured alone beside it, and may go on into the next phase."""
        round_ = Round(phase)
        pairs = [(a, b) if self.random.random() < 0.5 else (b, a) for a, b in self.plan.pairs]
        self.random.shuffle(pairs)
        started = self.tap.expect(lambda e: e["event"] in ("capturing", "failed"), 30, "the capture's start")
        cells = 2 * len(pairs) * len(self.plan.exchanges) * (2 if self.isolated else 1)
        self.tap.send(
            do="capture",
            name=phase.name,
            interface=self.mesh.bridge,
            filter="" if self.manner.full_capture else capture_filter(S2S_PORT),
            limit=0 if self.manner.full_capture else CAPTURE_KB[0] + CAPTURE_KB[1] * cells,
        )
        if (told := await started)["event"] == "failed":
            raise EngineError(f"the capture cannot be started: {told['reason']}")
        self.display.stage(f"{phase.name}: cells", cells)
        if self.isolated:
            round_.booted.set()
        if phase is self.plan.phases[0]:
            await self.control(round_, "first")  # on an idle machine: two light servers, a second or two
        if self.isolated:
            for a, b in pairs:
                self.confirm(round_, a, b)
            await asyncio.gather(*round_.alone.values())
        else:
            await self.measure_mesh(round_, pairs)
        self.background.append(asyncio.create_task(self.finish(round_)))

    async def control(self, round_: Round, when: str) -> None:
        """Two servers that must get through, over the same name server, bridge, gate and driver as every cell; started anew.

        ``last`` sends when everything else is measured.
        """
        if not self.controls:
            return  # no image at all: no cell is measured either
        await self.controlling.acquire()
        servers = self.controls
        addresses = {s.domain: self.mesh.addresses.of(s.index) for s in servers}
        settings = {s.domain: Settings(s.policy, s.certificate) for s in servers}
        epoch = Epoch(round_.phase, f"control-{when}", servers, settings, addresses, self.mesh.addresses.dns[0])
        self.begin(round_, epoch)
        try:
            await asyncio.gather(*(self.start_server(epoch, s) for s in servers))
            if when == "last":
                await round_.done.wait()
            cells = [Cell(round_.phase.name, a.domain, b.domain, self.plan.exchanges[0]) for a, b in (servers, servers[::-1])]
            await self.pair(round_, epoch, servers[0].domain, servers[1].domain)
            ok = all(epoch.results[c.id][:1] == ["received"] for c in cells)
            said = "; ".join(f"{c.sender} → {c.receiver}: {', '.join(epoch.results[c.id])}" for c in cells)
            self.note(Source.ENGINE, "control", epoch=epoch, when=when, ok=ok, reason=None if ok else said)
            if not ok:
                self.display.say(f"the control pair, which must get through, does not ({round_.phase.name}, {when}): {said}")
        finally:
            self.background.append(asyncio.create_task(self.end_control(epoch)))
        if when == "last":
            await asyncio.sleep(CAPTURE_LAG)

    async def end_control(self, epoch: Epoch) -> None:
        """Give the control pair's addresses back; nobody waits for that but the next control pair."""
        await asyncio.sleep(LINGER + 0.1)
        await self.halt(epoch)
        self.controlling.release()

    async def measure_mesh(self, round_: Round, pairs: list[tuple[str, str]]) -> None:
        """Every server at once; a pair talks as soon as both are up."""
        began = time.monotonic()
        name = round_.phase.name
        wanted = {d for pair in pairs for d in pair}
        servers = tuple(s for s in self.plan.servers if s.domain in wanted)
        addresses = {s.domain: self.mesh.addresses.of(s.index) for s in servers}
        epoch = Epoch(round_.phase, "mesh", servers, round_.phase.settings, addresses, self.mesh.addresses.dns[0])
        self.display.stage(f"{name}: servers", len(epoch.servers))
        self.begin(round_, epoch)
        boots = [asyncio.create_task(self.start_server(epoch, s)) for s in self.boot_order(epoch.servers)]
        talking = [asyncio.create_task(self.in_turn(round_, epoch, a, b)) for a, b in pairs]
        try:
            await asyncio.gather(*boots)
            round_.booted.set()
            self.timing[f"{name}-boot"] = time.monotonic() - began
            apart = [pair for pair in pairs if self.crosstalks(round_.phase, *pair)]
            soon = len(apart) if self.manner.confirm is None else self.manner.confirm // 2
            for a, b in apart[:soon]:
                self.confirm(round_, a, b)
            round_.control = asyncio.create_task(self.control(round_, "last"))
            self.background.append(round_.control)
            await asyncio.gather(*talking)
            self.timing[f"{name}-cells"] = time.monotonic() - began
            for a, b in apart[soon:]:  # behind those that are doubted
                self.confirm(round_, a, b)
        finally:
            for task in (*boots, *talking):
                task.cancel()
        # The capture's tail has to reach its file while the addresses still are this phase's.
        await asyncio.sleep(max(LINGER + 0.1, CAPTURE_LAG))
        await self.note_storms(epoch)
        await self.halt(epoch)

    async def in_turn(self, round_: Round, epoch: Epoch, a: str, b: str) -> None:
        """A pair of the mesh; while servers boot, the processors are for them and for the pairs that only wait for timers."""
        ought = {self.expected(round_.phase, a, b), self.expected(round_.phase, b, a)} == {Outcome.DELIVERED}
        rank = Rank.DELIVERS if ought and not self.crosstalks(round_.phase, a, b) else Rank.WAITS
        if rank is Rank.DELIVERS:
            await round_.booted.wait()
        await self.pair(round_, epoch, a, b, rank)

    async def finish(self, round_: Round) -> None:
        """Wait for the pairs that are measured alone, end the capture, and take in what wire and logs have to say."""
        name = round_.phase.name
        await asyncio.gather(*round_.alone.values())
        round_.done.set()
        await (round_.control or self.control(round_, "last"))
        if round_.unconfirmed:
            self.note(Source.ENGINE, "unconfirmed", phase=name, pairs=round_.unconfirmed)
        if round_.alone:
            await asyncio.sleep(CAPTURE_LAG)
        captured = self.tap.expect(lambda e: e["event"] == "captured" and e["name"] == name, 60, "the capture's end")
        self.tap.send(do="stop", name=name)
        if (await captured)["full"]:
            self.display.say(f"{name}: the capture reached its bound and ended early; measure again with --full-capture")
        delays = sorted(self.admission.delays) or [0.0]
        self.note(
            Source.ENGINE, "pressure", phase=name, median=delays[len(delays) // 2], highest=delays[-1], limit=self.admission.limit
        )
        await self.collect(round_.phase, round_.epochs)

    def doubtful(self, round_: Round, cell: Cell) -> bool:
        """Whether what the mesh saw of a cell has to be confirmed: unexpected, or not the same every time. Judges nothing."""
        results = set(round_.answers(cell, alone=False))
        expected = self.expected(round_.phase, cell.sender, cell.receiver)
        if expected is Outcome.INCONCLUSIVE:
            return len(results) > 1 or "silence" in results
        usual = "received" if expected is Outcome.DELIVERED else "error"
        return bool(results) and results not in ({usual}, {"not-started"})

    def crosstalks(self, phase: Phase, a: str, b: str) -> bool:
        """Whether a pair ought to deliver, and one of the two is known to be another server in company than alone."""
        known = any(self.catalog.image(self.by_domain[d].implementation).crosstalks(phase.settings[d].policy) for d in (a, b))
        return known and Outcome.DELIVERED in (self.expected(phase, a, b), self.expected(phase, b, a))

    def expected(self, phase: Phase, sender: str, receiver: str) -> Outcome:
        """What ought to become of a stanza; `inconclusive` where nothing can be expected."""
        if any(self.catalog.unknown(self.by_domain[d].implementation) for d in (sender, receiver)):
            return Outcome.INCONCLUSIVE
        sides = [
            self.catalog.side(self.by_domain[d], phase.settings[d], PROFILES[phase.settings[d].certificate].defect)
            for d in (sender, receiver)
        ]
        return expect(sides[0], sides[1]).outcome

    def confirm(self, round_: Round, a: str, b: str) -> None:
        """Have a pair measured alone, once; a normal run does so for a bounded number of pairs."""
        if (a, b) in round_.alone:
            return
        if not self.isolated and self.manner.confirm is not None and len(round_.alone) >= self.manner.confirm:
            if [a, b] not in round_.unconfirmed:
                round_.unconfirmed.append([a, b])
            return
        if not self.isolated:
            self.display.grow(f"{round_.phase.name}: confirmed alone")
        round_.alone[a, b] = asyncio.create_task(self.settle(round_, a, b))

    async def settle(self, round_: Round, a: str, b: str) -> None:
        """A pair alone, until nothing is open: in the mesh ``a`` wrote first, so here ``b`` does; in an isolated run both do."""
        await round_.booted.wait()
        orders = [(a, b), (b, a)] if self.isolated else [(b, a)]
        for number in range(MOST_ALONE):
            if not orders and not (orders := self.open_questions(round_, a, b)):
                break
            await self.measure_alone(round_, *orders.pop(0), again=number > 0)
        if not self.isolated:
            self.display.advance(f"{round_.phase.name}: confirmed alone")

    def open_questions(self, round_: Round, a: str, b: str) -> list[tuple[str, str]]:
        """Which direction has to go first, alone, in one more fresh federation.

        Where a direction went second and came out otherwise than in the mesh; or where it went first, once, and came out
        otherwise than when it went second: chance, or the order?
        """
        needed = []
        for sender, receiver in ((a, b), (b, a)):
            for exchange in self.plan.exchanges:
                cell = Cell(round_.phase.name, sender, receiver, exchange)
                cold, warm = (round_.answers(cell, alone=True, first=f) for f in (True, False))
                other = warm if cold else warm + round_.answers(cell, alone=False)
                if (len(set(cold + other)) > 1 and len(cold) < 2) or len(set(cold)) > 1:
                    needed.append((sender, receiver))
                    break
        return needed

    async def measure_alone(self, round_: Round, a: str, b: str, *, again: bool) -> None:
        """A federation of just the two, started for it: new processes on an empty state, and a name server of their own."""
        phase, servers = round_.phase, (self.by_domain[a], self.by_domain[b])
        there = {s.domain: image for s in servers if (image := self.images.server(s.implementation))}
        images = [self.images.ids["dns"], *there.values()]
        # What may have to be repeated once more goes first: no chain of federations should begin at the end.
        async with self.slots.place(lambda: -1 if again else self.berths.missing(images)):
            self.alone_number[phase.name] += 1
            epoch = Epoch(phase, f"alone-{self.alone_number[phase.name]}", servers, phase.settings, {}, "")
            taken: list[Berth] = []
            try:
                for image in images:
                    async with self.starting:
                        taken.append(await self.off(lambda image=image: self.berths.take(image)))
                epoch.dns = taken[0].address[0]
                epoch.berths = dict(zip(there, taken[1:], strict=True))
                epoch.addresses = {domain: berth.address for domain, berth in epoch.berths.items()}
                self.begin(round_, epoch)
                await asyncio.gather(self.serve(taken[0], epoch), *(self.start_server(epoch, s) for s in servers))
                await self.pair(round_, epoch, a, b)
                await asyncio.sleep(LINGER + 0.1)
                await self.note_storms(epoch)
                await self.halt(epoch)
            except EngineError as error:
                self.note(Source.ENGINE, "server-failed", epoch=epoch, domain=a, reason=f"measured alone with {b}: {error}")
                for berth in taken:
                    await self.off(lambda berth=berth: self.berths.discard(berth))
                self.ended(epoch)
            else:
                for berth in taken:
                    self.berths.give(berth)

    async def serve(self, berth: Berth, epoch: Epoch) -> None:
        """A name server for this epoch alone; returns when it answers with this epoch's zone. Raises EngineError."""
        self.serial += 1
        number, token = self.serial, f"zone-{self.serial}"
        text = zone.render_zone(epoch.addresses, serial=number)
        loaded = self.talker.expect(
            lambda e: e["event"] == "serial" and e["token"] == token, 30, f"zone {number} at {berth.address[0]}"
        )
        await self.off(lambda: berth.start({"/etc/testbed/zone": text.encode()}, berth.address[0]))
        self.talker.send(do="serial", address=berth.address[0], serial=number, token=token)
        await loaded

    def begin(self, round_: Round, epoch: Epoch) -> None:
        """Make an epoch known."""
        self.epochs[epoch.id], epoch.began = epoch, time.time()
        round_.epochs.append(epoch)
        epoch.online = {s.domain: self.loop.create_future() for s in epoch.servers}
        self.note(Source.ENGINE, "epoch-started", epoch=epoch, servers=[s.domain for s in epoch.servers])

    async def halt(self, epoch: Epoch) -> None:
        """End an epoch's servers; what those of the mesh logged stays for `collect`. Raises EngineError."""
        self.talker.send(do="logout", clients=[epoch.key(s.domain) for s in epoch.servers])
        for domain, berth in epoch.berths.items():
            if domain in epoch.macs:
                await self.off(lambda domain=domain, berth=berth: self.keep_log(epoch, domain, berth.stop()))
        containers = list(epoch.containers.values())
        parts = [containers[n::STARTS] for n in range(STARTS)]
        await asyncio.gather(*(self.off(lambda part=part: federation.halt(part)) for part in parts if part))
        self.ended(epoch)

    def ended(self, epoch: Epoch) -> None:
        """From now on its addresses are others'."""
        epoch.ended = time.time()
        self.note(Source.ENGINE, "epoch-ended", epoch=epoch)
        self.writer.flush()

    async def note_storms(self, epoch: Epoch) -> None:
        """Who tried to connect without pause. Raises EngineError."""
        names = {mac: d for d, mac in epoch.macs.items()}
        told = self.tap.expect(lambda e: e.get("token") == epoch.id, 30, "the storms")
        self.tap.send(do="storms", among=list(names), token=epoch.id)
        for storm in (await told)["pairs"]:
            a, b = names[storm["from"]], names[storm["to"]]
            self.note(Source.WIRE, "storm", epoch=epoch, sender=a, receiver=b, cut=storm["attempts"])

    def boot_order(self, servers: Iterable[Server]) -> list[Server]:
        """Light servers first: their pairs can talk while the heavy ones still boot."""
        return sorted(servers, key=lambda s: (self.catalog.image(s.implementation).spec.boot_weight, s.index))

    async def start_server(self, epoch: Epoch, server: Server) -> None:
        """Raise one server and log its client in; the outcome is in ``epoch.online``."""
        phase, online = epoch.phase, epoch.online[server.domain]
        settings, image = epoch.settings[server.domain], self.images.server(server.implementation)
        if settings.unsupported or image is None:
            online.set_result(False)
        else:
            try:
                async with self.starting:
                    await self.start_container(epoch, server, settings, image)
                    if self.catalog.image(server.implementation).spec.boot_weight >= HEAVY:
                        # a heavy boot keeps its place until it is done: more at once only take longer each
                        await self.booted(epoch, server, online)
                await self.booted(epoch, server, online)
                await self.note_version(epoch, server)
            except EngineError as error:
                self.note(Source.ENGINE, "server-failed", epoch=epoch, domain=server.domain, reason=str(error))
                self.display.say(f"{server.domain}: {error}")
                if not online.done():
                    online.set_result(False)
        if epoch.name == "mesh":
            self.display.advance(f"{phase.name}: servers")

    async def booted(self, epoch: Epoch, server: Server, online: asyncio.Future[bool]) -> None:
        """Wait until the client of a started server is online, or cannot be. Raises EngineError, also if the server ends."""
        began, container = time.monotonic(), epoch.container(server.domain)
        while not (await asyncio.wait({online}, timeout=ALIVE))[0]:
            state = await self.off(lambda: federation.facts(container, self.mesh.name))
            if not state["running"]:
                raise EngineError(f"the server ended with status {state['exit']} before its client was online")
            if time.monotonic() - began > BOOT + 30:
                raise EngineError(f"its client was not online within {BOOT + 30:.0f} s")

    async def start_container(self, epoch: Epoch, server: Server, settings: Settings, image: str) -> None:
        """Create and start a server's container, and send its client off. Raises EngineError."""
        files, address = self.files(server, settings, epoch), epoch.addresses[server.domain]
        if berth := epoch.berths.get(server.domain):
            await self.off(lambda: berth.start({f"/etc/testbed/{name}": data for name, data in files.items()}, epoch.dns))
            epoch.macs[server.domain] = berth.mac
        else:
            name = f"{epoch.phase.name}-{epoch.name}-{server.domain.split('.')[0]}"
            container = await self.off(lambda: self.mesh.create_server(name, image, files, address, epoch.dns))
            epoch.containers[server.domain] = container
            await self.off(lambda: federation.start(container))
            epoch.macs[server.domain] = (await self.off(lambda: federation.facts(container, self.mesh.name)))["mac"]
        self.note(
            Source.ENGINE,
            "server-started",
            epoch=epoch,
            domain=server.domain,
            image=image,
            mac=epoch.macs[server.domain],
            address=address[0],
            address6=address[1],
        )
        self.talker.send(
            do="login", client=epoch.key(server.domain), domain=server.domain, address=address[0], port=5222, timeout=BOOT
        )

    async def note_version(self, epoch: Epoch, server: Server) -> None:
        """What the running server's package says of its version; asked once per release."""
        key = server.implementation
        if key in self.versions or not epoch.online[server.domain].result():
            return
        self.versions.add(key)
        package = self.catalog.image(key).spec.package
        container = epoch.container(server.domain)
        version = self.images.version(key) or await self.off(
            lambda: federation.execute(container, ["dpkg-query", "-W", "-f=${Version}", package])
        )
        self.note(Source.ENGINE, "version", implementation=key.name, release=key.release, version=version)

    def files(self, server: Server, settings: Settings, epoch: Epoch) -> dict[str, bytes]:
        """Everything that stands in the server's /etc/testbed; the rendered part is kept as evidence, keys are not."""
        rendered = self.catalog.image(server.implementation).render(
            server, settings, timers=self.plan.timers, ipv6=self.mesh.addresses.net6 is not None
        )
        issued = self.issued[server.domain, settings.certificate].files()
        for name, data in {**rendered, "cert.pem": issued["cert.pem"]}.items():
            self.writer.evidence(epoch.phase.name, "config", server.domain, name).write_bytes(data)
        return {**rendered, **issued}

    async def pair(self, round_: Round, epoch: Epoch, a: str, b: str, rank: Rank = Rank.AGAIN) -> None:
        """Both directions of a pair, ``a`` first; the gate is open to it for just as long as it is measured."""
        up = [await asyncio.shield(epoch.online[d]) for d in (a, b)]
        exchanges = self.plan.exchanges if a in self.domains else self.plan.exchanges[:1]
        cells = [Cell(epoch.phase.name, s, r, x) for s, r in ((a, b), (b, a)) for x in exchanges]
        shown = epoch.name == "mesh" or (self.isolated and a in self.domains)
        if not all(up):
            for cell in cells:
                epoch.results[cell.id] = ["not-started"]
                if shown:
                    self.display.advance(f"{epoch.phase.name}: cells")
            return
        gate = [[epoch.macs[a], epoch.macs[b]], [epoch.macs[b], epoch.macs[a]]]
        await self.attempt(round_, epoch, (a, b), cells, gate, rank=rank, shown=shown)
        if again := [c for c in cells if epoch.results[c.id] != ["received"]]:
            # A failure counts when a second attempt has seen it too, in quiet: when no server boots any more, and after the
            # time for which a server may remember the first.
            if epoch.name == "mesh":
                await round_.booted.wait()
            await asyncio.sleep(RECOVERY[self.plan.timers])
            await self.attempt(round_, epoch, (a, b), again, None, rank=Rank.AGAIN, shown=False)
        if epoch.name == "mesh" and any(self.doubtful(round_, c) for c in cells):
            self.confirm(round_, a, b)
        # The last acknowledgements are still under way, and a stream that is cut within a segment looks like a sick one.
        self.loop.call_later(LINGER, lambda: self.tap.send(do="close", pairs=gate))

    async def attempt(
        self,
        round_: Round,
        epoch: Epoch,
        pair: tuple[str, str],
        cells: list[Cell],
        gate: list[list[str]] | None,
        *,
        rank: Rank,
        shown: bool,
    ) -> None:
        """Each of a ``pair``'s ``cells`` once, one after the other; the ``gate`` is opened first if there is one."""
        answers: list[asyncio.Task[None]] = []
        for cell in cells:
            async with self.admission.place(*(epoch.key(d) for d in pair), rank=rank):
                if gate:
                    await self.open_gate(gate, f"{epoch.key(cell.sender)}|{cell.receiver}")
                    gate = None
                task = asyncio.create_task(self.cell(epoch, cell, shown))
                answers.append(task)
                # What has no answer by then only waits for a timer, and needs no place among those that negotiate: unless the
                # servers themselves are behind with their work.
                await asyncio.wait({task}, timeout=NEGOTIATION)
                if not task.done():
                    await self.proven_alive(epoch, cell, until=task)
            # The second direction begins when the first has its answer; one that is stuck does not hold it up for ever.
            await asyncio.wait({task}, timeout=OVERLAP[self.plan.timers] - NEGOTIATION)
            if task.done() and epoch.name == "mesh" and self.doubtful(round_, cell):
                self.confirm(round_, *pair)
        await asyncio.gather(*answers)

    async def watch_pressure(self) -> None:
        """Measure how strained the machine is, also while no gate is opened; ends by being cancelled."""
        for number in itertools.count():
            asked, token = time.monotonic(), f"pressure-{number}"
            told = self.tap.expect(functools.partial(answers, token), 60, "a sign of life")
            self.tap.send(do="answer", token=token)
            await told
            self.admission.measured(time.monotonic() - asked)
            await asyncio.sleep(PROBE)

    async def open_gate(self, gate: list[list[str]], token: str) -> None:
        """Let two servers reach each other's s2s port. Raises EngineError."""
        asked = time.monotonic()
        told = self.tap.expect(
            lambda e: e.get("token") == token or (e["event"] == "failed" and token in str(e)), 60, "an open gate"
        )
        self.tap.send(do="open", pairs=gate, token=token)
        answer = await told
        if answer["event"] == "failed":
            raise EngineError(f"the gate does not open: {answer['reason']}")
        self.admission.measured(time.monotonic() - asked)

    async def cell(self, epoch: Epoch, cell: Cell, shown: bool) -> None:
        """Let the sender's client write, wait for what becomes of it, and note a silence only with both clients proven alive."""
        number = len(epoch.results[cell.id]) + 1
        token = "cell-" + hashlib.sha256(f"{self.writer.id}/{cell.id}/{epoch.name}/{number}".encode()).hexdigest()[:16]
        answer: asyncio.Future[dict[str, Any]] = self.loop.create_future()
        self.tokens[token], self.waiting[token] = (cell, epoch), answer
        self.note(Source.ENGINE, "attempt", cell=cell, epoch=epoch, token=token)
        self.talker.send(do="send", client=epoch.key(cell.sender), token=token, exchange=cell.exchange, receiver=cell.receiver)
        await asyncio.wait({answer}, timeout=PATIENCE[self.plan.timers])
        if not answer.done():
            alive = await self.proven_alive(epoch, cell)
            self.note(
                Source.ENGINE, "silence", cell=cell, epoch=epoch, token=token, waited=PATIENCE[self.plan.timers],
                sender_alive=alive[cell.sender], receiver_alive=alive[cell.receiver],
            )  # fmt: skip
        epoch.results[cell.id].append(answer.result()["event"] if answer.done() else "silence")
        if shown:
            self.display.advance(f"{cell.phase}: cells", failed=epoch.results[cell.id][-1] != "received")

    async def proven_alive(self, epoch: Epoch, cell: Cell, *, until: asyncio.Task[None] | None = None) -> dict[str, bool]:
        """Which clients got a message to themselves back through their own server within `SENTINEL` (or ``until`` is done).

        A silence says something only if both did; and a server that is quick with this one is not behind with its work.
        """
        alive: dict[str, asyncio.Future[dict[str, Any]]] = {}
        for domain in (cell.sender, cell.receiver):
            token = f"sentinel-{hashlib.sha256(f'{cell.id}{domain}{time.time()}'.encode()).hexdigest()[:16]}"
            alive[domain] = self.waiting[token] = self.loop.create_future()
            self.talker.send(do="ping", client=epoch.key(domain), token=token)
        both = asyncio.ensure_future(asyncio.wait(set(alive.values()), timeout=SENTINEL))
        await asyncio.wait({both, *([until] if until else [])}, return_when=asyncio.FIRST_COMPLETED)
        both.cancel()
        return {domain: future.done() for domain, future in alive.items()}

    # --- what the agents say ---

    def on_driver(self, event: dict[str, Any]) -> None:
        """Driver -> observations, and whoever waits for it."""
        kind, moment, token = event.pop("event"), event.pop("time"), event.get("token", "")
        waiter = self.waiting.get(token)
        if kind in ("received", "error", "sent", "unsendable") and token in self.tokens:
            cell, epoch = self.tokens[token]
            told = {"received": cell.receiver, "error": cell.sender}.get(kind)
            if told and event.get("client") != epoch.key(told):
                return  # the other end's echo: what matters is which client was told
            source = Source.RECEIVER if kind == "received" else Source.SENDER
            data = {k: v for k, v in event.items() if k != "client" and v not in ("", None)}
            self.writer.append(Observation(moment, source, kind, cell.phase, epoch.name, cell.id, data))
            if kind != "sent" and waiter and not waiter.done():
                waiter.set_result({"event": kind, **event})
        elif kind == "alive" and waiter and not waiter.done():
            waiter.set_result(event)
        elif kind in ("online", "login-failed", "disconnected"):
            name, _, domain = event.pop("client").rpartition(":")
            found = self.epochs.get(name)
            if found is None or domain not in found.online:
                return
            self.note(Source.ENGINE, kind, time_=moment, epoch=found, domain=domain, **event)
            if kind != "disconnected" and not found.online[domain].done():
                found.online[domain].set_result(kind == "online")
            if kind == "login-failed":
                self.display.say(f"{domain}: its client cannot log in: {event['reason']}")
        elif kind == "driver-error":
            self.note(Source.ENGINE, kind, time_=moment, **event)

    def on_tap(self, event: dict[str, Any]) -> None:
        """Wiretap -> dissector, and what concerns the whole machine -> record."""
        match event["event"]:
            case "packets":
                self.dissectors[event["name"]].feed(event["lines"])
            case "neighbours" | "captured" | "failed":
                self.note(
                    Source.ENGINE, f"wiretap-{event['event']}", **{k: v for k, v in event.items() if k not in ("event", "time")}
                )

    # --- what is left after a phase ---

    async def collect(self, phase: Phase, epochs: list[Epoch]) -> None:
        """Wire and logs of a phase become observations; capture and logs become evidence; the containers go."""
        began = time.monotonic()
        stage = f"{phase.name}: evidence"
        todo = [(e, d, c) for e in epochs for d, c in e.containers.items()]
        self.display.stage(stage, len(todo) + 1)
        self.dissectors[phase.name] = Dissector(S2S_PORT)
        dissected = self.tap.expect(lambda e: e["event"] == "dissected" and e["name"] == phase.name, 900, "the dissection")
        self.tap.send(do="dissect", name=phase.name)
        await asyncio.gather(*(self.off(lambda e=e, d=d, c=c: self.read_log(e, d, c, stage)) for e, d, c in todo))
        done = await dissected
        if done["status"]:
            self.note(
                Source.ENGINE, "wiretap-failed", phase=phase.name, reason=f"tshark ended with {done['status']}: {done['said']}"
            )
        # Two pairs measured alone, one after the other, may have had one slot's addresses: the time tells them apart.
        for stream in self.dissectors.pop(phase.name).streams.values():
            ends = [owner(ip, stream.start, epochs) for ip in (stream.initiator, stream.receiver)]
            if ends[0] and ends[1] and ends[0][0] == ends[1][0]:
                facts = {k: v for k, v in stream.facts().items() if k not in ("initiator", "receiver")}
                self.writer.append(
                    Observation(
                        stream.start,
                        Source.WIRE,
                        "stream",
                        phase.name,
                        ends[0][0],
                        None,
                        {"sender": ends[0][1], "receiver": ends[1][1], **facts},
                    )
                )
        await self.off(lambda: self.keep_capture(phase.name))
        self.display.advance(stage)
        self.timing[f"{phase.name}-evidence"] = time.monotonic() - began

    def keep_capture(self, name: str) -> None:
        """The capture as evidence, compressed (Wireshark opens it as it is). Runs in a thread."""
        with contextlib.suppress(EngineError):
            raw = federation.fetch(self.tap.container, f"/captures/{name}.pcapng")
            self.writer.evidence(name, "s2s.pcapng.gz").write_bytes(gzip.compress(raw, 3))

    def read_log(self, epoch: Epoch, domain: str, container: Container, stage: str) -> None:
        """A container's log is kept; then the container goes. Runs in a thread."""
        raw = federation.logs(container)
        federation.drop([container])
        self.keep_log(epoch, domain, raw)
        self.loop.call_soon_threadsafe(self.display.advance, stage)

    def keep_log(self, epoch: Epoch, domain: str, raw: bytes) -> None:
        """A server's log as evidence and as observations. Runs in a thread."""
        self.writer.evidence(epoch.phase.name, epoch.name, f"{domain}.log.gz").write_bytes(gzip.compress(raw, 3))
        if domain in self.by_domain:
            addresses = {ip: d for d, pair in epoch.addresses.items() for ip in pair if ip}
            logs = self.catalog.image(self.by_domain[domain].implementation).logs
            found = serverlog.observe(
                logs,
                serverlog.stamped(raw),
                server=domain,
                domains=self.domains,
                addresses=addresses,
                phase=epoch.phase.name,
                epoch=epoch.name,
            )
            asyncio.run_coroutine_threadsafe(self.take(found), self.loop).result()

    async def take(self, observations: list[Observation]) -> None:
        """Append on the event loop: one writer."""
        for observation in observations:
            self.writer.append(observation)


def answers(token: str, event: dict[str, Any]) -> bool:
    """Whether an agent's event is the answer to the command with this token."""
    return event.get("token") == token


def control_pair(plan: Plan, catalog: Catalog, images: Images) -> tuple[Server, ...]:
    """The two servers that must get through: the lightest implementation that the run has, TLS where the peer has it."""
    there = {s.implementation for s in plan.servers if images.server(s.implementation)}
    # what a user gave is the question, and proves nothing of the testbed
    there = {i for i in there if not catalog.is_candidate(i)} or {i for i in there if not catalog.unknown(i)}
    policy = PRESETS[CONTROL_POLICY]
    usable = [i for i in there if not catalog.image(i).unsupported(policy, i.release)] or list(there)
    if not usable:
        return ()
    chosen = min(usable, key=lambda i: (catalog.image(i).spec.boot_weight, str(i)))
    return tuple(
        Server(domain, chosen, policy, "ca", len(plan.servers) + number) for number, domain in enumerate(CONTROL_DOMAINS)
    )


def owner(ip: str, moment: float, epochs: Iterable[Epoch]) -> tuple[str, str] | None:
    """The epoch and the domain that an address belonged to at a time."""
    for epoch in epochs:
        if epoch.began <= moment <= epoch.ended:
            for domain, pair in epoch.addresses.items():
                if ip in pair:
                    return epoch.name, domain
    return None


def capture_filter(port: int) -> str:
    """BPF: s2s packets that carry data or begin or end a connection; bare acknowledgements say nothing and are half of all."""
    v4 = "ip and (tcp[13] & 7 != 0 or ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2) != 0)"
    v6 = "ip6 and (ip6[53] & 7 != 0 or ip6[4:2] - ((ip6[52] & 0xf0) >> 2) != 0)"
    return f"tcp port {port} and (({v4}) or ({v6}))"
