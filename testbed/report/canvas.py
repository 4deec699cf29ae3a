"""The paper of all pictures: figure in inches, fonts, marks, wrapped text, title and footer, and how it becomes bytes.

Rule: nothing here knows what a picture shows. The whole figure is one set of axes in inches, so that every size is a real
one and every text can be measured before it is placed: what is measured is not clipped. The same drawing gives the same
bytes; nothing touches the plotter's global state but inside ``rc_context``.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath, text_to_path

from testbed.record.verdicts import Verdicts
from testbed.report import words
from testbed.report.grid import Grid
from testbed.report.looks import Look

Format = Literal["png", "svg", "pdf"]
FORMATS: tuple[Format, ...] = ("png", "svg", "pdf")


FONT = "DejaVu Sans"
"""The one that the plotter brings along, so that the same verdicts give the same picture everywhere."""
# Text stays text, by the font's name in an SVG (a tenth of the size, and can be searched), embedded in a PDF. The salt makes
# the ids of an SVG the same every time.
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "testbed",
    "pdf.fonttype": 42,
    "font.family": "sans-serif",
    "font.sans-serif": [FONT],
    "text.parse_math": False,
    "path.simplify": False,
}
DPI = 144
MARGIN = 0.30
"""Around everything, in inches."""
INK, FAINT, RULE, ALARM = "#1a1a1a", "#666666", "#9a9a9a", "#b03a00"


def _glyph(letter: str) -> Path:
    """A letter as a marker: an outline, so that it needs no font, with its middle at the origin and half a unit high."""
    outline = TextPath((0, 0), letter, size=1, prop=FontProperties(family=FONT, weight="bold"))
    box = outline.get_extents()
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    return Path([((a - x) / 2 / box.height, (b - y) / 2 / box.height) for a, b in outline.vertices.tolist()], outline.codes)


MARKS: dict[str, tuple[Any, Literal["fill", "outline", "line"]]] = {
    "disc": ("o", "fill"),
    "ring": ("o", "outline"),
    "triangle": ("^", "outline"),
    "up": ("^", "fill"),
    "down": ("v", "fill"),
    "square": ("s", "outline"),
    "cross": ("x", "line"),
    "plus": ("+", "line"),
    "bar": ("_", "line"),
    "slash": (Path([(-0.5, -0.5), (0.5, 0.5)]), "outline"),
    "question": (_glyph("?"), "fill"),
}
"""The plotter's marker, and how it takes its colour."""


@functools.cache
def _font(weight: str) -> FontProperties:
    return FontProperties(family=FONT, weight=weight)


@functools.lru_cache(maxsize=4096)
def extent(text: str, size: float, weight: str = "normal") -> float:
    """The width of a line of text, in inches."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, _font(weight), False)
    return float(width) * size / _font(weight).get_size_in_points() / 72


def whole(inches: float) -> float:
    """The nearest length of whole pixels: cells that all fall alike on the raster are crisp, and compress four times better."""
    return round(inches * DPI) / DPI


def wrapped(text: str, size: float, weight: str, width: float) -> list[str]:
    """The text in lines of at most ``width`` inches; a single word that is longer keeps its line."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and extent(f"{lines[-1]} {word}", size, weight) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [line.strip() for line in lines if line.strip()]


def _stamped(xy: Sequence[tuple[float, float]], corners: Sequence[tuple[float, float]]) -> Path:
    """The same polygon around every one of the given points, as one path."""
    shape = [*corners, corners[0]]
    codes = [Path.MOVETO, *([Path.LINETO] * (len(corners) - 1)), Path.CLOSEPOLY]
    return Path([(x + dx, y + dy) for x, y in xy for dx, dy in shape], codes * len(xy))


_DATED: dict[str, tuple[str, ...]] = {
    "png": ("Software",),
    "svg": ("Date", "Creator"),
    "pdf": ("CreationDate", "Creator", "Producer"),
}
"""What the plotter would write into a file of itself and of the day."""


