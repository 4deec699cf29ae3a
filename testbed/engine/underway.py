"""What goes on for minutes while images are made: answers of the engine, and processes of this host; each can be ended at once.

Rule: whoever is interrupted leaves nothing half-made. The engine stops a build when its client is gone, so its connection is cut;
a process gets a signal upon which it removes what it made, and time to do so. It has a session of its own: a terminal's Ctrl-C
would reach it as well, and a second one would cut its cleaning short.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import docker
import urllib3

from testbed import interruption
from testbed.model import EngineError

PATIENCE = 30.0
"""Seconds that a process gets to clean up."""
_reading = threading.local()
"""What takes the responses that a thread gets from the engine."""


def _note(response: Any, *_: object, **__: object) -> None:
    if (take := getattr(_reading, "take", None)) is not None:
        take(response)


def _cut(response: Any) -> None:
    """End a connection, whoever reads from it; one that is done already has no socket any more."""
    with contextlib.suppress(OSError, AttributeError):
        stream = response.raw._fp.fp.raw  # as docker.APIClient._get_raw_response_socket finds it
        getattr(stream, "_sock", stream).shutdown(socket.SHUT_RDWR)


class Underway:
    """What is going on for one purpose, on one engine; safe to use from threads."""

    def __init__(self, client: docker.DockerClient) -> None:
        self.ended = threading.Event()
        self._ends: dict[object, Callable[[], None]] = {}
        self._lock = threading.Lock()
        hooks = client.api.hooks["response"]
        if _note not in hooks:
            hooks.append(_note)

    def end(self) -> None:
        """End everything; from now on nothing can be begun."""
        with self._lock:
            self.ended.set()
            ends = list(self._ends.values())
        for end in ends:
            end()

    @contextlib.contextmanager
    def answer(self) -> Iterator[None]:
        """While this thread reads from the engine what it says of its work. Raises EngineError if that is ended, or breaks."""
        responses: list[Any] = []

        def take(response: Any) -> None:
            responses.append(response)
            if self.ended.is_set():
                _cut(response)

        def cut() -> None:
            for response in list(responses):
                _cut(response)

        before, _reading.take = getattr(_reading, "take", None), take
        try:
            with self._ended_by(cut):
                yield
        except Exception as error:
            cut()
            if self.ended.is_set():
                raise EngineError("interrupted") from None
            if isinstance(error, urllib3.exceptions.HTTPError | http.client.HTTPException):  # neither docker's nor requests'
                raise EngineError(f"the connection to the engine broke: {error}") from None
            raise
        except BaseException:
            cut()
            raise
        finally:
            _reading.take = before

    @contextlib.contextmanager
    def process(
        self, command: Sequence[str], *, first: int = signal.SIGTERM, finishes: bool = False, **how: Any
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A process, as `started`; raises EngineError if everything was ended before."""
        with (
            started(command, first=first, finishes=finishes, **how) as process,
            self._ended_by(lambda: _signal(process, first, alone=finishes)),
        ):
            yield process

    @contextlib.contextmanager
    def _ended_by(self, end: Callable[[], None]) -> Iterator[None]:
        token = object()
        with self._lock:
            if self.ended.is_set():
                raise EngineError("interrupted")
            self._ends[token] = end
        try:
            yield
        finally:
            with self._lock:
                del self._ends[token]


@contextlib.contextmanager
def started(
    command: Sequence[str], *, first: int = signal.SIGTERM, finishes: bool = False, **how: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process, which the block waits for; where that fails, it gets the signal ``first``, and after `PATIENCE` it is killed.

    One that ``finishes`` what must not be cut short is never killed; it alone gets the signal, nothing that it started does.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with interruption.held():  # else nobody would end what is just being started
            process = subprocess.Popen(command, start_new_session=True, **how)
        yield process
    except BaseException:
        if process is None:
            raise
        with interruption.held():
            if finishes:
                _signal(process, first, alone=True)
                process.communicate()  # it could not end while nobody reads what it says
            for number in () if finishes else (first, signal.SIGKILL):
                _signal(process, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE)
                    break
        raise
    finally:
        pipes: tuple[IO[bytes] | None, ...] = (process.stdin, process.stdout, process.stderr) if process else ()
        for pipe in filter(None, pipes):
            with contextlib.suppress(OSError):
                pipe.close()


@contextlib.contextmanager
def workplace() -> Iterator[str]:
    """A folder for what a process makes for a while; it goes with all that is left in it, unless something is mounted there."""
    folder = tempfile.mkdtemp(prefix="s2s-testbed-")
    Path(folder).chmod(0o755)  # apt reads there as a user of its own
    try:
        yield folder
    finally:
        with interruption.held():
            if f" {folder}/" not in Path("/proc/self/mounts").read_text():
                shutil.rmtree(folder, ignore_errors=True)


def _signal(process: subprocess.Popen[bytes], number: int, *, alone: bool = False) -> None:
    """To the process and all that it started; ``alone``: to the process."""
    with contextlib.suppress(ProcessLookupError):
        if alone:
            process.send_signal(number)  # not once it has been waited for
        else:
            os.killpg(process.pid, number)
