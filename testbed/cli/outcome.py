"""What came of a run: shown on standard output, and turned into the exit status."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import typer

from testbed.campaign import Run
from testbed.cli.output import coloured, terminal_width
from testbed.compare import baseline
from testbed.compare.baseline import Baseline
from testbed.compare.cells import Subject, subject
from testbed.judge.verdict import exit_status
from testbed.report import diff


def finish(run: Run, *, as_json: bool, accepted: Baseline | None = None, strict: bool = True) -> int:
    """Show the result, against the known failures where there are any. Returns the exit status."""
    if accepted is None:
        show(run, None, as_json=as_json)
        return run.exit_status
    comparison = hold(subject(run.verdicts), accepted, strict=strict)
    show(run, comparison, as_json=as_json)
    if not as_json:
        typer.echo("\n" + diff.render_text(comparison, colour=coloured(), width=terminal_width()), nl=False)
    return int(comparison["status"])


def hold(side: Subject, accepted: Baseline, *, strict: bool) -> dict[str, Any]:
    """A run against its known failures, as a document."""
    gate = baseline.check(accepted, side, dt.date.today(), strict=strict)
    return baseline.document(gate, could_not_tell=exit_status(side.verdicts) == 3)


def show(run: Run, comparison: dict[str, Any] | None, *, as_json: bool) -> None:
    """The result on standard output; as JSON with what the known failures make of it, where there are any."""
    if as_json:
        typer.echo(json.dumps({**run.verdicts, **({"baseline": comparison} if comparison else {})}))
        return
    from testbed.report.text import render_text

    path = run.path
    typer.echo(render_text(run.verdicts, colour=coloured(), width=terminal_width()))
    pictures = sorted(p.name for p in (path / "derived").glob("*.png"))
    typer.echo(f"\nrun        {run.id}\nreport     {path / 'derived' / 'report.html'}   (open it in a browser)")
    typer.echo(f"pictures   {path / 'derived'}/: {', '.join(pictures)}")
    typer.echo(f"verdicts   {path / 'derived' / 'verdicts.json'}")
    if not run.verdicts["complete"]:
        typer.echo(f"missing    testbed run --resume {path}   (measures the rest)")
