"""The pytest face: the cells of a scenario as tests; all that are selected are measured in one run, however many workers ask.

Rule: at import and without `--federation` nothing but pytest and the standard library is loaded. Judges nothing: a test says what
the verdict of its cell says. As `python -m testbed.pytest_plugin ORDER` this file is the process that measures, apart from
pytest's own: what a project filters, captures or patches does not reach it, and it ends when the worker that started it does.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from testbed.compare.baseline import Baseline, Entry, Gate
    from testbed.compare.cells import Subject
    from testbed.model import Cell, Plan
    from testbed.plan.candidates import Planned

POLL = 0.2
"""Seconds between two looks at what another process does."""
FAREWELL = 90.0
"""Seconds that a measurement which is told to end may take to remove its containers."""
TIMEOUT = 3600.0
NAME = "federation"
OWN = {
    "image": ("IMPLEMENTATION=IMAGE", "measure this image too"),
    "build": ("IMPLEMENTATION=FOLDER", "measure what the Dockerfile in FOLDER builds, too"),
    "config": ("IMPLEMENTATION=FILE", "measure this configuration too"),
    "server": ("FOLDER", "an implementation that is not among the testbed's, as a folder like those of images/"),
}
"""What a project gives of its own, as to `testbed run`: option to its form and meaning."""


# --- pytest's side: options, files, selection -----------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, and the keys for pytest's own file of settings."""
    group = parser.getgroup(NAME, "s2s federation testbed")
    add = group.addoption
    add("--federation", action="append", metavar="FILE", help="a scenario: its cells become tests (may be given again)")
    add("--federation-results", metavar="DIR", help="where runs are kept [default: results]")
    add("--federation-baseline", action="append", metavar="FILE", help="known failures: they are expected to fail, strictly")
    add("--federation-run", action="append", metavar="RUN", help="report this run or verdicts.json, and measure nothing")
    add("--federation-timeout", type=float, metavar="SECONDS", help=f"patience with one measurement [default: {TIMEOUT:.0f}]")
    add("--federation-isolated", action="store_true", default=None, help="every pair in a federation of just the two: slow")
    for name, (form, text) in OWN.items():
        add(f"--federation-{name}", action="append", metavar=form, help=f"{text}, as `testbed run --{name}`")
        parser.addini(f"federation_{name}", type="linelist", help=f"as --federation-{name}")
    add("--federation-instead", action="store_true", default=None, help="what is given stands in for the scenario's own")
    parser.addini("federation_instead", type="bool", default=False, help="as --federation-instead")
    parser.addini("federation", type="paths", help="scenarios: collected when pytest is called without paths")
    parser.addini("federation_results", type="paths", help="as --federation-results")
    parser.addini("federation_baseline", type="paths", help="as --federation-baseline, for the scenarios that they name")
    parser.addini("federation_timeout", help="as --federation-timeout")
    parser.addini("federation_isolated", type="bool", default=False, help="as --federation-isolated")


def pytest_configure(config: pytest.Config) -> None:
    """Read the scenarios, if there are any. Raises pytest.UsageError for input that is wrong, before anything is collected."""
    given = [Path(name) for name in config.getoption("federation") or ()]
    files = given or [Path(p) for p in config.getini("federation")]
    if not files:
        for option in ("baseline", "run", "results", "timeout", "isolated", "instead", *OWN):
            if config.getoption(f"federation_{option}") is not None:
                raise pytest.UsageError(f"--federation-{option} is of no use without --federation FILE")
        return
    from testbed.model import InputError

    try:
        face = Face(config, files)
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
    collect(config, files, only=bool(given))
    for line in face.marker_lines():
        config.addinivalue_line("markers", line)
    config.pluginmanager.register(face, f"{NAME}-session")


def collect(config: pytest.Config, files: list[Path], *, only: bool) -> None:
    """Make pytest collect ``files``: beside the paths that it was called with, or (``only``) instead of its usual ones."""
    named = config.args_source is config.ArgsSource.ARGS
    if named and not only:
        return  # scenarios that merely stand in the settings are not raised for `pytest tests/unit`
    start = config.invocation_params.dir
    there = {(start / arg.partition("::")[0]).resolve() for arg in config.args} if named else set()
    missing = [str(file) for file in files if (start / file).resolve() not in there]
    config.args[:] = [*(config.args if named or not only else ()), *missing]
    config.args_source = config.ArgsSource.ARGS


