"""The matrix as a picture: senders down, receivers across, one coloured and marked square per pair.

Rule: a pure function from the verdicts to the bytes of one picture, the same bytes for the same verdicts. Squares and marks
of one kind are drawn in one call, as the time goes with the number of calls and not of pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from testbed.record.verdicts import Verdicts
from testbed.report import looks, words
from testbed.report.canvas import DPI, FAINT, MARGIN, RULE, Canvas, Format, Page, draw, extent, whole, wrapped
from testbed.report.changes import Change, causes, changes
from testbed.report.grid import Grid, Span, grid, judged
from testbed.report.looks import Look

# --- sizes, in inches; fonts in points --------------------------------------------------------------------------------

LARGEST_CELL, SMALLEST_CELL = 0.40, 0.125
MATRIX = 9.4
"""What the matrix is fitted into, between those two."""
GAPS = (0.0, 0.42, 0.14, 0.05)
"""Between groups of each depth, in cells: implementation, policy, certificate."""
GUTTER, PANEL = 0.34, 3.05
MOST_CAUSES = 8
LABEL_WIDTH = 32
"""Characters after which the middle of a group's label is left out."""


def render_phase(verdicts: Verdicts, phase: str, exchange: str, fmt: Format) -> bytes:
    """The matrix of one phase. ValueError if the verdicts have no such phase."""
    matrix = grid(verdicts)
    place = matrix.phases.index(matrix.phase_or_last(phase))
    states = {address[:2]: s for address, s in matrix.states(phase, exchange)}
    surprises = {a[:2] for a, cell in matrix.cells[phase].items() if a[2] == exchange and cell.get("surprise")}
    delivered, known = judged(Counter(states.values()))
    sheet = Sheet(
        grid=matrix,
        verdicts=verdicts,
        subtitle=f"Phase “{phase}”: which server can write to which" + matrix.of(exchange),
        headline=(f"{delivered:,} of {known:,}", f"{words.plural(known, 'ordered pair')} got through"),
        results=states,
        looks=looks.STATES,
        surprises=surprises,
        reasons=("Why the others did not", causes(matrix, phase, exchange)),
        phase=place,
        since=0,
    )
    return draw(lambda: _compose(sheet), fmt)


def render_cutover(
    verdicts: Verdicts, exchange: str, fmt: Format, *, before: str | None = None, after: str | None = None
) -> bytes:
    """The matrix of what changed between two phases, the first and the last unless named. ValueError if there is but one."""
    matrix = grid(verdicts)
    if len(matrix.phases) < 2:
        raise ValueError("one phase alone has no change to draw")
    first, last = before or matrix.phases[0], after or matrix.phases[-1]
    by_address = changes(matrix, first, last, exchange)
    broken = [address for address, change in by_address.items() if change is Change.NEWLY_BROKEN]
    noun = words.plural(len(broken), "pair")
    sheet = Sheet(
        grid=matrix,
        verdicts=verdicts,
        subtitle=f"From “{first}” to “{last}”: what became of every pair" + matrix.of(exchange),
        headline=(f"{len(broken):,}", f"{noun} that had worked stopped working" if broken else f"{noun} broke"),
        results={address[:2]: change for address, change in by_address.items()},
        looks=looks.CHANGES,
        surprises=set(),
        reasons=("Why they broke", causes(matrix, last, exchange, only=broken)),
        phase=matrix.phases.index(last),
        since=matrix.phases.index(first),
    )
    return draw(lambda: _compose(sheet), fmt)


def render_matrix(verdicts: Verdicts, phase: str | None, exchange: str, fmt: Format) -> bytes:
    """As ``render_phase``; the last phase unless one is named."""
    return render_phase(verdicts, phase or verdicts["phases"][-1]["name"], exchange, fmt)


def render_change(verdicts: Verdicts, phase: str | None, exchange: str, fmt: Format) -> bytes:
    """As ``render_cutover``, from the first phase to the one named."""
    return render_cutover(verdicts, exchange, fmt, after=phase)


# --- layout -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sheet:
    """All that one picture shows."""

    grid: Grid
    verdicts: Verdicts
    subtitle: str
    headline: tuple[str, str]
    results: Mapping[tuple[str, str], Enum]
    """What stands at sender and receiver: the state, or the change."""
    looks: Mapping[Any, Look]
    surprises: set[tuple[str, str]]
    reasons: tuple[str, list[dict[str, Any]]]
    """A heading, and what ``causes`` gives."""
    phase: int
    since: int


@dataclass(frozen=True)
class Level:
    """One tier of brackets beside the matrix."""

    spans: list[Span]
    size: float
    weight: str
    along: bool
    """Whether its labels run along the bracket rather than away from it."""
    depth: float
    """The room it takes, in inches."""


