"""Many runs of one scenario: what became of each cell over time, since when, and how steady it is.

Rule: pure; runs of different scenarios, timers or ways of measuring are histories of their own. A result that changes while
neither server did is *unsteady*: the servers' versions are the only thing here that may explain a change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from testbed.compare.cells import FAILED, Subject, cannot_say, software
from testbed.model import SCHEMA
from testbed.report.cell import Cell, describe
from testbed.report.grid import state

Setup = tuple[str, str, bool]
"""Scenario, timers, whether each pair was measured alone."""


def document(subjects: Iterable[Subject], skipped: Iterable[tuple[str, str]] = ()) -> dict[str, Any]:
    """The histories as JSON, by scenario; ``skipped`` are runs that could not be read, each with the reason."""
    by_setup: dict[Setup, list[Subject]] = {}
    for one in sorted(subjects, key=lambda s: (str(s.verdicts.get("started")), s.run)):
        v = one.verdicts
        by_setup.setdefault((v["scenario"], str(v.get("timers")), bool(v.get("isolated"))), []).append(one)
    return {
        "schema": SCHEMA,
        "scenarios": [_history(setup, runs) for setup, runs in sorted(by_setup.items())],
        "skipped": [{"run": run, "reason": reason} for run, reason in skipped],
    }


def _history(setup: Setup, runs: list[Subject]) -> dict[str, Any]:
    ids = dict.fromkeys(id_ for one in runs for id_ in one.cells)
    return {
        "scenario": setup[0],
        "timers": setup[1],
        "isolated": setup[2],
        "runs": [
            {
                "run": one.run,
                "started": one.verdicts.get("started"),
                "complete": bool(one.verdicts.get("complete")),
                "versions": one.versions,
                "surprises": sum(bool(c["surprise"]) for c in one.cells.values()),
                "undecided": sum(map(cannot_say, one.cells.values())),
                "cells": len(one.cells),
            }
            for one in runs
        ],
        "cells": _ordered(_cell(id_, runs) for id_ in ids),
    }


def _cell(id_: str, runs: list[Subject]) -> dict[str, Any]:
    """One cell over all runs that have it."""
    seen = [(n, one, one.cells[id_]) for n, one in enumerate(runs) if id_ in one.cells]
    told = [(n, one, c) for n, one, c in seen if not cannot_say(c)]
    changes = [(a, b) for a, b in pairwise(told) if _signature(a[2]) != _signature(b[2])]
    flips = [(a, b) for a, b in changes if _turn(a[2]) != _turn(b[2])]
    unsteady = [(a, b) for a, b in changes if _versions(a[1], a[2]) == _versions(b[1], b[2])]
    first, last = seen[0], seen[-1]
    since = changes[-1][1] if changes else (told or seen)[0]
    versions = {
        side: {"first": _version(first[1], first[2], side), "last": _version(last[1], last[2], side)}
        for side in ("sender", "receiver")
    }
    current = (told or seen)[-1][2]
    surprises = sum(bool(c["surprise"]) for _, _, c in seen)
    return {
        "id": id_,
        "group": _group(changes, unsteady, odd=bool(surprises) or not told),
        **{k: last[2][k] for k in ("phase", "sender", "receiver", "exchange")},
        "runs": len(seen),
        "results": dict(Counter(describe(c) for _, _, c in seen).most_common()),
        "surprises": surprises,
        "undecided": len(seen) - len(told),
        "changes": len(changes),
        "flips": len(flips),
        "unsteady": len(unsteady),
        "now": describe(current),
        "surprise": bool(current["surprise"]) and not cannot_say(current),
        "since": {"run": since[1].run, "started": since[1].verdicts.get("started"), "place": since[0]},
        "before": describe(changes[-1][0][2]) if changes else None,
        "moved": _moved(*changes[-1]) if changes else [],
        "trend": _trend(changes),
        "versions": versions,
        "row": [_entry(one.cells.get(id_)) for one in runs],
    }


GROUPS = {
    "regression": "once as expected, since then a surprise",
    "unsteady": "changed although neither server's version did",
    "changed": "changed, and each time with the version of a server",
    "always": "a surprise in every run, or never conclusive",
}
"""What a cell's history amounts to, the most pressing first; a cell that was always as expected is in none."""


def _group(changes: list[Any], unsteady: list[Any], *, odd: bool) -> str | None:
    if changes and _trend(changes) == "regression":
        return "regression"
    if changes:
        return "unsteady" if unsteady else "changed"
    return "always" if odd else None


def _trend(changes: list[Any]) -> str | None:
    """``regression`` or ``recovery`` of the last change, by what was expected; None where that did not turn."""
    if not changes:
        return None
    (_, _, before), (_, _, after) = changes[-1]
    return {(False, True): "regression", (True, False): "recovery"}.get((bool(before["surprise"]), bool(after["surprise"])))


def _signature(cell: Cell) -> tuple[Any, ...]:
    """What must be the same for a result to be the same: outcome, cause, and over what."""
    return cell["outcome"], cell.get("cause"), state(cell)


def _turn(cell: Cell) -> tuple[bool, bool]:
    """What turns in a flip: whether it arrived, and whether that was expected."""
    return state(cell) in FAILED, bool(cell["surprise"])


def _version(one: Subject, cell: Cell, side: str) -> str:
    server: Mapping[str, Any] = one.servers[cell[side]]
    return f"{software(server)} {server.get('version') or '?'}"


def _versions(one: Subject, cell: Cell) -> tuple[str, str]:
    return _version(one, cell, "sender"), _version(one, cell, "receiver")


def _moved(a: Any, b: Any) -> list[list[str]]:
    """The versions that are others than they were, of sender and receiver, between two runs of a cell."""
    pairs = zip(_versions(a[1], a[2]), _versions(b[1], b[2]), strict=True)
    return [list(pair) for pair in dict.fromkeys(pairs) if pair[0] != pair[1]]


def _entry(cell: Cell | None) -> dict[str, Any] | None:
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
