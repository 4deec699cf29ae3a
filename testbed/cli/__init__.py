"""The command line: arguments in, one stage after the other, exit status out. Decides nothing about servers.

Exit status: 0 done and as expected · 1 done, with surprises or regressions · 2 the input is wrong · 3 the testbed could not tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from testbed import ROOT, __version__, doctor, report, schema
from testbed.compare import accept, baseline, diff, files, history
from testbed.compare.cells import Subject, subject
from testbed.contract import check, preflight
from testbed.engine import federation, host, images
from testbed.judge.verdict import exit_status, judge
from testbed.measure import conductor as runs
from testbed.measure.pace import CONFIRM
from testbed.model import EngineError, Implementation, InputError, Plan, TestbedError
from testbed.plan import candidates, catalog, recorded, scenario
from testbed.record import store
from testbed.report import diff as diff_report
from testbed.report import diff_page, formats, history_text, plots
from testbed.report.story import story
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
baseline_app = typer.Typer(
    no_args_is_help=True,
    help="Known failures of a scenario, in a file to review (docs/regressions.md).",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(baseline_app, name="baseline")


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of runs for the shell, the newest first."""
    there = store.runs(Path(ctx.params.get("results") or store.DEFAULT_RESULTS))
    return [name for name in ["latest", *there] if name.startswith(incomplete)]


def topics() -> dict[str, Path]:
    """Name -> page of the documentation, in a checkout."""
    pages = {f"{name}s": ROOT / f"{name}s" / "README.md" for name in ("scenario", "image")}
    return {p.stem: p for p in sorted((ROOT / "docs").glob("*.md"))} | {n: p for n, p in pages.items() if p.is_file()}


def title(page: Path) -> str:
    """The first heading of a page."""
    return next((line.lstrip("# ") for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("#")), page.stem)


def complete_topic(incomplete: str) -> list[str]:
    """Pages for the shell."""
    return [name for name in topics() if name.startswith(incomplete)]


Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="where runs are kept", envvar="TESTBED_RESULTS")]
Json = Annotated[bool, typer.Option("--json", help="for programs: one JSON document on standard output")]
ScenarioFile = Annotated[
    Path, typer.Argument(metavar="SCENARIO", help="a scenario file, such as scenarios/smoke.yaml", show_default=False)
]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="a run id, a path, or `latest`", show_default=False, autocompletion=complete_run)
]
Implementations = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[IMPLEMENTATION]...",
        help="`NAME` or `NAME@RELEASE` (see `images list`); all, if none is named",
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress, only the result")]
YOURS = "Something of yours (docs/server-projects.md)"
OwnImages = Annotated[
    list[str] | None,
    typer.Option(
        "--image",
        metavar="IMPLEMENTATION=IMAGE",
        help="an image on this engine, a build of a known implementation; IMPLEMENTATION: `NAME` or `NAME@RELEASE`, "
        "the release that it is like; repeatable, as all of these",
        rich_help_panel=YOURS,
        show_default=False,
    ),
]
OwnBuilds = Annotated[
    list[str] | None,
    typer.Option(
        "--build",
        metavar="IMPLEMENTATION=FOLDER",
        help="the same, built from a folder with a Dockerfile",
        rich_help_panel=YOURS,
        show_default=False,
    ),
]
OwnConfigs = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        metavar="IMPLEMENTATION=FILE",
        help="an operator's configuration, a file or a folder of files, instead of the testbed's",
        rich_help_panel=YOURS,
        show_default=False,
    ),
]
OwnServers = Annotated[
    list[Path] | None,
    typer.Option(
        "--server",
        metavar="FOLDER",
        help="an implementation, a folder like those of images/",
        rich_help_panel=YOURS,
        show_default=False,
    ),
]
Instead = Annotated[
    bool,
    typer.Option("--instead", help="in the place of the scenario's servers of it, not beside them", rich_help_panel=YOURS),
]

