"""What a session shows besides its tests: what is going to be measured, the news meanwhile, and where the run is kept.

Rule: says what others know; decides nothing. The lines are functions of facts, and only `Reporting` knows the terminal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from testbed.compare import files
from testbed.model import InputError
from testbed.pytest_plugin.federations import Federation
from testbed.pytest_plugin.workers import Measured, Meeting, Outcome
from testbed.record.verdicts import Verdicts
from testbed.report.failed import sentences


class Reporting:
    """Writes to the terminal of whoever has one: not a worker of xdist, and not with `-q`."""

    def __init__(self, config: pytest.Config, federations: Sequence[Federation], meeting: Meeting) -> None:
        self.config, self.federations, self.meeting = config, federations, meeting
        self.here = config.invocation_params.dir

    def pytest_report_header(self) -> list[str]:
        """What is going to be measured."""
        return [heading(federation, self.here) for federation in self.federations]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Where the run is kept, or once more why there is none."""
        if terminalreporter.verbosity < 0:
            return
        for line in self.failures():
            terminalreporter.write_line(line, red=True)
        for federation in self.federations:
            if outcome := self.meeting.outcome(federation.number):
                terminalreporter.write_line(ending(federation.plan.scenario, outcome, self.here))

    def failures(self) -> list[str]:
        """The servers that failed, of every federation that was measured or reported."""
        return [line for f in self.federations for line in failures(f, self.meeting.outcome(f.number))]

    def news(self, lines: list[str]) -> None:
        """Lines of a measurement that is under way."""
        reporter = None if is_worker(self.config) else self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or reporter.verbosity < 0:
            return
        capture = self.config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            reporter.ensure_newline()
            for line in lines:
                reporter.write_line(f"federation: {line}")


def is_worker(config: pytest.Config) -> bool:
    """Whether this is a process of pytest-xdist that runs tests for another."""
    return hasattr(config, "workerinput")


def heading(federation: Federation, here: Path) -> str:
    """``federation: scenarios/smoke.yaml (12 cells), known failures known.yaml``"""
    text = f"federation: {typed(federation.path, here)} ({len(federation.plan.cells)} cells)"
    text += "".join(f", known failures {known.file}" for known in federation.baselines)
    if judged := federation.judged:
        text += f", reported from {typed(judged.path, here) if judged.path else judged.subject.run}"
    return text


def failures(federation: Federation, outcome: Outcome | None) -> list[str]:
    """``federation smoke: The server b.example failed in 'after' …``: what makes a session fail whose tests pass."""
    verdicts: Verdicts | None = None
    if federation.judged:
        verdicts = federation.judged.subject.verdicts
    elif isinstance(outcome, Measured):  # the controller of xdist reports what a worker judged
        with contextlib.suppress(InputError):
            verdicts = files.verdicts(outcome.run / "derived" / "verdicts.json").verdicts
    failed = verdicts.get("failed_servers") if verdicts else None
    return [f"federation {federation.plan.scenario}: {sentence}" for sentence in sentences(failed or [])]


def ending(scenario: str, outcome: Outcome, here: Path) -> str:
    """``federation smoke: run results/smoke-20261122-173454, page derived/report.html``"""
    if not isinstance(outcome, Measured):
        return f"federation {scenario}: {outcome.reason}"
    page = ", page derived/report.html" if (outcome.run / "derived" / "report.html").exists() else ""
    return f"federation {scenario}: run {typed(outcome.run, here)}{page}"


def typed(path: Path, here: Path) -> str:
    """A path as a person at this place would type it."""
    try:
        return str(path.resolve().relative_to(here))
    except ValueError:
        return str(path)
