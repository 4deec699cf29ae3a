"""Cells as tests: the tree that pytest collects, and what becomes of each kind of verdict.

Rule: judges nothing; a test says what the verdict of its cell says. The sentences about a cell are those of the reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from testbed.compare.cells import cannot_say, software
from testbed.model import Cell
from testbed.pytest_plugin.federations import Federation, Judged
from testbed.pytest_plugin.reporting import typed
from testbed.record.verdicts import CellEntry, unexplained
from testbed.report.cell import because, command, describe, evidence, expected, facts, headline
from testbed.report.grid import ROLES

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
        self.verdict: CellEntry | None = None
        for name in federation.words.of_cell(cell):
            self.add_marker(name)
        for mark in federation.words.of_sides(cell):
            self.add_marker(mark)

    def reportinfo(self) -> tuple[Path, int, str]:
        """The scenario, and a heading."""
        return self.path, 0, f"{self.cell.phase}: {self.cell.sender} -> {self.cell.receiver}: {self.cell.exchange}"

    @property
    def judged(self) -> Judged:
        """The verdicts of its run, which are there when a test begins."""
        assert self.federation.judged
        return self.federation.judged

    @property
    def run(self) -> str:
        """The run, as a person would name it."""
        path = self.judged.path
        return typed(path, self.config.invocation_params.dir) if path else self.judged.subject.run

    def take_verdict(self) -> None:
        """Know the verdict, and add the marks that follow from it."""
        if self.federation.trouble or self.federation.judged is None:
            return
        self.verdict = cell = self.judged.subject.cells.get(self.cell.id)
        if cell is None:
            return
        self.user_properties.extend(properties(cell, self.run))
        if cell["outcome"] == "unsupported":
            self.add_marker(pytest.mark.skip(reason=f"unsupported: {cell.get('explanation')}"))
        elif accepted := self.judged.accepted(self.cell.id):
            known, entry = accepted
            reason = f"known failure, {known.file}:{entry.line}: {entry.form.reason}"
            self.add_marker(pytest.mark.xfail(reason=reason, strict=True, raises=(Surprise, Undecided)))

    def setup(self) -> None:
        """Raise Undecided where nothing follows from the cell."""
        if self.federation.trouble:
            self.refuse(self.federation.trouble)
        if self.verdict is None:
            self.refuse(f"the run {self.judged.subject.run} has no such cell: it measured other ones")
        if cannot_say(self.verdict) or (unexplained(self.verdict) and not self.verdict["surprise"]):
            self.refuse(self.story(self.verdict, f"the testbed cannot say: {self.verdict.get('explanation')}"))

    def refuse(self, text: str) -> NoReturn:
        """Raise Undecided."""
        raise Undecided(text, pytrace=False)

    def runtest(self) -> None:
        """Raise Surprise where the cell came out otherwise than expected, or a known failure did not."""
        cell = self.verdict
        assert cell is not None
        if cell["surprise"]:
            raise Surprise(self.story(cell, headline(cell)), pytrace=False)
        if passing := self.judged.passing(self.cell.id):
            known, entry = passing
            raise Surprise(
                f"a known failure passes: {describe(cell)}, as expected\n"
                f"  {known.file}:{entry.line} accepts {entry.failure}: {entry.form.reason}\n"
                "  take the cell out of that entry, or say `may_pass: true` there if the failure comes and goes",
                pytrace=False,
            )

    def story(self, cell: CellEntry, headline: str) -> str:
        """What a person needs to go on from here."""
        lines = [
            *((role, self.server(cell[role])) for role in ROLES),
            *facts(cell),
            *(("known as", text) for text in self.judged.not_accepted(cell)),
            *(("evidence", text) for text in evidence(cell, self.run)),
            ("story", command(cell, self.run)),
        ]
        return "\n".join([headline, *(f"  {name:<10} {text}" for name, text in lines)])

    def server(self, domain: str) -> str:
        """``a.example: name@release 1.2, policy encrypted, certificate ca``"""
        server = self.judged.subject.servers[domain]
        settings = self.judged.subject.settings[self.cell.phase][domain]
        return (
            f"{domain}: {software(server)} {server.get('version') or '(version unknown)'}, "
            f"policy {settings['policy']}, certificate {settings['certificate']}"
        )


def properties(cell: CellEntry, run: str) -> Iterator[tuple[str, object]]:
    """For JUnit's XML and others that read a test's properties."""
    channel = cell.get("channel") or {}
    values = {
        "run": run, "cell": cell["id"], **{key: cell.get(key) for key in ("outcome", "cause", "fault")},
        **{key: channel.get(key) for key in ("encryption", "tls_version", "authentication")},
        "expected": expected(cell), "because": because(cell), "seconds": cell.get("seconds"),
    }  # fmt: skip
    yield from ((key, value) for key, value in values.items() if value is not None)
