"""Where a command writes: standard output, standard error, or a file that the user named."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from testbed.model import InputError

errors = Console(stderr=True, highlight=False)


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
