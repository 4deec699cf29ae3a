"""The life of a run, from the first certificate to the closing record: raises a federation, measures phase after phase, ends it.

Rule: it conducts and does nothing by itself: `parts` raise what all share, `epochs` start servers, `attempts` let clients write,
`confirm` says who is measured `alone`, `collect` takes in wire and logs. Every resource is a block, every task has an owner.
Judges nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import random
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from testbed.display import Display
from testbed.engine.berths import Berths
from testbed.engine.host import Engine
from testbed.engine.images import Images
from testbed.measure import manifest, pki
from testbed.measure.alone import Alone
from testbed.measure.attempts import Attempts
from testbed.measure.collect import Collector
from testbed.measure.confirm import Confirmations
from testbed.measure.control import FIRST, ControlPair, control_pair
from testbed.measure.epoch import Epoch
from testbed.measure.epochs import Epochs
from testbed.measure.forecast import Forecast
from testbed.measure.journal import Journal
from testbed.measure.manifest import Manner
from testbed.measure.pace import CAPTURE_ALONE, CAPTURE_LAG, FIRST_TRIES, Rank
from testbed.measure.parts import Parts, parts_of
from testbed.measure.tasks import task_group
from testbed.model import Cell, EngineError, Phase, Plan, Server, StorageError
from testbed.plan.catalog import Catalog
from testbed.record import observations
from testbed.record.legs import CONTROL, MESH
from testbed.record.manifest import OrderedRun
from testbed.record.store import Writer

STAGES = ("boot", "cells", "evidence")
"""Of a phase, of which is noted how long they took."""
Pairs = Sequence[tuple[str, str]]
"""Of domains, the one that writes first in front."""


@dataclass
class RunMeasurement:
    """A plan while it is measured: how, by whom, and what it took so far."""

    plan: Plan
    manner: Manner
    display: Display
    control: ControlPair
    parts: Parts
    epochs: Epochs
    attempts: Attempts
    alone: Alone
    collector: Collector
    forecast: Forecast
    timing: dict[str, float]
    """Stage -> seconds."""
    leg: Leg


@dataclass(frozen=True)
class Leg:
    """What one leg of a run measures of its plan, and how its record begins."""

    begin: Callable[[OrderedRun], None]
    """Puts what was planned, certificates included, into the record: as its manifest, or as what is resumed."""
    phases: Sequence[str]
    """The names of those that are measured, in the plan's order."""
    spent: float = 0.0
    """Seconds that earlier legs took."""
    stretch: int | None = None
    """Of the timers, where an earlier leg has chosen it: it is part of what is measured."""


