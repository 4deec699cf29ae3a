"""`testbed doctor` and `clean`: the engine, and what of the testbed's is on it."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from testbed.cli.options import Json, Quiet
from testbed.doctor import State, examine
from testbed.engine.clean import clean as remove
from testbed.plan import catalog


def doctor(as_json: Json = False) -> None:
    """What a run needs and what is there; changes nothing. Exit 0 if a run is possible, 3 if not."""
    findings = examine(catalog.load())
    possible = not any(f.state is State.PROBLEM for f in findings)
    if as_json:
        typer.echo(json.dumps({"possible": possible, "findings": [f.to_json() for f in findings]}))
    else:
        console = Console(highlight=False, soft_wrap=True)
        looks = {State.OK: "green", State.NOTE: "yellow", State.PROBLEM: "bold red"}
        for f in findings:
            console.print(f"[{looks[f.state]}]{f.state.value:<8}[/]{f.subject:<18}{escape(f.said)}")
            if f.command:
                console.print(f"{'':<26}→ {escape(f.command)}")
        console.print("\na run is possible" if possible else "\na run is not possible yet: see the problems above")
    raise typer.Exit(0 if possible else 3)


def clean(
    everything: Annotated[bool, typer.Option("--images", help="also the images, and the private engine's data")] = False,
    quiet: Quiet = False,
) -> None:
    """Remove containers and networks of dead runs, and stop the private engine; results stay."""
    remove((lambda _: None) if quiet else typer.echo, everything=everything)
