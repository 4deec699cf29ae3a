"""Many runs of one scenario: what became of each cell over time, since when, and how steady it is.

Rule: pure; runs of different scenarios, timers or ways of measuring are histories of their own. A result that changes while
neither server did is *unsteady*: the servers' versions are the only thing here that may explain a change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from testbed.compare.cells import FAILED, Subject, cannot_say, software
from testbed.model import SCHEMA, visible
from testbed.record.manifest import Role
from testbed.record.verdicts import CellEntry
from testbed.report.cell import describe
from testbed.report.circumstances import share
from testbed.report.grid import PLACE, ROLES, state

Setup = tuple[str, str, bool]
"""Scenario, timers, whether each pair was measured alone."""


def document(subjects: Iterable[Subject], skipped: Iterable[tuple[str, str]] = ()) -> dict[str, Any]:
    """The histories as JSON, by scenario; ``skipped`` are runs that could not be read, each with the reason."""
    by_setup: dict[Setup, list[Subject]] = {}
    for subject in sorted(subjects, key=lambda s: (str(s.verdicts.get("started")), s.run)):
        v = subject.verdicts
        by_setup.setdefault((v["scenario"], str(v.get("timers")), bool(v.get("isolated"))), []).append(subject)
    return {
        "schema": SCHEMA,
        "scenarios": [_history(setup, runs) for setup, runs in sorted(by_setup.items())],
        "skipped": [{"run": visible(run), "reason": visible(reason, lines=True)} for run, reason in skipped],
    }


def _history(setup: Setup, runs: list[Subject]) -> dict[str, Any]:
    ids = dict.fromkeys(id_ for run in runs for id_ in run.cells)
    return {
        "scenario": setup[0],
        "timers": setup[1],
        "isolated": setup[2],
        "runs": [
            {
                "run": run.run,
                "started": run.verdicts.get("started"),
                "complete": bool(run.verdicts.get("complete")),
                "versions": run.versions,
                "surprises": sum(bool(c["surprise"]) for c in run.cells.values()),
                "undecided": sum(map(cannot_say, run.cells.values())),
                "cells": len(run.cells),
            }
            for run in runs
        ],
        "cells": _ordered(_cell(id_, runs) for id_ in ids),
    }


@dataclass(frozen=True)
class Result:
    """What one run says of a cell."""

    place: int
    """Of the run in the history, from 0."""
    run: Subject
    cell: CellEntry

    def version(self, role: Role) -> str:
        """The software at that end, with the version that ran."""
        server = self.run.servers[self.cell[role]]
        return f"{software(server)} {server.get('version') or '?'}"

    @property
    def versions(self) -> list[str]:
        """Of sender and receiver."""
        return [self.version(role) for role in ROLES]

    @property
    def signature(self) -> tuple[Any, ...]:
        """What must be the same for a result to be the same: outcome, cause, and over what."""
        return self.cell["outcome"], self.cell.get("cause"), state(self.cell)

    @property
    def turn(self) -> tuple[bool, bool]:
        """What turns in a flip: whether it arrived, and whether that was expected."""
        return state(self.cell) in FAILED, bool(self.cell["surprise"])


Step = tuple[Result, Result]
"""A change: the last result before it, the first after it."""


def _cell(id_: str, runs: list[Subject]) -> dict[str, Any]:
    """One cell over all runs that have it."""
    results = [Result(place, run, run.cells[id_]) for place, run in enumerate(runs) if id_ in run.cells]
    decided = [result for result in results if not cannot_say(result.cell)]
    changes = [(a, b) for a, b in pairwise(decided) if a.signature != b.signature]
    flips = [(a, b) for a, b in changes if a.turn != b.turn]
    unsteady = [(a, b) for a, b in changes if a.versions == b.versions]
    first, last = results[0], results[-1]
    since = changes[-1][1] if changes else (decided or results)[0]
    current = (decided or results)[-1].cell
    surprises = sum(bool(result.cell["surprise"]) for result in results)
    return {
        "id": id_,
        "group": _group(changes, unsteady, odd=bool(surprises) or not decided),
        **{key: last.cell[key] for key in PLACE},
        "runs": len(results),
        "results": dict(Counter(describe(result.cell) for result in results).most_common()),
        "surprises": surprises,
        "undecided": len(results) - len(decided),
        "changes": len(changes),
        "flips": len(flips),
        "unsteady": len(unsteady),
        "now": describe(current),
        **({"share": text} if (text := share(current)) else {}),
        "surprise": bool(current["surprise"]) and not cannot_say(current),
        "since": {"run": since.run.run, "started": since.run.verdicts.get("started"), "place": since.place},
        "before": describe(changes[-1][0].cell) if changes else None,
        "moved": _moved(*changes[-1]) if changes else [],
        "trend": _trend(changes),
        "versions": {role: {"first": first.version(role), "last": last.version(role)} for role in ROLES},
        "row": [_entry(run.cells.get(id_)) for run in runs],
    }


GROUPS = {
    "regression": "once as expected, since then a surprise",
    "unsteady": "changed although neither server's version did",
    "changed": "changed, and each time with the version of a server",
    "always": "a surprise in every run, or never conclusive",
}
"""What a cell's history amounts to, the most pressing first; a cell that was always as expected is in none."""


def _group(changes: list[Step], unsteady: list[Step], *, odd: bool) -> str | None:
    if changes and _trend(changes) == "regression":
        return "regression"
    if changes:
        return "unsteady" if unsteady else "changed"
    return "always" if odd else None


def _trend(changes: list[Step]) -> str | None:
    """``regression`` or ``recovery`` of the last change, by what was expected; None where that did not turn."""
    if not changes:
        return None
    before, after = (bool(result.cell["surprise"]) for result in changes[-1])
    return {(False, True): "regression", (True, False): "recovery"}.get((before, after))


def _moved(a: Result, b: Result) -> list[list[str]]:
    """The versions that are others than they were, of sender and receiver, between two runs of a cell."""
    pairs = zip(a.versions, b.versions, strict=True)
    return [list(pair) for pair in dict.fromkeys(pairs) if pair[0] != pair[1]]


def _entry(cell: CellEntry | None) -> dict[str, Any] | None:
    """One run of a row: None where the run has no such cell."""
    if cell is None:
        return None
    return {"state": state(cell).value, "cause": cell.get("cause"), "surprise": bool(cell["surprise"])}


def _ordered(cells: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """By group; in it the newest regressions and the least steady first, then by how often they were surprising; else as run."""
    place = {name: n for n, name in enumerate([*GROUPS, None])}
    return sorted(
        cells,
        key=lambda c: (
            place[c["group"]],
            -c["since"]["place"] if c["group"] == "regression" else 0,
            -c["unsteady"],
            -c["flips"],
            -c["changes"],
            -c["surprises"],
        ),
    )
