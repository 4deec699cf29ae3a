"""From a scenario's file to a judged run: what every face calls, the command line, pytest, the benches and a notebook.

Rule: answers with facts (a plan, a `Run`) and raises TestbedError; prints nothing and ends nothing. A face turns a run into an
exit status, a test, a page. docs/python.md shows this interface.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from collections.abc import Coroutine, Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from testbed import interruption
from testbed.compare import files
from testbed.contract import preflight
from testbed.contract.check import Checker
from testbed.contract.claims import Report, Status
from testbed.display import Display, Silent
from testbed.engine import federation, host
from testbed.engine import prepare as preparation
from testbed.engine.images import Images, tag_of
from testbed.engine.prepare import prepare
from testbed.judge import verdict
from testbed.measure import resume as resumption
from testbed.measure.conductor import Leg, conduct, kept_at
from testbed.measure.manifest import Manner
from testbed.measure.manifest import build as planned_run
from testbed.measure.pace import CONFIRM
from testbed.model import EngineError, Implementation, InputError, StorageError, TestbedError
from testbed.plan import candidates, catalog, recorded, scenario
from testbed.plan.candidates import CandidateOption, Planned
from testbed.plan.catalog import Catalog
from testbed.plan.policy import as_text
from testbed.record import store
from testbed.record.store import DEFAULT_RESULTS, Record
from testbed.record.verdicts import Verdicts
from testbed.report import render_all, table
from testbed.yamlfile import did_you_mean

T = TypeVar("T")

__all__ = [
    "Display",
    "Manner",
    "Planned",
    "Run",
    "TestbedError",
    "judge",
    "load",
    "measure",
    "plan",
    "remeasure",
    "report",
    "resume",
]

# --- plan -------------------------------------------------------------------------------------------------------------


def plan(
    file: Path | str,
    *,
    seed: int = 1,
    image: Iterable[str] | None = None,
    build: Iterable[str] | None = None,
    config: Iterable[str] | None = None,
    server: Iterable[Path | str] | None = None,
    instead: bool = False,
) -> Planned:
    """What a scenario's file would measure, with the catalog that it was read by; starts nothing.

    ``seed`` is the order in which pairs are measured; the others are the options of `testbed run` of the same name, with which
    a user brings servers of their own. Raises InputError.
    """
    if not isinstance(seed, int):
        raise InputError(f"a seed is an integer, not {seed!r}", value=seed)
    known = _catalog(server)
    options = candidate_options(known, image=image, build=build, config=config)
    return candidates.place(scenario.load(Path(file), known, seed=seed), known, options, instead=instead)


def candidate_options(known: Catalog, **options: Iterable[str] | None) -> list[CandidateOption]:
    """What a user brings, as it is written on the command line: ``image=["NAME=IMAGE"]``, or one text. Raises InputError."""
    return [candidates.read(option, text, known) for option, texts in options.items() for text in _several(texts)]


def _catalog(server: Iterable[Path | str] | None) -> Catalog:
    """The packaged software, and the folders that a user brings. Raises InputError."""
    return catalog.load(extra=[Path(folder) for folder in _several(server)])


def _several(given: Iterable[T] | None) -> Iterable[T]:
    """What was given, none or several; one text or path is one, not its letters."""
    return [given] if isinstance(given, str | Path) else given or ()  # type: ignore[list-item]  # a text is an iterable of texts


# --- images -----------------------------------------------------------------------------------------------------------


def software(
    *,
    image: Iterable[str] | None = None,
    build: Iterable[str] | None = None,
    config: Iterable[str] | None = None,
    server: Iterable[Path | str] | None = None,
) -> Catalog:
    """The packaged software, and what a user brings, written as on the command line. Raises InputError."""
    known = _catalog(server)
    return candidates.add(known, candidate_options(known, image=image, build=build, config=config))


def build(known: Catalog, wanted: Iterable[Implementation], *, jobs: int | None = None, display: Display | None = None) -> Images:
    """Build the images of ``wanted``, or keep those that are there; ``jobs``: images built at once.

    A packaged release that cannot be built is a reason in what is returned. Raises InputError or EngineError as `prepare` does.
    """
    display = display or Silent()
    return prepare(host.ensure(display.say), known, wanted, display, jobs=jobs)


def check(
    known: Catalog, wanted: Set[Implementation], *, jobs: int | None = None, display: Display | None = None
) -> list[Report]:
    """Prove on the wire what each of ``wanted`` declares that it can do; of a user's configuration, see what it does.

    ``jobs``: servers tried at once. Raises as `build` does, and EngineError if the testbed's own parts fail.
    """
    display = display or Silent()
    engine = host.ensure(display.say)
    federation.reap(engine)
    configured = wanted & {c.implementation for c in known.candidates if c.files}
    declared = wanted - configured
    images = prepare(engine, known, declared | configured, display)
    reports = Checker(known, engine, images, display, jobs=jobs).run(declared) if declared else []
    return reports + [boot.report() for boot in preflight.Preflight(known, engine, images, display).examine(configured)]


# --- measure ----------------------------------------------------------------------------------------------------------


def measure(
    planned: Planned,
    *,
    results: Path | str = DEFAULT_RESULTS,
    isolated: bool = False,
    confirm: int | None = CONFIRM,
    full_capture: bool = False,
    jobs: int | None = None,
    examine: bool = True,
    argv: Sequence[str] = (),
    display: Display | None = None,
) -> Run:
    """Measure a plan on real servers, judge the record and write its reports; blocks until all is done.

    ``isolated``, ``confirm`` (None: all) and ``full_capture`` are a `Manner`; ``jobs``: images built at once; ``examine``: boot
    the user's own servers once before the run; ``argv`` stands in the manifest. Raises InputError for something of the user's
    own that lacks what the testbed needs, EngineError if the testbed itself cannot go on, StorageError if ``results`` takes no
    more: what was recorded until then stays.
    """
    display = display or Silent()
    engine = host.ensure(display.say)
    federation.reap(engine)
    images = prepare(engine, planned.catalog, {s.implementation for s in planned.plan.servers}, display, jobs=jobs)
    if examine:
        planned = _examined(engine, planned, images, display)
    manner = Manner(isolated, confirm, full_capture)
    writer = store.Writer(Path(results), planned.plan.scenario)
    leg = Leg(lambda content: writer.manifest({**content, "argv": list(argv)}), [p.name for p in planned.plan.phases])
    return _conducted(writer, planned, engine, images, leg, manner, display)


COLLECTED = (50_000, 20, 100)
"""Thresholds of the garbage collector during a run (`gc.set_threshold`): nearly nothing in it is garbage. To look for some took
6 % of the time in which 2,256 cells are judged and reported; that now takes 290 MB instead of 255."""


@contextlib.contextmanager
def _seldom_collected() -> Iterator[None]:
    """Afterwards it is as it was."""
    before = gc.get_threshold()
    gc.set_threshold(*COLLECTED)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _conducted(
    writer: store.Writer, planned: Planned, engine: host.Engine, images: Images, leg: Leg, manner: Manner, display: Display
) -> Run:
    """Measure one leg of a run to its end, judge the record and write its reports. Raises EngineError."""
    judged: list[Run] = []
    try:
        with writer, _seldom_collected():
            conducted = conduct(
                planned.plan, planned.catalog, engine, images, writer, display, leg=leg, manner=manner,
                after=lambda: judged.append(report(writer.path, display=display)),
            )  # fmt: skip
            run_blocking(conducted)
    except KeyboardInterrupt:
        if not writer.begun:
            raise
        raise EngineError(f"interrupted; {kept_at(writer.path)}") from None
    except StorageError as error:
        if not writer.begun or not writer.path.is_dir():
            raise
        raise StorageError(f"{error}; {kept_at(writer.path)}") from None
    return replace(judged[0], path=writer.path)  # as the caller named it


def resume(
    run: Run,
    *,
    planned: Planned | None = None,
    manner: Manner | None = None,
    argv: Sequence[str] = (),
    display: Display | None = None,
) -> Run:
    """Measure what is missing of an interrupted run, into the same record; then judge and report it as `measure` does.

    Every phase that was measured whole is kept; the others are measured again, from the run's own manifest, with the images that
    it names. ``planned`` and ``manner``: what the caller thinks that the run was; None: not asked. A complete run is returned as
    it is. Raises InputError if the run still goes on, or would not be measured as it was begun: then nothing was changed.
    """
    display = display or Silent()
    if store.load(run.path).complete:  # nobody writes to it any more
        display.say(f"nothing is missing: {run.id} is complete")
        return load(run.path)
    with store.Writer.again(run.path) as writer:
        record = store.load(run.path)
        if record.complete:  # by another process, before this one had the lock
            display.say(f"nothing is missing: {run.id} is complete")
            return load(run.path)
        manifest, lack = record.manifest, resumption.lack_of(record)
        if not lack.phases:
            resumption.finish(writer, record, lack)
            return report(run.path, display=display)
        known = recorded.restore(manifest, catalog.load(extra=recorded.folders(manifest)))
        began = Planned(recorded.plan_of(manifest, recorded.pairs_of(manifest)), known)
        same = Manner.recorded(manifest)
        engine = host.ensure(display.say)
        federation.reap(engine)
        images = preparation.recorded(engine, known, manifest.get("images", {}), manifest.get("unavailable", {}))
        given = recorded.as_observed(planned, manifest) if planned else began
        now = planned_run(given.plan, given.catalog, images, manner or same, {}, engine=engine.version)
        resumption.refuse_another(run.path / "manifest.json", manifest, now)
        differs = resumption.noted(manifest, now)
        for text in differs:
            display.warn(text)
        display.say(f"resumes {run.id}: {lack.cells} of {len(store.planned_cells(manifest))} cells, in {', '.join(lack.phases)}")

        leg = resumption.leg_of(writer, record, lack, argv=argv, differs=differs)
        return _conducted(writer, began, engine, images, leg, same, display)


def remeasure(
    run: Run,
    sender: str,
    receiver: str,
    *,
    results: Path | str = DEFAULT_RESULTS,
    argv: Sequence[str] = (),
    display: Display | None = None,
) -> Run:
    """Measure one pair of a run again, alone and in every phase, from the run's own manifest; the old run stays as it is.

    Raises InputError for a domain that the run does not have, and as `measure` does.
    """
    manifest = run.record.manifest
    domains = [s["domain"] for s in manifest["servers"]]
    for domain in (sender, receiver):
        if domain not in domains:
            hint = did_you_mean(domain, domains)
            raise InputError(f"no server `{domain}` in this run", value=domain, allowed=tuple(domains), hint=hint)
    if sender == receiver:
        raise InputError("a server does not federate with itself", value=sender, hint="name two servers")
    known = recorded.restore(manifest, catalog.load(extra=recorded.folders(manifest)))
    planned = Planned(recorded.plan_of(manifest, [(sender, receiver)]), known)
    return measure(planned, results=results, isolated=True, examine=False, argv=argv, display=display)


def _examined(engine: host.Engine, planned: Planned, images: Images, display: Display) -> Planned:
    """Boot what is the user's own once, and warn of what it lacks; a configuration's policy is found out. Raises TestbedError."""
    for boot in preflight.Preflight(planned.catalog, engine, images, display).run(planned.plan):
        candidate = planned.catalog.candidate(boot.implementation)
        for note in boot.notes:
            if note.status is Status.FAILED:
                display.warn(f"{boot.implementation} {note.claim}")
        if candidate and boot.version:
            images.versions[tag_of(boot.implementation)] = boot.version
        if candidate and candidate.files:
            planned = candidates.observed(planned, boot.implementation, boot.policy, boot.unknown)
            policy = (
                f": {as_text(boot.policy)}" if boot.policy else f" is not known ({boot.unknown}): its cells are never surprises"
            )
            display.say(f"{boot.implementation}: what the configuration does{policy}")
    return planned


def run_blocking(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end; where this thread has an event loop already, as in a notebook, in a thread of its own.

    The first of `interruption.SIGNALS` cancels the work; when it has cleaned up, KeyboardInterrupt is raised. A later one does
    nothing.
    """

    async def cancellable() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task
        with interruption.cancelling(lambda: loop.call_soon_threadsafe(task.cancel)):
            await work

    with interruption.held():
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(cancellable())
            return
        with ThreadPoolExecutor(1, thread_name_prefix="campaign") as thread:
            thread.submit(lambda: asyncio.run(cancellable())).result()


