"""`testbed run`, `plan` and `rerun`: from a scenario, or from a recorded run, to a new run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from testbed import campaign
from testbed.cli.display import live
from testbed.cli.options import (
    BaselineFile,
    CandidateBuilds,
    CandidateConfigs,
    CandidateFolders,
    CandidateImages,
    Instead,
    Json,
    Quiet,
    Results,
    Resumed,
    RunName,
    ScenarioFile,
    Strict,
)
from testbed.cli.outcome import finish
from testbed.compare import baseline
from testbed.measure.pace import CONFIRM
from testbed.model import InputError, visible
from testbed.record import store

ORDERS = ("seed", "jobs", "isolated", "confirm", "full_capture", "image", "build", "config", "server", "instead")
"""Parameters of `run` that say what is measured and how: of a run that is resumed its manifest says that."""


def run(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="SCENARIO", help="a scenario file, such as scenarios/smoke.yaml", show_default=False),
    ] = None,
    resume: Resumed = None,
    results: Results = store.DEFAULT_RESULTS,
    seed: Annotated[int, typer.Option(help="order in which pairs are measured")] = 1,
    jobs: Annotated[int | None, typer.Option(help="images built at once (default: by processors)", min=1)] = None,
    isolated: Annotated[
        bool,
        typer.Option(
            "--isolated", help="measure every pair in a federation of just the two, started for it: slow but authoritative"
        ),
    ] = False,
    confirm: Annotated[
        str, typer.Option(metavar="N|all", help="how many unexpected pairs are measured again alone, per phase")
    ] = str(CONFIRM),
    full_capture: Annotated[
        bool, typer.Option("--full-capture", help="keep every packet of the federation (DNS and clients too), without a limit")
    ] = False,
    baseline_file: BaselineFile = None,
    strict: Strict = True,
    image: CandidateImages = None,
    build: CandidateBuilds = None,
    config: CandidateConfigs = None,
    server: CandidateFolders = None,
    instead: Instead = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a scenario on real servers, then judge and report it."""
    accepted = baseline.load(baseline_file) if baseline_file else None
    if file is None:
        refuse_orders(ctx, resume)
    if confirm != "all" and not confirm.isdecimal():
        raise InputError("--confirm takes a number of pairs, or `all`", value=confirm, allowed=("0", "1", "…", "all"))
    planned = None
    if file:
        planned = campaign.plan(file, seed=seed, image=image, build=build, config=config, server=server, instead=instead)
    manner = campaign.Manner(isolated, None if confirm == "all" else int(confirm), full_capture)
    with live(quiet) as display:
        if resume:
            begun, order = campaign.load(resume, results), manner if planned else None
            measured = campaign.resume(begun, planned=planned, manner=order, argv=sys.argv[1:], display=display)
        else:
            assert planned
            measured = campaign.measure(
                planned,
                results=results,
                isolated=manner.isolated,
                confirm=manner.confirm,
                full_capture=manner.full_capture,
                jobs=jobs,
                argv=sys.argv[1:],
                display=display,
            )
    raise typer.Exit(finish(measured, as_json=as_json, accepted=accepted, strict=strict))


def refuse_orders(ctx: typer.Context, resume: str | None) -> None:
    """Without a scenario there has to be a run to resume, and its manifest says the rest. Raises InputError."""
    if resume is None:
        raise InputError("a SCENARIO is needed, or a run to resume", allowed=("SCENARIO", "--resume RUN"))
    sources = {name: ctx.get_parameter_source(name) for name in ORDERS}
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    if given:
        option = f"--{given[0].replace('_', '-')}"
        hint = f"leave {option} out, or give the SCENARIO too: then all has to be as it was"
        raise InputError(f"{option}: the manifest of {resume} says how it is measured", value=option, hint=hint)


def plan(
    file: ScenarioFile,
    seed: Annotated[int, typer.Option(help="order in which pairs are measured")] = 1,
    image: CandidateImages = None,
    build: CandidateBuilds = None,
    config: CandidateConfigs = None,
    server: CandidateFolders = None,
    instead: Instead = False,
    as_json: Json = False,
) -> None:
    """Say what a scenario would measure and expect; starts nothing."""
    planned = campaign.plan(file, seed=seed, image=image, build=build, config=config, server=server, instead=instead).plan
    if as_json:
        cells = [
            {"id": c.id, "phase": c.phase, "sender": c.sender, "receiver": c.receiver, "exchange": c.exchange}
            for c in planned.cells
        ]
        typer.echo(json.dumps({"scenario": planned.scenario, "title": planned.title, "timers": planned.timers, "cells": cells}))
        return
    counts = f"{len(planned.servers)} servers, {len(planned.phases)} phases, {len(planned.cells)} cells, timers {planned.timers}"
    typer.echo(f"{planned.scenario}: {visible(planned.title.strip())}\n{counts}\n")
    width = max(len(s.domain) for s in planned.servers)
    for server_ in planned.servers:
        settings = [p.settings[server_.domain] for p in planned.phases]
        steps = " → ".join(f"{s.policy.name}/{s.certificate}" + (" (unsupported)" if s.unsupported else "") for s in settings)
        typer.echo(f"{server_.domain:<{width}}  {server_.implementation!s:<18} {steps}")


def rerun(
    run_: RunName,
    sender: Annotated[str, typer.Argument(metavar="SENDER", help="a domain of the run", show_default=False)],
    receiver: Annotated[str, typer.Argument(metavar="RECEIVER", help="another", show_default=False)],
    results: Results = store.DEFAULT_RESULTS,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure one pair of a run again, alone and in every phase, from the run's own manifest; the old run stays as it is."""
    with live(quiet) as display:
        measured = campaign.remeasure(
            campaign.load(run_, results), sender, receiver, results=results, argv=sys.argv[1:], display=display
        )
    raise typer.Exit(finish(measured, as_json=as_json))