@dataclass
class Federation:
    """A scenario, and what is known of its cells."""

    number: int
    path: Path
    plan: Plan
    baselines: tuple[Baseline, ...]
    subject: Subject | None = None
    """The verdicts, where an existing run is reported."""
    run: Path | None = None
    """The folder of the run that the verdicts come from, if there is one."""
    selected: list[str] = field(default_factory=list)
    """Ids of the cells that are tests of this session."""
    trouble: str | None = None
    """Why no cell can be relied on."""
    gates: list[Gate] = field(default_factory=list)
    asked: bool = False

    @functools.cached_property
    def words(self) -> Words:
        """The markers of its cells."""
        return Words(self.plan)


class Face:
    """What takes part in a session with scenarios; registered only then."""

    def __init__(self, config: pytest.Config, files: list[Path]) -> None:
        from testbed.compare import baseline
        from testbed.record import store

        self.config = config
        settings = [*config.getini("federation_results"), os.environ.get("TESTBED_RESULTS"), store.DEFAULT_RESULTS]
        self.results = Path(config.getoption("federation_results") or next(filter(None, settings)))
        self.timeout = patience(config)
        self.isolated = bool(config.getoption("federation_isolated") or config.getini("federation_isolated"))
        self.worker: dict[str, Any] | None = getattr(config, "workerinput", None)
        """What xdist's controller told this process, if it is a worker."""
        self.folder: Path | None = Path(self.worker["federation"]) if self.worker else None
        named = config.getoption("federation_baseline")
        known = [baseline.load(Path(name)) for name in named or config.getini("federation_baseline")]
        self.own = own_of(config)
        paths = list(dict.fromkeys(f.resolve() for f in files))
        plans = [place(path, self.own).plan for path in paths]
        if named:
            self.refuse_strangers([b.form.scenario for b in known], known, plans)
        self.federations = [
            Federation(n, path, plan, tuple(b for b in known if b.form.scenario in (None, plan.scenario)))
            for n, (path, plan) in enumerate(zip(paths, plans, strict=True))
        ]
        if runs := config.getoption("federation_run"):
            self.report_runs(runs)
        self.progress = Progress(self)

    def refuse_strangers(self, names: list[str | None], known: list[Baseline], plans: list[Plan]) -> None:
        """A baseline that is named on the command line and speaks of none of the scenarios. Raises InputError."""
        from testbed.model import InputError

        scenarios = tuple(p.scenario for p in plans)
        for name, one in zip(names, known, strict=True):
            if name is not None and name not in scenarios:
                hint = "name the baseline of this scenario, or take `scenario:` out of the file"
                raise InputError(
                    f"known failures of the scenario `{name}`", file=one.file, value=name, allowed=scenarios, hint=hint
                )

    def report_runs(self, names: list[str]) -> None:
        """Take the verdicts of existing runs, by their scenario. Raises InputError for one that has none here, or the reverse."""
        from testbed.compare import files
        from testbed.compare.cells import subject
        from testbed.judge.verdict import judge
        from testbed.model import InputError
        from testbed.record import store

        scenarios = tuple(f.plan.scenario for f in self.federations)
        for name in names:
            if name.endswith(".json"):
                found, path = files.verdicts(Path(name)), None
            else:
                record = store.load(store.find(name, self.results))
                found, path = subject(judge(record), record.manifest), record.path
            mine = [f for f in self.federations if f.plan.scenario == found.verdicts["scenario"]]
            if not mine:
                raise InputError(
                    f"a run of the scenario `{found.verdicts['scenario']}`", file=name, value=name, allowed=scenarios,
                    hint="give its scenario with --federation",
                )  # fmt: skip
            for federation in mine:
                self.accept(federation, found, path)
        for federation in self.federations:
            if federation.subject is None:
                raise InputError(
                    "no run to report", file=str(federation.path), hint="name one with --federation-run for each scenario"
                )

    def marker_lines(self) -> Iterator[str]:
        """Every marker that a cell may carry, as pytest's settings want them."""
        words = {name: text for f in self.federations for phase in f.plan.phases for name, text in f.words.all(phase.name)}
        yield from (f"{name}: {text}" for name, text in words.items())
        for side, text in SIDES.items():
            yield f"{side}(domain, implementation, policy, certificate): cells in which {text} is so, in their phase"

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """A scenario that was asked for."""
        path = file_path.resolve()
        for federation in self.federations:
            if federation.path == path:
                return ScenarioNode.from_parent(parent, path=file_path, federation=federation)
        return None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What is left after -k, -m and all else; every worker knows the same."""
        for item in session.items:
            if isinstance(item, CellItem):
                item.federation.selected.append(item.cell.id)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Have the verdicts before the first cell is reported; before pytest looks at marks, as the verdict may add some."""
        if isinstance(item, CellItem):
            if not item.federation.asked:
                item.federation.asked = True
                try:
                    self.obtain(item.federation)
                except Exception as error:  # one sentence here too, rather than a traceback for each cell
                    item.federation.trouble = f"the testbed failed, which is a bug of it: {type(error).__name__}: {error}"
            item.take_verdict(self.shown(item.federation.run))

    # --- the verdicts ---

    def obtain(self, federation: Federation) -> None:
        """The verdicts of the selected cells: measured by whoever is first, awaited by the others."""
        if federation.subject is not None:
            return
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="federation-"))
        outcome = Shared(self.folder, federation.number).outcome(lambda lock: self.measure(federation, lock), self.progress.pump)
        if "run" not in outcome:
            federation.trouble = f"the federation was not measured: {outcome['error']}"
            return
        from testbed.compare import files
        from testbed.model import InputError

        try:
            self.accept(federation, files.verdicts(Path(outcome["run"]) / "derived" / "verdicts.json"), Path(outcome["run"]))
        except InputError as error:
            federation.trouble = f"the verdicts cannot be read: {error}"

    def accept(self, federation: Federation, subject: Subject, run: Path | None) -> None:
        """Take verdicts, and hold them against the known failures."""
        from testbed.compare import baseline

        federation.subject, federation.run = subject, run
        federation.trouble = trouble_of(subject.verdicts)
        federation.gates = [baseline.check(b, subject, dt.date.today()) for b in federation.baselines]

    def measure(self, federation: Federation, lock: int) -> None:
        """Measure the selection in a process of its own, and wait for it. It too holds the lock, and writes the outcome."""
        assert self.folder
        shared = Shared(self.folder, federation.number)
        order = {
            "file": str(federation.path), "cells": federation.selected, "results": str(self.results.resolve()),
            "isolated": self.isolated, "own": self.own, "outcome": str(shared.result),
            "argv": ["pytest", *map(str, self.config.invocation_params.args)],
        }  # fmt: skip
        path = self.folder / f"{federation.number}-order.json"
        path.write_text(json.dumps(order))
        environment = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "TTY_COMPATIBLE")}
        with self.progress.file(self.folder).open("a") as said:
            process = subprocess.Popen(
                # -P: what stands in the project's own folder must not be imported instead of a library
                [sys.executable, "-P", "-m", "testbed.pytest_plugin", str(path)],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, text=True, pass_fds=[lock],
                env=environment | {"NO_COLOR": "1", "COLUMNS": "400"},
                start_new_session=True,  # Ctrl-C comes through the pipe, once: a second one would cut the cleaning short
            )  # fmt: skip
        deadline = time.monotonic() + self.timeout
        try:
            while process.poll() is None and time.monotonic() < deadline:
                self.progress.pump()
                time.sleep(POLL)
            if process.poll() is None:
                end(process, f"it took longer than {self.timeout:g} s (--federation-timeout)")
        finally:
            end(process, "the session was interrupted")
        self.progress.pump()
        if not shared.result.exists():
            last = self.progress.file(self.folder).read_text().strip().splitlines()[-1:]
            words = " ".join(last) or "it said nothing"
            shared.write({"error": f"the process that measures ended with status {process.returncode}: {words}"})

    # --- the controller's side ---

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Of xdist: a worker is about to start; tell it where all of them meet."""
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="federation-"))
            self.progress.follow()
        node.workerinput["federation"] = str(self.folder)

    def pytest_report_header(self) -> list[str]:
        """What is going to be measured."""
        return [
            f"federation: {self.shown(f.path)} ({len(f.plan.cells)} cells)"
            + "".join(f", known failures {b.file}" for b in f.baselines)
            + (f", reported from {self.shown(f.run) or f.subject.run}" if f.subject else "")
            for f in self.federations
        ]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """No more news."""
        self.progress.stop()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Where the run is kept, or once more why there is none."""
        if terminalreporter.verbosity < 0 or self.folder is None:
            return
        for federation in self.federations:
            outcome = Shared(self.folder, federation.number).read()
            if outcome and "run" in outcome:
                run = Path(outcome["run"])
                page = ", page derived/report.html" if (run / "derived" / "report.html").exists() else ""
                terminalreporter.write_line(f"federation {federation.plan.scenario}: run {self.shown(run)}{page}")
            elif outcome:
                terminalreporter.write_line(f"federation {federation.plan.scenario}: {outcome['error']}")

    def pytest_unconfigure(self) -> None:
        """The folder where the workers met is of no more use."""
        self.progress.stop()
        if self.folder and not self.worker:
            shutil.rmtree(self.folder, ignore_errors=True)

    def shown(self, path: Path | None) -> str:
        """A path as a person at this place would type it."""
        if path is None:
            return ""
        try:
            return str(path.resolve().relative_to(self.config.invocation_params.dir))
        except ValueError:
            return str(path)


