"""A private engine that a test may kill: the testbed's own way to start one, in a cache folder of the test's own.

The images are copied from the engine that answers. Rule: leaving the block leaves neither process nor mount nor folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness import Bench, bench_of

from testbed.engine import federation, host
from testbed.engine.host import Engine
from testbed.engine.images import REPOSITORY

ELSEWHERE = ("DOCKER_HOST", "DOCKER_CONTEXT")
"""What would lead to another engine."""


@contextlib.contextmanager
def private(cache: Path) -> Iterator[None]:
    """While this lasts, the testbed of this process has its cache folder there, and no engine but the one in it."""
    before = dict(os.environ)
    for name in ELSEWHERE:
        os.environ.pop(name, None)
    os.environ["XDG_CACHE_HOME"] = str(cache)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass
class OwnBench(Bench):
    """A bench whose engine can be ended and started anew."""

    cache: Path = field(default_factory=Path)

    def engine_pid(self) -> int:
        """The engine's process."""
        return int((self.cache / "s2s-testbed" / "engine" / "run" / "dockerd.pid").read_text())

    def restart(self) -> None:
        """Start the engine anew, as the next command would; what runs of dead processes left on it stays."""
        self.forget()
        with private(self.cache):
            deadline = time.monotonic() + 60
            while _runs(self.cache) and time.monotonic() < deadline:
                time.sleep(0.2)
            self.engine = started()


def _runs(cache: Path) -> bool:
    """Whether the engine still ends: it was told to, and needs some seconds."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((cache / "s2s-testbed" / "engine" / "run" / "dockerd.pid").read_text())
        return b"dockerd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def started() -> Engine:
    """The private engine. Skips where another one answers first: the testbed then never starts its own."""
    engine = host.ensure()
    if not engine.private:
        pytest.skip(f"{engine.address} answers, so that no private engine is started")
    return engine


@contextlib.contextmanager
def own_bench(origin: Bench) -> Iterator[OwnBench]:
    """A bench on an engine of its own, with the images of ``origin``. Skips where only root could start one."""
    if os.geteuid():
        pytest.skip("only root can start an engine")
    cache = Path(tempfile.mkdtemp(prefix="s2s-", dir="/tmp"))  # the path of its socket may have 108 bytes
    try:
        with private(cache):
            engine = started()
        for image in origin.engine.client.images.list(REPOSITORY + "/*"):
            if any(tag.endswith((":trixie", ":latest")) and "ejabberd" not in tag for tag in image.tags):
                engine.client.images.load(image.save(named=True))
        made = bench_of(engine, origin.wiretap_image, XDG_CACHE_HOME=str(cache))
        bench = OwnBench(made.engine, made.environment, made.wiretap_image, cache=cache)
        yield bench
        bench.close()
        federation.reap(bench.engine)
    finally:
        with private(cache):
            host.stop()
        shutil.rmtree(cache, ignore_errors=True)