class Canvas:
    """Figure with one set of axes in inches, y downwards, and the few things that are drawn on it."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(height, 0)
        self.axes.set_autoscale_on(False)

    def text(self, x: float, y: float, text: str, size: float, **more: Any) -> None:
        """One line; ``x``, ``y`` is its left baseline unless `ha` and `va` are others."""
        self.axes.text(x, y, text, fontsize=size, **({"color": INK, "ha": "left", "va": "baseline"} | more))

    def squares(self, xy: Sequence[tuple[float, float]], side: float, fill: str, edge: str | None = None) -> None:
        """Squares around the given centres, as one path."""
        if not xy:
            return
        h = side / 2
        path = _stamped(xy, [(-h, -h), (h, -h), (h, h), (-h, h)])
        self.axes.add_artist(PathPatch(path, facecolor=fill, edgecolor=edge or "none", linewidth=0.4 if edge else 0))

    def marks(self, xy: Sequence[tuple[float, float]], cell: float, look: Look) -> None:
        """The look's mark at the given centres, in one call."""
        if not xy:
            return
        marker, style = MARKS[look.mark]
        colours: dict[str, dict[str, Any]] = {
            "fill": {"color": look.ink, "linewidths": 0},
            "outline": {"facecolors": "none", "edgecolors": look.ink},
            "line": {"color": look.ink},
        }
        size = (look.size * cell * 72) ** 2
        how: dict[str, Any] = {"linewidths": max(0.5, cell * 72 * 0.075), "zorder": 3} | colours[style]
        self.axes.scatter([x for x, _ in xy], [y for _, y in xy], s=size, marker=marker, **how)

    def lines(
        self,
        segments: Sequence[tuple[tuple[float, float], tuple[float, float]]],
        colour: str,
        width: float,
        *,
        under: bool = False,
    ) -> None:
        """Line segments, in one call; ``under`` everything else, as the lines of a scale are."""
        if segments:
            z = 0.5 if under else 2
            self.axes.add_artist(LineCollection(segments, colors=colour, linewidths=width, capstyle="butt", zorder=z))

    def corners(self, xy: Sequence[tuple[float, float]], side: float) -> None:
        """A black, white-edged triangle in the upper right corner of a cell: it stands out on every colour."""
        if not xy:
            return
        h, leg = side / 2, side * 0.46
        path = _stamped(xy, [(h - leg, -h), (h, -h), (h, leg - h)])
        self.axes.add_artist(PathPatch(path, facecolor="#000000", edgecolor="#ffffff", linewidth=side * 4, zorder=4))

    def shape(self, path: Path, fill: str, edge: str | None = None, alpha: float = 1.0) -> None:
        """Any filled outline."""
        width = 0.5 if edge else 0
        self.axes.add_artist(PathPatch(path, facecolor=fill, edgecolor=edge or "none", linewidth=width, alpha=alpha))

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, edge: str | None = None, alpha: float = 1.0
    ) -> None:
        """A rectangle by its upper left corner."""
        corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]
        self.shape(Path(corners, closed=True), fill, edge, alpha)

    def save(self, fmt: Format) -> bytes:
        """The bytes, without a date or the plotter's version, so that the same verdicts give the same file."""
        out = io.BytesIO()
        self.figure.savefig(out, format=fmt, metadata=dict.fromkeys(_DATED[fmt]))
        return out.getvalue()


@dataclass(frozen=True)
class Entry:
    """One line of a key: how something looks, and what it means."""

    look: Look | None
    text: str
    fill: str = ""
    """Without a look: the colour, and the letter that stands on it in ``ink``."""
    ink: str = ""
    letter: str = ""


