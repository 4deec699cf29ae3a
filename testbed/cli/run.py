"""`testbed run`, `plan` and `rerun`: from a scenario, or from a recorded run, to a new run."""

from __future__ import annotations

import json
import sys
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
    RunName,
    ScenarioFile,
    Strict,
)
from testbed.cli.outcome import finish
from testbed.compare import baseline
from testbed.measure.pace import CONFIRM
from testbed.model import InputError
from testbed.record import store


def run(
    file: ScenarioFile,
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
    if confirm != "all" and not confirm.isdecimal():
        raise InputError("--confirm takes a number of pairs, or `all`", value=confirm, allowed=("0", "1", "…", "all"))
    planned = campaign.plan(file, seed=seed, image=image, build=build, config=config, server=server, instead=instead)
    with live(quiet) as display:
        measured = campaign.measure(
            planned,
            results=results,
            isolated=isolated,
            confirm=None if confirm == "all" else int(confirm),
            full_capture=full_capture,
            jobs=jobs,
            argv=sys.argv[1:],
            display=display,
        )
    raise typer.Exit(finish(measured, as_json=as_json, accepted=accepted, strict=strict))


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
    typer.echo(f"{planned.scenario}: {planned.title}\n{counts}\n")
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
