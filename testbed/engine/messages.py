"""What the host and an agent in a container say to each other: JSON lines, each a dataclass of the agent's `protocol.py`.

Rule: every command that is answered carries an `id`, and every reply to it echoes that; an event that nobody asked for has none.
This file is copied into each agent's container beside its protocol, so it imports the standard library alone.
"""

from __future__ import annotations

import functools
import json
import re
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_SAYING = threading.Lock()


@dataclass(frozen=True)
class Ready:
    """The agent's first word: it takes commands now."""


@dataclass(frozen=True)
class Failed:
    """Instead of any reply: the agent could not do what it was told, and why."""

    reason: str


@dataclass(frozen=True)
class Envelope:
    """A message as it came: what it answers, and when it was written."""

    message: Any
    id: int | None
    """Of the command that it answers; None if it answers none."""
    time: float
    """Unix seconds on the engine's host."""


def name_of(kind: type) -> str:
    """A message's name on the line: ``login-failed`` for the class LoginFailed."""
    return _kebab(kind.__name__)


@functools.cache
def _kebab(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def vocabulary(kinds: Iterable[type]) -> dict[str, type]:
    """Name -> class of the messages that one side may get, with the two that every agent has."""
    return {name_of(kind): kind for kind in (*kinds, Ready, Failed)}


def encode(message: Any, id: int | None = None) -> str:
    """One line, with its end."""
    return json.dumps({"message": name_of(type(message)), "id": id, "time": time.time(), **vars(message)}) + "\n"


def emit(message: object, id: int | None = None) -> None:
    """Say something on standard output, from any thread: a reply to the command with ``id``, or an event."""
    line = encode(message, id)
    with _SAYING:
        sys.stdout.write(line)
        sys.stdout.flush()


def decode(line: str | bytes, known: Mapping[str, type]) -> Envelope:
    """The message of one line. Raises ValueError if it is none of ``known``."""
    try:
        fields = json.loads(line)
        name, id, moment = fields.pop("message"), fields.pop("id"), fields.pop("time")
        message = known[name](**fields)
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no message of this protocol: {error!r}") from None
    if not (id is None or type(id) is int) or type(moment) not in (int, float):
        raise ValueError(f"no message of this protocol: its id is {id!r}, its time {moment!r}")
    return Envelope(message, id, moment)
