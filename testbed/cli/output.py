"""Where a command writes: standard output, standard error, or a file that the user named.

Rule: a reader that goes away (`testbed explain … | head -1`) ends what is printed, never what is measured: standard output ends
the command without a word, as `SIGPIPE` ends other tools; standard error is written to no more.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from rich.console import Console
from rich.markup import escape

from testbed.model import InputError, StorageError, visible
from testbed.record.files import write_whole

P = ParamSpec("P")
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

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SIGPIPE = 141
"""The exit status of a command whose reader went away: what a shell says of a tool that the signal SIGPIPE ended (128 + 13)."""


class ReaderGone(Exception):
    """Nobody reads standard output any more."""


def _reader_gone(_: Console) -> None:
    raise ReaderGone


# Rich ends the process with 1 there, which means "surprises" here; typer has consoles of its own for help
Console.on_broken_pipe = _reader_gone  # type: ignore[method-assign, assignment]


def show_error(text: str) -> None:
    """A message that says why the command ends; what it quotes is made visible."""
    errors.print(f"[red]error:[/red] {escape(visible(text, lines=True))}", soft_wrap=True)  # file:line stays in one piece


def let_go() -> None:
    """Give standard output to nobody, so that the interpreter's last flush fails no more."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: standard output is no file, as in a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def ending(command: Callable[P, None]) -> Callable[P, None]:
    """A command for which a closed pipe is `ReaderGone`: typer would end it with 1."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except BrokenPipeError:
            raise ReaderGone from None
        except OSError as error:
            # what a command reads, and the record that it writes, have errors of their own, and those name a file
            if error.errno in FULL and error.filename is None:
                let_go()
                raise StorageError(f"standard output cannot be written: {error.strerror}; let it go elsewhere") from None
            raise

    return run


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
        if path.exists() and not path.is_file():  # a device, a pipe: it is written to, not replaced
            path.write_bytes(data)
        else:
            write_whole(path.resolve(), data)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=str(path), hint="choose another file") from None
