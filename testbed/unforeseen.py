"""What nobody foresaw: the traceback goes into a file, and the user gets one sentence that says where.

Rule: never raises, and never writes over an earlier traceback; the oldest ones go. A face calls it, and ends with `STATUS`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import os
import platform
import shlex
import traceback
from collections.abc import Sequence
from pathlib import Path

from testbed import __version__
from testbed.engine import host
from testbed.model import visible

STATUS = 3
"""The testbed could not tell: an error of its own says nothing about servers."""
MOST_KEPT = 20
"""Tracebacks; the oldest go when there are more."""
LONGEST = 300
"""Characters of an error's own text in the sentence; the file has all of it."""


def folder() -> Path:
    """Where tracebacks are kept: `errors` in the testbed's folder of the user's cache directory."""
    return host.cache() / "errors"


def sentence(error: BaseException, argv: Sequence[str] = ()) -> str:
    """Keep the traceback of ``error``, and say in one sentence what happened and where it is. ``argv``: what was asked for."""
    shown = visible(f"{type(error).__name__}: {error}".removesuffix(": "))
    if len(shown) > LONGEST:
        shown = shown[:LONGEST] + "…"
    text = "".join(traceback.format_exception(error))
    try:
        kept = f"the traceback is in {_keep(text, argv)}"
    except (OSError, ValueError, RuntimeError) as reason:  # no disk, no home: then it is shown rather than lost
        kept = f"the traceback cannot be kept ({visible(str(reason))}), so here it is:\n{visible(text, lines=True).rstrip()}"
    return f"the testbed failed, which is a bug of it: {shown}; {kept}"


def _keep(text: str, argv: Sequence[str]) -> Path:
    """Write a file of its own. Raises OSError; ValueError or RuntimeError where there is no home."""
    place, now = folder(), dt.datetime.now(dt.UTC)
    place.mkdir(parents=True, exist_ok=True)
    head = (
        f"testbed {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"{now.isoformat(timespec='seconds')}\n{shlex.join(map(str, argv))}\n\n"
    )
    stem = f"{now:%Y%m%d-%H%M%S.%f}-{os.getpid()}"
    for number in itertools.count(1):
        path = place / (f"{stem}.txt" if number == 1 else f"{stem}-{number}.txt")
        with contextlib.suppress(FileExistsError), path.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(head + text)
            break
    with contextlib.suppress(FileNotFoundError):  # another process prunes at the same time
        kept = sorted(place.glob("*.txt"), key=lambda p: (p.stat().st_mtime, p.name))
        for old in kept[:-MOST_KEPT]:
            old.unlink(missing_ok=True)
    return path
