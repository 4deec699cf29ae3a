"""What a container says of its own rights, seen from inside by testinfra and from the engine: for tests that hold the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from docker.models.containers import Container
from small_mesh import EngineBackend
from testinfra.host import Host

CAPABILITIES = {
    "CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7, "NET_ADMIN": 12, "NET_RAW": 13,
}  # fmt: skip
"""linux/capability.h; a bit that has no name here is shown by its number."""
SECCOMP_FILTER = "2"
"""proc(5): SECCOMP_MODE_FILTER."""


@dataclass(frozen=True)
class Seen:
    """The rights of one container."""

    name: str
    bounding: frozenset[str]
    """Capabilities that any process inside could have."""
    effective: frozenset[str]
    """Capabilities that its first process has, which is the server or the part itself."""
    users: frozenset[str]
    """Whose processes there are."""
    new_privileges: bool
    seccomp: bool
    root_written: bool
    """Something could be written into its root."""
    memory: int
    """Bytes, swap included."""
    processes: int
    processors: float
    network: str


def of(container: Container) -> Seen:
    """Look into a running container; what it is asked leaves nothing behind."""
    host = Host(EngineBackend(container))
    status = dict(line.split(":\t", 1) for line in host.file("/proc/1/status").content_string.splitlines() if ":\t" in line)
    container.reload()
    limits: dict[str, Any] = container.attrs["HostConfig"]
    assert limits["Memory"] == limits["MemorySwap"], "no swap beyond its memory"
    owners = host.check_output("stat -c %U /proc/[0-9]* 2>/dev/null || true").split()
    return Seen(
        container.name,
        _names(status["CapBnd"]),
        _names(status["CapEff"]),
        frozenset(owners) - {"UNKNOWN"},
        status["NoNewPrivs"].strip() != "1",
        status["Seccomp"].strip() == SECCOMP_FILTER,
        host.run("touch /opt/written && rm /opt/written").rc == 0,
        limits["Memory"],
        limits["PidsLimit"],
        limits["CpuQuota"] / limits["CpuPeriod"],
        limits["NetworkMode"],
    )


def _names(mask: str) -> frozenset[str]:
    known = {bit: name for name, bit in CAPABILITIES.items()}
    return frozenset(known.get(bit, str(bit)) for bit in range(64) if int(mask, 16) >> bit & 1)
