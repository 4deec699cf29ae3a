"""How long the servers of an attempt had to wait for what their machine lacked, and whether that was too long. Pure.

Rule: what acts and what judges ask the same question of the same numbers: both halves import it from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PRESSURE, HEARTBEAT, UNREAD = "pressure", "heartbeat", "unread"
"""How it is known: the kernel says it of the containers; a light process of the testbed's own was held up; or not at all, since
whoever reads it said nothing for so long that nobody waited for it any more."""
READ = (PRESSURE, HEARTBEAT)
SOURCES = (*READ, UNREAD)
RESOURCES = ("processor", "disk", "memory")
"""What the kernel counts waiting for, of each container."""
LACKED = {"processor": "for a processor", "disk": "for the disk", "memory": "for memory", "stolen": "for the hypervisor"}
"""What they waited for -> in words."""


NOTHING_READ = "not even the meter, which reads how long servers wait, was given its time"
NOT_KNOWN = "a testbed that this one does not know read how long servers wait"


@dataclass(frozen=True)
class Strain:
    """The part of an attempt in which its servers waited longest."""

    window: float
    """Seconds that it lasts: as long as the shortest timer of a server, or the attempt if that was shorter."""
    limit: float
    """Seconds of waiting in it from which on the attempt says nothing of the servers."""
    processor: float = 0.0
    """Seconds that they waited for a processor, added up over the servers and their name server; where a `HEARTBEAT` is all that
    is known, that it was held up."""
    disk: float = 0.0
    memory: float = 0.0
    stolen: float = 0.0
    """Seconds that the hypervisor took from each processor."""
    source: str = PRESSURE

    @property
    def waited(self) -> float:
        """Seconds, of all kinds."""
        return self.processor + self.disk + self.memory + self.stolen

    @property
    def exceeded(self) -> bool:
        """Whether the servers were not given their time, or nobody can say: a failure says nothing of them then."""
        return self.source not in READ or self.waited > self.limit

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Strain:
        """What an observation `strain` holds."""
        return cls(**{name: data[name] for name in FIELDS})

    def __str__(self) -> str:
        if self.source == UNREAD:
            return NOTHING_READ
        if self.source not in READ:
            return NOT_KNOWN
        worst = max(LACKED, key=lambda name: float(getattr(self, name)))
        who = "the servers together" if self.source == PRESSURE else "even a light process"
        most = f"{self.limit:.1f} s are allowed"
        return f"{who} waited {self.waited:.1f} s within {self.window:.1f} s, above all {LACKED[worst]} ({most})"


FIELDS = ("window", "limit", "processor", "disk", "memory", "stolen", "source")
"""Of an observation `strain`, but for the attempt's token."""
