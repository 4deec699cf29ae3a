"""What the host and the meter say to each other: one dataclass a message, one table of which command is answered by what.

Both sides use it: the file is copied into the meter's container, so it imports the standard library alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Begin:
    """Say every `interval` seconds what was read; of containers each of which may use the time of so many `processors`."""

    interval: float
    processors: float


@dataclass(frozen=True)
class Began:
    """It does; `pressure` is false where the kernel does not tell how long a container waited, and `reason` says why."""

    pressure: bool
    reason: str


@dataclass(frozen=True)
class Watch:
    """Read the pressure of these `containers`, by their ids, until they are gone."""

    containers: list[str]


@dataclass(frozen=True)
class Readings:
    """What was read `at` a time of the meter's clock, in seconds, which is never set.

    `waited`: of each container that waited since the last time, or is new, for how many seconds some process of it has waited
    so far, for a processor, for the disk, for memory; for a processor, as far as it got less than its own. `machine`: the same
    of everything on this machine; null where the kernel does not tell. `stolen`: seconds of each processor that the hypervisor
    gave to others so far. `late`: seconds by which a light process, the meter's heartbeat, has been held up so far. `running`:
    processes that have or want a processor now, without this one.
    """

    at: float
    waited: dict[str, list[float]]
    machine: list[float] | None
    stolen: float
    late: float
    running: int


COMMANDS: dict[type, tuple[type, ...]] = {
    Begin: (Began,),
    Watch: (),
}
"""Command -> the replies that it may get; any may be answered by Failed instead."""

EVENTS: tuple[type, ...] = (Readings,)
"""What the meter says unasked."""