def own_of(config: pytest.Config) -> dict[str, Any]:
    """What the project gives of its own, as the options of `testbed run` want it; paths in the settings begin at their file."""
    found: dict[str, Any] = {"instead": bool(config.getoption("federation_instead") or config.getini("federation_instead"))}
    home = config.inipath.parent if config.inipath else config.rootpath
    for option in OWN:
        found[option] = config.getoption(f"federation_{option}") or []
        if not found[option]:
            for line in config.getini(f"federation_{option}"):
                name, equals, value = line.rpartition("=")
                found[option].append(line if option == "image" else f"{name}{equals}{home / value}")
    return found


def place(path: Path, own: Mapping[str, Any]) -> Planned:
    """The plan of a scenario, with what is the project's own in it. Raises InputError."""
    from testbed.plan import candidates, catalog, scenario

    known = catalog.load(extra=[Path(folder) for folder in own["server"]])
    options = [candidates.read(option, text, known) for option in OWN if option != "server" for text in own[option]]
    return candidates.place(scenario.load(path, known), known, options, instead=own["instead"])


def patience(config: pytest.Config) -> float:
    """Seconds for one measurement. Raises InputError."""
    from testbed.model import InputError

    given = config.getoption("federation_timeout")
    text = given if given is not None else config.getini("federation_timeout") or TIMEOUT
    with contextlib.suppress(ValueError):
        if (seconds := float(text)) > 0:
            return seconds
    raise InputError("federation_timeout is a number of seconds, above 0", value=text)


