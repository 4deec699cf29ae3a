"""Reads files that somebody else wrote: regular files of a bounded size, as text or as JSON of a bounded depth.

Rule: whatever the bytes, the answer is the content or an InputError that names file, line where there is one, and remedy. What is
no regular file (a pipe, a device) is never opened: to read it could last for ever.
"""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

from testbed.model import InputError

MOST_JSON = 256 << 20
"""Bytes of a JSON document: ten times what a run of 400 servers writes."""
DEEPEST = 32
"""How deeply lists and mappings may be nested; documents of the testbed have six levels."""


def content(path: Path, most: int, *, hint: str | None = None) -> bytes:
    """The bytes of a regular file of at most ``most`` bytes. Raises InputError; FileNotFoundError if there is none."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError("cannot be read: not a regular file", file=str(path), hint=hint or "give a file")
        with path.open("rb") as file:
            read = file.read(most + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"cannot be read: {reason(error)}", file=str(path), hint=hint) from None
    if len(read) > most:
        raise InputError(
            f"cannot be read: larger than {size(most)}", file=str(path), hint=hint or "take out what does not belong in it"
        )
    return read


def text(path: Path, most: int, *, hint: str | None = None) -> str:
    """The same as text in UTF-8. Raises InputError; FileNotFoundError if there is none."""
    read = content(path, most, hint=hint)
    try:
        return read.decode("utf-8")
    except UnicodeDecodeError as error:
        line = read.count(b"\n", 0, error.start) + 1
        raise InputError(f"cannot be read as text: not UTF-8 ({error.reason})", file=str(path), line=line, hint=hint) from None


def document(path: Path, *, what: str, hint: str) -> Any:
    """A JSON document. ``what`` begins the message if it is none. Raises InputError, also if there is no file."""
    try:
        written = text(path, MOST_JSON, hint=hint)
    except FileNotFoundError:
        raise InputError(f"{what}: no such file", file=str(path), hint=hint) from None
    try:
        return parsed(written)
    except json.JSONDecodeError as error:
        raise InputError(f"{what}: {error.msg}", file=str(path), line=error.lineno, hint=hint) from None
    except ValueError as error:
        raise InputError(f"{what}: {error}", file=str(path), hint=hint) from None


def parsed(written: str) -> Any:
    """What a text in JSON says. Raises ValueError if it says nothing that JSON has, or is nested too deeply."""
    try:
        read = DECODER.decode(written)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if written.count("[") + written.count("{") > DEEPEST and _depth(read) > DEEPEST:
        raise ValueError("nested too deeply")
    return read


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


DECODER = json.JSONDecoder(parse_constant=_no_number)


def _depth(read: Any) -> int:
    """How deeply it is nested, as far as `DEEPEST` and one more; level by level, so that depth costs no stack."""
    level, depth = [read], 0
    while level and depth <= DEEPEST:
        inner = [v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level = [value for values in inner for value in values if isinstance(value, dict | list)]
        depth += bool(inner)
    return depth


def reason(error: Exception) -> str:
    """Why the operating system refused, without the path, which the message has."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def size(number: int) -> str:
    """``1 MB``"""
    return f"{number >> 20} MB" if number >= 1 << 20 else f"{number >> 10} kB"


def inside(folder: Path, name: str, *, hint: str) -> Path:
    """The path ``name`` in ``folder``, for a folder that somebody else filled. Raises InputError if it leads out of it.

    What is a symbolic link counts as where it leads to: else any file that this user can read could come in by such a link.
    """
    path = folder / name
    try:
        real = path.resolve()
        home = folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links
        raise InputError(f"cannot be read: {reason(error)}", file=str(path), hint=hint) from None
    if not real.is_relative_to(home):
        link = " (a symbolic link)" if path.is_symlink() else ""
        raise InputError(f"leads out of its folder {folder}, to {real}{link}", file=str(path), hint=hint)
    return path


PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")
"""A plain name of a file: no folder, no space, and nothing that a shell or an option would take for something else.

The longest is a domain with an ending, of 130 characters."""


def plain(name: str) -> bool:
    """Whether ``name`` is one plain name of a file."""
    return PLAIN.fullmatch(name) is not None
