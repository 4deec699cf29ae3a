"""Options and arguments that several commands share: one meaning, one wording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.record import store


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of runs for the shell, the newest first."""
    names = store.runs(Path(ctx.params.get("results") or store.DEFAULT_RESULTS))
    return [name for name in ["latest", *names] if name.startswith(incomplete)]


Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="where runs are kept", envvar="TESTBED_RESULTS")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document on standard output, for programs")]
ScenarioFile = Annotated[
    Path, typer.Argument(metavar="SCENARIO", help="a scenario file, such as scenarios/smoke.yaml", show_default=False)
]
Resumed = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="RUN",
        help="measure what is missing of an interrupted run, into its record; SCENARIO may be left out: its manifest has it",
        show_default=False,
        autocompletion=complete_run,
    ),
]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="a run id, a path, or `latest`", show_default=False, autocompletion=complete_run)
]
RunNames = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN",
        help="a run id, a path, `latest`, or a verdicts.json; several of one scenario show what comes and goes",
        show_default=False,
        autocompletion=complete_run,
    ),
]
Implementations = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[IMPLEMENTATION]...",
        help="`NAME` or `NAME@RELEASE` (see `images list`); all, if none is named",
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="only the result, no progress")]
CANDIDATES = "Bring your own server (docs/server-projects.md)"
CandidateImages = Annotated[
    list[str] | None,
    typer.Option(
        "--image",
        metavar="IMPLEMENTATION=IMAGE",
        help="an image on this engine, a build of a known implementation; IMPLEMENTATION is `NAME`, or `NAME@RELEASE` "
        "for the release that it resembles; repeatable, like all of these",
        rich_help_panel=CANDIDATES,
        show_default=False,
    ),
]
CandidateBuilds = Annotated[
    list[str] | None,
    typer.Option(
        "--build",
        metavar="IMPLEMENTATION=FOLDER",
        help="the same, built from a folder with a Dockerfile",
        rich_help_panel=CANDIDATES,
        show_default=False,
    ),
]
CandidateConfigs = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        metavar="IMPLEMENTATION=FILE",
        help="an operator's configuration, a file or a folder of files, instead of the testbed's",
        rich_help_panel=CANDIDATES,
        show_default=False,
    ),
]
CandidateFolders = Annotated[
    list[Path] | None,
    typer.Option(
        "--server",
        metavar="FOLDER",
        help="an implementation, a folder like those of images/",
        rich_help_panel=CANDIDATES,
        show_default=False,
    ),
]
Instead = Annotated[
    bool,
    typer.Option(
        "--instead",
        help="replace the scenario's servers of that implementation, rather than stand beside them",
        rich_help_panel=CANDIDATES,
    ),
]
SIDE = "a run id, a path, `latest`, a verdicts.json, or a baseline (.yaml)"
Older = Annotated[str, typer.Argument(metavar="OLD", help=SIDE, show_default=False, autocompletion=complete_run)]
Newer = Annotated[str, typer.Argument(metavar="NEW", help="the same", show_default=False, autocompletion=complete_run)]
BaselineFile = Annotated[
    Path | None,
    typer.Option("--baseline", metavar="FILE", help="known failures: exit 0 if there are no others, else 1", show_default=False),
]
Strict = Annotated[bool, typer.Option("--strict/--no-strict", help="with a baseline: exit 1 if a known failure passes")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="write to this file instead of standard output", show_default=False),
]
