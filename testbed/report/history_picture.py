"""The history of a scenario as a picture: runs across, oldest first, and down the cells that ever changed or surprised.

Rule: drawn from one scenario of the JSON document of `testbed history --json` alone; the same bytes for the same document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from testbed.report import looks, words
from testbed.report.canvas import FAINT, INK, MARGIN, RULE, Canvas, Entry, Format, Key, draw, extent, wrapped
from testbed.report.grid import ARROW, State
from testbed.report.history_text import GROUPS

MOST_ROWS = 80
"""More than that is no picture any more; what is left out is counted."""
MOST_RUNS = 60
MOST_MOVES = 6
"""Changes of versions that are spelled out, the newest."""
CELL, SIZE = 0.21, 8.0
LABEL_WIDTH = 44
"""Characters of a domain after which its middle is left out."""


def render_picture(scenario: Mapping[str, Any], fmt: Format) -> bytes:
    """The picture of one scenario's history. ValueError if there is no such format."""
    return draw(lambda: _compose(scenario), fmt)


def _compose(scenario: Mapping[str, Any]) -> Canvas:
    telling = [c for c in scenario["cells"] if c["group"]]
    rows, first = telling[:MOST_ROWS], max(0, len(scenario["runs"]) - MOST_RUNS)
    runs = scenario["runs"][first:]
    moves = list(_moved(runs))
    labels = [_label(c) for c in rows]
    phases = max([extent(c["phase"], SIZE) for c in rows] + [0.0]) + 0.15
    room = phases + max([extent(t, SIZE) for t in labels] + [3.4])
    remarks = [_remark(c) for c in rows]
    across = room + 0.15 + len(runs) * CELL
    width = max(2 * MARGIN + across + 0.15 + max([extent(t, SIZE) for t in remarks] + [0.0]), 8.0)
    dates = [str(r["started"])[:16].replace("T", " ") + ("" if r["complete"] else " (cut short)") for r in runs]
    groups = [group for group in GROUPS if any(c["group"] == group for c in rows)]
    states = {e["state"] for c in rows for e in c["row"][first:] if e}
    key = Key([Entry(looks.STATES[s], looks.STATES[s].label) for s in State if s.value in states], width - 2 * MARGIN)

    how = ", every pair alone" if scenario["isolated"] else ""
    subtitle = (
        f"{words.count(len(scenario['runs']), 'run')} (timers {scenario['timers']}{how}); {words.count(len(telling), 'cell')} of"
        f" {len(scenario['cells']):,} ever changed, surprised, or were undecided"
    )
    lines = wrapped(subtitle, 10.5, "normal", width - 2 * MARGIN)
    head = MARGIN + 0.32 + 0.2 * len(lines)
    top = head + max([extent(d, 7) for d in dates] + [0.3]) + 0.25
    body = top + len(rows) * CELL + len(groups) * 0.36
    rest = _rest(len(telling) - len(rows), first)
    notes = [
        "Black corner: a surprise. Empty: not in that run."
        + (" Dashed line: a server's version changed there:" if moves else ""),
        *(f"{dates[place][:16]}  {', '.join(what)}" for place, what in moves[-MOST_MOVES:]),
    ]
    height = body + 0.3 + key.height + (0.25 if rest else 0) + 0.17 * len(notes) + 0.05 + MARGIN
    c = Canvas(width, height)
    c.text(MARGIN, MARGIN + 0.18, f"History of {scenario['scenario']}", 15, weight="bold")
    for i, line in enumerate(lines):
        c.text(MARGIN, MARGIN + 0.46 + 0.2 * i, line, 10.5, color=FAINT)
    left = MARGIN + room + 0.15
    for i, date in enumerate(dates):
        c.text(left + (i + 0.5) * CELL, top - 0.06, date, 7, rotation=90, ha="center", va="bottom", color=INK)
    bottom = _rows(c, rows, labels, remarks, first, left, top, len(runs))
    _dashes(c, [place for place, _ in moves], left, top, bottom)
    y = body + 0.12
    if rest:
        c.text(MARGIN, y + 0.12, rest, SIZE, color=FAINT)
        y += 0.25
    key.draw(c, MARGIN, y + 0.1)
    for i, note in enumerate(notes):
        c.text(MARGIN, y + key.height + 0.3 + 0.17 * i, note, 7.5, color=FAINT)
    return c


def _rows(
    c: Canvas, rows: list[Any], labels: list[str], remarks: list[str], first: int, left: float, top: float, runs: int
) -> float:
    """Headings, labels and squares. Returns where the last row ends."""
    y, group = top, None
    places: dict[State, list[tuple[float, float]]] = {}
    surprises, empty = [], []
    for cell, label, text in zip(rows, labels, remarks, strict=True):
        if cell["group"] != group:
            group = cell["group"]
            c.text(MARGIN, y + 0.22, GROUPS[group], 9, weight="bold")
            y += 0.36
        middle = y + CELL / 2
        c.text(MARGIN, middle, cell["phase"], SIZE, va="center_baseline", color=FAINT)
        c.text(left - 0.1, middle, label, SIZE, ha="right", va="center_baseline")
        for i, entry in enumerate(cell["row"][first:]):
            at = (left + (i + 0.5) * CELL, middle)
            if entry is None:
                empty.append(at)
                continue
            places.setdefault(State(entry["state"]), []).append(at)
            if entry["surprise"]:
                surprises.append(at)
        c.text(left + runs * CELL + 0.12, middle, text, SIZE, va="center_baseline", color=FAINT)
        y += CELL
    side = CELL * 0.94
    for state, xy in places.items():
        look = looks.STATES[state]
        c.squares(xy, side, look.fill, RULE if look.fill == "#ffffff" else None)
        c.marks(xy, side, look)
    c.squares(empty, side, "#ffffff", "#e4e4e4")
    c.corners(surprises, side)
    return y


def _dashes(c: Canvas, places: list[int], left: float, top: float, bottom: float) -> None:
    for i in places:
        x, step = left + i * CELL, 0.06
        dashes = [((x, y0 * step + top), (x, y0 * step + top + step / 2)) for y0 in range(int((bottom - top) / step))]
        c.lines(dashes, INK, 0.9)


def _moved(runs: list[Any]) -> Iterator[tuple[int, list[str]]]:
    """The places of runs before which versions changed, and which."""
    for place, (a, b) in enumerate(pairwise(runs), 1):
        old = a["versions"]
        what = [
            f"{name} {old[name]}{ARROW}{version}" for name, version in b["versions"].items() if old.get(name, version) != version
        ]
        if what:
            yield place, what


def _label(cell: Mapping[str, Any]) -> str:
    sender, receiver = (words.shorten(cell[k].removesuffix(".example"), LABEL_WIDTH) for k in ("sender", "receiver"))
    return f"{sender}{ARROW}{receiver}"


def _remark(cell: Mapping[str, Any]) -> str:
    flips = f", {words.count(cell['changes'], 'change')}" if cell["changes"] > 1 else ""
    return f"{cell['now']}{flips}"


def _rest(rows: int, runs: int) -> str:
    parts = [words.count(rows, "cell")] if rows else []
    parts += [words.count(runs, "older run")] if runs else []
    return f"Not shown: {' and '.join(parts)}; `testbed history --json` has them all." if parts else ""
