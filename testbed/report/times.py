"""How long until the receipt or the bounce, as a distribution per outcome on a logarithmic axis.

Rule: a pure function from the verdicts to the bytes of one picture. Numbers stand beside each distribution; colours come with a
mark, never alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from testbed.record.verdicts import Verdicts
from testbed.report import looks
from testbed.report.canvas import FAINT, INK, MARGIN, RULE, Canvas, Format, Page, draw, extent
from testbed.report.grid import KINDS, Grid, Kind, State, grid
from testbed.report.looks import ORDER

SIZE = 8.5
LEAST = 0.001
"""Seconds: the record has no finer time; what was faster is drawn here."""
PER_DECADE = 12


def render_times(verdicts: Verdicts, phase: str | None, exchange: str | None, fmt: Format) -> bytes:
    """How long until the receipt or the bounce, per outcome, on a logarithmic axis; of one phase or of all."""
    matrix = grid(verdicts)
    phases = matrix.phases if phase is None else (matrix.phase_or_last(phase),)
    return draw(lambda: _times(matrix, verdicts, phases, exchange), fmt)


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _seconds(t: float) -> str:
    return f"{t * 1000:.0f} ms" if t < 0.0995 else f"{t:.2f} s" if t < 0.995 else f"{t:.1f} s" if t < 99.5 else f"{t:,.0f} s"


def _times(matrix: Grid, verdicts: Verdicts, phases: Sequence[str], exchange: str | None) -> Canvas:
    times_of: dict[State, list[float]] = {}
    silent: Counter[State] = Counter()
    for phase in phases:
        for address, s in matrix.states(phase, exchange):
            if KINDS[s] is Kind.UNKNOWN:
                continue
            seconds = matrix.cells[phase][address].get("seconds")
            if seconds is None:
                silent[s] += 1
            else:
                times_of.setdefault(s, []).append(max(LEAST, float(seconds)))
    shown = [s for s in ORDER if s in times_of or silent[s]]
    every = [t for times in times_of.values() for t in times]
    low, high = math.floor(math.log10(min(every, default=0.1))), math.ceil(math.log10(max(every, default=10.0)) + 1e-9)
    high = max(high, low + 1)
    names = [looks.STATES[s].name for s in shown]
    left = max((extent(n, SIZE) for n in names), default=0.0) + 0.30
    plot, pitch = 5.4, 0.74
    heads = ("answers", "median", "95% within")
    cells = [
        (f"{len(t):,}", _seconds(_quantile(t, 0.5)), _seconds(_quantile(t, 0.95))) if (t := sorted(times_of.get(s, []))) else None
        for s in shown
    ]
    wide = [max([extent(h, 7.5), *(extent(row[i], SIZE) for row in cells if row)]) + 0.22 for i, h in enumerate(heads)]
    x = MARGIN + left + 0.08
    width = x + plot + sum(wide) + MARGIN
    where = f"phase “{phases[0]}”" if len(phases) == 1 else "all phases"
    page = Page(matrix, verdicts, f"Time from the writing to the receipt or the bounce, {where}{matrix.of(exchange)}", width)
    top = page.head + 0.34
    bottom = top + pitch * max(1, len(shown))
    c = page.canvas(bottom + 0.62)

    def at(t: float) -> float:
        return x + plot * (math.log10(t) - low) / (high - low)

    decades = range(low, high + 1)
    c.lines([((at(10**d), top), (at(10**d), bottom)) for d in decades], "#cfcfcf", 0.8, under=True)
    between = [at(m * 10.0**d) for d in decades[:-1] for m in range(2, 10)]
    c.lines([((t, top), (t, bottom)) for t in between], "#f0f0f0", 0.6, under=True)
    for d in decades:
        floor = "≤ " if 10**d == LEAST else ""
        c.text(at(10**d), bottom + 0.16, f"{floor}{10**d:g} s", 7.5, ha="center", color=FAINT)
    c.text(x, bottom + 0.38, "Height: share of that outcome's answers; line: median. The axis is logarithmic.", 7.5, color=FAINT)
    ends = [x + plot + sum(wide[: i + 1]) for i in range(len(heads))]
    for head, end in zip(heads, ends, strict=True):
        c.text(end, top - 0.08, head, 7.5, ha="right", color=FAINT)
    for row, s in enumerate(shown):
        base = top + pitch * (row + 1) - 0.10
        look = looks.STATES[s]
        c.squares([(MARGIN + 0.10, base - 0.18)], 0.19, look.fill, RULE if look.fill == "#ffffff" else None)
        c.marks([(MARGIN + 0.10, base - 0.18)], 0.19, look)
        c.text(MARGIN + 0.28, base - 0.18, names[row], SIZE, va="center_baseline")
        c.lines([((x, base), (x + plot, base))], RULE, 0.8)
        times = sorted(times_of.get(s, []))
        _histogram(c, times, at, low, high, base, pitch - 0.26, look)
        if times:
            middle = at(_quantile(times, 0.5))
            c.lines([((middle, base - pitch + 0.20), (middle, base + 0.04))], INK, 1.4)
            for text, end in zip(cells[row] or (), ends, strict=True):
                c.text(end, base - 0.18, text, SIZE, ha="right", va="center_baseline")
        if silent[s]:
            text = f"{silent[s]:,} without any answer: no time to draw"
            c.text(x + 0.08, base - 0.18, text, SIZE, va="center_baseline", color=FAINT)
    return c


def _histogram(
    c: Canvas,
    times: Sequence[float],
    at: Callable[[float], float],
    low: int,
    high: int,
    base: float,
    height: float,
    look: looks.Look,
) -> None:
    """Bars of equal width on the logarithmic axis, the highest as high as there is room."""
    bins = Counter(min(int((math.log10(t) - low) * PER_DECADE), (high - low) * PER_DECADE - 1) for t in times)
    if not bins:
        return
    unit = height / max(bins.values())
    step = at(10 ** (low + 1 / PER_DECADE)) - at(10**low)
    edge = RULE if look.fill == "#ffffff" else INK
    for place, n in bins.items():
        # One answer among thousands still shows.
        tall = max(n * unit, 0.02)
        c.box(at(10.0**low) + place * step, base - tall, step, tall, look.fill, edge)
