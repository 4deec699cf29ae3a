"""Bars: causes by implementation, and what got through in each phase.

Rule: pure functions from the verdicts to the bytes of one picture. A share is always of the pairs that could be judged, and
the numbers behind it stand beside the bar. Colours come with a mark or a letter, never alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.record.verdicts import Verdicts
from testbed.report import looks, words
from testbed.report.canvas import FAINT, MARGIN, RULE, Canvas, Entry, Format, Key, Page, draw, extent, on
from testbed.report.changes import causes
from testbed.report.grid import KINDS, Address, Grid, Kind, State, grid, judged
from testbed.report.looks import ORDER

SIZE = 8.5
LABEL_WIDTH = 36
"""Characters after which the middle of an implementation's name is left out."""
SIDES = ("as sender", "as receiver")
GRIDLINE = "#e4e4e4"


def _implementations(matrix: Grid) -> list[str]:
    return list(dict.fromkeys(member.implementation for member in matrix.members))


def _names(names: Sequence[str]) -> tuple[list[str], float]:
    """What stands before the rows, and its width in inches."""
    shown = [words.shorten(name, LABEL_WIDTH) for name in names]
    return shown, max((extent(name, SIZE) for name in shown), default=0.0)


@dataclass(frozen=True)
class Piece:
    """A part of a bar."""

    count: int
    entry: Entry

    @property
    def fill(self) -> str:
        """Its colour."""
        return self.entry.look.fill if self.entry.look else self.entry.fill


def _bar(c: Canvas, x: float, y: float, width: float, height: float, whole: float, pieces: Sequence[Piece]) -> float:
    """Parts side by side, ``whole`` pairs being ``width`` inches; each has its mark or letter and its number where they fit."""
    for piece in pieces:
        if not piece.count:
            continue
        long = width * piece.count / whole
        # A white seam keeps neighbours apart where their colours would not.
        c.box(x, y - height / 2, long, height, piece.fill, RULE if piece.fill == "#ffffff" else "#ffffff")
        look, letter, number = piece.entry.look, piece.entry.letter, f"{piece.count:,}"
        ink = on(look) if look else piece.entry.ink
        size = min(7.5, height * 72 * 0.62)
        mark, text = height * 0.9, extent(number, size)
        room = long - 0.08
        if mark + text <= room:
            start = x + (long - mark - text) / 2
            if look:
                c.marks([(start + mark / 2 - 0.02, y)], height * 0.85, look)
            else:
                c.text(start + mark / 2 - 0.02, y, letter, size, ha="center", va="center_baseline", color=ink, weight="bold")
            c.text(start + mark, y, number, size, va="center_baseline", color=ink, zorder=5)
        elif look and height * 0.6 <= room + 0.06:
            c.marks([(x + long / 2, y)], height * 0.7, look)
        elif letter and extent(letter, size, "bold") <= room + 0.05:
            c.text(x + long / 2, y, letter, size, ha="center", va="center_baseline", color=ink, weight="bold")
        x += long
    return x


def _scale(c: Canvas, x: float, width: float, top: float, bottom: float, most: float) -> None:
    """Vertical lines with percentages below, from none to ``most``."""
    step = next((s for s in (0.01, 0.02, 0.05, 0.10, 0.20) if most / s <= 5.001), 0.25)
    ticks = [i * step for i in range(int(most / step + 1.001))]
    c.lines([((x + width * t / most, top), (x + width * t / most, bottom)) for t in ticks], GRIDLINE, 0.8, under=True)
    for t in ticks:
        c.text(x + width * t / most, bottom + 0.14, f"{100 * t:.0f}%", 7.5, ha="center", color=FAINT)


# --- causes by implementation -----------------------------------------------------------------------------------------


def render_causes(verdicts: Verdicts, phase: str | None, exchange: str | None, fmt: Format) -> bytes:
    """Stacked bars: why pairs failed in a phase (the last unless named), by implementation as sender and as receiver."""
    matrix = grid(verdicts)
    name = matrix.phase_or_last(phase)
    return draw(lambda: _causes(matrix, verdicts, name, exchange), fmt)


