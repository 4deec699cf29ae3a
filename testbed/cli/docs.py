"""`testbed help` and `schema`: the documents, read and generated."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from testbed import ROOT
from testbed import schema as schemas
from testbed.cli.output import coloured, errors, terminal_width
from testbed.model import InputError
from testbed.plan import catalog
from testbed.yamlfile import did_you_mean


def help_(
    topic: Annotated[
        str, typer.Argument(metavar="[TOPIC]", help="a page; without it, the list of pages", autocompletion=complete_topic)
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


def schema(
    write: Annotated[bool, typer.Option("--write", help="write the files that differ")] = False,
    check_: Annotated[bool, typer.Option("--check", help="only list the files that differ; exit 1 if any does")] = False,
) -> None:
    """The published JSON Schemas (schemas/) and the generated tables of docs/, from the models in code."""
    if write == check_:
        raise InputError("say what to do", allowed=("--write", "--check"))
    known = catalog.load()
    if write:
        for path in schemas.write(known):
            typer.echo(f"written: {path}")
        return
    if differing := schemas.stale(known):
        for path in differing:
            errors.print(f"stale: {path}")
        errors.print(f"these differ from the code that they are generated from: `{schemas.COMMAND}`", soft_wrap=True)
        raise typer.Exit(1)


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
