"""The cutover as a flow: a column per phase, a bar per state, and bands of pairs from what they were to what they became.

Rule: a pure function from the verdicts to the bytes of one picture. Heights are exact (a pair is as high everywhere), only
labels are moved apart. Bands have the colours and marks of the matrix of changes, bars those of the matrix of a phase.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from matplotlib.path import Path

from testbed.record.verdicts import Verdicts
from testbed.report import looks, words
from testbed.report.canvas import FAINT, MARGIN, RULE, Canvas, Entry, Format, Key, Page, draw, extent, on, swatch
from testbed.report.changes import CHANGES, Change
from testbed.report.grid import KINDS, Grid, State, grid, judged
from testbed.report.looks import ORDER

HEIGHT, BAR, GAP = 4.6, 0.17, 0.11
"""Of the bars of one phase together, the width of one, and the room between two, in inches."""
STEP = 3.3
"""From one phase to the next, in inches; less if there are many."""
WIDEST = 22.0
LABEL = 8.5
LINE = 0.17
"""The least distance of two labels, in inches."""


def render_flow(verdicts: Verdicts, exchange: str | None, fmt: Format) -> bytes:
    """The flow over all phases, of one exchange or of all. ValueError if there is but one phase."""
    matrix = grid(verdicts)
    if len(matrix.phases) < 2:
        raise ValueError("one phase alone has no change to draw")
    return draw(lambda: _compose(matrix, verdicts, exchange), fmt)


def _compose(matrix: Grid, verdicts: Verdicts, exchange: str | None) -> Canvas:
    columns = [dict(matrix.states(phase, exchange)) for phase in matrix.phases]
    counts = [Counter(column.values()) for column in columns]
    total = max(1, len(columns[0]))
    present = [[s for s in ORDER if count[s]] for count in counts]
    unit = (HEIGHT - GAP * (max(len(p) for p in present) - 1)) / total

    first, last = ([_label(s, counts[end][s]) for s in present[end]] for end in (0, -1))
    left = MARGIN + max((extent(text, LABEL) for text in first), default=0.0) + 0.08
    right = max((extent(text, LABEL) for text in last), default=0.0) + 0.08 + MARGIN
    shares = [_share(count) for count in counts]
    # The first head begins at its column, the second has its middle there: together they need one and a half of their width.
    least = max(2.1, 1.6 * max(extent(text, LABEL) for text in shares))
    step = max(least, min(STEP, (WIDEST - left - right) / (len(columns) - 1)))
    xs = [left + i * step for i in range(len(columns))]

    moves = [Counter((before[a], after[a]) for a in before) for before, after in pairwise(columns)]
    totals: Counter[Change] = Counter()
    for move in moves:
        for (a, b), n in move.items():
            totals[CHANGES[KINDS[a], KINDS[b]]] += n
    # Labels of the columns between lie on the bands: where those are short, only the number, with the mark of the state.
    wide = max((extent(_label(s, n), LABEL) for count in counts for s, n in count.items()), default=0.0)
    tight = len(columns) > 2 and step < wide + 0.95
    of = matrix.of(exchange)
    width = max(xs[-1] + BAR + right, 7.0)
    page = Page(matrix, verdicts, f"What became of {words.count(total, 'ordered pair')} from phase to phase{of}", width)
    top = page.head + 0.62
    entries = [Entry(look, f"{look.label}   {totals[change]:,}") for change, look in looks.CHANGES.items() if totals[change]]
    key = Key(entries, width - 2 * MARGIN)
    named = [s for s in ORDER if any(count[s] for count in counts)] if tight else []
    states = Key([Entry(looks.STATES[s], looks.STATES[s].label) for s in named], width - 2 * MARGIN)
    bottom = top + HEIGHT + 0.28
    below = bottom + 0.20 + key.height
    c = page.canvas(below + (0.40 + states.height if named else 0.0))

    tops = [_stack(shown, count, unit, top) for shown, count in zip(present, counts, strict=True)]
    for place, move in enumerate(moves):
        _bands(c, move, tops[place], tops[place + 1], xs[place] + BAR, xs[place + 1], unit)
    for place, (name, x, count) in enumerate(zip(matrix.phases, xs, counts, strict=True)):
        for s in present[place]:
            look = looks.STATES[s]
            c.box(x, tops[place][s], BAR, count[s] * unit, look.fill, RULE if look.fill == "#ffffff" else look.fill)
        ha = "left" if place == 0 else "right" if place == len(xs) - 1 else "center"
        at = {"left": x, "right": x + BAR, "center": x + BAR / 2}[ha]
        c.text(at, top - 0.34, _fitted(name, step / 1.6), 11, weight="bold", ha=ha)
        c.text(at, top - 0.14, shares[place], LABEL, ha=ha, color=FAINT)
        side = "left" if place == 0 else "right" if place == len(xs) - 1 else ""
        _labels(c, present[place], count, tops[place], unit, x, side, tight)
    heading = "From phase to phase" + ("" if len(moves) == 1 else f" (the {len(moves)} steps added up)")
    c.text(MARGIN, bottom + 0.08, heading, 9.5, weight="bold")
    key.draw(c, MARGIN, bottom + 0.18)
    if named:
        c.text(MARGIN, below + 0.28, "In a phase", 9.5, weight="bold")
        states.draw(c, MARGIN, below + 0.38)
    return c


def _share(counts: Mapping[State, int]) -> str:
    delivered, whole = judged(counts)
    return f"{delivered:,} of {whole:,} got through"


def _fitted(name: str, width: float) -> str:
    """A phase's name, with as much of its middle left out as the width in inches asks for."""
    shown = name
    while extent(shown, 11, "bold") > width and len(shown) > 4:
        shown = words.shorten(name, len(shown) - 1)
    return shown


