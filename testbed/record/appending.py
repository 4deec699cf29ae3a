"""A file that only grows, and the errors of a folder that takes no more.

Rule: what was appended reaches the operating system within a second, whoever is killed then. A write that fails says which file,
why, and what to do; it is raised to whoever appends next, too.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from io import BufferedWriter
from pathlib import Path

from testbed.model import StorageError

INTERVAL = 0.5
"""Seconds between two looks at whether something was appended."""
ELSEWHERE = "or let a run go elsewhere with --results"
REMEDIES = {
    errno.ENOSPC: f"free some space there, {ELSEWHERE}",
    errno.EDQUOT: f"free some space there, {ELSEWHERE}",
    errno.ENOENT: f"leave the folder where it is while a run goes on, {ELSEWHERE}",
    errno.EROFS: f"make the file system writable, {ELSEWHERE}",
    errno.EACCES: f"make the folder writable, {ELSEWHERE}",
    errno.EPERM: f"make the folder writable, {ELSEWHERE}",
}


@contextlib.contextmanager
def stored(path: Path) -> Iterator[None]:
    """While something is written to ``path``: an OSError becomes a StorageError that names the file and a remedy."""
    try:
        yield
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, f"look after the disk, {ELSEWHERE}")
        raise StorageError(f"{path} cannot be written: {error.strerror or error}; {remedy}") from None


class Appender:
    """Lines of text at the end of a file; safe to use from threads. A thread of its own flushes it twice a second."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises OSError."""
        self.path = path
        self._file: BufferedWriter = path.open("ab")
        self._lock = threading.Lock()
        self._error: StorageError | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._flush_regularly, name="record", daemon=True).start()

    @property
    def closed(self) -> bool:
        """As of a file."""
        return self._file.closed

    def fileno(self) -> int:
        """As of a file."""
        return self._file.fileno()

    def write(self, text: str) -> None:
        """Append. Raises StorageError, also for what could not be written since the last time."""
        if self._error:
            raise self._error
        with self._lock, stored(self.path):
            self._file.write(text.encode())

    def flush(self) -> None:
        """Hand everything to the operating system. Raises StorageError, also where the file was removed meanwhile."""
        with self._lock, stored(self.path):
            if self._file.closed:
                return
            self._file.flush()
            if not os.fstat(self._file.fileno()).st_nlink:  # it would grow where nobody can read it
                raise FileNotFoundError(errno.ENOENT, "it was removed")

    def close(self) -> None:
        """Flush and close; closed in any case. Raises StorageError if something could not be written."""
        self._ended.set()
        with self._lock, stored(self.path):
            self._file.close()

    def _flush_regularly(self) -> None:
        while not self._ended.wait(INTERVAL):
            try:
                self.flush()
            except StorageError as error:
                self._error = error
                return
