"""The history of a scenario for a terminal: the most unstable cells and the newest regressions first.

Rule: drawn from the JSON document of `testbed history --json` alone, by a pure function.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from testbed.report import looks, words
from testbed.report.grid import ARROW, State

MOST = 12
"""Cells that are shown of each kind."""
MOST_RUNS = 40
"""Runs whose marks are shown, the newest ones."""
GROUPS = {
    "regression": "Newest regressions: once as expected, since then a surprise",
    "unsteady": "Unsteady: changed although neither server's version did",
    "changed": "Changed with a server's version",
    "always": "Always a surprise, or never conclusive",
}
"""The groups of the document, in its order, to their headings."""


def render_text(doc: Mapping[str, Any], *, colour: bool, width: int) -> str:
    """Every scenario of the folder, one after the other."""
    out: list[str] = []
    for scenario in doc["scenarios"]:
        out += [*([""] if out else []), *_scenario(scenario, colour, width)]
    for skipped in doc["skipped"]:
        out += textwrap.wrap(f"skipped: {skipped['run']}: {skipped['reason']}", width, subsequent_indent="    ")
    return "\n".join(out) + "\n"


def _scenario(scenario: Mapping[str, Any], colour: bool, width: int) -> list[str]:
    runs, cells = scenario["runs"], scenario["cells"]
    how = ", every pair alone" if scenario["isolated"] else ""
    days = sorted({str(r["started"])[:10] for r in runs})
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    title = f"{scenario['scenario']} (timers {scenario['timers']}{how}): {words.count(len(runs), 'run')}, {span}"
    out = [_bold(title, colour), "=" * len(title)]
    cut = sum(not r["complete"] for r in runs)
    steady = sum(not c["group"] for c in cells)
    out.append(
        f"{words.count(len(cells), 'cell')}, {steady:,} of them always the same and as expected"
        + (f"; {words.count(cut, 'run')} cut short" if cut else "")
    )
    for group, heading in GROUPS.items():
        out += _part(heading, [c for c in cells if c["group"] == group], len(runs), colour, width)
    states = {entry["state"] for c in cells if c["group"] for entry in c["row"] if entry}
    if states:
        key = [f"{looks.STATES[s].char} {looks.STATES[s].label}" for s in State if s.value in states]
        out += ["", *textwrap.wrap("   ".join([*key, "_ not in that run"]), width)]
    return out


def _part(title: str, cells: list[Mapping[str, Any]], runs: int, colour: bool, width: int) -> list[str]:
    if not cells:
        return []
    out = ["", _bold(f"{title} ({len(cells):,})", colour)]
    older = "…" if runs > MOST_RUNS else ""
    # cells with the same story stand together, and it is written once
    for story, alike in groupby(cells[:MOST], _story):
        for cell in alike:
            marks = "".join(_marks(cell["row"][-MOST_RUNS:], colour))
            out.append(f"  {older}{marks}  {cell['phase']}  {cell['sender']}{ARROW}{cell['receiver']}")
        out += textwrap.wrap(story, width, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    return out + ([f"  … and {len(cells) - MOST:,} more"] if len(cells) > MOST else [])


def _story(cell: Mapping[str, Any]) -> str:
    share = f"; in the last one it {cell['share']}" if cell.get("share") else ""
    if not cell["changes"]:
        return ", ".join(f"{what} in {words.count(n, 'run')}" for what, n in cell["results"].items()) + share
    story = f"{cell['now']} since {cell['since']['run']}, before {cell['before']}; "
    story += " and ".join(_step(a, b) for a, b in cell["moved"]) or "neither version changed then"
    if cell["changes"] > 1:
        often = ", ".join(f"{n:,} {what}" for what, n in cell["results"].items())
        story += f"; {cell['changes']:,} changes, {cell['unsteady']:,} of them with the same versions (runs: {often})"
    return story + share


def _step(a: str, b: str) -> str:
    """``name@release 1.0 → 1.1``"""
    name, _, version = b.partition(" ")
    return f"{a}{ARROW}{version if a.startswith(f'{name} ') else b}"


def _marks(row: Iterable[Mapping[str, Any] | None], colour: bool) -> Iterable[str]:
    for entry in row:
        look = looks.STATES[State(entry["state"])] if entry else None
        yield f"\x1b[{look.sgr}m{look.char}\x1b[0m" if look and colour else look.char if look else "_"


def _bold(text: str, colour: bool) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colour else text