def _label(s: State, n: int) -> str:
    return f"{looks.STATES[s].name}  {n:,}"


def _stack(shown: Sequence[State], counts: Mapping[State, int], unit: float, top: float) -> dict[State, float]:
    """Where the bar of each state begins; the column as a whole is centred."""
    height = sum(counts[s] for s in shown) * unit + GAP * (len(shown) - 1)
    y, out = top + (HEIGHT - height) / 2, {}
    for s in shown:
        out[s] = y
        y += counts[s] * unit + GAP
    return out


def _bands(
    c: Canvas,
    move: Mapping[tuple[State, State], int],
    starts: Mapping[State, float],
    ends: Mapping[State, float],
    x0: float,
    x1: float,
    unit: float,
) -> None:
    """All bands between two phases, broad ones first, so that a thin one is never hidden."""
    order = {s: i for i, s in enumerate(ORDER)}
    leaving, entering = dict(starts), dict(ends)
    placed = {}
    for a, b in sorted(move, key=lambda m: (order[m[0]], order[m[1]])):
        placed[a, b] = [leaving[a], 0.0]
        leaving[a] += move[a, b] * unit
    for a, b in sorted(move, key=lambda m: (order[m[1]], order[m[0]])):
        placed[a, b][1] = entering[b]
        entering[b] += move[a, b] * unit
    middle = (x0 + x1) / 2
    for pair in sorted(move, key=lambda m: -move[m]):
        look = looks.CHANGES[CHANGES[KINDS[pair[0]], KINDS[pair[1]]]]
        (y0, y1), h = placed[pair], move[pair] * unit
        points = [(x0, y0), (middle, y0), (middle, y1), (x1, y1), (x1, y1 + h), (middle, y1 + h), (middle, y0 + h), (x0, y0 + h)]
        codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3]
        edge = RULE if look.fill == "#ffffff" else look.fill
        c.shape(Path([*points, points[0]], [*codes, Path.CLOSEPOLY]), look.fill, edge, 0.88)
        if h > LINE:
            # Near its end a band lies apart from those that it crosses.
            x, y = x1 - 0.30, y1 + h / 2
            c.marks([(x - 0.12, y)], 0.26, look)
            c.text(x, y, f"{move[pair]:,}", LABEL - 0.5, va="center_baseline", color=on(look), zorder=5)


def _labels(
    c: Canvas,
    shown: Sequence[State],
    counts: Mapping[State, int],
    tops: Mapping[State, float],
    unit: float,
    x: float,
    side: str,
    tight: bool,
) -> None:
    """A label beside every bar: outside of the first and the last column, else on the bands, in a box of its own."""
    wanted = [tops[s] + counts[s] * unit / 2 for s in shown]
    for s, y in zip(shown, _apart(wanted), strict=True):
        text = _label(s, counts[s])
        if side == "left":
            c.text(x - 0.08, y, text, LABEL, ha="right", va="center_baseline")
            continue
        if side == "right":
            c.text(x + BAR + 0.08, y, text, LABEL, va="center_baseline")
            continue
        mark = 0.15 if tight else 0.0
        text = f"{counts[s]:,}" if tight else text
        c.box(x + BAR + 0.05, y - 0.085, extent(text, LABEL) + 0.08 + mark * 1.3, 0.17, "#ffffff", alpha=0.8)
        if tight:
            swatch(c, x + BAR + 0.08, y, mark, Entry(looks.STATES[s], ""))
        c.text(x + BAR + 0.09 + mark * 1.3, y, text, LABEL, va="center_baseline", zorder=6)


def _apart(wanted: Sequence[float]) -> list[float]:
    """The same heights, in order, moved by as little as keeps them a line apart."""
    out: list[float] = []
    for y in wanted:
        out.append(max(y, out[-1] + LINE) if out else y)
    # What was pushed beyond the last bar comes back up, and its neighbours with it.
    limit = max(wanted, default=0.0) + LINE
    for i in range(len(out) - 1, -1, -1):
        out[i] = min(out[i], limit)
        limit = out[i] - LINE
    return out