class Key:
    """What colours, marks and letters mean: entries in as many columns as fit."""

    SWATCH, STEP, SIZE = 0.19, 0.25, 8.5

    def __init__(self, entries: Sequence[Entry], width: float) -> None:
        self.entries = entries
        self.column = max((extent(e.text, self.SIZE) for e in entries), default=0.0) + self.SWATCH * 1.45 + 0.25
        self.columns = max(1, min(len(entries), int((width + 0.25) / self.column)))
        self.rows = -(-len(entries) // self.columns)
        self.height = self.rows * self.STEP

    def draw(self, c: Canvas, x: float, y: float) -> None:
        """The key with its upper left corner at ``x``, ``y``; read down, then across."""
        for place, entry in enumerate(self.entries):
            left = x + place // self.rows * self.column
            middle = y + (place % self.rows + 0.5) * self.STEP
            swatch(c, left, middle, self.SWATCH, entry)
            c.text(left + self.SWATCH * 1.45, middle, entry.text, self.SIZE, va="center_baseline")


def swatch(c: Canvas, x: float, y: float, side: float, entry: Entry) -> None:
    """A small square with the mark or letter, its left edge at ``x`` and its middle at ``y``."""
    at = [(x + side / 2, y)]
    fill = entry.look.fill if entry.look else entry.fill
    c.squares(at, side, fill, RULE if fill == "#ffffff" else None)
    if entry.look:
        c.marks(at, side, entry.look)
    else:
        c.text(*at[0], entry.letter, side * 42, ha="center", va="center_baseline", color=entry.ink, weight="bold")


def on(look: Look) -> str:
    """The colour of small text on the look's fill: its ink may be too pale for that."""
    return look.ink if look.ink == "#ffffff" else INK


class Page:
    """Title, subtitle and footer of a picture of a given width; the canvas is made when its height is known."""

    def __init__(
        self, matrix: Grid, verdicts: Verdicts, subtitle: str, width: float, scale: float = 1.0, facts: Iterable[str] = ()
    ) -> None:
        self.width, self.scale = width, scale
        room = width - 2 * MARGIN
        title = str(verdicts.get("title") or verdicts.get("scenario") or "")
        self._title = wrapped(title, 15 * scale, "bold", room)
        self._line = 15 * scale * 1.25 / 72
        self._alarm = "" if verdicts.get("complete", False) else "RUN CUT SHORT"
        taken = extent(self._alarm, 10.5 * scale, "bold") + 0.15 * scale
        self._subtitle = wrapped(subtitle, 10.5 * scale, "normal", room - taken)
        self.head = MARGIN + len(self._title) * self._line + (0.34 + 0.20 * (len(self._subtitle) - 1)) * scale
        """Where the heading ends, in inches from the top."""
        versions = [f"{name} {' / '.join(known) or '(version unknown)'}" for name, known in matrix.versions.items()]
        heads = {
            "scenario": verdicts.get("scenario"),
            "run": verdicts.get("run"),
            "started": str(verdicts.get("started") or "")[:16].replace("T", " "),
            "timers:": words.timers_of(verdicts),
        }
        origin = [f"{head} {value}" for head, value in heads.items() if value]
        self._footer = [
            line for part in (versions, [*origin, *facts]) for line in wrapped("  ·  ".join(part), 7.5 * scale, "normal", room)
        ]

    def canvas(self, body: float) -> Canvas:
        """The paper, with heading and footer on it; ``body`` is where the picture itself ends, in inches from the top."""
        k, step = self.scale, 7.5 * self.scale * 1.45 / 72
        c = Canvas(whole(self.width), whole(body + 0.30 * k + len(self._footer) * step + MARGIN * 0.6))
        for i, line in enumerate(self._title):
            c.text(MARGIN, MARGIN + (i + 0.75) * self._line, line, 15 * k, weight="bold")
        for i, line in enumerate(reversed(self._subtitle)):
            c.text(MARGIN, self.head - (0.08 + 0.20 * i) * k, line, 10.5 * k, color=FAINT)
        if self._alarm:
            x = MARGIN + extent(self._subtitle[-1], 10.5 * k) + 0.15 * k
            c.text(x, self.head - 0.08 * k, self._alarm, 10.5 * k, color=ALARM, weight="bold")
        for i, line in enumerate(self._footer):
            c.text(MARGIN, body + 0.30 * k + (i + 0.6) * step, line, 7.5 * k, color=FAINT)
        return c


def draw(compose: Callable[[], Canvas], fmt: Format) -> bytes:
    """The bytes of what ``compose`` draws. ValueError if there is no such format."""
    if fmt not in FORMATS:
        raise ValueError(f"format '{fmt}' is unknown; there are: {', '.join(FORMATS)}")
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        return compose().save(fmt)
