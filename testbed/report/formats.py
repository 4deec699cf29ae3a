"""The reports that can be printed one at a time, by name: ``testbed report RUN --format NAME``.

Rule: a literal table that loads nothing before something is printed. What is drawn per phase is not here: see ``plots``.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass

from testbed.record.verdicts import Verdicts


@dataclass(frozen=True)
class Format:
    """One kind of report: the file that it is in a run's ``derived/``, and what renders it."""

    file: str
    meaning: str
    renderer: tuple[str, str]
    """Module of this folder, and the function in it."""
    binary: bool = False


def render_json(verdicts: Verdicts) -> str:
    """``verdicts.json`` itself."""
    return json.dumps(verdicts, indent=1) + "\n"


FORMATS: dict[str, Format] = {
    "csv": Format("cells.csv", "one row per cell", ("table", "render_csv")),
    "parquet": Format("cells.parquet", "the same rows, typed", ("table", "render_parquet"), binary=True),
    "junit": Format("junit.xml", "one test case per cell, for CI", ("junit", "render")),
    "markdown": Format("summary.md", "one page for a CI job, GitHub flavoured", ("markdown", "render")),
    "html": Format("report.html", "the page to browse", ("html", "render")),
    "text": Format("matrix.txt", "matrices for a terminal or a mail", ("text", "render_file")),
    "summary": Format("summary.json", "the counts", ("summary", "render_json")),
    "json": Format("verdicts.json", "every verdict in full", ("formats", "render_json")),
}


def render(verdicts: Verdicts, name: str) -> bytes:
    """One report. KeyError if there is none of that name; TestbedError if it needs a package that is not installed."""
    module, function = FORMATS[name].renderer
    content: str | bytes = getattr(importlib.import_module(f"testbed.report.{module}"), function)(verdicts)
    return content.encode() if isinstance(content, str) else content
