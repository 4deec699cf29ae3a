"""Every command, with the example that its help ends with; and the entry point, where an error becomes a message and a status.

Rule: one row per command, in the order in which `--help` lists them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from testbed import unforeseen
from testbed.cli import compare, docs, engine, images, probe, report, run
from testbed.cli.output import SIGPIPE, ReaderGone, ending, let_go, show_error
from testbed.model import TestbedError
from testbed.report import plots

HELP = {"help_option_names": ["-h", "--help"]}
Row = tuple[str, Callable[..., None], str]
"""Name, function, and the last lines of its help."""


def plot_help() -> str:
    """Each kind of picture, what it shows, and what --phase means for it."""
    kinds = [f"{name}: {p.meaning}" + (f". --phase: {p.phase}" if p.phase else "") for name, p in plots.PLOTS.items()]
    return "\n\n".join([*kinds, "Example: testbed plot latest flow --output flow.svg"])


COMMANDS: tuple[Row, ...] = (
    (
        "run",
        run.run,
        "Example: testbed run scenarios/manifesto-2014.yaml --seed 7  ·  testbed run scenarios/smoke.yaml --build NAME=.  ·  "
        "testbed run --resume latest",
    ),
    ("plan", run.plan, "Example: testbed plan scenarios/generations.yaml"),
    ("report", report.report, "Example: testbed report latest  ·  testbed report latest --format junit --output junit.xml"),
    ("plot", report.plot, plot_help()),
    ("explain", report.explain, "Example: testbed explain latest a.example b.example"),
    ("rerun", run.rerun, "Example: testbed rerun latest a.example b.example"),
    (
        "diff",
        compare.diff,
        "Example: testbed diff results/reference latest  ·  testbed diff latest baselines/smoke.yaml --format markdown",
    ),
    ("history", compare.history, "Example: testbed history results --picture history.png"),
    ("schema", docs.schema, "Example: testbed schema --check"),
    ("doctor", engine.doctor, "Example: testbed doctor --json"),
    (
        "probe",
        probe.probe,
        "Example: testbed probe im.example.org  ·  testbed probe --file peers.txt --policy authenticated",
    ),
    ("help", docs.help_, "Example: testbed help reading-the-matrix"),
    ("clean", engine.clean, "Example: testbed clean  ·  testbed clean --images"),
)
GROUPS: dict[str, tuple[str, tuple[Row, ...]]] = {
    "images": (
        "The servers' images: list, build, check.",
        (
            ("list", images.list_, "Example: testbed images list --json"),
            (
                "build",
                images.build,
                "Example: testbed images build NAME@trixie  ·  testbed images build --for scenarios/smoke.yaml",
            ),
            ("check", images.check, "Example: testbed images check NAME@trixie"),
        ),
    ),
    "baseline": (
        "Known failures of a scenario, in a file to review (docs/regressions.md).",
        (
            (
                "accept",
                compare.accept,
                'Example: testbed baseline accept latest --reason "bug 1234 of the server" --expires 2027-06-30',
            ),
        ),
    ),
}
"""Name -> its help, its commands."""


def application() -> typer.Typer:
    """The tables as Typer has them."""
    top = typer.Typer(
        name="testbed",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings=HELP,
        help="Which pairs of XMPP servers stop talking when encryption becomes mandatory, and why: real servers, real wire.",
        epilog="Exit status: 0 as expected, 1 surprises, 2 wrong input, 3 the testbed could not tell. "
        "Example: testbed run scenarios/smoke.yaml",
    )
    add(top, COMMANDS)
    for name, (text, rows) in GROUPS.items():
        group = typer.Typer(no_args_is_help=True, help=text, context_settings=HELP)
        add(group, rows)
        top.add_typer(group, name=name)
    return top


def add(group: typer.Typer, rows: tuple[Row, ...]) -> None:
    """Register commands."""
    for name, function, epilog in rows:
        group.command(name, epilog=epilog)(ending(function))


app = application()


def main() -> None:
    """Entry point of the console script: a TestbedError is one message, and its own exit status; so is what nobody foresaw."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except TestbedError as error:
        show_error(str(error))
        sys.exit(error.exit_status)
    except (ReaderGone, BrokenPipeError):
        let_go()
        sys.exit(SIGPIPE)
    except Exception as error:
        show_error(unforeseen.sentence(error, sys.argv))
        sys.exit(unforeseen.STATUS)
