"""Where a command writes: standard output, standard error, or a file that the user named."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape

from testbed.model import InputError

T = TypeVar("T")


class Stderr:
    """Standard error, for as long as somebody reads it: where its terminal is gone, that is an interruption like any other."""

    def __init__(self) -> None:
        self._gone = False

    @property
    def rich_proxied_file(self) -> Stderr:
        """What rich writes to: while bars are shown, it has put a proxy of its own in the place of `sys.stderr`."""
        return self

    def write(self, text: str) -> int:
        """As of a file; raises nothing."""
        return self._attempt(lambda: self._file.write(text)) or 0

    def flush(self) -> None:
        """As of a file; raises nothing."""
        self._attempt(self._file.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    @property
    def _file(self) -> Any:
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)

    def _attempt(self, action: Callable[[], T]) -> T | None:
        if self._gone:
            return None
        try:
            return action()
        except OSError as error:
            self._gone = True
            if error.errno == errno.EIO:  # a terminal that was closed; a pipe that was is no reason to end
                os.kill(os.getpid(), signal.SIGHUP)
            return None


# rich takes anything that has write and flush
errors = Console(file=Stderr(), highlight=False)  # type: ignore[arg-type]


def coloured() -> bool:
    """Whether standard output takes colours."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def terminal_width() -> int:
    """Of standard output, in characters; 110 where it is no terminal."""
    return shutil.get_terminal_size((110, 40)).columns


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


def write_file(path: Path, data: bytes) -> None:
    """Write a file that the user named, its folder made. Raises InputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=str(path), hint="choose another file") from None