SIDE = "a run id, a path, `latest`, a verdicts.json, or a baseline (.yaml)"
Older = Annotated[str, typer.Argument(metavar="OLD", help=SIDE, show_default=False, autocompletion=complete_run)]
Newer = Annotated[str, typer.Argument(metavar="NEW", help="the same", show_default=False, autocompletion=complete_run)]
BaselineFile = Annotated[
    Path | None,
    typer.Option(
        "--baseline", metavar="FILE", help="known failures: exit 0 if there are no others, 1 if there are", show_default=False
    ),
]
Strict = Annotated[bool, typer.Option("--strict/--no-strict", help="with a baseline: a known failure that passes exits 1")]

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="write there, not to standard output", show_default=False),
]

errors = Console(stderr=True, highlight=False)


class Live:
    """A `run.Display` on the terminal: one bar a stage, or plain lines where standard error is no terminal."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.tasks: dict[str, TaskID] = {}
        self.left: dict[str, int] = {}
        self.failed: Counter[str] = Counter()
        self.progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description:<34}"),
            BarColumn(28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[failed]}"),
            console=errors,
            disable=quiet or not errors.is_terminal,
        )

    def stage(self, name: str, total: int) -> None:
        """A new stage begins."""
        self.left[name] = total
        self.tasks[name] = self.progress.add_task(name, total=total, left="", failed="")

    def grow(self, name: str) -> None:
        """A stage, begun or not, has one more step to do."""
        if name not in self.tasks:
            self.stage(name, 0)
        self.left[name] += 1
        task = self.progress.tasks[self.progress.task_ids.index(self.tasks[name])]
        self.progress.update(self.tasks[name], total=(task.total or 0) + 1)

    def advance(self, name: str, steps: int = 1, *, failed: bool = False) -> None:
        """Steps of a stage are done; without a terminal, one line when the stage is."""
        self.left[name] -= steps
        self.failed[name] += failed
        self.progress.advance(self.tasks[name], steps)
        task = self.progress.tasks[self.progress.task_ids.index(self.tasks[name])]
        seconds = task.time_remaining
        left = f"about {seconds:.0f} s left" if seconds and self.left[name] else ""
        counted = f"{self.failed[name]} did not get through" if self.failed[name] else ""
        self.progress.update(self.tasks[name], left=left, failed=counted)
        if self.left[name] == 0 and self.progress.disable and not self.quiet:
            errors.print(f"  {name}: done" + (f" ({counted})" if counted else ""))

    def say(self, text: str) -> None:
        """One line of news."""
        if not self.quiet:
            self.progress.console.print(f"  {escape(text)}", style="dim")

    def warn(self, text: str) -> None:
        """One line that concerns the result."""
        self.progress.console.print(f"  {escape(text)}", style="yellow", soft_wrap=True)


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


def candidate_options(known: catalog.Catalog, **options: list[str] | None) -> list[candidates.CandidateOption]:
    """What a user brings. Raises InputError."""
    return [candidates.read(option, text, known) for option, texts in options.items() for text in texts or ()]


def prepare(
    engine: host.Engine, planned: candidates.Planned, quiet: bool, jobs: int | None = None, *, look: bool = True
) -> tuple[candidates.Planned, images.Images]:
    """Every image that a plan needs, the candidates' among them; with ``look`` these are booted once.

    Raises InputError or EngineError for a candidate that is not there, cannot be built, or does not do.
    """
    built = ensure_images(engine, planned.catalog, {s.implementation for s in planned.plan.servers}, quiet, jobs)
    return (look_at(engine, planned, built, quiet) if look else planned), built


def ensure_images(
    engine: host.Engine,
    known: catalog.Catalog,
    wanted: set[Implementation],
    quiet: bool,
    jobs: int | None = None,
) -> images.Images:
    """The images of ``wanted``, candidates among them. Raises InputError or EngineError for a candidate without."""
    builder = images.Builder(engine, known)
    ids: dict[str, str] = {}
    brought = [c for c in known.candidates if c.implementation in wanted]
    for candidate in brought:
        try:
            ids |= {images.tag_of(candidate.implementation): builder.find(candidate.image)} if candidate.image else {}
        except InputError:
            if not candidate.recorded:
                raise
            raise InputError(
                f"the image of {candidate.implementation} in that run is gone from this engine",
                value=candidate.image,
                hint=f"measure the scenario anew, with {' '.join(candidate.source)}",
            ) from None
    configured = {c.implementation: c.packaged for c in brought if not c.image and not c.build}
    packaged = wanted - {c.implementation for c in brought} | set(configured.values())
    built = build_images(engine, known, packaged, quiet, jobs)
    with live(quiet) as display:
        for candidate in brought:
            if candidate.build:
                tag = images.tag_of(candidate.implementation)
                release = known.image(candidate.implementation).spec.releases[candidate.implementation.release]
                ids[tag] = builder.build(candidate.build, release.suite, tag, display.say)
    for implementation, other in configured.items():
        if (image := built.server(other)) is None:
            raise EngineError(f"{other}, which the configuration is for, is unavailable: {built.reason(other)}")
        ids[images.tag_of(implementation)] = image
    built.ids |= ids
    built.versions |= {images.tag_of(c.implementation): c.version for c in brought if c.version}
    return built


def look_at(engine: host.Engine, planned: candidates.Planned, built: images.Images, quiet: bool) -> candidates.Planned:
    """Boot each candidate once, and say what it lacks; a configuration's policy is observed. Raises TestbedError."""
    with live(quiet) as display:
        found = preflight.Preflight(planned.catalog, engine, built, display).run(planned.plan)
    for one in found:
        candidate = planned.catalog.candidate(one.implementation)
        for note in one.notes:
            if note.status is check.Status.FAILED:
                errors.print(f"  {one.implementation} {escape(note.claim)}", style="yellow", soft_wrap=True)
        if candidate and one.version:
            built.versions[images.tag_of(one.implementation)] = one.version
        if candidate and candidate.files:
            planned = candidates.observed(planned, one.implementation, one.policy, one.unknown)
            does = (
                f": {preflight.told_of(one.policy)}"
                if one.policy
                else f" is not known ({one.unknown}): its cells are never surprises"
            )
            if not quiet:
                errors.print(f"  {one.implementation}: what the configuration does{escape(does)}", style="dim", soft_wrap=True)
    return planned