def _compose(sheet: Sheet) -> Canvas:
    matrix = sheet.grid
    n = max(1, len(matrix.members))
    cell = whole(max(SMALLEST_CELL, min(LARGEST_CELL, MATRIX / n)))
    places, length = _places(matrix, cell)
    scale = max(1.0, min(1.5, length / 7))
    row_levels, column_levels = (_levels(sheet, places, cell, scale, rows) for rows in (True, False))
    numbers = max(5.6, min(8.5, cell * 72 * 0.58))
    digits = extent("0" * len(str(max((m.number for m in matrix.members), default=0))), numbers)
    number_room = digits + 0.09

    panel = PANEL * scale
    small = 8.5 * scale
    ways = ("to the receiver  →", "from the sender  ↓")
    labels = max(sum(level.depth for level in row_levels), max(extent(way, small) for way in ways) + 0.06)
    left = whole(MARGIN + labels + number_room + 0.04)
    side = number_room if n > 30 else 0.0
    width = left + length + side + GUTTER * scale + panel + MARGIN
    facts = []
    if matrix.one_certificate:
        facts.append(f"certificate of all servers: {matrix.one_certificate}")
    if len({m.policies for m in matrix.members}) == 1:
        facts.append(f"policy of all servers: {matrix.members[0].policy(sheet.phase, sheet.since)}")
    page = Page(matrix, sheet.verdicts, sheet.subtitle, width, scale, facts)
    head = page.head
    top = whole(head + 0.12 * scale + sum(level.depth for level in column_levels) + number_room + 0.04)
    legend = _Panel(sheet, scale, panel, top + length - head)
    body = max(top + length + side, head + 0.25 * scale + legend.height)
    c = page.canvas(body)
    xs, ys = [left + p for p in places], [top + p for p in places]
    _cells(c, sheet, xs, ys, cell)
    _numbers(c, matrix, xs, ys, left, top, length, numbers, cell, side > 0)
    _brackets(c, row_levels, [y - top for y in ys], left - number_room - 0.04, top, cell, rows=True)
    _brackets(c, column_levels, [x - left for x in xs], top - number_room - 0.04, left, cell, rows=False)
    # Which way to read it: in the corner that the labels leave free.
    corner = left - number_room - 0.10
    for way, rise in zip(ways, (small * 1.35 / 72, 0.0), strict=True):
        c.text(corner, top - number_room - 0.08 - rise, way, small, ha="right", color=FAINT)
    legend.draw(c, left + length + side + GUTTER * scale, head + 0.25 * scale)
    return c


def _places(matrix: Grid, cell: float) -> tuple[list[float], float]:
    """The centre of every row, and the length of the matrix, with gaps between groups."""
    starts = {depth: {span.start for span in matrix.spans(depth, 0)} for depth in (1, 2, 3)}
    busy = {depth: len(starts[depth]) < len(matrix.members) for depth in starts}
    at, out = 0.0, []
    for row in range(len(matrix.members)):
        if row:
            # A gap around every single row would be no grouping.
            at += next((whole(GAPS[depth] * cell) for depth in (1, 2, 3) if row in starts[depth] and busy[depth]), 0.0)
        out.append(at + cell / 2)
        at += cell
    return out, max(at, cell)


def _levels(sheet: Sheet, places: list[float], cell: float, scale: float, rows: bool) -> list[Level]:
    """Tiers from the matrix outwards: certificate, policy, implementation; a tier that says the same everywhere is left out."""
    matrix = sheet.grid
    tiers = []
    if matrix.one_certificate is None:
        tiers.append((3, min(7.5 * scale, cell * 72 * 0.75), "normal"))
    if len({m.policies for m in matrix.members}) > 1:
        tiers.append((2, 8.5 * scale, "normal"))
    tiers.append((1, 10 * scale, "bold"))
    levels = []
    for depth, wanted, weight in tiers:
        spans = [
            Span(s.start, s.stop, words.shorten(s.label, LABEL_WIDTH)) for s in matrix.spans(depth, sheet.phase, sheet.since)
        ]
        room = min((places[s.stop - 1] - places[s.start] + cell for s in spans), default=cell)
        size = max(6.0, min(wanted, room * 72 * 0.8))
        # Rows are read across wherever there is a choice; only the outermost tier is turned, or made smaller, to save width.
        ratio = min((_fit(s, places, cell) / max(extent(s.label, size, weight), 0.01) for s in spans), default=1.0)
        along = ratio >= (0.7 if depth == 1 else 1) and (not rows or depth == 1)
        size = size * min(1.0, ratio) if along else size
        room = size * 1.25 / 72 if along else max((extent(s.label, size, weight) for s in spans), default=0) + 0.04
        levels.append(Level(spans, size, weight, along, room + 0.15))
    return levels


