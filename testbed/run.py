"""The one orchestration loop: raises the federation of each phase, lets every pair talk, writes Observations. Judges nothing.

A phase is measured in *epochs*: ``mesh`` starts all servers; ``alone-N`` starts some again and lets disjoint pairs talk, each as if
it were the only one. In every epoch a pair may talk only while it is measured (the gate), so that one broken pair cannot disturb
another; how many talk at once follows the pressure that is measured on the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gzip
import hashlib
import itertools
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from docker.models.containers import Container

from testbed import driver, pki, serverlog, wiretap, zone
from testbed.catalog import Catalog
from testbed.engine import federation
from testbed.engine.channel import Channel
from testbed.engine.host import Engine
from testbed.engine.images import Images
from testbed.model import Cell, EngineError, Observation, Outcome, Phase, Plan, Server, Settings, Source
from testbed.pki import PROFILES
from testbed.policy import expect
from testbed.store import CLOSING, Writer
from testbed.wiretap.dissect import Dissector

T = TypeVar("T")

S2S_PORT = 5269
PATIENCE = {"short": 25.0, "stock": 200.0}
"""Seconds that a cell waits for a receipt or a bounce; longer than the slowest timer of any implementation under these timers."""
SENTINEL = 15.0
"""Seconds within which a client's message to itself must come back, for it to count as alive."""
BOOT = 240.0
"""Seconds that a server may take from its start to its client's login."""
PER_SERVER = 6
"""Pairs of one server in flight at once: fairness, and a bound on what one server has to bear."""
NEGOTIATION = 1.5
"""Seconds for which a cell holds its place among those that negotiate; after that it only waits."""
ATTEMPTS = 3
"""Connection attempts a second that one pair may make: more is a storm, which the gate cuts and the record keeps."""
STARTS = 6
"""Containers that are started at once."""
LINGER = 0.3
"""Seconds for which the gate stays open after a pair is done: longer than a delayed acknowledgement (RFC 1122 §4.2.3.2: below 0.5)."""
CAPTURE_LAG = 1.2
"""Seconds until a packet has left the kernel's ring for the capture's file; what is in the ring when the capture ends is lost."""
WAVES = 3
"""Confirmation epochs at most per phase in a normal run; what is left then stays as the mesh saw it, unconfirmed."""


class Display(Protocol):
    """What a face shows while a run goes on."""

    def stage(self, name: str, total: int) -> None:
        """A new stage begins, with so many steps."""

    def advance(self, name: str, steps: int = 1) -> None:
        """Steps of a stage are done."""

    def say(self, text: str) -> None:
        """One line of news."""


class Silent:
    """A display that shows nothing."""

    def stage(self, name: str, total: int) -> None: ...
    def advance(self, name: str, steps: int = 1) -> None: ...
    def say(self, text: str) -> None: ...


@dataclass
class Admission:
    """How many negotiations may go on at once: follows the measured delay of the machine (additive up, halved down).

    The delay is the time from asking the wiretap's agent for a gate to its answer, a round through two processes that do next to
    nothing: on an idle machine a few milliseconds; when processors are short, it grows before anything else breaks.
    """

    limit: float = 6.0
    lowest: float = 2.0
    highest: float = 40.0
    calm: float = 0.06
    strained: float = 0.25
    used: int = 0
    delays: list[float] = field(default_factory=list)
    _waiters: list[asyncio.Future[None]] = field(default_factory=list)

    def measured(self, delay: float) -> None:
        """Take a measured delay in seconds into account."""
        self.delays.append(delay)
        if delay > self.strained:
            self.limit = max(self.lowest, self.limit * 0.7)
        elif delay < self.calm:
            self.limit = min(self.highest, self.limit + 0.5)
        self._wake()

    async def __aenter__(self) -> None:
        while self.used >= self.limit:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(future)
            await future
        self.used += 1

    async def __aexit__(self, *_: object) -> None:
        self.used -= 1
        self._wake()

    def _wake(self) -> None:
        free = int(self.limit) - self.used
        while free > 0 and self._waiters:
            waiter = self._waiters.pop(0)
            if not waiter.done():
                waiter.set_result(None)
                free -= 1


