"""`testbed report`, `plot` and `explain`: what is known of one run, from its record alone."""

from __future__ import annotations

from typing import Annotated

import typer

from testbed import campaign
from testbed.cli.display import live
from testbed.cli.options import BaselineFile, Json, Output, Quiet, Results, RunName, Strict
from testbed.cli.outcome import finish, hold
from testbed.cli.output import deliver, refuse_bytes
from testbed.compare import baseline
from testbed.compare.cells import subject
from testbed.model import InputError
from testbed.record import store
from testbed.report import formats, plots
from testbed.report.story import story
from testbed.yamlfile import did_you_mean


def report(
    run_: RunName = "latest",
    results: Results = store.DEFAULT_RESULTS,
    shape: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", help=f"print only this: {', '.join(formats.FORMATS)}", show_default=False),
    ] = None,
    output: Output = None,
    baseline_file: BaselineFile = None,
    strict: Strict = True,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Re-judge a run from its record and rewrite its reports; with --format, write that one report alone."""
    accepted = baseline.load(baseline_file) if baseline_file else None
    if output and shape is None:
        raise InputError("--output is for one report", value=str(output), hint="say which with --format")
    if shape is not None and as_json:
        raise InputError("--json and --format exclude each other", value=shape, hint="--format json has every verdict too")
    if shape is not None and shape not in formats.FORMATS:
        hint = did_you_mean(shape, list(formats.FORMATS))
        raise InputError(f"no format `{shape}`", value=shape, allowed=tuple(formats.FORMATS), hint=hint)
    path = store.find(run_, results)
    if shape is not None:
        chosen = formats.FORMATS[shape]
        refuse_bytes(chosen.binary, output, chosen.file)
        run = campaign.judge(path)
        deliver(formats.render(run.verdicts, shape), output)
        comparison = hold(subject(run.verdicts), accepted, strict=strict) if accepted else None
        raise typer.Exit(int(comparison["status"]) if comparison else run.exit_status)
    with live(quiet) as display:
        run = campaign.report(path, display=display)
    raise typer.Exit(finish(run, as_json=as_json, accepted=accepted, strict=strict))


def plot(
    run_: RunName,
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join(plots.PLOTS), show_default=False)],
    shape: Annotated[
        str | None,
        typer.Option("--format", metavar="|".join(plots.FORMATS), help="default: by FILE's ending, else png", show_default=False),
    ] = None,
    output: Output = None,
    phase: Annotated[str | None, typer.Option(metavar="P", help="which phase; see below", show_default=False)] = None,
    exchange: Annotated[str | None, typer.Option(metavar="E", help="only this exchange", show_default=False)] = None,
    results: Results = store.DEFAULT_RESULTS,
) -> None:
    """Draw one picture of a run, as raster or vector, for a paper or a page; nothing else is written."""
    wanted = shape or (output.suffix.removeprefix(".").lower() if output else "") or "png"
    refuse_bytes(wanted != "svg", output, f"{kind}.{wanted}")
    deliver(plots.draw(campaign.judge(run_, results).verdicts, kind, wanted, phase=phase, exchange=exchange), output)


def explain(
    run_: RunName,
    sender: Annotated[str, typer.Argument(metavar="SENDER", help="the domain that writes", show_default=False)],
    receiver: Annotated[str, typer.Argument(metavar="RECEIVER", help="the domain that is written to", show_default=False)],
    results: Results = store.DEFAULT_RESULTS,
) -> None:
    """Tell the story of a pair: every phase, in time order from all sources, then the verdict and its reasons."""
    run = campaign.judge(run_, results)
    typer.echo(story(run.record, run.verdicts, sender, receiver), nl=False)
