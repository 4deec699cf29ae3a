"""A server that dies, hangs, forks, floods its log, or fills memory or disk.

It costs its own cells and no other's: they are undecided, and the exit status says so. What it takes is bounded by its container.
"""

from __future__ import annotations

import functools
import threading
import time
from pathlib import Path
from typing import Any

from fault import End, Fault, Stage
from harness import Case

NAME = "-before-mesh-a"
FLOOD = 10.0
LOGGED = 2 * 8 * 1024 * 1024
"""Bytes that the engine keeps of a server's log."""


def dies(stage_name: str, case: Case) -> None:
    """The server's container is killed."""
    case.container(stage_name).kill()


def hangs(seconds: float | None, case: Case) -> None:
    """The server's container is paused, for a time or for good."""
    container = case.container(NAME)
    container.pause()
    if seconds is not None:
        timer = threading.Timer(seconds, container.unpause)
        timer.start()
        case.undo.append(timer.join)


def limits(case: Case) -> dict[str, Any]:
    """What bounds the server's container."""
    facts: dict[str, Any] = case.bench.engine.client.api.inspect_container(case.container(NAME).id)["HostConfig"]
    return facts


def inside(case: Case, script: str) -> None:
    """Run a shell script in the server's container, as the server's user, beside it; not awaited."""
    case.container(NAME).exec_run(["sh", "-c", script], detach=True, user="prosody")


def forks(case: Case) -> None:
    """A fork bomb: refused where no limit of processes would bound it."""
    assert limits(case)["PidsLimit"], "no limit of processes: the bomb would take the machine"
    inside(case, "bomb() { bomb | bomb & }; bomb; sleep 60")


def eats(case: Case) -> None:
    """Memory without end: refused where no limit would bound it."""
    assert limits(case)["Memory"], "no limit of memory: the machine would be out of it"
    inside(case, "tail /dev/zero")


def fills(case: Case) -> None:
    """What can be written is written full, up to 2 GB."""
    for folder in ("/var/lib/prosody", "/tmp", "/dev/shm", "/run", "/etc/testbed"):
        inside(case, f"head -c 2G /dev/zero > {folder}/fill")


def floods(case: Case) -> None:
    """The server's own output, as fast as the engine takes it; the engine keeps no more than its bound."""
    container = case.container(NAME)
    words = "flooded with words to the end of the line"
    container.exec_run(["sh", "-c", f"timeout {FLOOD:.0f} yes {words} > /proc/1/fd/1"], detach=True)
    path = Path(case.bench.engine.client.api.inspect_container(container.id)["LogPath"])
    time.sleep(FLOOD / 2)
    if path.parent.is_dir():  # an engine elsewhere keeps them elsewhere
        size = sum(p.stat().st_size for p in path.parent.glob("*-json.log*"))
        assert 1e6 < size < 1.2 * LOGGED, f"the engine keeps {size} bytes of the log"


FAULTS = (
    Fault("server-dies-at-start", "a server's container is killed as it starts", Stage.PARTS,
          functools.partial(dies, NAME), End.TELLS),
    Fault("server-dies", "a server's container is killed when the first cell has its answer", Stage.CELLS,
          functools.partial(dies, NAME), End.EITHER),
    Fault("server-dies-in-second-phase", "a server's container of the second phase is killed as it starts", Stage.SECOND,
          functools.partial(dies, "-after-mesh-a"), End.TELLS, short=True),
    Fault("server-hangs", "a server's container is paused as it starts, and stays so", Stage.PARTS,
          functools.partial(hangs, None), End.TELLS, bound=400),
    Fault("server-hangs-for-a-while", "a server's container is paused for 5 s as it starts", Stage.PARTS,
          functools.partial(hangs, 5.0), End.EITHER),
    Fault("server-forks", "a fork bomb in a server's container", Stage.SERVERS, forks, End.EITHER, surprises=True),
    Fault("server-eats-memory", "a process in a server's container takes memory without end", Stage.SERVERS, eats, End.EITHER),
    Fault("server-fills-disk", "2 GB are written to each folder of a server's container that its user may write",
          Stage.SERVERS, fills, End.EITHER),
    Fault("server-floods-log", f"a server writes its log as fast as the engine takes it, for {FLOOD:.0f} s", Stage.SERVERS,
          floods, End.EITHER),
)  # fmt: skip
