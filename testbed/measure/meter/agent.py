"""Runs in the meter's container, without network and rights: reads how long other containers of its engine's host have waited.

Pressure stall information of the kernel (Documentation/accounting/psi.rst), which each container has where the host has cgroup
version 2, alone or beside version 1. That counts as waiting too what waits for the container's own other threads, or for its own
quota; so no more of it is told than the container got less than its share of processors. It imports nothing of the testbed but
what is copied beside it, and judges nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import messages
import protocol

HOST = Path("/host/cgroup")
"""Where the host's /sys/fs/cgroup is, to read."""
PROC = Path("/proc")
RESOURCES = ("cpu", "io", "memory")
IDENTITY = re.compile(r"[0-9a-f]{64}")
"""A container's id, as it stands in the name of its control group, whoever makes that."""
OPENINGS = 20
"""Readings within which a container's files must be there: it has been started when it is to be watched, or has ended since."""
BEAT = 0.1
"""Seconds that the heartbeat sleeps."""
BURN = 0.001
"""Seconds of processor time that it then takes: as a server that has a little to do."""
TICKS = os.sysconf("SC_CLK_TCK")


def seconds_waited(text: str) -> float:
    """Of a pressure file: for how long some process has waited so far. Raises ValueError if it is none."""
    for line in text.splitlines():
        if line.startswith("some "):
            return int(line.rpartition("total=")[2]) / 1e6
    raise ValueError(f"no line of a pressure file: {text[:80]!r}")


def seconds_used(text: str) -> float:
    """Of a control group's cpu.stat: how long its processes have run so far. Raises ValueError if it is none."""
    for line in text.splitlines():
        if line.startswith("usage_usec "):
            return int(line.split()[1]) / 1e6
    raise ValueError(f"no line of a cpu.stat: {text[:80]!r}")


def stolen_and_running(stat: str, ticks: int = TICKS) -> tuple[float, int]:
    """Of /proc/stat (proc(5)): seconds of each processor stolen so far; how many processes, but for this, have or want one."""
    stolen, processors, running = 0.0, 0, 1
    for line in stat.splitlines():
        name, *values = line.split()
        if name == "cpu":
            stolen = int(values[7]) / ticks if len(values) > 7 else 0.0
        elif name.startswith("cpu"):
            processors += 1
        elif name == "procs_running":
            running = int(values[0])
    return stolen / max(processors, 1), max(running - 1, 0)


def folder_of(groups: str, host: Path) -> str:
    """Where the control group of a container is, as a pattern with ``{}`` for its id, from /proc/self/cgroup of this one.

    Raises OSError with the reason where the host has no such thing, or it is not to be seen from here.
    """
    own = next((line[3:] for line in groups.splitlines() if line.startswith("0::")), None)
    if own is None:
        raise OSError("this host has no control groups of version 2")
    found = list(IDENTITY.finditer(own))
    if not found:
        raise OSError(f"this container does not see its place among the host's control groups, but {own!r}")
    for root in (host, host / "unified"):
        if (root / "cgroup.procs").exists() and (root / own.lstrip("/")).is_dir():
            start, end = found[-1].span()
            return f"{root}{own[:start]}{{}}{own[end:]}"
    raise OSError(f"the host's control group {own!r} is not under {host}")


@dataclass
class Share:
    """How much of a container's waiting for a processor is the machine's: what it got less than its share while it waited."""

    processors: float
    at: float
    pressure: float
    """For how long some process of it waited, whatever for."""
    used: float
    waited: float
    """For the machine."""

    def read(self, at: float, pressure: float, used: float) -> float:
        """One more reading; returns `waited`."""
        lacked = max(self.processors * (at - self.at) - (used - self.used), 0.0)
        self.waited += min(pressure - self.pressure, lacked)
        self.at, self.pressure, self.used = at, pressure, used
        return self.waited