def _fit(span: Span, places: list[float], cell: float) -> float:
    """The room for a label along a bracket."""
    return places[span.stop - 1] - places[span.start] + cell - 0.05


def _cells(c: Canvas, sheet: Sheet, xs: list[float], ys: list[float], cell: float) -> None:
    place = {member.domain: i for i, member in enumerate(sheet.grid.members)}
    groups: dict[Any, list[tuple[float, float]]] = {}
    for (sender, receiver), result in sheet.results.items():
        groups.setdefault(result, []).append((xs[place[receiver]], ys[place[sender]]))
    inset = cell - whole(max(1 / DPI, 0.05 * cell))
    own = [(xs[i], ys[i]) for domain, i in place.items() if (domain, domain) not in sheet.results]
    c.squares(own, inset, "#f4f4f4")
    h = inset / 2
    c.lines([((x - h, y - h), (x + h, y + h)) for x, y in own], "#c4c4c4", 0.7)
    for result, look in sheet.looks.items():
        xy = groups.get(result, [])
        c.squares(xy, inset, look.fill, RULE if look.fill == "#ffffff" else None)
        c.marks(xy, cell, look)
    c.corners([(xs[place[b]], ys[place[a]]) for a, b in sorted(sheet.surprises)], inset)


def _numbers(
    c: Canvas,
    matrix: Grid,
    xs: list[float],
    ys: list[float],
    left: float,
    top: float,
    length: float,
    size: float,
    cell: float,
    both: bool,
) -> None:
    """Every server's number at its row and its column, on the far sides too where the matrix is large."""
    turned = 90 if extent("00", size) > cell * 0.95 else 0
    for member, x, y in zip(matrix.members, xs, ys, strict=True):
        name = str(member.number)
        c.text(left - 0.05, y, name, size, ha="right", va="center_baseline", color=FAINT)
        c.text(x, top - 0.05, name, size, ha="center", va="bottom", color=FAINT, rotation=turned)
        if both:
            c.text(left + length + 0.05, y, name, size, va="center_baseline", color=FAINT)
            c.text(x, top + length + 0.05, name, size, ha="center", va="top", color=FAINT, rotation=turned)


def _brackets(
    c: Canvas, levels: list[Level], places: list[float], edge: float, origin: float, cell: float, *, rows: bool
) -> None:
    """Brackets and labels of all tiers, outwards from ``edge``; ``origin`` is where the matrix begins on the other axis."""
    segments: list[tuple[tuple[float, float], tuple[float, float]]] = []
    flip: Callable[[float, float], tuple[float, float]] = (lambda a, b: (b, a)) if rows else (lambda a, b: (a, b))
    for level in levels:
        line = edge - 0.05
        for span in level.spans:
            start = origin + places[span.start] - cell * 0.42
            stop = origin + places[span.stop - 1] + cell * 0.42
            segments.append((flip(start, line), flip(stop, line)))
            segments += [(flip(end, line), flip(end, line + 0.035)) for end in (start, stop)]
            x, y = flip((start + stop) / 2, line - 0.05)
            if level.along:
                how: dict[str, Any] = (
                    {"ha": "right", "va": "center", "rotation": 90} if rows else {"ha": "center", "va": "bottom"}
                )
            elif rows:
                how = {"ha": "right", "va": "center_baseline"}
            else:
                how = {"ha": "center", "va": "bottom", "rotation": 90}
            c.text(x, y, span.label, level.size, weight=level.weight, **how)
        edge -= level.depth
    c.lines(segments, RULE, 0.8)