@app.command(
    epilog="Example: testbed run scenarios/manifesto-2014.yaml --seed 7  ·  testbed run scenarios/smoke.yaml --build NAME=."
)
def run(
    file: ScenarioFile,
    results: Results = store.DEFAULT_RESULTS,
    seed: Annotated[int, typer.Option(help="order in which pairs are measured")] = 1,
    jobs: Annotated[int | None, typer.Option(help="images built at once (default: by processors)", min=1)] = None,
    isolated: Annotated[
        bool,
        typer.Option("--isolated", help="measure every pair in a federation of just the two, started for it: slow, and right"),
    ] = False,
    confirm: Annotated[
        str, typer.Option(metavar="N|all", help="unexpected pairs that are measured again alone, per phase, at most")
    ] = str(CONFIRM),
    full_capture: Annotated[
        bool, typer.Option("--full-capture", help="keep every packet of the federation (DNS and clients too), without a bound")
    ] = False,
    baseline_file: BaselineFile = None,
    strict: Strict = True,
    image: OwnImages = None,
    build: OwnBuilds = None,
    config: OwnConfigs = None,
    server: OwnServers = None,
    instead: Instead = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a scenario on real servers, then judge and report it."""
    known = catalog.load(extra=server or ())
    options = candidate_options(known, image=image, build=build, config=config)
    accepted = baseline.load(baseline_file) if baseline_file else None
    if confirm != "all" and not confirm.isdecimal():
        raise InputError("--confirm takes a number of pairs, or `all`", value=confirm, allowed=("0", "1", "…", "all"))
    manner = runs.Manner(isolated, None if confirm == "all" else int(confirm), full_capture)
    planned = candidates.place(scenario.load(file, known, seed=seed), known, options, instead=instead)
    measure(
        planned.plan,
        planned.catalog,
        results,
        quiet,
        jobs=jobs,
        manner=manner,
        as_json=as_json,
        accepted=accepted,
        strict=strict,
    )


def measure(
    plan: Plan,
    known: catalog.Catalog,
    results: Path,
    quiet: bool,
    *,
    look: bool = True,
    jobs: int | None = None,
    manner: runs.Manner,
    as_json: bool,
    accepted: baseline.Baseline | None = None,
    strict: bool = True,
) -> None:
    """Engine, images, measurement, verdicts, report; then exit with what came of it."""
    engine = raise_engine(quiet)
    federation.reap(engine.client)
    planned, built = prepare(engine, candidates.Planned(plan, known), quiet, jobs, look=look)
    plan, known = planned.plan, planned.catalog
    writer = store.Writer(results, plan.scenario)
    with live(quiet) as display:
        runner = runs.Runner(plan, known, engine, built, writer, display, manner=manner, argv=sys.argv[1:])
        verdicts: dict[str, Any] = {}
        try:
            asyncio.run(runner.run(lambda: verdicts.update(derive(writer.path, display))))
        except KeyboardInterrupt:
            writer.close(None)
            raise EngineError(f"interrupted; what was measured until then is kept: testbed report {writer.path}") from None
        except TestbedError:
            writer.close(None)
            raise
    raise typer.Exit(finish(writer.path, verdicts, as_json=as_json, accepted=accepted, strict=strict))


def derive(path: Path, display: Live) -> dict[str, Any]:
    """Judge a record and write everything under derived/, the verdicts first."""
    display.stage("report", 1)
    verdicts = judge(store.load(path))
    store.write_derived(path, [("verdicts.json", json.dumps(verdicts, indent=1).encode() + b"\n")])
    store.write_derived(path, report.render_all(verdicts))
    display.advance("report")
    return verdicts


def finish(
    path: Path, verdicts: dict[str, Any], *, as_json: bool, accepted: baseline.Baseline | None = None, strict: bool = True
) -> int:
    """Show the result, against the known failures where there are any. Returns the exit status."""
    if accepted is None:
        show(path, verdicts, as_json=as_json)
        return exit_status(verdicts)
    held = hold(subject(verdicts), accepted, strict=strict)
    show(path, verdicts | {"baseline": held} if as_json else verdicts, as_json=as_json)
    if not as_json:
        typer.echo("\n" + diff_report.render_text(held, colour=coloured(), width=terminal_width()), nl=False)
    return int(held["status"])


def hold(side: Subject, accepted: baseline.Baseline, *, strict: bool) -> dict[str, Any]:
    """A run against its known failures, as a document."""
    gate = baseline.check(accepted, side, dt.date.today(), strict=strict)
    return baseline.document(gate, could_not_tell=exit_status(dict(side.verdicts)) == 3)


def coloured() -> bool:
    """Whether standard output takes colours."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def terminal_width() -> int:
    """Of standard output, in characters; 110 where it is no terminal."""
    return shutil.get_terminal_size((110, 40)).columns


def show(path: Path, verdicts: dict[str, Any], *, as_json: bool) -> None:
    """The result on standard output."""
    if as_json:
        typer.echo(json.dumps(verdicts))
        return
    from testbed.report.text import render_text

    typer.echo(render_text(verdicts, colour=coloured(), width=terminal_width()))
    pictures = sorted(p.name for p in (path / "derived").glob("*.png"))
    typer.echo(f"\nrun        {verdicts['run']}\nreport     {path / 'derived' / 'report.html'}   (open it in a browser)")
    typer.echo(f"pictures   {path / 'derived'}/: {', '.join(pictures)}")
    typer.echo(f"verdicts   {path / 'derived' / 'verdicts.json'}")


@app.command(epilog="Example: testbed plan scenarios/generations.yaml")
def plan(
    file: ScenarioFile,
    seed: Annotated[int, typer.Option(help="order in which pairs are measured")] = 1,
    image: OwnImages = None,
    build: OwnBuilds = None,
    config: OwnConfigs = None,
    server: OwnServers = None,
    instead: Instead = False,
    as_json: Json = False,
) -> None:
    """Say what a scenario would measure and expect; starts nothing."""
    known = catalog.load(extra=server or ())
    options = candidate_options(known, image=image, build=build, config=config)
    planned = candidates.place(scenario.load(file, known, seed=seed), known, options, instead=instead).plan
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
    for one in planned.servers:
        settings = [p.settings[one.domain] for p in planned.phases]
        steps = " → ".join(f"{s.policy.name}/{s.certificate}" + (" (unsupported)" if s.unsupported else "") for s in settings)
        typer.echo(f"{one.domain:<{width}}  {one.implementation!s:<18} {steps}")


@app.command("report", epilog="Example: testbed report latest  ·  testbed report latest --format junit --output junit.xml")
def report_(
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
    """Judge a run again from its record, and write its report anew; with --format, write nothing but that one report."""
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
        verdicts = judge(store.load(path))
        deliver(formats.render(verdicts, shape), output)
        held = hold(subject(verdicts), accepted, strict=strict) if accepted else None
        raise typer.Exit(int(held["status"]) if held else exit_status(verdicts))
    with live(quiet) as display:
        verdicts = derive(path, display)
    raise typer.Exit(finish(path, verdicts, as_json=as_json, accepted=accepted, strict=strict))


def refuse_bytes(binary: bool, output: Path | None, name: str) -> None:
    """Refuse to fill a terminal with bytes, before any work is done. Raises InputError."""
    if binary and output is None and sys.stdout.isatty():
        raise InputError("this is binary, and standard output is a terminal", value=name, hint=f"--output {name}")


def deliver(content: bytes, output: Path | None) -> None:
    """To the file, or to standard output as it is. Raises InputError if the file cannot be written."""
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        write_file(output, content)
        errors.print(f"written: {escape(str(output))}", soft_wrap=True)


@app.command(
    epilog="\n\n".join(
        [
            *(f"{k}: {p.meaning}" + (f". --phase: {p.phase}" if p.phase else "") for k, p in plots.PLOTS.items()),
            "Example: testbed plot latest flow --output flow.svg",
        ]
    )
)
def plot(
    run_: RunName,
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join(plots.PLOTS), show_default=False)],
    shape: Annotated[
        str | None,
        typer.Option("--format", metavar="|".join(plots.FORMATS), help="default: by FILE's ending, else png", show_default=False),
    ] = None,
    output: Output = None,
    phase: Annotated[str | None, typer.Option(metavar="P", help="which phase; see below", show_default=False)] = None,
    exchange: Annotated[str | None, typer.Option(metavar="E", help="of this exchange only", show_default=False)] = None,
    results: Results = store.DEFAULT_RESULTS,
) -> None:
    """Draw one picture of a run, as raster or vector, for a paper or a page; nothing else is written."""
    wanted = shape or (output.suffix.removeprefix(".").lower() if output else "") or "png"
    refuse_bytes(wanted != "svg", output, f"{kind}.{wanted}")
    verdicts = judge(store.load(store.find(run_, results)))
    deliver(plots.draw(verdicts, kind, wanted, phase=phase, exchange=exchange), output)


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
    known = recorded.restore(record.manifest, catalog.load(extra=recorded.folders(record.manifest)))
    narrowed = recorded.plan_of(record.manifest, [(sender, receiver)])
    measure(narrowed, known, results, quiet, look=False, manner=runs.Manner(isolated=True), as_json=as_json)


