"""One measurement for all workers of a session: where they meet, what they write there, and the process that measures.

Rule: knows nothing of pytest, and measures nothing itself. What one process tells another is a dataclass, written and read by
`write` and `read` alone. The process that measures stands apart from pytest's own: what a project filters, captures or patches
does not reach it, and it ends when the worker that started it does.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from testbed.pytest_plugin.options import Candidates
from testbed.record.files import write_whole

POLL = 0.2
"""Seconds between two looks at what another process does."""
FAREWELL = 90.0
"""Seconds that a measurement which is told to end may take to remove its containers."""


# --- what they tell each other --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    """What is to be measured, for the process that does."""

    scenario: Path
    cells: tuple[str, ...]
    """Ids of those that are tests."""
    results: Path
    isolated: bool
    candidates: Candidates
    outcome: Path
    """The file for what came of it."""
    argv: tuple[str, ...]
    """As it stands in the manifest."""


@dataclass(frozen=True)
class Measured:
    """It was measured, judged and reported."""

    run: Path
    """Its folder."""


@dataclass(frozen=True)
class NotMeasured:
    """There is no run that verdicts could be taken from."""

    reason: str
    """One sentence for all who asked."""


Document = TypeVar("Document")
Outcome = Measured | NotMeasured
ORDER: TypeAdapter[Order] = TypeAdapter(Order)
OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)


def write(path: Path, kind: TypeAdapter[Any], document: object) -> None:
    """A document as JSON that appears whole or not at all."""
    write_whole(path, kind.dump_json(document))


def read(path: Path, kind: TypeAdapter[Document]) -> Document:
    """A document that ``write`` wrote. Raises FileNotFoundError if it has not yet."""
    return kind.validate_json(path.read_bytes())


# --- where they meet ------------------------------------------------------------------------------------------------------


class Meeting:
    """The folder where the processes of a session meet: made when it is first needed, removed by who made it."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.is_guest = path is not None
        """Another process made it."""

    def open(self) -> Path:
        """The folder, which is there from now on."""
        if self.path is None:
            self.path = Path(tempfile.mkdtemp(prefix="federation-"))
        return self.path

    def outcome(self, number: int) -> Outcome | None:
        """What came of the measurement of a scenario; None if there was none."""
        return Shared(self.path, number).read() if self.path else None

    def close(self) -> None:
        """It is of no more use."""
        if self.path and not self.is_guest:
            shutil.rmtree(self.path, ignore_errors=True)


class Shared:
    """What the workers of a session know of one scenario's measurement: files in a folder of theirs, and one lock.

    The lock is one for all scenarios, so that they are measured one after the other. The kernel takes it back when its holders
    end, however they do: who gets it, and finds a measurement that was begun and has no outcome, knows that nobody works on it.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.lock, self.begun = folder / "lock", folder / f"{number}-begun"
        self.order, self.result = folder / f"{number}-order.json", folder / f"{number}-outcome.json"

    def read(self) -> Outcome | None:
        """None if there is no outcome yet."""
        try:
            return read(self.result, OUTCOME)
        except FileNotFoundError:
            return None

    def write(self, outcome: Outcome) -> None:
        """The outcome; whole or not at all."""
        write(self.result, OUTCOME, outcome)

    def outcome(self, measure: Callable[[int], None], meanwhile: Callable[[], None]) -> Outcome:
        """What came of it: wait for the one who measures, or be it. ``measure`` gets the lock's file descriptor."""
        import fcntl  # not on every system on which existing runs can be reported

        while True:
            if outcome := self.read():
                return outcome
            try:
                lock = self.lock.open("a")
            except OSError as error:
                place = f"{self.lock.parent} ({error.strerror})"
                return NotMeasured(f"the workers cannot meet in {place}: all must be on this machine")
            with lock, contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self.read():
                    continue
                if self.begun.exists():
                    self.write(NotMeasured("the process that measured it was ended in the middle; run it again"))
                    continue
                self.begun.touch()
                measure(lock.fileno())
                continue
            meanwhile()
            time.sleep(POLL)


class Progress:
    """News of the measurements: whole lines of the file that they write to, given to ``show`` once each."""

    def __init__(self, meeting: Meeting, show: Callable[[list[str]], None]) -> None:
        self.meeting, self.show, self.position = meeting, show, 0
        self.ended = threading.Event()
        self.thread: threading.Thread | None = None

    @property
    def file(self) -> Path:
        """Where the measurements write."""
        return self.meeting.open() / "progress"

    def pump(self) -> None:
        """Show the lines that came since."""
        if self.meeting.path is None or not self.file.exists():
            return
        with self.file.open("rb") as file:
            file.seek(self.position)
            whole = file.read().rpartition(b"\n")[0]
        if whole:
            self.position += len(whole) + 1
            self.show([line.strip() for line in whole.decode(errors="replace").splitlines()])

    def last(self) -> str:
        """The last line of all; empty if there is none."""
        return next(reversed(self.file.read_text().strip().splitlines()), "").strip()

    def follow(self) -> None:
        """Show them until the session ends: the controller of xdist has nothing else to do meanwhile."""

        def watch() -> None:
            while not self.ended.wait(POLL):
                self.pump()

        self.thread = threading.Thread(target=watch, name="federation-progress", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """The last lines."""
        self.ended.set()
        if self.thread:
            self.thread.join()
            self.thread = None
            self.pump()


# --- the process that measures --------------------------------------------------------------------------------------------


def measure(order: Order, shared: Shared, lock: int, progress: Progress, timeout: float) -> None:
    """Have an order measured by a process of its own, and wait for it. It too holds the lock, and writes the outcome."""
    write(shared.order, ORDER, order)
    process = _start(shared.order, lock, progress.file)
    deadline = time.monotonic() + timeout
    try:
        while process.poll() is None and time.monotonic() < deadline:
            progress.pump()
            time.sleep(POLL)
        if process.poll() is None:
            end(process, f"it took longer than {timeout:g} s (--federation-timeout)")
    finally:
        end(process, "the session was interrupted")
    progress.pump()
    if not shared.result.exists():
        words = progress.last() or "it said nothing"
        shared.write(NotMeasured(f"the process that measures ended with status {process.returncode}: {words}"))


def _start(order: Path, lock: int, log: Path) -> subprocess.Popen[str]:
    with log.open("a") as lines:
        return subprocess.Popen(
            # -P: what stands in the project's own folder must not be imported instead of a library
            [sys.executable, "-P", "-m", "testbed.pytest_plugin", str(order)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=lines, text=True, pass_fds=[lock],
            start_new_session=True,  # Ctrl-C comes through the pipe, once: a second one would cut the cleaning short
        )  # fmt: skip


def end(process: subprocess.Popen[str], why: str) -> None:
    """Tell a measurement to end, if it has not, and give it time to remove what it raised."""
    assert process.stdin
    if process.stdin.closed:
        return
    running = process.poll() is None
    with process.stdin as line, contextlib.suppress(OSError):
        if running:
            line.write(why)
    if running:
        try:
            process.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