def trouble_of(verdicts: Mapping[str, Any]) -> str | None:
    """Why no cell of a run can be relied on; None if they can."""
    if not verdicts.get("complete"):
        return f"the run {verdicts['run']} was cut short, so nothing in it can be relied on: its record has no closing line"
    for control in verdicts.get("controls") or ():
        if not control["ok"]:
            where = f"phase {control['phase']}, {control['when']}"
            return (
                f"the control pair, which must always get through, did not ({where}), so nothing in the run {verdicts['run']} "
                f"can be relied on: {control.get('reason') or 'no reason was recorded'}"
            )
    return None


# --- cells as tests -------------------------------------------------------------------------------------------------------


Failed: Any = pytest.fail.Exception
"""What pytest shows as text alone, without a traceback, if it was raised with ``pytrace=False``."""


class Surprise(Failed):  # type: ignore[misc]  # pytest declares it as a value
    """A cell came out otherwise than expected; the text is all that a person is shown."""

    __module__ = "builtins"  # pytest's short summary begins with the bare name then


class Undecided(Failed):  # type: ignore[misc]
    """Nothing follows from the cell: raised while the test is set up, so that it is an error and no failure."""

    __module__ = "builtins"


class ScenarioNode(pytest.File):
    """A scenario file."""

    def __init__(self, *, federation: Federation, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.federation = federation

    def collect(self) -> Iterator[pytest.Collector]:
        """The phases."""
        cells: dict[str, dict[str, list[Cell]]] = {}
        for cell in self.federation.plan.cells:
            cells.setdefault(cell.phase, {}).setdefault(f"{cell.sender} -> {cell.receiver}", []).append(cell)
        for name, pairs in cells.items():
            yield PhaseNode.from_parent(self, name=name, federation=self.federation, below=pairs)


class PhaseNode(pytest.Collector):
    """A phase, with its ordered pairs below."""

    def __init__(self, *, federation: Federation, below: Mapping[str, list[Cell]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.federation, self.below = federation, below

    def collect(self) -> Iterator[pytest.Collector]:
        """The pairs."""
        for name, cells in self.below.items():
            yield PairNode.from_parent(self, name=name, federation=self.federation, below=cells)


class PairNode(pytest.Collector):
    """An ordered pair, with its cells below."""

    def __init__(self, *, federation: Federation, below: list[Cell], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.federation, self.below = federation, below

    def collect(self) -> Iterator[pytest.Item]:
        """The cells."""
        for cell in self.below:
            yield CellItem.from_parent(self, name=cell.exchange, federation=self.federation, cell=cell)


class CellItem(pytest.Item):
    """One cell."""

    def __init__(self, *, federation: Federation, cell: Cell, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.federation, self.cell = federation, cell
        self.verdict: Mapping[str, Any] | None = None
        self.run = ""
        for name in federation.words.of_cell(cell):
            self.add_marker(name)
        for mark in federation.words.of_sides(cell):
            self.add_marker(mark)

    def reportinfo(self) -> tuple[Path, int, str]:
        """The scenario, and a heading."""
        return self.path, 0, f"{self.cell.phase}: {self.cell.sender} -> {self.cell.receiver}: {self.cell.exchange}"

    def take_verdict(self, run: str) -> None:
        """Know the verdict, and add the marks that follow from it."""
        federation = self.federation
        if federation.trouble or federation.subject is None:
            return
        self.run = run or federation.subject.run
        self.verdict = cell = federation.subject.cells.get(self.cell.id)
        if cell is None:
            return
        self.user_properties.extend(properties(cell, self.run))
        if cell["outcome"] == "unsupported":
            self.add_marker(pytest.mark.skip(reason=f"unsupported: {cell['explanation']}"))
        elif entry := self.known():
            words = f"known failure, {entry[0]}:{entry[1].line}: {entry[1].form.reason}"
            self.add_marker(pytest.mark.xfail(reason=words, strict=True, raises=(Surprise, Undecided)))

    def known(self) -> tuple[str, Entry] | None:
        """The file and the entry that accepts what happened here."""
        for gate in self.federation.gates:
            for place, cells in gate.known.items():
                if any(c["id"] == self.cell.id for c in cells):
                    return gate.baseline.file, gate.baseline.entries[place]
        return None

    def setup(self) -> None:
        """Raise Undecided where nothing follows from the cell."""
        from testbed.compare.cells import cannot_say

        if self.federation.trouble:
            self.refuse(self.federation.trouble)
        if self.verdict is None:
            assert self.federation.subject
            self.refuse(f"the run {self.federation.subject.run} has no such cell: it measured other ones")
        if cannot_say(self.verdict):
            self.refuse("\n".join(self.story(f"the testbed cannot say: {self.verdict['explanation']}")))

    def refuse(self, text: str) -> NoReturn:
        """Raise Undecided."""
        raise Undecided(text, pytrace=False)

    def runtest(self) -> None:
        """Raise Surprise where the cell came out otherwise than expected, or a known failure did not."""
        from testbed.compare.cells import describe

        assert self.verdict is not None
        if self.verdict["surprise"]:
            raise Surprise("\n".join(self.story(f"{describe(self.verdict)}, expected {expected(self.verdict)}")), pytrace=False)
        for gate in self.federation.gates:
            for place, cells in gate.passing.items():
                if any(c["id"] == self.cell.id for c in cells):
                    entry = gate.baseline.entries[place]
                    raise Surprise(
                        f"a known failure passes: {describe(self.verdict)}, as expected\n"
                        f"  {gate.baseline.file}:{entry.line} accepts {entry.failure}: {entry.form.reason}\n"
                        "  take the cell out of that entry, or say `may_pass: true` there if the failure comes and goes",
                        pytrace=False,
                    )

    def story(self, headline: str) -> Iterator[str]:
        """What a person needs to go on from here."""
        assert self.verdict is not None
        cell = self.verdict
        yield headline
        facts = [
            *((role, self.server(cell[role])) for role in ("sender", "receiver")),
            *facts_of(cell),
            *(("known as", text) for text in self.not_accepted()),
            *(("evidence", text) for text in evidence(cell, self.run)),
            ("story", f"testbed explain {self.run} {cell['sender']} {cell['receiver']}"),
        ]
        yield from (f"  {name:<10} {text}" for name, text in facts if text)

    def server(self, domain: str) -> str:
        """``a.example: name@release 1.2, policy encrypted, certificate ca``"""
        from testbed.compare.cells import software

        assert self.federation.subject
        server = self.federation.subject.servers[domain]
        settings = self.federation.subject.settings[self.cell.phase][domain]
        return (
            f"{domain}: {software(server)} {server.get('version') or '(version unknown)'}, "
            f"policy {settings['policy']}, certificate {settings['certificate']}"
        )

    def not_accepted(self) -> Iterator[str]:
        """Entries of the baseline that speak of this cell, and why they do not accept what happened."""
        assert self.federation.subject
        assert self.verdict is not None
        for gate in self.federation.gates:
            for cell, entry in gate.changed:
                if cell["id"] == self.cell.id:
                    yield f"another failure: {gate.baseline.file}:{entry.line} accepts {entry.failure}"
            for entry in gate.expired:
                if entry.selects(self.federation.subject, self.verdict) and entry.is_failure_of(self.verdict):
                    yield f"accepted until {entry.form.expires}, by {gate.baseline.file}:{entry.line}: {entry.form.reason}"


def expected(cell: Mapping[str, Any]) -> str:
    """``delivered over tls``, ``bounced: tls-required``"""
    ought = cell["expected"]
    over = {"tls": " over TLS", "cleartext": " in cleartext"}.get(ought.get("encryption") or "", "")
    return f"{ought['outcome']}{over}" + (f": {ought['cause']}" if ought.get("cause") else "")


def facts_of(cell: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and text of what the verdict says."""
    from testbed.compare.cells import describe
    from testbed.report import words

    channel = {k: v for k, v in (cell.get("channel") or {}).items() if v is not None and not isinstance(v, bool)}
    yield "outcome", describe(cell)
    yield "channel", ", ".join(map(str, channel.values()))
    if cell.get("cause"):
        source = f" (seen by: {cell['cause_from']})" if cell.get("cause_from") else ""
        yield "cause", f"{cell['cause']}{source}"
        yield "fault", words.FAULTS.get(cell.get("fault") or "", "nobody's, or not to be told")
    yield "because", str(cell["explanation"])
    yield "expected", f"{expected(cell)}: {cell['expected']['because']}"
    if seen := cell.get("interference"):
        by = "; ".join(f"{b['sender']} -> {b['receiver']}, {b['because']}" for b in seen.get("by") or ())
        yield (
            "disturbed",
            f"in the mesh {seen['mesh']}, alone {seen['alone']}: third parties interfered" + (f" ({by})" if by else ""),
        )
    if seen := cell.get("history_dependent"):
        yield "history", f"on a first contact {seen['cold']}, after the other direction {seen['warm']}: the outcome depends on it"
    if cell.get("flaky"):
        yield "attempts", f"{', '.join(cell['flaky'])}: attempts under the same conditions disagreed"
    if "confirmed" in cell:
        yield "confirmed", "yes" if cell["confirmed"] else "no: no second attempt, and no measurement of the pair alone, agreed"


def evidence(cell: Mapping[str, Any], run: str) -> Iterator[str]:
    """Where to look: the record once with all its lines, then each log."""
    lines = [text.partition("#")[2] for text in cell["evidence"] if text.startswith("observations.jsonl#")]
    if lines:
        yield f"{run}/observations.jsonl, lines {', '.join(lines)}"
    yield from (f"{run}/{text}" for text in cell["evidence"] if not text.startswith("observations.jsonl#"))


def properties(cell: Mapping[str, Any], run: str) -> Iterator[tuple[str, object]]:
    """For JUnit's XML and others that read a test's properties."""
    channel = cell.get("channel") or {}
    found = {
        "run": run, "cell": cell["id"], "outcome": cell["outcome"], "cause": cell.get("cause"), "fault": cell.get("fault"),
        "encryption": channel.get("encryption"), "tls_version": channel.get("tls_version"),
        "authentication": channel.get("authentication"), "expected": expected(cell), "because": cell["expected"]["because"],
        "seconds": cell.get("seconds"),
    }  # fmt: skip
    yield from ((key, value) for key, value in found.items() if value is not None)


# --- markers --------------------------------------------------------------------------------------------------------------

SIDES = {"sender": "the sender", "receiver": "the receiver", "server": "one of the two"}


class Words:
    """The markers of a plan's cells. A word may hold letters, digits and `_`: what `-m` can read without quotes."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.settings = {p.name: p.settings for p in plan.phases}
        self.implementations = {s.domain: s.implementation for s in plan.servers}
        self.side = functools.cache(self._side)
        self.server = functools.cache(self._server)

    def _server(self, phase: str, domain: str) -> dict[str, str]:
        """Word to meaning."""
        implementation, settings = self.implementations[domain], self.settings[phase][domain]
        found = {
            word(implementation.name): f"cells of a server of {implementation.name}",
            word(str(implementation)): f"cells of a server of {implementation}",
            word(settings.policy.preset): f"cells of a server with the policy {settings.policy.preset}, in their phase",
        }
        found.setdefault(word(settings.policy.name), f"cells of a server with the policy {settings.policy.name}, in their phase")
        return found

    def all(self, phase: str) -> Iterator[tuple[str, str]]:
        """Every word of a phase, with its meaning."""
        yield f"phase_{word(phase)}", f"cells of the phase {phase}"
        yield from ((word(exchange), f"cells of the exchange {exchange}") for exchange in self.plan.exchanges)
        for domain in self.implementations:
            yield from self.server(phase, domain).items()

    def of_cell(self, cell: Cell) -> list[str]:
        """The words of one cell."""
        sides = (self.server(cell.phase, cell.sender), self.server(cell.phase, cell.receiver))
        return list(dict.fromkeys([f"phase_{word(cell.phase)}", word(cell.exchange), *sides[0], *sides[1]]))

    def _side(self, name: str, phase: str, domain: str) -> list[pytest.MarkDecorator]:
        """`sender(policy="encrypted")` and its like: one mark for each way to name implementation and policy."""
        implementation, settings = self.implementations[domain], self.settings[phase][domain]
        return [
            getattr(pytest.mark, name).with_args(
                domain=domain, implementation=one, policy=policy, certificate=settings.certificate
            )
            for one in (str(implementation), implementation.name)
            for policy in dict.fromkeys((settings.policy.name, settings.policy.preset))
        ]

    def of_sides(self, cell: Cell) -> Iterator[pytest.MarkDecorator]:
        """The marks with values of one cell."""
        for name, domain in (
            ("sender", cell.sender), ("receiver", cell.receiver), ("server", cell.sender), ("server", cell.receiver),
        ):  # fmt: skip
            yield from self.side(name, cell.phase, domain)


def word(text: str) -> str:
    """``name@release`` as ``name_release``"""
    return re.sub(r"\W+", "_", text).strip("_")


# --- one measurement for all workers --------------------------------------------------------------------------------------


class Shared:
    """What the workers of a session know of one scenario's measurement: files in a folder of theirs, and one lock.

    The lock is one for all scenarios, so that they are measured one after the other. The kernel takes it back when its holders
    end, however they do: who gets it, and finds a measurement that was begun and has no outcome, knows that nobody works on it.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.lock, self.begun, self.result = folder / "lock", folder / f"{number}-begun", folder / f"{number}-outcome.json"

    def read(self) -> dict[str, str] | None:
        """`{"run": path}` or `{"error": sentence}`; None if there is no outcome yet."""
        try:
            found: dict[str, str] = json.loads(self.result.read_text())
        except FileNotFoundError:
            return None
        return found

    def write(self, outcome: dict[str, str]) -> None:
        """The outcome; whole or not at all."""
        write_whole(self.result, outcome)

    def outcome(self, measure: Any, meanwhile: Any) -> dict[str, str]:
        """What came of it: wait for the one who measures, or be it. ``measure`` gets the lock's file descriptor."""
        import fcntl  # not on every system on which pytest may load this file

        while True:
            if found := self.read():
                return found
            try:
                lock = self.lock.open("a")
            except OSError as error:
                return {"error": f"the workers cannot meet in {self.lock.parent} ({error.strerror}): all must be on this machine"}
            with lock, contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self.read():
                    continue
                if self.begun.exists():
                    self.write({"error": "the process that measured it was ended in the middle; run it again"})
                    continue
                self.begun.touch()
                measure(lock.fileno())
                continue
            meanwhile()
            time.sleep(POLL)


class Progress:
    """News of a measurement, from the file that it writes them to, as plain lines on the terminal of who has one."""

    def __init__(self, face: Face) -> None:
        self.face, self.read = face, 0
        self.ended = threading.Event()
        self.thread: threading.Thread | None = None

    @staticmethod
    def file(folder: Path) -> Path:
        """Where the measurement writes."""
        return folder / "progress"

    def pump(self) -> None:
        """Show the lines that came since."""
        face = self.face
        reporter = None if face.worker else face.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or reporter.verbosity < 0 or face.folder is None or not self.file(face.folder).exists():
            return
        with self.file(face.folder).open("rb") as file:
            file.seek(self.read)
            whole = file.read().rpartition(b"\n")[0]
        if not whole:
            return
        self.read += len(whole) + 1
        capture = face.config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            reporter.ensure_newline()
            for line in whole.decode(errors="replace").splitlines():
                reporter.write_line(f"federation: {line.strip()}")

    def follow(self) -> None:
        """Show them until the session ends: the controller of xdist has nothing else to do meanwhile."""

        def show() -> None:
            while not self.ended.wait(POLL):
                self.pump()

        self.thread = threading.Thread(target=show, name="federation-progress", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """The last lines."""
        self.ended.set()
        if self.thread:
            self.thread.join()
            self.thread = None
            self.pump()


def end(process: subprocess.Popen[str], why: str) -> None:
    """Tell a measurement to end, if it has not, and give it time to remove what it raised."""
    assert process.stdin
    if process.stdin.closed:
        return
    running = process.poll() is None
    with process.stdin as line, contextlib.suppress(OSError):
        if running:
            line.write(why)
    if running:
        try:
            process.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def write_whole(path: Path, content: Mapping[str, str]) -> None:
    """JSON that appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)


# --- the process that measures --------------------------------------------------------------------------------------------


def narrow(plan: Plan, cells: Iterable[str]) -> Plan:
    """The smallest plan that has all of ``cells`` (ids): their phases, exchanges, servers, and pairs with both directions."""
    wanted = set(cells)
    mine = [c for c in plan.cells if c.id in wanted]
    phases, exchanges = {c.phase for c in mine}, {c.exchange for c in mine}
    pairs, domains = {frozenset((c.sender, c.receiver)) for c in mine}, {d for c in mine for d in (c.sender, c.receiver)}
    return replace(
        plan,
        servers=tuple(replace(s, index=n) for n, s in enumerate(s for s in plan.servers if s.domain in domains)),
        phases=tuple(
            replace(p, settings={d: s for d, s in p.settings.items() if d in domains}) for p in plan.phases if p.name in phases
        ),
        exchanges=tuple(x for x in plan.exchanges if x in exchanges),
        pairs=tuple(p for p in plan.pairs if frozenset(p) in pairs),
    )


def main(path: Path) -> None:
    """Measure what an order says, and write the outcome: always one of the two, whatever happens."""
    order = json.loads(path.read_text())
    reasons: list[str] = []
    threading.Thread(target=end_with_parent, args=(reasons,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a session in the background of a shell ignores it
    sys.argv[1:] = order["argv"]  # as it stands in the manifest
    from testbed.model import TestbedError

    try:
        outcome = {"run": measured(order)}
    except TestbedError as error:
        text = str(error)
        outcome = {"error": "; ".join([*reasons, text.removeprefix("interrupted; ") if reasons else text])}
    except KeyboardInterrupt:
        outcome = {"error": "; ".join([*reasons, "it ended before anything was measured"])}
    except Exception as error:
        outcome = {"error": f"the testbed failed, which is a bug of it: {type(error).__name__}: {error}"}
    write_whole(Path(order["outcome"]), outcome)


def measured(order: Mapping[str, Any]) -> str:
    """The folder of the run. Raises TestbedError."""
    import typer

    from testbed import cli
    from testbed.measure.conductor import Manner

    planned = place(Path(order["file"]), order["own"])
    plan = narrow(planned.plan, order["cells"])
    results, said = Path(order["results"]), io.StringIO()
    with contextlib.suppress(typer.Exit), contextlib.redirect_stdout(said):
        cli.measure(plan, planned.catalog, results, False, manner=Manner(isolated=order["isolated"]), as_json=True)
    return str(results / json.loads(said.getvalue())["run"])


def end_with_parent(reasons: list[str]) -> None:
    """Wait until the worker that ordered the measurement says why it has to end, or is gone; then end as with Ctrl-C."""
    said = b""
    while more := os.read(0, 4096):  # not sys.stdin: a thread that waits in its buffer breaks the interpreter's end
        said += more
    reasons.append(said.decode() or "the worker that measured was ended")
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(FAREWELL)
    os._exit(3)
