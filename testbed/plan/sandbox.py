"""Renders templates of a folder that somebody else wrote: only what the folder has, nothing but text, in bounded time and memory.

Rule: jinja2's sandbox keeps a template from reaching Python, and no template outside of its folder is read; loops and texts that
grow are bounded by the operating system, because nothing inside of the process can bound them: `bounded` renders in a process of
its own, which may write no file. Imports no more than that process needs.
"""

from __future__ import annotations

import functools
import json
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from testbed import ROOT, reading
from testbed.model import InputError

CPU = 2
"""Seconds of a processor that the process for the templates of one server may take; to start takes 0.2, to render 0.01."""
MEMORY = 512 << 20
"""Bytes of address space; Python and jinja2 take 60 MB."""
PATIENCE = 600.0
"""Seconds until a process is given up that neither ends nor uses a processor."""
MOST_BYTES = 1 << 20
"""Of a template, and of what it makes."""
LINK = "put the file itself into the folder: what a template reads goes into containers and evidence"


class FolderLoader(jinja2.BaseLoader):
    """Templates of one folder, which no name and no symbolic link leads out of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get_source(self, _: jinja2.Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """As jinja2 asks for it. Raises InputError; TemplateNotFound if there is none."""
        path = reading.inside(self.folder, template, hint=LINK)
        try:
            changed = path.stat().st_mtime_ns
            text = reading.text(path, MOST_BYTES)
        except FileNotFoundError:
            raise jinja2.TemplateNotFound(template) from None
        return text, str(path), lambda: path.exists() and path.stat().st_mtime_ns == changed


@functools.cache
def environment(folder: Path) -> ImmutableSandboxedEnvironment:
    """Compiles each template of a folder once; one that changes is compiled again."""
    return ImmutableSandboxedEnvironment(
        loader=FolderLoader(folder),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # configuration files, not HTML
    )


def rendered(folder: Path, templates: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, str]:
    """Target -> what the template for it makes of the values. Raises InputError with file and line."""
    files = {}
    for template, target in templates.items():
        try:
            text = environment(folder).get_template(template).render(values)
        except InputError:
            raise
        except MemoryError:
            raise InputError("template error: it needs too much memory", file=str(folder / template)) from None
        except Exception as error:  # of a stranger's template: a division by zero is one, too
            place = str(folder / template)
            # an error of rendering has no line of its own, but jinja2 puts the template's into the traceback
            lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == place]
            line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
            raise InputError(f"template error: {error}", file=place, line=line) from None
        if len(text) > MOST_BYTES:
            raise InputError(f"template error: it makes more than {reading.size(MOST_BYTES)}", file=str(folder / template))
        files[target] = text
    return files


# --- in a process of its own ------------------------------------------------------------------------------------------

CHILD = "import sys; sys.path.insert(0, sys.argv[1]); from testbed.plan.sandbox import main; main()"


def bounded(folder: Path, templates: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, str]:
    """The same for a folder of somebody else's, with bounds on time and memory. Raises InputError."""
    order = json.dumps({"folder": str(folder), "templates": dict(templates), "values": dict(values)}, sort_keys=True)
    return dict(_in_child(order, _stamps(folder)))


def _stamps(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """What tells that a template has changed: then it is rendered anew."""
    files = ((p, p.lstat()) for p in sorted(folder.rglob("*.j2")))
    return tuple((str(p), status.st_mtime_ns, status.st_size) for p, status in files)


@functools.lru_cache(maxsize=4096)
def _in_child(order: str, _: tuple[tuple[str, int, int], ...]) -> dict[str, str]:
    """A server in one setting is rendered once, however often it is started."""
    folder = json.loads(order)["folder"]
    hint = "a template is a few lines around what it is given, without loops over large ranges"
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-c", CHILD, str(ROOT)], input=order, capture_output=True, text=True, cwd="/", env={},
            timeout=PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise InputError(f"its templates do not end within {PATIENCE:.0f} s", file=folder, hint=hint) from None
    if child.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise InputError(f"its templates need more than {CPU} s of a processor", file=folder, hint=hint)
    try:
        reply = json.loads(child.stdout)
    except ValueError:
        last = (child.stderr.strip().splitlines() or ["no output"])[-1]
        raise InputError(f"its templates cannot be rendered: {last}", file=folder, hint=hint) from None
    if error := reply.get("error"):
        raise InputError(error["message"], file=error["file"], line=error["line"], hint=error["hint"])
    return dict(reply["files"])


def limit(seconds: int) -> None:
    """Bound this process: no file, MEMORY, and so many seconds of a processor."""
    for what, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # the second ends what ignores the signal of the first


def main() -> None:
    """The process: an order from standard input, a reply to standard output."""
    order = json.load(sys.stdin)
    limit(CPU)
    reply: dict[str, Any]
    try:
        reply = {"files": rendered(Path(order["folder"]), order["templates"], order["values"])}
    except InputError as error:
        reply = {"error": {"message": error.message, "file": error.file, "line": error.line, "hint": error.hint}}
    sys.stdout.write(json.dumps(reply))