class Shape(str, Enum):
    """In which form a comparison is written."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"


def side_of(name: str, results: Path) -> Subject | baseline.Baseline:
    """One side of a comparison: a run, judged now by the rules of today; kept verdicts; or known failures. Raises InputError."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return baseline.load(path)
    if path.suffix == ".json":
        return files.verdicts(path)
    record = store.load(store.find(name, results))
    return subject(judge(record), record.manifest)


@app.command(
    "diff", epilog="Example: testbed diff results/reference latest  ·  testbed diff latest baselines/smoke.yaml --format markdown"
)
def diff_(
    a: Older,
    b: Newer,
    results: Results = store.DEFAULT_RESULTS,
    shape: Annotated[Shape, typer.Option("--format", help="of what is written")] = Shape.TEXT,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="write there, and say only the verdict", show_default=False),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="cells that only A has, or could be set so only in A, do not make it exit 3")
    ] = False,
    strict: Strict = True,
    as_json: Json = False,
) -> None:
    """What changed from one run to another, cell by cell: 0 nothing worse, 1 regressions, 3 a side could not tell.

    With a baseline on one side, the surprises of the other are held against its known failures.
    """
    one, two = side_of(a, results), side_of(b, results)
    if isinstance(one, baseline.Baseline):
        one, two = two, one
    if isinstance(one, baseline.Baseline):
        raise InputError(
            "two baselines have nothing to compare: they are lists to review", value=b, hint="name a run on one side"
        )
    if isinstance(two, baseline.Baseline):
        doc = hold(one, two, strict=strict)
    else:
        doc = diff.document(one, two, allow_missing=allow_missing)
    shape = Shape.JSON if as_json else shape
    colour = coloured() and output is None and shape is Shape.TEXT
    text = {
        Shape.TEXT: lambda: diff_report.render_text(doc, colour=colour, width=terminal_width()),
        Shape.MARKDOWN: lambda: diff_report.render_markdown(doc),
        Shape.HTML: lambda: diff_page.render_html(doc),
        Shape.JSON: lambda: json.dumps(doc, indent=1, ensure_ascii=False) + "\n",
    }[shape]()
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_file(output, text.encode())
        typer.echo(f"{diff_report.sheet(doc).verdict}\nwritten: {output}")
    raise typer.Exit(doc["status"])