def _causes(matrix: Grid, verdicts: Verdicts, phase: str, exchange: str | None) -> Canvas:
    rows = causes(matrix, phase, exchange)
    entries: dict[str | None, Entry] = {}
    for place, row in enumerate(rows):
        if place < len(looks.SERIES):
            fill, ink = looks.SERIES[place]
            text = f"{row['cause'] or words.UNKNOWN} ({row['count']:,}): {row['words']}"
            entries[row["cause"]] = Entry(None, text, fill, ink, chr(ord("A") + place))
    rest = [row for row in rows if row["cause"] not in entries]
    other = Entry(None, f"{words.count(len(rest), 'other cause')} ({sum(r['count'] for r in rest):,})", *looks.OTHER, "…")
    implementation = {m.domain: m.implementation for m in matrix.members}
    names = _implementations(matrix)
    known: list[Counter[str]] = [Counter(), Counter()]
    failed: list[dict[str, Counter[str | None]]] = [{n: Counter() for n in names} for _ in SIDES]
    for address, state in matrix.states(phase, exchange):
        if KINDS[state] is Kind.UNKNOWN:
            continue
        for side in (0, 1):
            who = implementation[address[side]]
            known[side][who] += 1
            if KINDS[state] is Kind.BROKEN:
                failed[side][who][matrix.cells[phase][address].get("cause")] += 1

    shown, left = _names(names)
    panel, bar, pitch = 3.5, 0.24, 0.34
    totals = [{n: f"{failed[side][n].total():,} of {known[side][n]:,}" for n in names} for side in (0, 1)]
    tail = max((extent(t, SIZE) for side in totals for t in side.values()), default=0.0) + 0.08
    xs = (MARGIN + left + 0.10, MARGIN + left + 0.10 + panel + tail + 0.25)
    width = xs[1] + panel + tail + MARGIN
    most = max((failed[s][n].total() / known[s][n] for s in (0, 1) for n in names if known[s][n]), default=0.0)
    most = max(0.05, math.ceil(most * 20) / 20)
    every = sum(row["count"] for row in rows)
    what = f"why {words.count(every, 'ordered pair')} did not get through" if every else "no ordered pair failed"
    what = f"Phase “{phase}”: {what}{matrix.of(exchange)}"
    page = Page(matrix, verdicts, what, width)
    top = page.head + 0.45
    bottom = top + pitch * len(names)
    key = Key([*entries.values(), *([other] if rest else [])], width - 2 * MARGIN)
    c = page.canvas(bottom + 0.62 + key.height)
    for side, x in enumerate(xs):
        c.text(x, top - 0.18, SIDES[side], 10, weight="bold")
        _scale(c, x, panel, top, bottom, most)
        for row_, name in enumerate(names):
            y = top + pitch * (row_ + 0.5)
            if side == 0:
                c.text(x - 0.10, y, shown[row_], SIZE, ha="right", va="center_baseline")
            pieces = [Piece(failed[side][name][cause], entry) for cause, entry in entries.items()]
            pieces.append(Piece(sum(n for cause, n in failed[side][name].items() if cause not in entries), other))
            end = _bar(c, x, y, panel, bar, most * max(1, known[side][name]), pieces)
            c.text(end + 0.06, y, totals[side][name], SIZE, va="center_baseline", color=FAINT)
    note = "Share of the pairs that could be judged. A failed pair stands once on the left and once on the right"
    c.text(MARGIN, bottom + 0.42, note, 7.5, color=FAINT)
    key.draw(c, MARGIN, bottom + 0.55)
    return c


# --- what got through -------------------------------------------------------------------------------------------------


def render_reachability(verdicts: Verdicts, exchange: str | None, fmt: Format) -> bytes:
    """What share of the ordered pairs got through in each phase, over what; of all, and by implementation."""
    matrix = grid(verdicts)
    if not matrix.phases:
        raise ValueError("there is no phase to draw")
    return draw(lambda: _reachability(matrix, verdicts, exchange), fmt)


def _pieces(counts: Mapping[State, int]) -> list[Piece]:
    return [Piece(counts[s], Entry(looks.STATES[s], "")) for s in ORDER if KINDS[s] is not Kind.UNKNOWN and counts[s]]


