"""One way to end early: Ctrl-C (SIGINT), SIGTERM and SIGHUP raise KeyboardInterrupt, once; what removes is never cut short.

Rule: imports the standard library alone, so that a command can be interrupted while the rest of it is imported. Who takes down
what was raised does it inside `held`. Signals reach a process's main thread: in other threads everything here does nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STATUS = 130
"""Exit status of a command that was interrupted before a record was begun: 128 + SIGINT, whichever of the signals it was."""
REMOVAL = 90.0
"""Seconds after an interruption within which everything must be removed."""
AGAIN = 3.0
"""Seconds after which a signal interrupts once more, where nothing is being removed: a library may have swallowed the first."""
REMINDER = "already interrupted: containers are being removed; that is not cut short, and takes {limit:.0f} s at most"
OVERDUE = "interrupted; not everything could be removed within {limit:.0f} s: the next run removes the rest, or `testbed clean`"


class _Interruption:
    """What this process knows of being interrupted."""

    def __init__(self) -> None:
        self.handling = False
        self.begin(None)

    def begin(self, limit: float | None) -> None:
        """As if no signal had ever come."""
        self.limit, self.came = limit, False
        self.since = 0.0
        self.holds = 0
        self.owed = False
        """A KeyboardInterrupt is to be raised when nothing is held any more."""
        self.cancel: Callable[[], object] | None = None
        self.reminded = False

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """A signal."""
        now = time.monotonic()
        first, self.came = not self.came, True
        if first and self.limit is not None:
            threading.Thread(target=_overdue, args=(self.limit,), name="interruption", daemon=True).start()
        if self.holds or self.cancel:
            if not first:
                self._remind()
                return
            self.since, self.owed = now, True
            if self.cancel:
                self.cancel()
        elif first or now - self.since > AGAIN:
            self.since = now
            raise KeyboardInterrupt
        else:
            self._remind()

    def _remind(self) -> None:
        if not self.reminded:
            self.reminded = True
            write(REMINDER.format(limit=self.limit or REMOVAL))


_state = _Interruption()


def write(text: str) -> None:
    """Past Python's own buffers, which the main thread may be writing to at this moment."""
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())


def _overdue(limit: float) -> None:
    time.sleep(limit)
    write(OVERDUE.format(limit=limit))
    os._exit(3)


@contextlib.contextmanager
def handled(limit: float | None = None) -> Iterator[None]:
    """While this lasts, SIGNALS interrupt; within another such block it adds nothing.

    A signal that is ignored stays so (`nohup`, a shell's background), as does one that the caller handles. With ``limit``, a
    process that has not ended so many seconds after it was interrupted ends at once, with status 3: for one that is a command.
    """
    if _state.handling or threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = {n: h for n in SIGNALS if (h := signal.getsignal(n)) in (signal.SIG_DFL, signal.default_int_handler)}
    _state.begin(limit)
    _state.handling = True
    for number in ours:
        signal.signal(number, _state.handle)
    try:
        yield
    finally:
        gone = limit is not None and _state.came  # a command that ends needs no third Ctrl-C
        for number, handler in ours.items():
            signal.signal(number, signal.SIG_IGN if gone else handler)
        _state.handling = False


@contextlib.contextmanager
def held() -> Iterator[None]:
    """While this lasts nothing is interrupted. Raises KeyboardInterrupt when it is left, if a first signal came meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with handled():
        _state.holds += 1
        try:
            yield
        finally:
            _state.holds -= 1
            if _state.owed and not _state.holds:
                _state.owed = False
                raise KeyboardInterrupt


@contextlib.contextmanager
def cancelling(cancel: Callable[[], object]) -> Iterator[None]:
    """While this lasts, the first signal calls ``cancel``; the KeyboardInterrupt follows where the `held` around it is left."""
    before, _state.cancel = _state.cancel, cancel
    if _state.owed:  # it came before there was anything to cancel
        cancel()
    try:
        yield
    finally:
        _state.cancel = before