def write_file(path: Path, data: bytes) -> None:
    """Write a file that the user named, its folder made. Raises InputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=str(path), hint="choose another file") from None


RunNames = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN",
        help="a run id, a path, `latest`, or a verdicts.json; several of one scenario show what comes and goes",
        show_default=False,
        autocompletion=complete_run,
    ),
]


@baseline_app.command(
    "accept", epilog='Example: testbed baseline accept latest --reason "bug 1234 of the server" --expires 2027-06-30'
)
def baseline_accept(
    runs_: RunNames,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="why they are accepted; of new entries only", show_default=False)],
    link: Annotated[str | None, typer.Option(metavar="URL", help="where they are dealt with", show_default=False)] = None,
    expires: Annotated[
        dt.datetime | None,
        typer.Option(metavar="DATE", formats=["%Y-%m-%d"], help="the last day on which they are accepted", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="default: baselines/SCENARIO.yaml", show_default=False)
    ] = None,
    results: Results = store.DEFAULT_RESULTS,
) -> None:
    """Write the surprises of runs down as known failures; what stands in the file already keeps its words."""
    if not reason.strip():
        raise InputError("an empty reason tells a reviewer nothing", value=reason, hint='--reason "…"')
    today = dt.date.today()
    if expires and expires.date() < today:
        raise InputError("the entries would be expired already", value=str(expires.date()), hint=f"today is {today}")
    sides: list[Subject] = []
    for name in runs_:
        side = side_of(name, results)
        if isinstance(side, baseline.Baseline):
            raise InputError(
                "a baseline is accepted from runs", value=name, hint="a run id, a path, `latest`, or a verdicts.json"
            )
        sides.append(side)
    sides.sort(key=lambda s: str(s.verdicts.get("started")))
    path = output or Path("baselines") / f"{sides[-1].verdicts['scenario']}.yaml"
    old = baseline.load(path) if path.exists() else None
    notes = accept.Notes(reason.strip(), link, expires.date() if expires else None)
    accepted = accept.accept(sides, notes, old, today)
    write_file(path, accept.render(sides, accepted).encode())
    counts = f"{accepted.added} new, {accepted.kept} kept, {len(accepted.gone)} taken out"
    typer.echo(f"written: {path}: {len(accepted.entries)} entries for {sum(accepted.counts)} cells ({counts})")
    for entry in accepted.gone:
        typer.echo(f"taken out, nothing of it fails any more: line {entry.line}: {entry.form.reason}")
    for entry in accepted.renewed:
        until = f"until {expires.date()}" if expires else "without an end: set one with --expires"
        typer.echo(f"expired, and accepted again {until}: line {entry.line}: {entry.form.reason}")
    for entry in accepted.other:
        typer.echo(f"kept, though it matches no cell of this run: line {entry.line}: {entry.form.reason}")
    if accepted.undecided:
        typer.echo(f"{accepted.undecided} cells could not be told, and are not accepted")


@app.command("history", epilog="Example: testbed history results --picture history.png")
def history_(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="a folder of runs", show_default=False)
    ] = store.DEFAULT_RESULTS,
    only: Annotated[
        str | None, typer.Option("--scenario", metavar="NAME", help="of this scenario only", show_default=False)
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE", help="draw it, as .png or .svg; one file a scenario", show_default=False),
    ] = None,
    again: Annotated[bool, typer.Option("--judge", help="judge every run anew, not only those without verdicts: slow")] = False,
    as_json: Json = False,
) -> None:
    """Each cell over many runs: since when it is as it is, how often it changed, and with which versions."""
    there = store.runs(folder)
    subjects, skipped = [], []
    for name in reversed(there):
        try:
            found = None if again else files.kept(folder / name)
            subjects.append(found or side_of(str(folder / name), folder))
        except InputError as error:
            skipped.append((name, str(error)))
    known = sorted({s.verdicts["scenario"] for s in subjects if isinstance(s, Subject)})
    mine = [s for s in subjects if isinstance(s, Subject) and only in (None, s.verdicts["scenario"])]
    if not mine:
        asked = f" of the scenario `{only}`" if only else ""
        raise InputError(
            f"no run{asked}", file=str(folder), value=only, allowed=tuple(known), hint="`testbed run SCENARIO` makes one"
        )
    doc = history.document(mine, skipped)
    if picture:
        draw_history(doc, picture)
    if as_json:
        typer.echo(json.dumps(doc, ensure_ascii=False))
        return
    typer.echo(history_text.render_text(doc, colour=coloured(), width=terminal_width()), nl=False)


def draw_history(doc: dict[str, Any], path: Path) -> None:
    """One picture a scenario; several have its name before the ending. Raises InputError for another kind of file."""
    from testbed.report.history_picture import render_picture

    formats: dict[str, Literal["png", "svg"]] = {".png": "png", ".svg": "svg"}
    if path.suffix not in formats:
        raise InputError("a picture is a .png or an .svg", value=path.suffix, file=str(path), allowed=tuple(formats))
    several = len(doc["scenarios"]) > 1
    for one in doc["scenarios"]:
        name = "-".join([one["scenario"], one["timers"]] + (["alone"] if one["isolated"] else []))
        target = path.with_name(f"{path.stem}-{name}{path.suffix}") if several else path
        write_file(target, render_picture(one, formats[path.suffix]))
        errors.print(f"written: {target}", soft_wrap=True)


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
    build: OwnBuilds = None,
    server: OwnServers = None,
    quiet: Quiet = False,
) -> None:
    """Build images, side by side; one that cannot be built is said, and the others go on."""
    known = catalog.load(extra=server or ())
    known = candidates.add(known, candidate_options(known, build=build))
    wanted = {s.implementation for s in scenario.load(for_, known).servers} if for_ else set()
    theirs = [folder.resolve().name for folder in server or ()]
    wanted |= select(known, names or theirs or ([] if for_ or known.candidates else list(known.images)))
    wanted |= {c.implementation for c in known.candidates}
    built = ensure_images(raise_engine(quiet), known, wanted, quiet, jobs)
    raise typer.Exit(3 if built.unavailable else 0)


@images_app.command("check", epilog="Example: testbed images check NAME@trixie")
def images_check(
    names: Implementations = None,
    jobs: Annotated[int | None, typer.Option(help="servers tried at once (default: by processors)", min=1)] = None,
    image: OwnImages = None,
    build: OwnBuilds = None,
    config: OwnConfigs = None,
    server: OwnServers = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Boot every release with every policy that it declares, and prove the claims on the wire: exit 0 if all hold, else 1.

    Of a configuration of yours: what the testbed needs of it, and what it does.
    """
    known = catalog.load(extra=server or ())
    known = candidates.add(known, candidate_options(known, image=image, build=build, config=config))
    theirs = [folder.resolve().name for folder in server or ()]
    wanted = select(known, names or theirs or ([] if known.candidates else list(known.images)))
    engine = raise_engine(quiet)
    federation.reap(engine.client)
    built = ensure_images(engine, known, wanted | {c.implementation for c in known.candidates}, quiet)
    configured = {c.implementation for c in known.candidates if c.files}
    wanted |= {c.implementation for c in known.candidates if not c.files}
    with live(quiet) as display:
        reports = check.Checker(known, engine, built, display, jobs=jobs).run(wanted) if wanted else []
        reports += [one.report() for one in preflight.Preflight(known, engine, built, display).examine(configured)]
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


