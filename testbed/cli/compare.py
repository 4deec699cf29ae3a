"""`testbed diff`, `baseline` and `history`: runs beside each other, and beside known failures."""

from __future__ import annotations

import datetime as dt
import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from testbed import campaign
from testbed.cli.options import Json, Newer, Older, Results, RunNames, Strict
from testbed.cli.outcome import hold
from testbed.cli.output import coloured, errors, terminal_width, write_file
from testbed.compare import accept as acceptance
from testbed.compare import baseline, files
from testbed.compare import diff as differences
from testbed.compare import history as histories
from testbed.compare.baseline import Baseline
from testbed.compare.cells import Subject, subject
from testbed.model import InputError, visible
from testbed.record import store
from testbed.report import diff as diff_report
from testbed.report import diff_page, diff_sheet, history_text


class Shape(str, Enum):
    """In which form a comparison is written."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"


def diff(
    a: Older,
    b: Newer,
    results: Results = store.DEFAULT_RESULTS,
    shape: Annotated[Shape, typer.Option("--format", help="format of the output")] = Shape.TEXT,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="write to this file; print only the verdict",
            show_default=False,
        ),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="do not exit 3 for cells that only OLD has, or that only OLD could be set to")
    ] = False,
    strict: Strict = True,
    as_json: Json = False,
) -> None:
    """What changed from one run to another, cell by cell: 0 nothing worse, 1 regressions, 3 a side could not tell.

    With a baseline on one side, the surprises of the other are held against its known failures.
    """
    older, newer = side_of(a, results), side_of(b, results)
    if isinstance(older, Baseline):
        older, newer = newer, older
    if isinstance(older, Baseline):
        raise InputError("two baselines cannot be compared: they are lists to review", value=b, hint="name a run on one side")
    if isinstance(newer, Baseline):
        doc = hold(older, newer, strict=strict)
    else:
        doc = differences.document(older, newer, allow_missing=allow_missing)
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
        typer.echo(f"{diff_sheet.sheet(doc).verdict}\nwritten: {output}")
    raise typer.Exit(doc["status"])


def side_of(name: str, results: Path) -> Subject | Baseline:
    """One side of a comparison: a run, judged now by the rules of today; kept verdicts; or known failures. Raises InputError."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return baseline.load(path)
    if path.suffix == ".json":
        return files.verdicts(path)
    return judged(name, results)


def judged(name: str, results: Path) -> Subject:
    """A run, judged by the rules of today. Raises InputError."""
    run = campaign.judge(name, results)
    return subject(run.verdicts, run.record.manifest)


def accept(
    runs_: RunNames,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="why they are accepted; for new entries only", show_default=False)],
    link: Annotated[str | None, typer.Option(metavar="URL", help="where they are tracked", show_default=False)] = None,
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
        if isinstance(side, Baseline):
            raise InputError("a baseline is made from runs", value=name, hint="a run id, a path, `latest`, or a verdicts.json")
        sides.append(side)
    sides.sort(key=lambda s: str(s.verdicts.get("started")))
    path = output or Path("baselines") / f"{sides[-1].verdicts['scenario']}.yaml"
    old = baseline.load(path) if path.exists() else None
    notes = acceptance.Notes(reason.strip(), link, expires.date() if expires else None)
    accepted = acceptance.accept(sides, notes, old, today)
    write_file(path, acceptance.render(sides, accepted).encode())
    counts = f"{accepted.added} new, {accepted.kept} kept, {len(accepted.gone)} removed"
    typer.echo(f"written: {path}: {len(accepted.entries)} entries for {sum(accepted.counts)} cells ({counts})")
    for entry in accepted.gone:
        typer.echo(f"removed: no longer fails: line {entry.line}: {visible(entry.form.reason)}")
    for entry in accepted.renewed:
        until = f"until {expires.date()}" if expires else "without an expiry date: set one with --expires"
        typer.echo(f"expired, and accepted again {until}: line {entry.line}: {visible(entry.form.reason)}")
    for entry in accepted.other:
        typer.echo(f"kept, although it matches no cell of this run: line {entry.line}: {visible(entry.form.reason)}")
    if accepted.undecided:
        typer.echo(f"{accepted.undecided} cells are inconclusive and are not accepted")


def history(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="a folder of runs", show_default=False)
    ] = store.DEFAULT_RESULTS,
    only: Annotated[str | None, typer.Option("--scenario", metavar="NAME", help="only this scenario", show_default=False)] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE", help="also draw it, .png or .svg; one file per scenario", show_default=False),
    ] = None,
    again: Annotated[bool, typer.Option("--judge", help="re-judge every run, not only those without verdicts: slow")] = False,
    as_json: Json = False,
) -> None:
    """Each cell over many runs: since when it has its present result, how often it changed, and with which versions."""
    subjects: list[Subject] = []
    skipped = []
    for name in reversed(store.runs(folder)):
        try:
            kept = None if again else files.kept(folder / name)
            subjects.append(kept or judged(str(folder / name), folder))
        except InputError as error:
            skipped.append((name, str(error)))
    selected = [s for s in subjects if only in (None, s.verdicts["scenario"])]
    if not selected:
        scenarios = sorted({s.verdicts["scenario"] for s in subjects})
        asked = f" of the scenario `{only}`" if only else ""
        raise InputError(
            f"no run{asked}", file=str(folder), value=only, allowed=tuple(scenarios), hint="`testbed run SCENARIO` makes one"
        )
    doc = histories.document(selected, skipped)
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
    for scenario in doc["scenarios"]:
        name = "-".join([scenario["scenario"], scenario["timers"]] + (["alone"] if scenario["isolated"] else []))
        target = path.with_name(f"{path.stem}-{name}{path.suffix}") if several else path
        write_file(target, render_picture(scenario, formats[path.suffix]))
        errors.print(f"written: {target}", soft_wrap=True)
