"""A session with scenarios: what takes part in it, from the options to the last test.

Rule: loaded only when there is a scenario. Answers pytest's hooks, and leaves the work to the files beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testbed import unforeseen
from testbed.compare import files
from testbed.model import InputError
from testbed.pytest_plugin import NAME, federations, markers, options
from testbed.pytest_plugin.federations import Federation
from testbed.pytest_plugin.items import CellItem, ScenarioNode
from testbed.pytest_plugin.options import Options
from testbed.pytest_plugin.reporting import Reporting
from testbed.pytest_plugin.workers import Meeting, NotMeasured, Order, Progress, Shared, measure

WORKER_KEY = "federation"
"""Under which the controller of xdist tells a worker where all of them meet."""


def start(config: pytest.Config, scenarios: list[Path], *, only: bool) -> None:
    """Register what a session with scenarios needs. Raises pytest.UsageError for input that is wrong."""
    try:
        asked = options.read(config, scenarios)
        session = Session(config, asked, federations.load(asked))
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
    collect(config, scenarios, only=only)
    for line in markers.lines([f.words for f in session.federations]):
        config.addinivalue_line("markers", line)
    config.pluginmanager.register(session.reporting, f"{NAME}-reporting")
    config.pluginmanager.register(session, f"{NAME}-session")


def collect(config: pytest.Config, scenarios: list[Path], *, only: bool) -> None:
    """Make pytest collect ``scenarios``: beside the paths that it was called with, or (``only``) instead of its usual ones."""
    named = config.args_source is config.ArgsSource.ARGS
    if named and not only:
        return  # scenarios that merely stand in the settings are not raised for `pytest tests/unit`
    here = config.invocation_params.dir
    there = {(here / arg.partition("::")[0]).resolve() for arg in config.args} if named else set()
    missing = [str(file) for file in scenarios if (here / file).resolve() not in there]
    config.args[:] = [*(config.args if named or not only else ()), *missing]
    config.args_source = config.ArgsSource.ARGS


class Session:
    """Collects the cells, and has the verdicts before the first of them is reported."""

    def __init__(self, config: pytest.Config, asked: Options, all_federations: tuple[Federation, ...]) -> None:
        self.options, self.federations = asked, all_federations
        self.argv = ("pytest", *map(str, config.invocation_params.args))
        worker: dict[str, Any] | None = getattr(config, "workerinput", None)
        self.meeting = Meeting(Path(worker[WORKER_KEY]) if worker else None)
        self.reporting = Reporting(config, all_federations, self.meeting)
        self.progress = Progress(self.meeting, self.reporting.news)
        self.asked_for: set[int] = set()
        """Numbers of the federations whose verdicts were obtained, or could not be."""

    # --- the tests ---

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
            if item.federation.number not in self.asked_for:
                self.asked_for.add(item.federation.number)
                try:
                    self.obtain(item.federation)
                except Exception as error:  # one sentence here too, rather than a traceback for each cell
                    item.federation.trouble = unforeseen.sentence(error, self.argv)
            item.take_verdict()

    # --- the verdicts ---

    def obtain(self, federation: Federation) -> None:
        """The verdicts of the selected cells: measured by whoever is first, awaited by the others."""
        if federation.judged:
            return
        shared = Shared(self.meeting.open(), federation.number)
        outcome = shared.outcome(lambda lock: self.measure(federation, shared, lock), self.progress.pump)
        if isinstance(outcome, NotMeasured):
            federation.trouble = f"the federation was not measured: {outcome.reason}"
            return
        try:
            federation.accept(files.verdicts(outcome.run / "derived" / "verdicts.json"), outcome.run)
        except InputError as error:
            federation.trouble = f"the verdicts cannot be read: {error}"

    def measure(self, federation: Federation, shared: Shared, lock: int) -> None:
        """Have the selection measured."""
        order = Order(
            scenario=federation.path,
            cells=tuple(federation.selected),
            results=self.options.results.resolve(),
            isolated=self.options.isolated,
            candidates=self.options.candidates,
            outcome=shared.result,
            argv=self.argv,
        )
        measure(order, shared, lock, self.progress, self.options.timeout)

    # --- beginning and end ---

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Of xdist: a worker is about to start; tell it where all of them meet."""
        if self.meeting.path is None:
            self.meeting.open()
            self.progress.follow()
        node.workerinput[WORKER_KEY] = str(self.meeting.path)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """No more news; a session in which a server failed fails, also where every cell was decided in spite of it."""
        self.progress.stop()
        if session.exitstatus == pytest.ExitCode.OK and self.reporting.failures():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_unconfigure(self) -> None:
        """The folder where the workers met is of no more use."""
        self.progress.stop()
        self.meeting.close()
