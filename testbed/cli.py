"""The command line: arguments in, one stage after the other, exit status out. Decides nothing about servers.

Exit status: 0 done and as expected · 1 done, with surprises or regressions · 2 the input is wrong · 3 the testbed could not tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from testbed import __version__, catalog, check, doctor, manifest, report, scenario, schema, store
from testbed import run as runs
from testbed.engine import federation, host, images
from testbed.model import EngineError, InputError, Plan, TestbedError
from testbed.report.story import story
from testbed.verdict import judge
from testbed.verdict.judge import exit_status
from testbed.yamlfile import did_you_mean

app = typer.Typer(
    name="testbed",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which pairs of XMPP servers stop talking when encryption becomes mandatory, and why: real servers, real wire.",
    epilog="Exit status: 0 as expected, 1 surprises, 2 wrong input, 3 the testbed could not tell. "
    "Example: testbed run scenarios/smoke.yaml",
)
images_app = typer.Typer(
    no_args_is_help=True,
    help="The servers' images: list, build, check.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(images_app, name="images")

Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="where runs are kept", envvar="TESTBED_RESULTS")]
Json = Annotated[bool, typer.Option("--json", help="for programs: one JSON document on standard output")]
ScenarioFile = Annotated[
    Path, typer.Argument(metavar="SCENARIO", help="a scenario file, such as scenarios/smoke.yaml", show_default=False)
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="a run id, a path, or `latest`", show_default=False)]
Implementations = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[IMPLEMENTATION]...",
        help="`NAME` or `NAME@RELEASE` (see `images list`); all, if none is named",
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress, only the result")]

errors = Console(stderr=True, highlight=False)


class Live:
    """A `run.Display` on the terminal: one bar a stage, or plain lines where standard error is no terminal."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.tasks: dict[str, TaskID] = {}
        self.left: dict[str, int] = {}
        self.progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description:<34}"),
            BarColumn(28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=errors,
            disable=quiet or not errors.is_terminal,
        )

    def stage(self, name: str, total: int) -> None:
        """A new stage begins."""
        self.left[name] = total
        self.tasks[name] = self.progress.add_task(name, total=total)

    def advance(self, name: str, steps: int = 1) -> None:
        """Steps of a stage are done; without a terminal, one line when the stage is."""
        self.left[name] -= steps
        self.progress.advance(self.tasks[name], steps)
        if self.left[name] == 0 and self.progress.disable and not self.quiet:
            errors.print(f"  {name}: done")

    def say(self, text: str) -> None:
        """One line of news."""
        if not self.quiet:
            self.progress.console.print(f"  {escape(text)}", style="dim")


@contextlib.contextmanager
def live(quiet: bool) -> Iterator[Live]:
    """A display for the length of a stage."""
    display = Live(quiet)
    with display.progress:
        yield display


def raise_engine(quiet: bool) -> host.Engine:
    """The engine, with a line for what is done to get one."""
    say: Callable[[str], None] = (lambda _: None) if quiet else lambda text: errors.print(f"  {escape(text)}", style="dim")
    return host.ensure(say)


def build_images(
    engine: host.Engine, known: catalog.Catalog, wanted: set[Any], quiet: bool, jobs: int | None = None
) -> images.Images:
    """Build images, with a bar; each failure is said at once, and again (even with --quiet) when all is done."""
    with live(quiet) as display:
        display.stage("images", len(wanted) + len(images.PARTS))

        def progress(tag: str, what: str) -> None:
            if tag.startswith(("debian:", "base:")):
                if what == "building" and tag.startswith("debian:"):
                    display.say(f"base system {tag.partition(':')[2]}")
                return
            if what.startswith("failed"):
                display.say(f"{tag}: {what}")
            if what != "building":
                display.advance("images")

        built = images.Builder(engine, known, progress=progress).ensure(wanted, jobs=jobs)
    for tag, reason in built.unavailable.items():
        errors.print(f"  {tag} is unavailable: {escape(reason)}", style="yellow")
    return built


