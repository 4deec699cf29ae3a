"""Tests wait for events, within a time that a busy machine has too; none of them asserts how long something takes."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(true: Callable[[], object], seconds: float) -> bool:
    """Whether it comes to be so within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(true())
