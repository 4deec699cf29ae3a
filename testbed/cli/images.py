"""`testbed images list`, `build` and `check`: the servers' images."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from testbed import campaign
from testbed.cli.display import live
from testbed.cli.options import (
    CandidateBuilds,
    CandidateConfigs,
    CandidateFolders,
    CandidateImages,
    Implementations,
    Json,
    Quiet,
)
from testbed.contract.claims import Report, Status
from testbed.engine import host
from testbed.engine.images import MAX_AGE
from testbed.engine.images import present as present_on
from testbed.model import Implementation, InputError, visible
from testbed.plan import catalog, scenario


def list_(as_json: Json = False) -> None:
    """Every implementation and release, and whether its image is there."""
    known = catalog.load()
    engine = host.find()
    present = present_on(engine) if engine else {}
    rows: list[dict[str, Any]] = []
    for name, image in known.images.items():
        for release, spec in image.spec.releases.items():
            entry = present.get(f"{name}:{release}")
            rows.append(
                {
                    "implementation": name,
                    "release": release,
                    "version": spec.version,
                    "built": bool(entry),
                    "created": entry["created"] if entry else None,
                    "size": entry["size"] if entry else None,
                }
            )
    if as_json:
        typer.echo(json.dumps(rows))
        return
    typer.echo(f"{'implementation':<22}{'version':<10}image")
    for row in rows:
        age = (
            f"{(time.time() - row['created']) / 86400:.0f} days old, {row['size'] / 1e6:.0f} MB"
            if row["created"] and row["size"]
            else "not built"
        )
        stale = (
            " (stale: `testbed clean --images`, then build)" if row["created"] and time.time() - row["created"] > MAX_AGE else ""
        )
        typer.echo(f"{row['implementation']}@{row['release']:<{21 - len(row['implementation'])}}{row['version']:<10}{age}{stale}")


def build(
    names: Implementations = None,
    for_: Annotated[Path | None, typer.Option("--for", metavar="SCENARIO", help="only what this scenario needs")] = None,
    jobs: Annotated[int | None, typer.Option(help="images built at once", min=1)] = None,
    build: CandidateBuilds = None,
    server: CandidateFolders = None,
    quiet: Quiet = False,
) -> None:
    """Build images in parallel; if one cannot be built, name it and continue with the others."""
    known = campaign.software(build=build, server=server)
    wanted = {s.implementation for s in scenario.load(for_, known).servers} if for_ else set()
    brought = [folder.resolve().name for folder in server or ()]
    wanted |= select(known, names or brought or ([] if for_ or known.candidates else list(known.images)))
    wanted |= {c.implementation for c in known.candidates}
    with live(quiet) as display:
        images = campaign.build(known, wanted, jobs=jobs, display=display)
    raise typer.Exit(3 if images.unavailable else 0)


def check(
    names: Implementations = None,
    jobs: Annotated[int | None, typer.Option(help="servers tried at once (default: by processors)", min=1)] = None,
    image: CandidateImages = None,
    build: CandidateBuilds = None,
    config: CandidateConfigs = None,
    server: CandidateFolders = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Boot every release with every policy that it declares, and prove the claims on the wire: exit 0 if all hold, else 1.

    For a configuration of your own: whether it has what the testbed needs, and what it does.
    """
    known = campaign.software(image=image, build=build, config=config, server=server)
    brought = [folder.resolve().name for folder in server or ()]
    wanted = select(known, names or brought or ([] if known.candidates else list(known.images)))
    wanted |= {c.implementation for c in known.candidates}
    with live(quiet) as display:
        reports = campaign.check(known, wanted, jobs=jobs, display=display)
    if as_json:
        typer.echo(json.dumps([r.to_json() for r in reports]))
    else:
        show_checks(reports)
    raise typer.Exit(1 if any(c.status is Status.FAILED for r in reports for c in r.claims) else 0)


def show_checks(reports: list[Report]) -> None:
    """A table per release: setting, claim, what became of it, what was seen."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    looks = {Status.OK: "green", Status.FAILED: "bold red", Status.UNDECLARED: "dim"}
    for report in reports:
        counts = ", ".join(f"{sum(c.status is s for c in report.claims)} {s.value}" for s in Status)
        title = f"{report.implementation}  {escape(visible(report.version or ''))}  {counts}  ({report.seconds:.0f} s)"
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for column in ("setting", "claim", "result", "seen"):
            table.add_column(column)
        last = ""
        for c in report.claims:
            setting = "" if c.setting == last else escape(c.setting)
            table.add_row(setting, escape(visible(c.claim)), f"[{looks[c.status]}]{c.status.value}[/]", escape(visible(c.saw)))
            last = c.setting
        console.print(table)
        console.print()


def select(known: catalog.Catalog, names: list[str]) -> set[Implementation]:
    """Implementations by `name` or `name@release`. Raises InputError."""
    selected: set[Implementation] = set()
    for name in names:
        texts = [f"{name}@{r}" for r in known.images[name].spec.releases] if name in known.images else [name]
        for text in texts:
            try:
                selected.add(known.resolve(text))
            except InputError as error:
                allowed = (*known.images, *error.allowed)
                raise InputError(error.message, value=text, allowed=allowed, hint=error.hint) from None
    return selected