@app.command(epilog="Example: testbed run scenarios/manifesto-2014.yaml --seed 7")
def run(
    file: ScenarioFile,
    results: Results = store.DEFAULT_RESULTS,
    seed: Annotated[int, typer.Option(help="order in which pairs are measured")] = 1,
    jobs: Annotated[int | None, typer.Option(help="images built at once (default: by processors)", min=1)] = None,
    isolated: Annotated[
        bool,
        typer.Option("--isolated", help="measure every pair in a federation of just the two, started for it: slow, and right"),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a scenario on real servers, then judge and report it."""
    known = catalog.load()
    measure(scenario.load(file, known, seed=seed), known, results, quiet, jobs=jobs, isolated=isolated, as_json=as_json)


def measure(
    plan: Plan, known: catalog.Catalog, results: Path, quiet: bool, *, jobs: int | None = None, isolated: bool, as_json: bool
) -> None:
    """Engine, images, measurement, verdicts, report; then exit with what came of it."""
    engine = raise_engine(quiet)
    federation.reap(engine.client)
    built = build_images(engine, known, {s.implementation for s in plan.servers}, quiet, jobs)
    writer = store.Writer(results, plan.scenario)
    with live(quiet) as display:
        runner = runs.Runner(plan, known, engine, built, writer, display, isolated=isolated, argv=sys.argv[1:])
        try:
            asyncio.run(runner.run())
        except KeyboardInterrupt:
            writer.close(None)
            raise EngineError(f"interrupted; what was measured until then is kept: testbed report {writer.path}") from None
        except TestbedError:
            writer.close(None)
            raise
    verdicts = derive(writer.path, quiet)
    show(writer.path, verdicts, as_json=as_json)
    raise typer.Exit(exit_status(verdicts))


def derive(path: Path, quiet: bool) -> dict[str, Any]:
    """Judge a record and write everything under derived/."""
    verdicts = judge(store.load(path))
    store.write_derived(path, [("verdicts.json", json.dumps(verdicts, indent=1).encode() + b"\n")])
    with live(quiet) as display:
        display.stage("report", 1)
        store.write_derived(path, report.render_all(verdicts))
        display.advance("report")
    return verdicts


def show(path: Path, verdicts: dict[str, Any], *, as_json: bool) -> None:
    """The result on standard output."""
    if as_json:
        typer.echo(json.dumps(verdicts))
        return
    from testbed.report.text import render_text

    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    typer.echo(render_text(verdicts, colour=colour, width=shutil.get_terminal_size((110, 40)).columns))
    pictures = sorted(p.name for p in (path / "derived").glob("*.png"))
    typer.echo(f"\nrun        {verdicts['run']}\npictures   {path / 'derived'}/: {', '.join(pictures)}")
    typer.echo(f"verdicts   {path / 'derived' / 'verdicts.json'}")


@app.command(epilog="Example: testbed plan scenarios/generations.yaml")
def plan(
    file: ScenarioFile, seed: Annotated[int, typer.Option(help="order in which pairs are measured")] = 1, as_json: Json = False
) -> None:
    """Say what a scenario would measure and expect; starts nothing."""
    known = catalog.load()
    planned = scenario.load(file, known, seed=seed)
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
    for server in planned.servers:
        settings = [p.settings[server.domain] for p in planned.phases]
        steps = " → ".join(f"{s.policy.name}/{s.certificate}" + (" (unsupported)" if s.unsupported else "") for s in settings)
        typer.echo(f"{server.domain:<{width}}  {server.implementation!s:<18} {steps}")


@app.command("report", epilog="Example: testbed report latest")
def report_(
    run_: RunName = "latest", results: Results = store.DEFAULT_RESULTS, as_json: Json = False, quiet: Quiet = False
) -> None:
    """Judge a run again from its record, and write its report anew."""
    path = store.find(run_, results)
    verdicts = derive(path, quiet)
    show(path, verdicts, as_json=as_json)
    raise typer.Exit(exit_status(verdicts))


@app.command(epilog="Example: testbed explain latest a.example b.example")
def explain(
    run_: RunName,
    sender: Annotated[str, typer.Argument(metavar="SENDER", help="the domain that writes", show_default=False)],
    receiver: Annotated[str, typer.Argument(metavar="RECEIVER", help="the domain that is written to", show_default=False)],
    results: Results = store.DEFAULT_RESULTS,
) -> None:
    """Tell the story of a pair: every phase, in time order from all sources, then the verdict and its reasons."""
    record = store.load(store.find(run_, results))
    typer.echo(story(record, judge(record), sender, receiver), nl=False)


@app.command(epilog="Example: testbed rerun latest a.example b.example")
def rerun(
    run_: RunName,
    sender: Annotated[str, typer.Argument(metavar="SENDER", help="a domain of the run", show_default=False)],
    receiver: Annotated[str, typer.Argument(metavar="RECEIVER", help="another", show_default=False)],
    results: Results = store.DEFAULT_RESULTS,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure one pair of a run again, alone and in every phase, from the run's own manifest; the old run stays as it is."""
    record = store.load(store.find(run_, results))
    domains = [s["domain"] for s in record.manifest["servers"]]
    for domain in (sender, receiver):
        if domain not in domains:
            raise InputError(
                f"no server `{domain}` in this run", value=domain, allowed=tuple(domains), hint=did_you_mean(domain, domains)
            )
    if sender == receiver:
        raise InputError("a server does not federate with itself", value=sender, hint="name two servers")
    narrowed = manifest.plan_of(record.manifest, [(sender, receiver)])
    measure(narrowed, catalog.load(), results, quiet, isolated=True, as_json=as_json)


@images_app.command("list", epilog="Example: testbed images list --json")
def images_list(as_json: Json = False) -> None:
    """Every implementation and release, and whether its image is there."""
    known = catalog.load()
    engine = host.find()
    present = images.Builder(engine, known).present() if engine else {}
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
            " (stale: `testbed clean --images`, then build)"
            if row["created"] and time.time() - row["created"] > images.MAX_AGE
            else ""
        )
        typer.echo(f"{row['implementation']}@{row['release']:<{21 - len(row['implementation'])}}{row['version']:<10}{age}{stale}")


@images_app.command(
    "build", epilog="Example: testbed images build NAME@trixie  ·  testbed images build --for scenarios/smoke.yaml"
)
def images_build(
    names: Implementations = None,
    for_: Annotated[Path | None, typer.Option("--for", metavar="SCENARIO", help="only what this scenario needs")] = None,
    jobs: Annotated[int | None, typer.Option(help="images built at once", min=1)] = None,
    quiet: Quiet = False,
) -> None:
    """Build images, side by side; one that cannot be built is said, and the others go on."""
    known = catalog.load()
    wanted = {s.implementation for s in scenario.load(for_, known).servers} if for_ else set()
    wanted |= select(known, names or ([] if for_ else list(known.images)))
    built = build_images(raise_engine(quiet), known, wanted, quiet, jobs)
    raise typer.Exit(3 if built.unavailable else 0)


@images_app.command("check", epilog="Example: testbed images check NAME@trixie")
def images_check(
    names: Implementations = None,
    jobs: Annotated[int | None, typer.Option(help="servers tried at once (default: by processors)", min=1)] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Boot every release with every policy that it declares, and prove the claims on the wire: exit 0 if all hold, else 1."""
    known = catalog.load()
    wanted = select(known, names or list(known.images))
    engine = raise_engine(quiet)
    federation.reap(engine.client)
    built = build_images(engine, known, wanted, quiet)
    with live(quiet) as display:
        reports = check.Checker(known, engine, built, display, jobs=jobs).run(wanted)
    if as_json:
        typer.echo(json.dumps([r.to_json() for r in reports]))
    else:
        show_checks(reports)
    raise typer.Exit(1 if any(c.status is check.Status.FAILED for r in reports for c in r.claims) else 0)


def show_checks(reports: list[check.Report]) -> None:
    """A table per release: setting, claim, what became of it, what was seen."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    looks = {check.Status.OK: "green", check.Status.FAILED: "bold red", check.Status.UNDECLARED: "dim"}
    for one in reports:
        counts = ", ".join(f"{sum(c.status is s for c in one.claims)} {s.value}" for s in check.Status)
        title = f"{one.implementation}  {one.version or ''}  {counts}  ({one.seconds:.0f} s)"
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for column in ("setting", "claim", "result", "seen"):
            table.add_column(column)
        last = ""
        for c in one.claims:
            setting = "" if c.setting == last else escape(c.setting)
            table.add_row(setting, escape(c.claim), f"[{looks[c.status]}]{c.status.value}[/]", escape(c.saw))
            last = c.setting
        console.print(table)
        console.print()


def select(known: catalog.Catalog, names: list[str]) -> set[Any]:
    """Implementations by `name` or `name@release`. Raises InputError."""
    found = set()
    for name in names:
        texts = [f"{name}@{r}" for r in known.images[name].spec.releases] if name in known.images else [name]
        for text in texts:
            try:
                found |= set(known.resolve(text))
            except ValueError as error:
                message, allowed, hint = str(error).split("|")
                raise InputError(message, value=text, allowed=(*known.images, *allowed.split(", ")), hint=hint or None) from None
    return found


@app.command("schema", epilog="Example: testbed schema --check")
def schema_(
    write: Annotated[bool, typer.Option("--write", help="write the files that differ")] = False,
    check_: Annotated[bool, typer.Option("--check", help="only say which files differ; exit 1 if any does")] = False,
) -> None:
    """The published JSON Schemas (schemas/) and the generated tables of docs/, from the models in code."""
    if write == check_:
        raise InputError("say what to do", allowed=("--write", "--check"))
    known = catalog.load()
    if write:
        for path in schema.write(known):
            typer.echo(f"written: {path}")
        return
    if differing := schema.stale(known):
        for path in differing:
            errors.print(f"stale: {path}")
        errors.print(f"these differ from the code that they are generated from: `{schema.COMMAND}`", soft_wrap=True)
        raise typer.Exit(1)


@app.command("doctor", epilog="Example: testbed doctor --json")
def doctor_(as_json: Json = False) -> None:
    """What a run needs and what is there; changes nothing. Exit 0 if a run is possible, 3 if not."""
    findings = doctor.examine(catalog.load())
    possible = not any(f.state is doctor.State.PROBLEM for f in findings)
    if as_json:
        typer.echo(json.dumps({"possible": possible, "findings": [f.to_json() for f in findings]}))
    else:
        console = Console(highlight=False, soft_wrap=True)
        looks = {doctor.State.OK: "green", doctor.State.NOTE: "yellow", doctor.State.PROBLEM: "bold red"}
        for f in findings:
            console.print(f"[{looks[f.state]}]{f.state.value:<8}[/]{f.subject:<18}{escape(f.said)}")
            if f.command:
                console.print(f"{'':<26}→ {escape(f.command)}")
        console.print("\na run is possible" if possible else "\na run is not possible yet: see the problems above")
    raise typer.Exit(0 if possible else 3)


@app.command(epilog="Example: testbed clean  ·  testbed clean --images")
def clean(
    everything: Annotated[bool, typer.Option("--images", help="also the images, and the private engine's data")] = False,
    quiet: Quiet = False,
) -> None:
    """Remove containers and networks of dead runs, and stop the private engine; results stay."""
    say: Callable[[str], None] = (lambda _: None) if quiet else typer.echo
    engine = None
    with contextlib.suppress(EngineError):
        engine = host.find()
    if engine:
        containers, networks = federation.reap(engine.client)
        say(f"removed {containers} containers and {networks} networks")
        alive = engine.client.containers.list(filters={"label": federation.RUN_LABEL}, ignore_removed=True)
        if alive:
            say(f"{len(alive)} containers belong to a run that still goes on: left alone")
            raise typer.Exit(0)
        if everything and not engine.private:
            for tag in images.Builder(engine, catalog.load()).present():
                with contextlib.suppress(Exception):
                    engine.client.images.remove(f"{images.REPOSITORY}/{tag}", force=True)
    if engine is None or engine.private:
        host.stop(say)
        if everything:
            host.remove_data(say)


def main() -> None:
    """Entry point of the console script: an error of the user's is one message, and its own exit status."""
    try:
        app()
    except TestbedError as error:
        errors.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)  # file:line stays in one piece
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)


__all__ = ["__version__", "app", "main"]
