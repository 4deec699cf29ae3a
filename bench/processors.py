"""Who used the processors during a run: sampled from /proc, with processes included that lived too briefly to be seen.

Rule: what the kernel charges is charged to somebody. A process that ended between two samples is in what its parent's ended
children used (`cutime`, proc(5)); of that, what was seen of them is taken off, and the rest is the parent's. Containers are told
from each other by the names that they get as they are made. An engine that others use too is charged for them as well.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.engine.federation import RUN_LABEL
from testbed.engine.host import Engine, cache
from testbed.record.legs import CONTROL, MESH

TICK = os.sysconf("SC_CLK_TCK")
SAMPLE = 0.2
"""Seconds between two samples: what a process uses between its last one and its end may be charged to its parent's row."""
CONTAINER = re.compile(r"\b([0-9a-f]{64})\b")
BRIEF = "engine, short-lived"
"""What the engine starts and ends at once: runc, what unpacks files, what sets the firewall."""
ENGINE = {"dockerd": "dockerd", "containerd-shim": "shims", "containerd": "containerd", "runc": BRIEF, "docker-proxy": BRIEF}
"""Beginning of a process's name -> its row."""
KERNEL = "kernel threads"
CAPTURE = ("dumpcap", "tshark")
PARTS = {
    "driver": "driver", "wiretap": "wiretap", "dissector": "wiretap", "meter": "meter", "prober": "driver",
    "dns": "name servers", "names": "name servers", "berth": "servers",
}  # fmt: skip
"""First word of a container's name, behind the federation's -> the row of what runs in it."""
SERVER = re.compile(rf"-({MESH}|{CONTROL})\b")
"""In the name of any other container of a server: behind its phase, the epoch."""
NOT_SERVERS = ("dockerd", "containerd", "shims", BRIEF, "testbed", "driver", "wiretap", "meter", "dumpcap, tshark")
"""Rows of what the mesh costs beside its servers and their name servers."""


@dataclass
class Process:
    """One process as it was last seen; times in ticks."""

    start: int
    """When it was started, in ticks: with the pid, what names it."""
    name: str
    parent: int
    row: str
    own: int
    children: int
    """Of children that have ended and were waited for."""

    @property
    def used(self) -> int:
        """By itself and by what it waited for."""
        return self.own + self.children


class Processors(threading.Thread):
    """Processor seconds by who used them, from its start to `stop`."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.folder = str(cache() / "engine" / "run") if engine.private else ""
        """What the command lines of the engine's processes have in them, where another engine may run beside it."""
        self.containers: dict[str, str] = {}
        """Id -> name, of the testbed's containers that were made meanwhile."""
        self.ticks: Counter[str] = Counter()
        self._known: dict[int, Process] = {}
        """By pid."""
        self.events = engine.client.events(decode=True, filters={"event": "create", "type": "container", "label": RUN_LABEL})
        self.listener = threading.Thread(target=self._listen, daemon=True)

    def _listen(self) -> None:
        with contextlib.suppress(Exception):  # the stream is closed in the middle of a read
            for event in self.events:
                self.containers[event["id"]] = event["Actor"]["Attributes"]["name"]

    def run(self) -> None:
        self.listener.start()
        self._look()
        self.ticks.clear()
        while not self.ended.wait(SAMPLE):
            self._look()

    def stop(self) -> dict[str, float]:
        """Seconds by row; ends the samples."""
        self.ended.set()
        self.join()
        self._look()
        self.events.close()
        seconds = {row: ticks / TICK for row, ticks in self.ticks.items() if row}
        return seconds | {"beside the servers": sum(seconds.get(row, 0.0) for row in NOT_SERVERS)}

    def _look(self) -> None:
        """Charge everybody with what they used since the last look."""
        there = dict(sorted(_there(), key=lambda item: item[1].start))
        waited: Counter[int] = Counter()
        for pid, process in self._known.items():
            # who lives of its ancestors has waited for it; of the kernel's own threads nobody does
            if (pid not in there or there[pid].start != process.start) and process.row != KERNEL:
                parent = process.parent
                while parent not in there and parent in self._known:
                    parent = self._known[parent].parent
                waited[parent if parent in there else 1] += process.used
        for pid, process in there.items():
            before = self._known.get(pid)
            before = before if before and before.start == process.start else None
            same = before and before.name == process.name and before.row not in ("", BRIEF)
            process.row = before.row if before and same else self._row(pid, process, there)
            self.ticks[process.row] += process.own - (before.own if before else 0)
            unseen = process.children - (before.children if before else 0) - waited[pid]
            self.ticks[BRIEF if pid == 1 or process.row in ENGINE.values() else process.row] += unseen
        self._known = there

    def _row(self, pid: int, process: Process, there: Mapping[int, Process]) -> str:
        """Where a process belongs; empty for what has nothing to do with the run."""
        if 2 in (pid, process.parent):
            return KERNEL
        if pid == os.getpid():
            return ""  # who samples
        with contextlib.suppress(OSError):
            if ids := CONTAINER.findall(Path(f"/proc/{pid}/cgroup").read_text()):
                row = row_of(self.containers.get(ids[-1], ""))
                return "dumpcap, tshark" if row == "wiretap" and process.name in CAPTURE else row
            for word, row in ENGINE.items():
                if process.name.startswith(word):
                    return row if self.folder in Path(f"/proc/{pid}/cmdline").read_text() else ""
        above = there.get(process.parent)
        if above and (above.row == BRIEF or above.row in ENGINE.values()):
            return BRIEF
        return "testbed" if process.parent == os.getpid() or (above and above.row == "testbed") else ""


def row_of(container: str) -> str:
    """The row of what runs in a container of this name; one of its own where the name is of no kind that is known."""
    name = container.removeprefix("s2s-testbed-").partition("-")[2]
    kind = PARTS.get(name.partition("-")[0]) or ("servers" if SERVER.search(name) else f"unknown: {name}")
    return kind if name else ""


def _there() -> Iterator[tuple[int, Process]]:
    """Every process, not assigned to a row yet."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                head, _, rest = Path(entry.path, "stat").read_text().rpartition(")")
                fields = rest.split()
                own, children = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
                yield int(entry.name), Process(int(fields[19]), head.partition("(")[2], int(fields[1]), "", own, children)
