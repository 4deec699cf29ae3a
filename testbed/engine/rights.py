"""What each part's container may do and use: one row a part, with the reason of everything that it has.

Rule: a container has no right that is not in its row. Of every row hold: no capability but those, no new privileges (a setuid
program gives nothing), the engine's default seccomp profile, no swap beyond its memory. docs/security.md says what this is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from docker.types import LogConfig, Ulimit

OPEN_FILES = 16384
"""Erlang sizes its tables by this limit; some hosts' default of a billion takes gigabytes and seconds."""
LOG_LIMIT = "8m"
LOG_FILES = "2"
"""What a server may log per phase: two files of 8 MB, of which the engine drops the older when the newer is full."""
PERIOD = 100_000
"""Microseconds in which a container may use its share of processor time."""
READ_ONLY = [
    *(f"/proc/{name}" for name in ("bus", "fs", "irq", "sysrq-trigger")),
    *(f"/proc/sys/{name}" for name in ("abi", "crypto", "debug", "dev", "fs", "kernel", "sunrpc", "user", "vm")),
]
"""What stays read-only where /proc/sys/net is not: the engine's own list has /proc/sys as a whole."""


@dataclass(frozen=True)
class Rights:
    """What one kind of container may do and use."""

    capabilities: tuple[str, ...]
    """Of root inside: whoever is another user there has none."""
    memory: int
    """Megabytes; what needs more is ended by the kernel, in that container."""
    processes: int
    """Processes and threads together."""
    processors: float = 1.0
    """Processors' worth of time."""
    files: str = "/etc/testbed"
    """The folder that its files are copied to."""
    read_only: bool = True
    """Nothing of its root can be written, but for `files`, `kept` and `scratch`."""
    kept: tuple[str, ...] = ()
    """Folders, further volumes, that files are copied out of."""
    scratch: tuple[str, ...] = ()
    """Folders in memory, of `SCRATCH` each."""
    logged: bool = False
    """What it says is kept by the engine; what an agent says is heard as it says it."""
    network: str = ""
    """`host`: the engine's host's, whose parameters it may set; `none`; else the federation's alone."""
    user: str = ""
    """As whom it runs; else as its image says."""
    shown: tuple[tuple[str, str], ...] = ()
    """Folders of the engine's host that it may read: path there, path inside. Then it sees its place among control groups too."""

    def host_config(self) -> dict[str, Any]:
        """As docker's `create_host_config` takes it."""
        limits: dict[str, Any] = {
            "cap_drop": ["ALL"],
            "cap_add": list(self.capabilities),
            "security_opt": ["no-new-privileges"],
            "mem_limit": f"{self.memory}m",
            "memswap_limit": f"{self.memory}m",
            "pids_limit": self.processes,
            # not `nano_cpus`: where the kernel has no quotas, that is an error, and this a warning
            "cpu_period": PERIOD,
            "cpu_quota": int(self.processors * PERIOD),
            "ulimits": [
                Ulimit(name="nofile", soft=OPEN_FILES, hard=OPEN_FILES),
                Ulimit(name="core", soft=0, hard=0),
            ],
            "log_config": LogConfig(type="json-file", config={"max-size": LOG_LIMIT, "max-file": LOG_FILES})
            if self.logged
            else LogConfig(type="none"),
        }
        if self.shown:
            limits["binds"] = {there: {"bind": inside, "mode": "ro"} for there, inside in self.shown}
        if self.read_only:
            limits |= {"read_only": True, "tmpfs": dict.fromkeys(self.scratch, SCRATCH)}
        return limits

    @property
    def volumes(self) -> list[str]:
        """Folders that are volumes of the container's own: only there can files be copied to and from a read-only root."""
        return [self.files, *self.kept] if self.read_only else []


SCRATCH = "rw,nosuid,nodev,noexec,size=8m,mode=1777"

SERVER = Rights(
    # testbed-start gives /etc/testbed to the server's user (CHOWN) and becomes it (SETUID, SETGID). In a berth it also ends the
    # processes of that user (KILL) and puts its files back (DAC_OVERRIDE, FOWNER, FSETID). A user's own image may need the same.
    capabilities=("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"),
    # packaged servers take 10 to 80 MB (docs/troubleshooting.md); a Java virtual machine takes a quarter of it for its heap
    memory=1024,
    processes=512,
    # The engine mounts /etc/resolv.conf read-only into a read-only root, with its own resolver in it; that one must not be asked.
    read_only=False,
    logged=True,
)
"""A server, packaged or brought by a user, in a container of its own or in a berth."""
NAMES = Rights(
    # testbed-start and nsd become nsd's user
    capabilities=("SETGID", "SETUID"),
    memory=256,
    processes=64,
    scratch=("/run/nsd", "/tmp"),
    logged=True,
)
"""The mesh's name server."""
DRIVER = Rights(
    # testbed-start becomes the user `driver`
    capabilities=("SETGID", "SETUID"),
    memory=1024,
    processes=256,
    files="/opt/testbed",
    scratch=("/tmp",),
)
"""The driver, with a client for each server; the prober of `testbed images check`."""
WIRETAP = Rights(
    # Firewall and neighbour table (NET_ADMIN); capture (NET_RAW), by a process of another user that has nothing else (SETGID,
    # SETUID) and is ended by a signal (KILL). Nothing here reads what servers wrote.
    capabilities=("KILL", "NET_ADMIN", "NET_RAW", "SETGID", "SETUID"),
    memory=512,
    processes=64,
    files="/opt/testbed",
    kept=("/captures",),
    scratch=("/tmp",),
    network="host",
)
"""Gate and capture."""
DISSECTOR = Rights(
    # tshark reads what servers wrote, and has had holes: it reaches nothing and may do nothing
    capabilities=(),
    memory=2048,
    processes=32,
    files="/opt/testbed",
    scratch=("/tmp",),
    network="none",
    user="nobody",
)
"""Dissection, of the wiretap's captures."""
METER = Rights(
    # What it reads, anybody on the host may. The folder is shown read-only, but engines before 25 do not make so what is mounted
    # in it (version 2 beside version 1): all there is root's to write, and this is another user without capabilities.
    capabilities=(),
    memory=128,
    processes=16,
    files="/opt/testbed",
    network="none",
    user="nobody",
    shown=(("/sys/fs/cgroup", "/host/cgroup"),),
)
"""How long the other containers had to wait."""
LOOK = Rights(capabilities=("NET_ADMIN", "NET_RAW"), memory=256, processes=32, scratch=("/tmp",), logged=True, network="host")
"""A script of the doctor's: what the engine's host can do."""