@app.command(epilog="Example: testbed probe im.example.org  ·  testbed probe --file peers.txt --policy authenticated")
def probe(
    domains: Annotated[
        list[str] | None, typer.Argument(metavar="[DOMAIN]...", help="XMPP domains: im.example.org", show_default=False)
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="LIST", help="one domain a line; # begins a comment")] = None,
    policy: Annotated[
        str, typer.Option("--policy", metavar="POLICY", help="how yours is to be set: `encrypted`, `encrypted,tls_min=1.3`")
    ] = "encrypted",
    own: Annotated[
        str | None, typer.Option("--from", metavar="DOMAIN", help="who asks (default: a name that belongs to nobody)")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(metavar="PEM", help="your server's certificate chain, to be shown")] = None,
    key: Annotated[Path | None, typer.Option(metavar="PEM", help="its key; it is only used, never sent")] = None,
    ca: Annotated[Path | None, typer.Option(metavar="PEM", help="authorities to trust (default: this system's)")] = None,
    resolver: Annotated[str | None, typer.Option(metavar="IP[:PORT]", help="name server (default: this system's)")] = None,
    connect: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="ask there, whatever DNS says; tls://HOST:PORT for direct TLS")
    ] = None,
    dialback: Annotated[
        bool, typer.Option("--dialback", help="also send one dialback key, which the peer then asks the server of --from about")
    ] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="patience with each step")] = 10.0,
    jobs: Annotated[int, typer.Option(metavar="N", help="domains asked at once; one connection at a time per address")] = 8,
    details: Annotated[bool, typer.Option("--details", help="of many domains too, everything")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask live servers, as any stranger may, how they federate, and which policies would still talk to them.

    No message is sent and no account is used: docs/probe.md tells every byte. Exit 0 if all would still talk to a server set to
    --policy, 1 if some would not, 3 if of some it cannot be said.
    """
    from testbed.probe import call, text

    chosen = call.Wanted(
        domains=tuple(domains or ()), file=file, policy=policy, own=own, certificate=certificate, key=key, ca=ca,
        resolver=resolver, connect=connect, dialback=dialback, timeout=timeout, jobs=jobs,
    )  # fmt: skip
    with live(quiet) as display:
        found = call.make(chosen, lambda n: display.stage("domains", n), lambda _: display.advance("domains"))
    if as_json:
        typer.echo(json.dumps(found.to_json()))
        raise typer.Exit(found.exit_status)
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    width = shutil.get_terminal_size((110, 40)).columns
    if len(found.peers) > 1:
        typer.echo(text.table(found.peers, found.policy, found.seconds, colour=colour, width=width), nl=False)
    for number, peer in enumerate(found.peers if details or len(found.peers) == 1 else ()):
        typer.echo(("\n" if number or len(found.peers) > 1 else "") + text.story(peer, colour=colour, width=width), nl=False)
    raise typer.Exit(found.exit_status)


@app.command("help", epilog="Example: testbed help reading-the-matrix")
def help_(
    topic: Annotated[
        str, typer.Argument(metavar="[TOPIC]", help="a page; without one, the list", autocompletion=complete_topic)
    ] = "",
) -> None:
    """The pages of the documentation, on the terminal."""
    pages = topics()
    if not topic:
        width = max(map(len, pages), default=0)
        for name, path in pages.items():
            typer.echo(f"{name:<{width}}  {title(path)}")
        return
    if topic not in pages:
        raise InputError(f"no page `{topic}`", value=topic, allowed=tuple(pages), hint=did_you_mean(topic, list(pages)))
    console = Console(width=min(terminal_width(), 110))
    with console.pager(styles=coloured()) if sys.stdout.isatty() else contextlib.nullcontext():
        console.print(Markdown(pages[topic].read_text(encoding="utf-8")))


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
            with contextlib.suppress(Exception):  # earlier builds of the user's own, which lost their tag to a later one
                engine.client.images.prune({"dangling": True, "label": images.LABEL})
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