async def conduct(
    plan: Plan,
    catalog: Catalog,
    engine: Engine,
    images: Images,
    writer: Writer,
    display: Display,
    *,
    leg: Leg,
    manner: Manner,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Measure a plan on an engine into a record; when that is complete, do ``after`` in a thread, while the containers go.

    Raises EngineError if the testbed itself cannot go on; what was recorded until then stays.
    """
    began = time.monotonic()
    timing: dict[str, float] = {}
    controls = control_pair(plan, catalog, images)
    servers = {s.domain: s for s in (*plan.servers, *controls)}
    wanted = certificates_of(plan, controls)
    display.stage("certificates", len(wanted))
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    issued = await asyncio.to_thread(lambda: pki.make_pki(now).issue_all(wanted))
    display.advance("certificates", len(wanted))
    leg.begin(manifest.build(plan, catalog, images, manner, issued, engine=engine.version))
    timing["certificates"] = time.monotonic() - began
    journal = Journal(writer)
    try:
        async with (
            contextlib.AsyncExitStack() as afterwards,
            parts_of(engine, images, list(servers.values()), journal, ipv6=plan.ipv6) as parts,
        ):
            collector = Collector(parts, catalog, servers, (s.domain for s in plan.servers), display)
            epochs = Epochs(parts, plan, catalog, images, issued, collector.keep_log, display)
            attempts = Attempts(parts)
            addresses, size = parts.mesh.addresses, len(servers)
            berths = Berths(parts.mesh, addresses.alone(size))
            names = Berths(parts.mesh, addresses.names(size), name="names")
            forecast = Forecast(catalog, servers)
            # an isolated run is what others are compared with: everything in it is fresh
            lasting = None if manner.isolated else forecast.lasting
            alone = Alone(parts, epochs, attempts, images, servers, berths, names, lasting)
            control = ControlPair(controls, plan, parts, epochs, attempts, display, leg.stretch)
            run = RunMeasurement(
                plan, manner, display, control, parts, epochs, attempts, alone, collector, forecast, timing, leg
            )  # fmt: skip
            timing["first-container"] = time.monotonic() - began
            async with kept(writer), parts.watched():
                await phase_after_phase(plan, functools.partial(PhaseMeasurement, run), wanted=leg.phases)
            timing["total"] = leg.spent + time.monotonic() - began
            close(journal, timing)
            # awaited when the containers are gone: what goes wrong there must not stop their removal half-way
            afterwards.push_async_callback(asyncio.wait_for, asyncio.create_task(asyncio.to_thread(after)), None)
    finally:
        with contextlib.suppress(StorageError):  # closing the record says it, where nothing else is the news
            writer.flush()


def kept_at(run: Path) -> str:
    """Of a run that ended early: what there is of it, and how it goes on."""
    return f"what was measured until then is kept: testbed report {run} judges it, testbed run --resume {run} measures the rest"


@contextlib.asynccontextmanager
async def kept(writer: Writer) -> AsyncIterator[None]:
    """Says of an EngineError that what was measured until then is kept, and where."""
    try:
        yield
    except EngineError as error:
        raise EngineError(f"{error}; {kept_at(writer.path)}") from None


def certificates_of(plan: Plan, controls: Sequence[Server]) -> dict[tuple[str, str], None]:
    """Every domain of a run with each certificate profile that it has in some phase."""
    wanted = {(domain, s.certificate): None for phase in plan.phases for domain, s in phase.settings.items()}
    return wanted | {(s.domain, s.certificate): None for s in controls}


def note_timing(journal: Journal, timing: Mapping[str, float]) -> None:
    """How long stages took, in seconds."""
    seconds: dict[str, Any] = {k.replace("-", "_"): round(v, 3) for k, v in timing.items()}
    journal.note(observations.TIMING, **seconds)


def close(journal: Journal, timing: Mapping[str, float]) -> None:
    """The closing record: without it a run is incomplete."""
    note_timing(journal, timing)
    writer = journal.writer
    writer.close(observations.RUN_COMPLETE.at(time.time(), {"observations": writer.count}))


class Measurement(Protocol):
    """A phase while it is measured."""

    mesh_down: asyncio.Event

    async def measure(self) -> None:
        """Measure it, and set ``mesh_down`` when the next may begin."""


async def phase_after_phase(
    plan: Plan, measurement_of: Callable[[Phase, Pairs], Measurement], *, wanted: Collection[str] | None = None
) -> None:
    """The next of those ``wanted`` begins when a phase's mesh is down, while what is left of it goes on.

    ``wanted``: names of phases; None: all. The seed draws the order of a phase's pairs, the same whichever others are wanted.
    """
    drawn = random.Random(plan.seed)
    async with task_group() as phases:
        for phase in plan.phases:
            pairs = [(a, b) if drawn.random() < 0.5 else (b, a) for a, b in plan.pairs]
            drawn.shuffle(pairs)
            if wanted is not None and phase.name not in wanted:
                continue
            measurement = measurement_of(phase, pairs)
            phases.create_task(measurement.measure())
            await measurement.mesh_down.wait()


class PhaseMeasurement:
    """One phase, from the start of its capture until its evidence is in."""

    def __init__(self, run: RunMeasurement, phase: Phase, pairs: Pairs) -> None:
        self.run, self.phase, self.pairs = run, phase, pairs
        self.mesh_down = asyncio.Event()
        """Set when the servers of the mesh have ended: the next phase may begin."""
        self.measured = asyncio.Event()
        """Set when every cell has its answer: the last control pair may write."""

    async def measure(self) -> None:
        """The mesh; what it leaves in doubt, alone; the control pair before and after; then wire and logs. Raises EngineError.

        Only then is the phase complete: a run that ends before measures it again, if it is resumed.
        """
        run, name = self.run, self.phase.name
        cells = 2 * len(self.pairs) * len(run.plan.exchanges) * (2 if run.manner.isolated else 1)
        bound = None if run.manner.isolated else run.manner.confirm
        run.display.stage(f"{name}: cells", cells)
        async with task_group() as tasks:
            confirmations = Confirmations(
                self.phase, run.plan.exchanges, run.alone, tasks, run.display,
                bound=bound,
                isolated=run.manner.isolated,
                progress=self._progress if run.manner.isolated else lambda _: None,
                chance=functools.partial(run.forecast.chance, self.phase),
            )  # fmt: skip
            alone = len(self.pairs) if bound is None else min(bound, len(self.pairs))
            async with run.collector.capture(name, cells + CAPTURE_ALONE * alone, full=run.manner.full_capture):
                await self._measure_cells(tasks, confirmations)
            self._note_pressure()
            run.timing[f"{name}-evidence"] = await run.collector.collect(name, confirmations.epochs)
        if run.control.failure:
            raise EngineError(
                f"nothing was measured, because the control pair, two servers that must get through before anything else, did "
                f"not in {FIRST_TRIES} tries: {run.control.failure} (their logs: evidence/{name}/{CONTROL}-{FIRST}*/)"
            )
        journal = run.parts.journal
        note_timing(journal, {s: run.timing[s] for stage in STAGES if (s := f"{name}-{stage}") in run.timing})
        journal.note(observations.PHASE_COMPLETE, phase=name)
        journal.writer.flush()

    async def _measure_cells(self, tasks: asyncio.TaskGroup, confirmations: Confirmations) -> None:
        """Every cell of the phase, between two control pairs."""
        run = self.run
        if self.phase.name == run.leg.phases[0]:
            now = asyncio.Event()
            now.set()
            await self._control(FIRST, now, tasks, confirmations.epochs).wait()  # on an idle machine: a second or two
            if run.control.failure:
                await asyncio.sleep(CAPTURE_LAG)
                return
        if run.manner.isolated:
            confirmations.ready.set()
            for pair in self.pairs:
                confirmations.request(*pair)
            await confirmations.settled()
            last = self._control("last", self.measured, tasks, confirmations.epochs)
        else:
            last = await self._measure_mesh(tasks, confirmations)
        self.mesh_down.set()
        await confirmations.settled()
        await run.alone.release(self.phase)
        self.measured.set()
        await last.wait()
        await asyncio.sleep(CAPTURE_LAG)  # what is in the kernel's ring when the capture ends is lost
        if confirmations.unconfirmed:
            pairs = [list(pair) for pair in confirmations.unconfirmed]
            run.parts.journal.note(observations.UNCONFIRMED, phase=self.phase.name, pairs=pairs)

    def _control(self, when: str, turn: asyncio.Event, tasks: asyncio.TaskGroup, begun: list[Epoch]) -> asyncio.Event:
        """Start the control pair, as a task of its own. Returns what is set when it has its answers."""
        done = asyncio.Event()
        tasks.create_task(self.run.control.measure(self.phase, when, begun, turn=turn, done=done))
        return done

    def _progress(self, failed: bool) -> None:
        self.run.display.advance(f"{self.phase.name}: cells", failed=failed)

    def _note_pressure(self) -> None:
        admission = self.run.parts.admission
        delays = sorted(admission.delays) or [0.0]
        self.run.parts.journal.note(
            observations.PRESSURE, phase=self.phase.name, median=delays[len(delays) // 2], highest=delays[-1],
            limit=admission.limit,
        )  # fmt: skip

    async def _measure_mesh(self, tasks: asyncio.TaskGroup, confirmations: Confirmations) -> asyncio.Event:
        """Every server at once; a pair talks as soon as both are up. Returns what is set when the last control pair is done."""
        run, phase, began = self.run, self.phase, time.monotonic()
        wanted = {domain for pair in self.pairs for domain in pair}
        servers = tuple(s for s in run.plan.servers if s.domain in wanted)
        addresses = run.parts.mesh.addresses
        at = {s.domain: addresses.of(s.index) for s in servers}
        name = run.parts.journal.epoch_name(MESH)
        epoch = Epoch(phase, name, servers, phase.settings, at, addresses.dns[0], waits=run.epochs.waits)
        confirmations.epochs.append(epoch)
        run.display.stage(f"{phase.name}: servers", len(servers))
        # The capture's tail has to reach its file while the addresses still are this phase's.
        async with run.epochs.running(epoch, lag=CAPTURE_LAG):
            # Who behaves differently among other peers is measured alone as well: half of the bound when the mesh is done with
            # them, so that alone nothing is tried again that was seen often enough; the rest behind those that are doubted.
            apart = [pair for pair in self.pairs if run.forecast.crosstalks(phase, *pair)]
            soon = len(apart) if run.manner.confirm is None else run.manner.confirm // 2
            async with task_group() as talks:
                for a, b in self.pairs:
                    talks.create_task(self._talk(epoch, a, b, confirmations, apart=(a, b) in apart[:soon]))
                await epoch.booted.wait()
                confirmations.ready.set()
                run.timing[f"{phase.name}-boot"] = time.monotonic() - began
                last = self._control("last", self.measured, tasks, confirmations.epochs)
            run.timing[f"{phase.name}-cells"] = time.monotonic() - began
            for pair in apart[soon:]:
                confirmations.request(*pair)
        tasks.create_task(run.collector.read_logs(epoch))
        return last

    async def _talk(self, epoch: Epoch, a: str, b: str, confirmations: Confirmations, *, apart: bool) -> None:
        """A pair of the mesh; while servers boot, the processors are for them and for the pairs that only wait for timers.

        ``apart``: when this is over it is measured alone, whatever was seen.
        """
        run, phase = self.run, self.phase
        rank = Rank.DELIVERS if run.forecast.delivers(phase, a, b) else Rank.WAITS
        if rank is Rank.DELIVERS:
            await epoch.booted.wait()

        def answered(cell: Cell) -> None:
            if not apart and run.forecast.doubtful(phase, cell, epoch.words(cell)):
                confirmations.request(a, b)

        await run.attempts.pair(epoch, a, b, run.plan.exchanges, rank=rank, answered=answered, progress=self._progress)
        cells = [Cell(phase.name, s, r, x) for s, r in ((a, b), (b, a)) for x in run.plan.exchanges]
        if apart or any(map(epoch.open, cells)):
            confirmations.request(a, b)