class _Panel:
    """Headline, legend with counts and causes, beside the matrix."""

    def __init__(self, sheet: Sheet, scale: float, width: float, room: float) -> None:
        self.sheet, self.scale, self.width = sheet, scale, width
        counts = Counter(sheet.results.values())
        self.rows = [(look, counts[result]) for result, look in sheet.looks.items() if counts[result]]
        self.absent = [look.name for result, look in sheet.looks.items() if not counts[result]]
        rows = sheet.reasons[1]
        shown = rows if len(rows) <= MOST_CAUSES else rows[: MOST_CAUSES - 1]
        self.reasons = [(row["cause"] or words.UNKNOWN, row["count"], row["words"]) for row in shown]
        if rest := rows[len(shown) :]:
            self.reasons.append((f"{len(rest)} other causes", sum(row["count"] for row in rest), ""))
        self.faults: Counter[str] = Counter()
        for row in rows:
            self.faults.update(row["fault"])
        self.note = wrapped(looks.SURPRISE, 8.5 * scale, "normal", width - 0.8 * scale)
        # The causes in plain words too, if the matrix leaves the height for it.
        self.wordy = True
        self.wordy = self._lay(None, 0, 0) <= room
        self.height = self._lay(None, 0, 0)

    def draw(self, c: Canvas, x: float, y: float) -> None:
        """The panel with its upper left corner at ``x``, ``y``."""
        self._lay(c, x, y)

    def _lay(self, c: Canvas | None, x: float, y: float) -> float:
        """Walks down the panel, drawing if there is a canvas; the height it took."""
        k, start = self.scale, y
        big, small = self.sheet.headline
        y += 0.24 * k
        if c:
            c.text(x, y, big, 22 * k, weight="bold")
        y += 0.2 * k
        if c:
            c.text(x, y, small, 9.5 * k, color=FAINT)
        y += 0.34 * k
        swatch = 0.22 * k
        for look, count in self.rows:
            if c:
                at = (x + swatch / 2, y)
                c.squares([at], swatch, look.fill, RULE if look.fill == "#ffffff" else None)
                c.marks([at], swatch, look)
                c.text(x + swatch * 1.45, y, look.label, 8.5 * k, va="center_baseline")
                c.text(x + self.width, y, f"{count:,}", 8.5 * k, ha="right", va="center_baseline", weight="bold")
            y += 0.28 * k
        if self.sheet.surprises:
            y += 0.04 * k
            if c:
                at = (x + swatch / 2, y)
                c.squares([at], swatch, "#ffffff", RULE)
                c.corners([at], swatch)
                for i, line in enumerate(self.note):
                    c.text(x + swatch * 1.45, y + i * 0.16 * k, line, 8.5 * k, va="center_baseline")
                n = f"{len(self.sheet.surprises):,}"
                c.text(x + self.width, y, n, 8.5 * k, ha="right", va="center_baseline", weight="bold")
            y += (0.28 + 0.16 * (len(self.note) - 1)) * k
        for line in wrapped("None here: " + "; ".join(self.absent), 7.5 * k, "normal", self.width) if self.absent else []:
            if c:
                c.text(x, y, line, 7.5 * k, color=FAINT, va="center_baseline")
            y += 0.16 * k
        if self.reasons:
            y += 0.30 * k
            if c:
                c.text(x, y, self.sheet.reasons[0], 9.5 * k, weight="bold")
            y += 0.24 * k
            most = max(count for _, count, _ in self.reasons)
            for name, count, meaning in self.reasons:
                y = self._count(c, x, y, name, count, count / most)
                for line in wrapped(meaning, 7.5 * k, "normal", self.width) if self.wordy and meaning else []:
                    if c:
                        c.text(x, y - 0.01 * k, line, 7.5 * k, color=FAINT, va="center_baseline")
                    y += 0.15 * k
                y += 0.07 * k if self.wordy and meaning else 0.0
        known = [(fault, self.faults[fault]) for fault in words.FAULTS if self.faults[fault]]
        if known:
            y += 0.30 * k
            if c:
                c.text(x, y, "Fix at", 9.5 * k, weight="bold")
            y += 0.24 * k
            most = max(count for _, count in known)
            for fault, count in known:
                y = self._count(c, x, y, words.FAULTS[fault], count, count / most)
        return y - start

    def _count(self, c: Canvas | None, x: float, y: float, name: str, count: int, share: float) -> float:
        """One line with a count and a bar; where the next one goes."""
        k = self.scale
        if c:
            c.text(x, y, name, 8.5 * k, va="center_baseline")
            c.text(x + self.width, y, f"{count:,}", 8.5 * k, ha="right", va="center_baseline", weight="bold")
            line = y + 0.105 * k
            c.lines([((x, line), (x + self.width, line))], "#eeeeee", 2.2 * k)
            c.lines([((x, line), (x + self.width * share, line))], "#d55e00", 2.2 * k)
        return y + 0.29 * k if not self.wordy else y + 0.25 * k


# --- the files --------------------------------------------------------------------------------------------------------


def _phase_as(fmt: Format) -> Callable[..., bytes]:
    return lambda verdicts, phase, exchange: render_phase(verdicts, phase, exchange, fmt)


def _cutover_as(fmt: Format) -> Callable[..., bytes | None]:
    return lambda verdicts, exchange: render_cutover(verdicts, exchange, fmt) if len(verdicts["phases"]) > 1 else None


RENDERS: dict[str, Callable[..., bytes | None]] = {
    "matrix-{phase}{exchange}.png": _phase_as("png"),
    "matrix-{phase}{exchange}.svg": _phase_as("svg"),
    "cutover{exchange}.png": _cutover_as("png"),
    "cutover{exchange}.svg": _cutover_as("svg"),
}
