"""The pictures that there are, by name: what each shows, and which are drawn at every run.

Rule: a literal table, and nothing that loads a plotter before something is drawn: ``testbed plot --help`` reads this file.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from testbed.model import InputError
from testbed.record.verdicts import Verdicts
from testbed.report.grid import grid

FORMATS = ("png", "svg", "pdf")


@dataclass(frozen=True)
class Plot:
    """One kind of picture."""

    meaning: str
    renderer: tuple[str, str]
    """File of this folder, and the function in it."""
    phase: str | None
    """What ``--phase`` chooses and what is drawn without it; None if the picture always shows all phases."""
    phases: int = 1
    """How many phases the run must have."""
    one_exchange: bool = False
    """Whether it shows one exchange at a time: the first, unless one is named."""

    def draw(self) -> Callable[..., bytes]:
        """The function; loads the plotter."""
        module, name = self.renderer
        function: Callable[..., bytes] = getattr(importlib.import_module(f"testbed.report.{module}"), name)
        return function


PLOTS: dict[str, Plot] = {
    "matrix": Plot("who can write to whom", ("heatmap", "render_matrix"), "the phase; else the last", 1, True),
    "cutover": Plot(
        "what became of every pair since the first phase", ("heatmap", "render_change"), "the phase after; else the last", 2, True
    ),
    "flow": Plot("how many pairs went from which state to which, phase by phase", ("flow", "render_flow"), None, 2),
    "causes": Plot(
        "why pairs failed, by implementation as sender and as receiver", ("charts", "render_causes"), "the phase; else the last"
    ),
    "times": Plot(
        "seconds until receipt or bounce, per outcome, logarithmic", ("times", "render_times"), "the phase; else all together"
    ),
    "reachability": Plot(
        "share of pairs that got through, over what, per phase and implementation", ("charts", "render_reachability"), None
    ),
}


def draw(verdicts: Verdicts, kind: str, fmt: str, *, phase: str | None = None, exchange: str | None = None) -> bytes:
    """One picture of a run. Raises InputError for a kind, format, phase or exchange that there is not, and says what there is."""
    if kind not in PLOTS:
        raise InputError(f"no picture `{kind}`", value=kind, allowed=tuple(PLOTS))
    if fmt not in FORMATS:
        raise InputError(f"no format `{fmt}`", value=fmt, allowed=FORMATS, hint="`--format`, or the ending of `--output`")
    plot, matrix = PLOTS[kind], grid(verdicts)
    if len(matrix.phases) < plot.phases:
        raise InputError(
            f"`{kind}` compares phases, and this run has {len(matrix.phases)}",
            value=kind,
            allowed=tuple(k for k, p in PLOTS.items() if p.phases <= len(matrix.phases)),
        )
    if phase is not None and plot.phase is None:
        raise InputError(f"`{kind}` shows all phases at once", value=phase, hint="leave --phase out")
    if phase is not None and phase not in matrix.phases:
        raise InputError(f"no phase `{phase}` in this run", value=phase, allowed=matrix.phases)
    if exchange is not None and exchange not in matrix.exchanges:
        raise InputError(f"no exchange `{exchange}` in this run", value=exchange, allowed=matrix.exchanges)
    chosen: dict[str, Any] = {"phase": phase} if plot.phase else {}
    return plot.draw()(verdicts, exchange=exchange or (matrix.exchanges[0] if plot.one_exchange else None), fmt=fmt, **chosen)


def _always(kind: str) -> Callable[[Verdicts], bytes | None]:
    def render(verdicts: Verdicts) -> bytes | None:
        return draw(verdicts, kind, "png") if len(verdicts["phases"]) >= PLOTS[kind].phases else None

    return render


RENDERS: Mapping[str, Callable[[Verdicts], bytes | None]] = {
    f"{kind}.png": _always(kind) for kind in ("flow", "causes", "reachability")
}
"""Drawn at every run, beside the matrices, in about a second; the rest, and vectors, are for ``testbed plot``."""