@dataclass
class Epoch:
    """One start of servers within a phase."""

    phase: Phase
    name: str
    servers: tuple[Server, ...]
    pairs: list[tuple[str, str]]
    """Unordered pairs; both directions are measured, one after the other."""
    containers: dict[str, Container] = field(default_factory=dict)
    macs: dict[str, str] = field(default_factory=dict)
    online: dict[str, asyncio.Future[bool]] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    """Cell id -> `received` · `error` · `silence` · `unsendable` · `not-started`."""


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
        isolated: bool = False,
        argv: Sequence[str] = (),
        timing: dict[str, float] | None = None,
    ) -> None:
        self.plan, self.catalog, self.engine, self.images, self.writer, self.display = plan, catalog, engine, images, writer, display
        self.isolated, self.argv = isolated, list(argv)
        self.timing: dict[str, float] = timing if timing is not None else {}
        self.random = random.Random(plan.seed)
        self.issued: dict[tuple[str, str], pki.Issued] = {}
        self.threads = ThreadPoolExecutor(STARTS + 4, thread_name_prefix="engine")
        self.waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.tokens: dict[str, tuple[Cell, str]] = {}
        self.epoch: Epoch | None = None
        self.dissectors: dict[str, Dissector] = {}
        self.versions: dict[str, str] = {}
        self.background: set[asyncio.Task[None]] = set()
        self.domains = {s.domain for s in plan.servers}
        self.by_domain = {s.domain: s for s in plan.servers}

    # --- the record ---

    def note(self, source: Source, kind: str, *, time_: float | None = None, cell: Cell | None = None, epoch: Epoch | None = None, **data: Any) -> None:
        """Append one observation."""
        phase = epoch.phase.name if epoch else cell.phase if cell else None
        self.writer.append(Observation(time_ or time.time(), source, kind, phase, epoch.name if epoch else None, cell.id if cell else None, data))

    def manifest(self) -> dict[str, Any]:
        """What is written before the first container starts."""
        defects = {name: profile.defect for name, profile in PROFILES.items()}
        servers = []
        for s in self.plan.servers:
            spec = self.catalog.image(s.implementation).spec
            servers.append(
                {
                    "domain": s.domain, "index": s.index, "implementation": s.implementation.name, "release": s.implementation.release,
                    "title": spec.title, "policy": s.policy.name, "certificate": s.certificate, "image": self.images.server(s.implementation),
                    "unavailable": self.images.reason(s.implementation), "mechanisms": spec.mechanisms, "dialback_over_verified": spec.dialback_over_verified,
                }
            )  # fmt: skip
        return {
            "scenario": self.plan.scenario,
            "title": self.plan.title,
            "description": self.plan.description,
            "file": self.plan.file,
            "started": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "argv": self.argv,
            "seed": self.plan.seed,
            "timers": self.plan.timers,
            "isolated": self.isolated,
            "revision": revision(),
            "machine": {"python": platform.python_version(), "kernel": platform.release(), "cpus": os.cpu_count(), "engine": self.engine.version},
            "images": self.images.ids,
            "unavailable": self.images.unavailable,
            "servers": servers,
            "phases": [
                {
                    "name": p.name,
                    "settings": {
                        d: {
                            "policy": s.policy.name, "certificate": s.certificate, "defect": defects[s.certificate], "dimensions": s.policy.dimensions(),
                            "effective": self.effective(d, s), "unsupported": s.unsupported, "fingerprint": self.issued[d, s.certificate].fingerprint, "not_after": self.issued[d, s.certificate].not_after,
                        }
                        for d, s in p.settings.items()
                    },
                }
                for p in self.plan.phases
            ],
            "remedies": {
                name: [{"cause": r.cause, "as": r.as_, "text": r.text, "set": r.set} for r in self.catalog.images[name].spec.remedies]
                for name in sorted({s.implementation.name for s in self.plan.servers})
            },
            "exchanges": list(self.plan.exchanges),
            "planned": {a.domain: [b.domain for b in self.plan.servers if b is not a] for a in self.plan.servers},
        }  # fmt: skip

    def effective(self, domain: str, settings: Settings) -> dict[str, Any]:
        """The dimensions that the implementation in effect shows under these settings."""
        implementation = self.by_domain[domain].implementation
        return self.catalog.image(implementation).effective(settings.policy, implementation.release).dimensions()

    # --- the run ---

    async def run(self) -> None:
        """Measure everything. Raises EngineError if the testbed itself cannot go on; what was recorded until then stays."""
        began = time.monotonic()
        self.loop = asyncio.get_running_loop()
        authorities = await self.off(lambda: pki.make_pki(dt.datetime.now(dt.UTC).replace(microsecond=0)))
        wanted = {(d, s.certificate): None for p in self.plan.phases for d, s in p.settings.items()}
        self.display.stage("certificates", len(wanted))
        self.issued = await self.off(lambda: authorities.issue_all(wanted))
        self.display.advance("certificates", len(wanted))
        self.writer.manifest(self.manifest())
        self.timing["certificates"] = time.monotonic() - began
        ipv6 = Path("/proc/sys/net/ipv6").is_dir() and self.plan.ipv6
        self.mesh = await self.off(lambda: federation.Mesh(self.engine, self.writer.id, len(self.plan.servers), ipv6=ipv6))
        try:
            await self.raise_parts()
            self.timing["first-container"] = time.monotonic() - began
            for phase in self.plan.phases:
                await self.measure_phase(phase)
            while self.background:
                await asyncio.gather(*self.background)
            self.timing["total"] = time.monotonic() - began
            self.note(Source.ENGINE, "timing", **{k.replace("-", "_"): round(v, 3) for k, v in self.timing.items()})
            self.writer.close(Observation(time.time(), Source.ENGINE, CLOSING, data={"observations": self.writer.count}))
        finally:
            self.writer.flush()
            await self.off(self.mesh.raze)
            self.threads.shutdown(wait=False)

    async def off(self, work: Any) -> Any:
        """Do blocking work in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)

    async def raise_parts(self) -> None:
        """Name server, wiretap and driver."""
        addresses = self.mesh.addresses
        hosts = {s.domain: addresses.of(s.index) for s in self.plan.servers}
        self.by_address = {ip: d for d, pair in hosts.items() for ip in pair if ip}
        dns, tap, talker = await asyncio.gather(
            self.off(lambda: self.mesh.start_dns(self.images.ids["dns"], zone.render_zone(hosts))),
            self.off(lambda: self.mesh.create_agent("wiretap", self.images.ids["wiretap"], wiretap.files(), inside=False)),
            self.off(lambda: self.mesh.create_agent("driver", self.images.ids["driver"], driver.files(), inside=True)),
        )
        del dns
        self.tap, self.talker = Channel(tap, self.on_tap), Channel(talker, self.on_driver)
        for channel in (self.tap, self.talker):
            channel.start()
            await self.off(lambda channel=channel: federation.start(channel.container))
            await channel.expect(lambda e: e["event"] == "ready", 60, "its first word")
        self.tap.send(do="prepare", name=f"s2s_{self.mesh.short}", servers=len(self.plan.servers), subnets=addresses.subnets, port=S2S_PORT, attempts=ATTEMPTS)
        ready = await self.tap.expect(lambda e: e["event"] in ("prepared", "failed") or e.get("ok") is False, 60, "the gate")
        if ready["event"] == "neighbours":
            raise EngineError(f"{len(self.plan.servers)} servers need {ready['need']} entries in the neighbour table, which holds {ready['before']}: {ready['command']}")
        if ready["event"] == "failed":
            raise EngineError(f"the gate between servers cannot be made: {ready['reason']}")

    async def measure_phase(self, phase: Phase) -> None:
        """The mesh, then whatever has to be confirmed alone."""
        pairs = [(a.domain, b.domain) for a, b in itertools.combinations(self.plan.servers, 2)]
        self.random.shuffle(pairs)
        if not self.isolated:
            mesh = Epoch(phase, "mesh", self.plan.servers, pairs)
            await self.measure(mesh)
            pairs = self.unexpected(mesh)
            if pairs:
                self.display.say(f"{phase.name}: {len(pairs)} pairs differ from what was expected: measuring each alone")
        for number, wave in enumerate(disjoint(pairs), 1):
            if number > WAVES and not self.isolated:
                self.note(Source.ENGINE, "unconfirmed", pairs=[list(p) for w in disjoint(pairs)[WAVES:] for p in w])
                break
            chosen = {d for pair in wave for d in pair}
            servers = tuple(s for s in self.plan.servers if s.domain in chosen)
            await self.measure(Epoch(phase, f"alone-{number}", servers, wave))

    def unexpected(self, epoch: Epoch) -> list[tuple[str, str]]:
        """Pairs of which a direction failed, or succeeded, against the expectation: to be confirmed alone (acts, judges nothing)."""
        found = []
        for a, b in epoch.pairs:
            for sender, receiver in ((a, b), (b, a)):
                wanted = self.expected(epoch.phase, sender, receiver)
                seen = {epoch.results.get(Cell(epoch.phase.name, sender, receiver, x).id) for x in self.plan.exchanges}
                usual = {"received"} if wanted is Outcome.DELIVERED else {"error"}
                if seen - usual - {"not-started"}:
                    found.append((a, b))
                    break
        return found

    def expected(self, phase: Phase, sender: str, receiver: str) -> Outcome:
        """What ought to become of a stanza."""
        sides = [
            self.catalog.side(self.by_domain[d], phase.settings[d], PROFILES[phase.settings[d].certificate].defect) for d in (sender, receiver)
        ]
        return expect(sides[0], sides[1]).outcome

    # --- an epoch ---

    async def measure(self, epoch: Epoch) -> None:
        """Start the servers, let the pairs talk, collect everything, stop the servers."""
        began = time.monotonic()
        label = f"{epoch.phase.name}" + ("" if epoch.name == "mesh" else f" {epoch.name}")
        self.epoch = epoch
        capture = f"{epoch.phase.name}-{epoch.name}"
        self.display.stage(f"{label}: servers", len(epoch.servers))
        self.display.stage(f"{label}: cells", 2 * len(epoch.pairs) * len(self.plan.exchanges))
        self.note(Source.ENGINE, "epoch-started", epoch=epoch, servers=[s.domain for s in epoch.servers])
        self.tap.send(do="capture", name=capture, interface=self.mesh.bridge, filter=capture_filter(S2S_PORT))
        await self.tap.expect(lambda e: e["event"] in ("capturing", "failed"), 30, "the capture's start")
        loop = asyncio.get_running_loop()
        epoch.online = {s.domain: loop.create_future() for s in epoch.servers}
        starting = asyncio.Semaphore(STARTS)
        boots = [asyncio.create_task(self.start_server(epoch, s, starting, label)) for s in self.boot_order(epoch.servers)]
        admission = Admission()
        talking = [asyncio.create_task(self.pair(epoch, a, b, admission, label)) for a, b in epoch.pairs]
        busy: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(PER_SERVER))
        self.busy = busy
        try:
            await asyncio.gather(*boots)
            started = time.monotonic()
            await asyncio.gather(*talking)
        finally:
            for task in (*boots, *talking):
                task.cancel()
        talked = time.monotonic()
        await asyncio.sleep(max(LINGER + 0.1, CAPTURE_LAG))
        self.tap.send(do="storms")
        storms = await self.tap.expect(lambda e: e["event"] == "storms", 30, "the storms")
        names = {mac: d for d, mac in epoch.macs.items()}
        for storm in storms["pairs"]:
            if storm["from"] in names and storm["to"] in names:
                self.note(Source.WIRE, "storm", epoch=epoch, sender=names[storm["from"]], receiver=names[storm["to"]], cut=storm["attempts"])
        self.tap.send(do="stop")
        await self.tap.expect(lambda e: e["event"] == "captured", 60, "the capture's end")
        self.talker.send(do="reset")
        await self.talker.expect(lambda e: e["event"] == "reset", 60, "the clients' end")
        # What is left to do (dissection, logs) needs no server: the next epoch may start meanwhile.
        await asyncio.gather(*(self.off(lambda c=c: quietly(lambda: c.kill())) for c in epoch.containers.values()))
        task = asyncio.create_task(self.collect(epoch, capture))
        self.background.add(task)
        task.add_done_callback(self.background.discard)
        await task  # simple first: one after the other
        key = capture
        self.timing[f"{key}-boot"] = started - began
        self.timing[f"{key}-cells-after-boot"] = talked - started
        self.timing[f"{key}-collect"] = time.monotonic() - talked
        delays = sorted(admission.delays) or [0.0]
        self.note(Source.ENGINE, "pressure", epoch=epoch, median=delays[len(delays) // 2], highest=delays[-1], limit=admission.limit)
        self.note(Source.ENGINE, "epoch-ended", epoch=epoch)
        self.writer.flush()

    def boot_order(self, servers: Iterable[Server]) -> list[Server]:
        """Light servers first: their pairs can talk while the heavy ones still boot."""
        return sorted(servers, key=lambda s: (self.catalog.image(s.implementation).spec.boot_weight, s.index))

    async def start_server(self, epoch: Epoch, server: Server, starting: asyncio.Semaphore, label: str) -> None:
        """Raise one server and log its client in; the outcome is in ``epoch.online``."""
        settings = epoch.phase.settings[server.domain]
        image = self.images.server(server.implementation)
        online = epoch.online[server.domain]
        if settings.unsupported or image is None:
            online.set_result(False)
            self.display.advance(f"{label}: servers")
            return
        async with starting:
            try:
                files = self.files(server, settings, epoch)
                container = await self.off(lambda: self.mesh.create_server(server, image, files, f"{epoch.phase.name}-{epoch.name}"))
                epoch.containers[server.domain] = container
                await self.off(lambda: federation.start(container))
                facts = await self.off(lambda: federation.facts(container, f"s2s-testbed-{self.mesh.short}"))
                if not facts["running"]:
                    raise EngineError(f"the server ended at once, with status {facts['exit']}")
                epoch.macs[server.domain] = facts["mac"]
                self.note(Source.ENGINE, "server-started", epoch=epoch, domain=server.domain, image=facts["image"], mac=facts["mac"])
            except EngineError as error:
                self.note(Source.ENGINE, "server-failed", epoch=epoch, domain=server.domain, reason=str(error))
                self.display.say(f"{server.domain}: {error}")
                online.set_result(False)
                self.display.advance(f"{label}: servers")
                return
            weight = self.catalog.image(server.implementation).spec.boot_weight
            self.talker.send(do="login", domain=server.domain, address=self.mesh.addresses.of(server.index)[0], port=5222, timeout=BOOT)
            if weight > 1:  # a heavy boot keeps its place until it is done: more at once only take longer each
                await asyncio.wait({online}, timeout=BOOT)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(online), BOOT + 30)
        self.display.advance(f"{label}: servers")
        key = str(server.implementation)
        if online.done() and online.result() and key not in self.versions:
            self.versions[key] = ""
            package = self.catalog.image(server.implementation).spec.package
            try:
                self.versions[key] = await self.off(lambda: federation.execute(container, ["dpkg-query", "-W", "-f=${Version}", package]))
                self.note(Source.ENGINE, "version", implementation=server.implementation.name, release=server.implementation.release, version=self.versions[key])
            except EngineError as error:
                self.note(Source.ENGINE, "version", implementation=server.implementation.name, release=server.implementation.release, version=None, reason=str(error))

    def files(self, server: Server, settings: Settings, epoch: Epoch) -> dict[str, bytes]:
        """Everything that stands in the server's /etc/testbed; the rendered part is kept as evidence, keys are not."""
        rendered = self.catalog.image(server.implementation).render(server, settings, timers=self.plan.timers, ipv6=self.mesh.addresses.net6 is not None)
        issued = self.issued[server.domain, settings.certificate].files()
        if epoch.name == "mesh" or self.isolated:
            for name, data in {**rendered, "cert.pem": issued["cert.pem"]}.items():
                self.writer.evidence(epoch.phase.name, "config", server.domain, name).write_bytes(data)
        return {**rendered, **issued}

    async def pair(self, epoch: Epoch, a: str, b: str, admission: Admission, label: str) -> None:
        """Both directions of a pair, one after the other, while the gate is open for it alone of the two."""
        up = [await asyncio.shield(epoch.online[d]) for d in (a, b)]
        cells = [Cell(epoch.phase.name, s, r, x) for s, r in ((a, b), (b, a)) for x in self.plan.exchanges]
        if not all(up):
            for cell in cells:
                epoch.results[cell.id] = "not-started"
            self.display.advance(f"{label}: cells", len(cells))
            return
        first, second = sorted((a, b))  # one order of taking places: no two pairs wait for each other
        async with self.busy[first], self.busy[second]:
            gate = [[epoch.macs[a], epoch.macs[b]], [epoch.macs[b], epoch.macs[a]]]
            token = f"{a}|{b}"
            for number, cell in enumerate(cells):
                await admission.__aenter__()
                held = True
                try:
                    if number == 0:
                        asked = time.monotonic()
                        self.tap.send(do="open", pairs=gate, token=token)
                        opened = await self.tap.expect(lambda e: e.get("token") == token or (e["event"] == "failed" and token in str(e)), 60, "an open gate")
                        if opened["event"] == "failed":
                            raise EngineError(f"the gate does not open: {opened['reason']}")
                        admission.measured(time.monotonic() - asked)
                    answer = self.send(epoch, cell)
                    await asyncio.wait({answer}, timeout=NEGOTIATION)
                    if not answer.done():
                        await admission.__aexit__()
                        held = False
                        await asyncio.wait({answer}, timeout=PATIENCE[self.plan.timers] - NEGOTIATION)
                finally:
                    if held:
                        await admission.__aexit__()
                await self.conclude(epoch, cell, answer)
                self.display.advance(f"{label}: cells")
        # The last acknowledgements are still under way, and a stream that is cut in the middle of a segment looks like a sick one.
        self.loop.call_later(LINGER, lambda: self.tap.send(do="close", pairs=gate))

    def send(self, epoch: Epoch, cell: Cell) -> asyncio.Future[dict[str, Any]]:
        """Let the sender's client write; the future gets what becomes of it."""
        token = "cell-" + hashlib.sha256(f"{self.writer.id}/{cell.id}/{epoch.name}".encode()).hexdigest()[:16]
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.tokens[token] = (cell, epoch.name)
        self.waiting[token] = answer
        self.note(Source.ENGINE, "attempt", cell=cell, epoch=epoch, token=token)
        self.talker.send(do="send", token=token, exchange=cell.exchange, sender=cell.sender, receiver=cell.receiver)
        return answer

    async def conclude(self, epoch: Epoch, cell: Cell, answer: asyncio.Future[dict[str, Any]]) -> None:
        """What the clients saw of a cell; a silence counts only with both clients proven alive after it."""
        if answer.done():
            epoch.results[cell.id] = answer.result()["event"]
            return
        epoch.results[cell.id] = "silence"
        alive = {}
        for domain in (cell.sender, cell.receiver):
            token = f"sentinel-{hashlib.sha256(f'{cell.id}{domain}{time.time()}'.encode()).hexdigest()[:16]}"
            self.waiting[token] = asyncio.get_running_loop().create_future()
            self.talker.send(do="ping", domain=domain, token=token)
            alive[domain] = self.waiting[token]
        await asyncio.wait(set(alive.values()), timeout=SENTINEL)
        self.note(
            Source.ENGINE, "silence", cell=cell, epoch=epoch, waited=PATIENCE[self.plan.timers],
            sender_alive=alive[cell.sender].done(), receiver_alive=alive[cell.receiver].done(),
        )  # fmt: skip

    # --- what the agents say ---

    def on_driver(self, event: dict[str, Any]) -> None:
        """Driver -> observations, and whoever waits for it."""
        kind, epoch = event.pop("event"), self.epoch
        moment = event.pop("time")
        token = event.get("token", "")
        if kind in ("received", "error", "sent", "unsendable"):
            if token not in self.tokens:
                return
            cell, name = self.tokens[token]
            source = Source.RECEIVER if kind == "received" else Source.SENDER
            # A bounce may come from the receiver's side as well: what matters is which client was told.
            observer = event.get("domain")
            if kind == "error" and observer != cell.sender:
                return
            if kind == "received" and observer != cell.receiver:
                return
            self.writer.append(Observation(moment, source, kind, cell.phase, name, cell.id, {k: v for k, v in event.items() if v not in ("", None)}))
            waiter = self.waiting.get(token)
            if kind != "sent" and waiter and not waiter.done():
                waiter.set_result({"event": kind, **event})
        elif kind == "alive":
            waiter = self.waiting.get(token)
            if waiter and not waiter.done():
                waiter.set_result(event)
        elif kind in ("online", "login-failed") and epoch:
            self.note(Source.ENGINE, kind, time_=moment, epoch=epoch, **event)
            future = epoch.online.get(event["domain"])
            if future and not future.done():
                future.set_result(kind == "online")
            if kind == "login-failed":
                self.display.say(f"{event['domain']}: its client cannot log in: {event['reason']}")
        elif kind in ("disconnected", "driver-error") and epoch:
            self.note(Source.ENGINE, kind, time_=moment, epoch=epoch, **event)

    def on_tap(self, event: dict[str, Any]) -> None:
        """Wiretap -> dissector, and what concerns the whole machine -> record."""
        match event["event"]:
            case "packets":
                self.dissectors[event["name"]].feed(event["lines"])
            case "neighbours" | "captured" | "failed":
                self.note(Source.ENGINE, f"wiretap-{event['event']}", **{k: v for k, v in event.items() if k not in ("event", "time")})

    # --- what is left after an epoch ---

    async def collect(self, epoch: Epoch, capture: str) -> None:
        """Wire and logs of an epoch become observations; capture and logs become evidence; the containers go."""
        self.display.stage(f"{capture}: evidence", len(epoch.containers) + 1)
        self.dissectors[capture] = Dissector(S2S_PORT)
        self.tap.send(do="dissect", name=capture)

        def log(domain: str, container: Container) -> None:
            raw = federation.logs(container)
            federation.drop([container])
            self.writer.evidence(epoch.phase.name, epoch.name, f"{domain}.log.gz").write_bytes(gzip.compress(raw, 3))
            logs = self.catalog.image(self.by_domain[domain].implementation).logs
            found = serverlog.observe(
                logs, serverlog.stamped(raw), server=domain, domains=self.domains, addresses=self.by_address, phase=epoch.phase.name, epoch=epoch.name
            )
            asyncio.run_coroutine_threadsafe(self.take(found), loop).result()
            self.display.advance(f"{capture}: evidence")

        loop = asyncio.get_running_loop()
        await asyncio.gather(*(self.off(lambda d=d, c=c: log(d, c)) for d, c in epoch.containers.items()))
        done = await self.tap.expect(lambda e: e["event"] == "dissected" and e["name"] == capture, 600, "the dissection")
        if done["status"]:
            self.note(Source.ENGINE, "wiretap-failed", epoch=epoch, reason=f"tshark ended with {done['status']}: {done['said']}")
        for stream in self.dissectors.pop(capture).streams.values():
            a, b = self.by_address.get(stream.initiator), self.by_address.get(stream.receiver)
            if a and b:
                facts = stream.facts()
                for key in ("initiator", "receiver"):
                    facts.pop(key)
                self.writer.append(Observation(stream.start, Source.WIRE, "stream", epoch.phase.name, epoch.name, None, {"sender": a, "receiver": b, **facts}))
        target = self.writer.evidence(epoch.phase.name, epoch.name, "s2s.pcapng")
        with contextlib.suppress(EngineError):
            await self.off(lambda: federation.fetch(self.tap.container, f"/captures/{capture}.pcapng", target))
        self.display.advance(f"{capture}: evidence")

    async def take(self, observations: list[Observation]) -> None:
        """Append on the event loop: one writer."""
        for observation in observations:
            self.writer.append(observation)


def disjoint(pairs: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """The pairs in waves, no server twice in one (greedy edge colouring: at most twice as many waves as a server has pairs)."""
    waves: list[tuple[set[str], list[tuple[str, str]]]] = []
    for a, b in pairs:
        for members, wave in waves:
            if a not in members and b not in members:
                break
        else:
            members, wave = set(), []
            waves.append((members, wave))
        members |= {a, b}
        wave.append((a, b))
    return [wave for _, wave in waves]


def capture_filter(port: int) -> str:
    """BPF: s2s packets that carry data or begin or end a connection; bare acknowledgements say nothing and are half of all."""
    v4 = "ip and (tcp[13] & 7 != 0 or ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2) != 0)"
    v6 = "ip6 and (ip6[53] & 7 != 0 or ip6[4:2] - ((ip6[52] & 0xf0) >> 2) != 0)"
    return f"tcp port {port} and (({v4}) or ({v6}))"


def quietly(work: Any) -> None:
    """Do it; what is gone already is no error."""
    with contextlib.suppress(Exception):
        work()


def revision() -> str | None:
    """The git revision of the testbed's code, with `+` if it was changed; None outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() or None