# --- runs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A run that was judged."""

    path: Path
    """Its folder."""
    verdicts: Verdicts
    """As ``derived/verdicts.json`` has them."""
    _record: Record | None = field(default=None, repr=False, compare=False)

    @property
    def id(self) -> str:
        """The run's id."""
        return str(self.verdicts["run"])

    @property
    def exit_status(self) -> int:
        """0 as expected · 1 surprises · 3 the testbed could not tell."""
        return verdict.exit_status(self.verdicts)

    @cached_property
    def record(self) -> Record:
        """Manifest and observations, read from the folder when first asked for. Raises InputError."""
        return self._record or store.load(self.path)

    def rows(self) -> list[dict[str, Any]]:
        """One flat mapping per cell, for a data frame: the columns of docs/columns.md."""
        return list(table.rows(self.verdicts))

    def judge(self) -> Run:
        """The same run, judged from its record by the rules of today; writes nothing. Raises InputError."""
        return judge(self.path)


def load(run: Path | str, results: Path | str = DEFAULT_RESULTS) -> Run:
    """A run by its path, its id or ``latest``, with the verdicts that it has; judged if it has none. Raises InputError."""
    path = store.find(str(run), Path(results))
    kept = files.kept(path)
    return Run(path, kept.verdicts) if kept else judge(path)


def judge(run: Path | str, results: Path | str = DEFAULT_RESULTS) -> Run:
    """A run, judged from its record by the rules of today; writes nothing. Raises InputError."""
    record = store.load(store.find(str(run), Path(results)))
    return Run(record.path, verdict.judge_run(record), record)


def report(run: Path | str, results: Path | str = DEFAULT_RESULTS, *, display: Display | None = None) -> Run:
    """Judge a run from its record, and write everything under ``derived/``, the verdicts first. Raises InputError."""
    display = display or Silent()
    display.stage("report", 1)
    judged = judge(run, results)
    store.write_derived(judged.path, [("verdicts.json", json.dumps(judged.verdicts, indent=1).encode() + b"\n")])
    store.write_derived(judged.path, render_all(judged.verdicts))
    display.advance("report")
    return judged
