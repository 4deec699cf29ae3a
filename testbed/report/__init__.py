"""Reports: each is drawn from ``verdicts.json`` alone, by a pure function, in one file of this folder.

Rule: a new kind of report is one new file here, which lists what it draws in a table ``RENDERS``: a file name with
``{phase}`` or ``{exchange}`` where one file is made for each, to a function of the verdicts and of the fields that the name
has (``phase=``, ``exchange=``). A function that answers None has nothing to draw for this run. Nothing is registered
anywhere else, and the files are only imported when something is drawn: asking for a sentence must not load a plotter.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from string import Formatter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from testbed.record.verdicts import Verdicts
from testbed.report.grid import grid

Renderer = Callable[..., bytes | str | None]

if TYPE_CHECKING:
    RENDERERS: Mapping[str, Renderer]
    """File name pattern to function, of all reports that there are."""


@functools.cache
def renderers() -> dict[str, Renderer]:
    """File name pattern to function, by a listing of this folder. ValueError if two files claim the same name."""
    by_pattern: dict[str, Renderer] = {}
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda i: i.name):
        table: Mapping[str, Renderer] = getattr(importlib.import_module(f"{__name__}.{info.name}"), "RENDERS", {})
        if twice := by_pattern.keys() & table.keys():
            raise ValueError(f"{info.name}.py draws {', '.join(sorted(twice))}, which another report draws already")
        by_pattern |= table
    return by_pattern


def __getattr__(name: str) -> Any:
    if name == "RENDERERS":
        return renderers()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def render_all(verdicts: Verdicts) -> Iterator[tuple[str, bytes]]:
    """Every report of a run, as file name and content, one at a time: the next is drawn when it is asked for.

    ``{exchange}`` becomes nothing in a run with one exchange and ``-message`` otherwise. KeyError if the verdicts lack a
    key of schema 1.
    """
    matrix = grid(verdicts)
    for pattern, render in renderers().items():
        fields = {name for _, name, _, _ in Formatter().parse(pattern) if name}
        for phase in matrix.phases if "phase" in fields else ("",):
            for exchange in matrix.exchanges if "exchange" in fields else ("",):
                values = {"phase": phase, "exchange": exchange}
                content = render(verdicts, **{name: values[name] for name in fields})
                if content is None:
                    continue
                # Names come out of a scenario: nothing in them may climb out of the folder.
                suffix = "-" + quote(exchange, safe="") if len(matrix.exchanges) > 1 else ""
                name = pattern.format(phase=quote(phase, safe=""), exchange=suffix)
                yield name, content.encode() if isinstance(content, str) else content