def _reachability(matrix: Grid, verdicts: Verdicts, exchange: str | None) -> Canvas:
    implementation = {m.domain: m.implementation for m in matrix.members}
    names = _implementations(matrix)
    phases = list(matrix.phases)
    every: dict[str, Counter[State]] = {p: Counter() for p in phases}
    parts: dict[tuple[int, str, str], Counter[State]] = {}
    for phase in phases:
        for address, s in matrix.states(phase, exchange):
            every[phase][s] += 1
            _count(parts, address, implementation, phase, s)
    # Beyond a few phases the rows of an implementation would be a wall: then only where it began and where it ended.
    few = phases if len(phases) <= 3 else [phases[0], phases[-1]]

    shown, left = _names(names)
    short = {p: words.shorten(p, 18) for p in phases}
    single = len(phases) == 1
    tags = max((extent(p, SIZE) for p in short.values()), default=0.0) if not single else 0.0
    x = MARGIN + left + 0.12 + tags + 0.08
    panel = 3.3
    labels = {k: "{:,} of {:,}".format(*judged(v)) for k, v in parts.items()} | {
        ("", p): "{:,} of {:,}".format(*judged(v)) for p, v in every.items()
    }
    tail = max((extent(t, SIZE) for t in labels.values()), default=0.0) + 0.08
    xs = (x, x + panel + tail + 0.20)
    whole = xs[1] + panel - x
    width = xs[1] + panel + tail + MARGIN
    thin, thick = 0.20, 0.34
    group = thin * len(few) + 0.14
    page = Page(matrix, verdicts, f"Which share of the ordered pairs got through, and over what{matrix.of(exchange)}", width)
    drawn = [s for s in ORDER if KINDS[s] is not Kind.UNKNOWN and any(counts[s] for counts in every.values())]
    key = Key([Entry(looks.STATES[s], looks.STATES[s].label) for s in drawn], width - 2 * MARGIN)
    first = page.head + 0.48
    first_end = first + thick * len(phases)
    second = first_end + 0.78
    second_end = second + group * len(names)
    unknown = sum(n for counts in every.values() for s, n in counts.items() if KINDS[s] is Kind.UNKNOWN)
    c = page.canvas(second_end + 0.62 + key.height)

    c.text(MARGIN, first - 0.14, "All pairs", 10, weight="bold")
    _scale(c, x, whole, first, first_end, 1.0)
    for row, phase in enumerate(phases):
        y = first + thick * (row + 0.5)
        c.text(x - 0.10, y, short[phase], SIZE, ha="right", va="center_baseline")
        _bar(c, x, y, whole, thick * 0.74, max(1, judged(every[phase])[1]), _pieces(every[phase]))
        c.text(x + whole + 0.06, y, labels["", phase], SIZE, va="center_baseline", color=FAINT)
    for side, start in enumerate(xs):
        c.text(start, second - 0.14, SIDES[side], 10, weight="bold")
        _scale(c, start, panel, second, second_end, 1.0)
        for place, name in enumerate(names):
            y = second + group * place + 0.07
            if side == 0:
                c.text(MARGIN + left, y + thin * len(few) / 2, shown[place], SIZE, ha="right", va="center_baseline")
            for row, phase in enumerate(few):
                middle = y + thin * (row + 0.5)
                counts = parts.get((side, name, phase), Counter())
                if side == 0 and not single:
                    c.text(start - 0.08, middle, short[phase], 7.5, ha="right", va="center_baseline", color=FAINT)
                _bar(c, start, middle, panel, thin * 0.82, max(1, judged(counts)[1]), _pieces(counts))
                label = labels.get((side, name, phase), "0 of 0")
                c.text(start + panel + 0.06, middle, label, 7.5, va="center_baseline", color=FAINT)
    note = "Share of the pairs that could be judged; beside the bars: how many got through of how many"
    if unknown:
        note += f". {words.count(unknown, 'result')} could not be judged"
    c.text(MARGIN, second_end + 0.42, note, 7.5, color=FAINT)
    key.draw(c, MARGIN, second_end + 0.55)
    return c


def _count(parts: dict[Any, Counter[State]], address: Address, implementation: Mapping[str, str], phase: str, s: State) -> None:
    for side in (0, 1):
        parts.setdefault((side, implementation[address[side]], phase), Counter())[s] += 1