class Pressure:
    """The pressure files of the containers that are watched, kept open, and the cpu.stat of each."""

    def __init__(self, pattern: str, processors: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        """``processors``: the share of a container."""
        self.pattern, self.processors, self.clock = pattern, processors, clock
        self._new: dict[str, int] = {}
        """Containers without files yet -> at how many more readings they are looked for."""
        self._files: dict[str, list[int]] = {}
        self._shares: dict[str, Share] = {}
        self._last: dict[str, list[float]] = {}

    def watch(self, containers: list[str]) -> None:
        """Read these too, from the next time on."""
        self._new |= {c: OPENINGS for c in containers if IDENTITY.fullmatch(c) and c not in self._files}

    def read(self) -> dict[str, list[float]]:
        """Of each container that waited since the last time, or is new: for how long, by resource. What is gone is forgotten."""
        for container, openings in list(self._new.items()):
            try:
                self._files[container] = self._open(container)
            except OSError:
                self._new[container] = openings - 1
                if openings > 1:
                    continue
            del self._new[container]
        changed = {}
        for container, files in list(self._files.items()):
            try:
                waited = self._waited(container, files)
            except (OSError, ValueError):
                self.forget(container)
                continue
            if waited != self._last.get(container):
                changed[container] = self._last[container] = waited
        return changed

    def _waited(self, container: str, files: list[int]) -> list[float]:
        """By resource. Raises OSError, ValueError."""
        cpu, *others = (seconds_waited(os.pread(file, 400, 0).decode()) for file in files[: len(RESOURCES)])
        if stat := files[len(RESOURCES) :]:
            at, used = self.clock(), seconds_used(os.pread(stat[0], 400, 0).decode())
            share = self._shares.setdefault(container, Share(self.processors, at, cpu, used, cpu))
            cpu = share.read(at, cpu, used)
        return [round(seconds, 4) for seconds in (cpu, *others)]

    def forget(self, container: str) -> None:
        """It is gone."""
        self._last.pop(container, None)
        self._shares.pop(container, None)
        for file in self._files.pop(container):
            os.close(file)

    def _open(self, container: str) -> list[int]:
        """Pressure by resource, and, if the kernel has it, cpu.stat. Raises OSError."""
        folder, files = self.pattern.format(container), []
        try:
            for resource in RESOURCES:
                files.append(os.open(f"{folder}/{resource}.pressure", os.O_RDONLY | os.O_CLOEXEC))
            with contextlib.suppress(FileNotFoundError):
                files.append(os.open(f"{folder}/cpu.stat", os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            for file in files:
                os.close(file)
            raise
        return files


class Heartbeat(threading.Thread):
    """A light process: how much later than it wanted did it come round, so far?"""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.late = 0.0
        """Seconds."""

    def run(self) -> None:
        while True:
            self.beat()

    def beat(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Once."""
        began, burnt = time.monotonic(), time.thread_time()
        sleep(BEAT)
        while time.thread_time() - burnt < BURN:
            pass
        self.late += max(time.monotonic() - began - BEAT - (time.thread_time() - burnt), 0.0)


class Agent:
    """What the host may ask for, one method a command."""

    def __init__(self, host: Path = HOST, proc: Path = PROC) -> None:
        self.proc, self.heart = proc, Heartbeat()
        self.pressure: Pressure | None = None
        self.reason = ""
        try:
            groups = (proc / "self/cgroup").read_text()
            pressure = Pressure(folder_of(groups, host))
            own = IDENTITY.findall(groups)[-1]
            pressure.watch([own])
            if not pressure.read():
                raise OSError("the kernel does not tell how long a control group waited (CONFIG_PSI, or psi=1 at its start)")
            pressure.forget(own)
            self.pressure = pressure
        except OSError as error:
            self.reason = str(error)

    def begin(self, command: protocol.Begin) -> object:
        if self.pressure:
            self.pressure.processors = command.processors
        self.heart.start()
        threading.Thread(target=self.go_on, args=(command.interval,), daemon=True).start()
        return protocol.Began(self.pressure is not None, self.reason)

    def watch(self, command: protocol.Watch) -> None:
        if self.pressure:
            self.pressure.watch(command.containers)

    def go_on(self, interval: float) -> None:
        """Say what was read, every ``interval`` seconds."""
        while True:
            messages.emit(self.readings())
            time.sleep(interval)

    def readings(self) -> protocol.Readings:
        """What can be read now."""
        at, waited = time.monotonic(), self.pressure.read() if self.pressure else {}
        try:
            machine = [round(seconds_waited((self.proc / f"pressure/{r}").read_text()), 4) for r in RESOURCES]
        except (OSError, ValueError):
            machine = None
        stolen, running = stolen_and_running((self.proc / "stat").read_text())
        return protocol.Readings(round(at, 4), waited, machine, round(stolen, 4), round(self.heart.late, 4), running)


def main() -> None:
    """Read commands until standard input ends."""
    agent = Agent()
    messages.emit(messages.Ready())
    known = messages.vocabulary(protocol.COMMANDS)
    for line in sys.stdin:
        try:
            envelope = messages.decode(line, known)
            reply = getattr(agent, messages.name_of(type(envelope.message)))(envelope.message)
            if reply:
                messages.emit(reply, envelope.id)
        except ValueError as error:
            messages.emit(messages.Failed(f"{error}: {line.strip()}"))


if __name__ == "__main__":
    main()
