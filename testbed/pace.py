"""Every number that bounds load or waiting, and how many negotiations may go on at once. No I/O.

The load that the testbed makes must never be the cause of what it reports: what is admitted follows the delay that is measured on
the machine, not a number that was right for another one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

PATIENCE = {"short": 25.0, "stock": 200.0}
"""Seconds that a cell waits for a receipt or a bounce; longer than the slowest timer of any implementation under these timers."""
SENTINEL = 15.0
"""Seconds within which a client's message to itself must come back, for it to count as alive."""
BOOT = 240.0
"""Seconds that a server may take from its start to its client's login."""
PER_SERVER = 6
"""Pairs of one server in flight at once: fairness, and a bound on what one server has to bear."""
NEGOTIATION = 1.0
"""Seconds for which a cell holds its place among those that negotiate; after that it only waits."""
ATTEMPTS = 3
"""Connection attempts a second that one pair may make: more is a storm, which the gate cuts and the record keeps."""
STARTS = 6
"""Containers that are started at once."""
LINGER = 0.3
"""Seconds for which the gate stays open after a pair is done, for delayed acknowledgements (RFC 1122 §4.2.3.2)."""
CAPTURE_LAG = 1.2
"""Seconds until a packet has left the kernel's ring for the capture's file; what is in the ring when the capture ends is lost."""
RECOVERY = {"short": 1.3, "stock": 310.0}
"""Seconds after a failure until a second attempt: longer than any implementation remembers the first under these timers."""
CONFIRM = 250
"""Pairs that a normal run measures alone per phase; what is left then stays as the mesh saw it, and is said to be unconfirmed."""
MOST_ALONE = 4
"""Fresh federations that one pair gets per phase: each direction first, and again where that left a question."""
CAPTURE_KB = (16_000, 16)
"""kB that a phase's capture may grow to: so many, and so many more for each cell (measured: 10 a cell). Then it ends, and a
delivery that it did not see makes the run say so."""
OVERLAP = {"short": 1.5, "stock": 12.0}
"""Seconds after which a direction that has no answer yet lets the other begin: negotiations take tenths, timers take tens."""
HEAVY = 1.0
"""CPU seconds of a start from which on a boot keeps its place until it is done."""


@dataclass
class Admission:
    """How many negotiations may go on at once: follows the measured delay of the machine (half a place up, three tenths down).

    The delay is the time from asking the wiretap's agent for a gate to its answer, a round through two processes that do next to
    nothing: on an idle machine a few milliseconds; when processors are short, it grows before anything else breaks.
    """

    limit: float = 6.0
    lowest: float = 2.0
    highest: float = 40.0
    calm: float = 0.06
    strained: float = 0.25
    used: int = 0
    delays: list[float] = field(default_factory=list)
    _waiters: list[asyncio.Future[None]] = field(default_factory=list)

    def measured(self, delay: float) -> None:
        """Take a measured delay in seconds into account."""
        self.delays.append(delay)
        if delay > self.strained:
            self.limit = max(self.lowest, self.limit * 0.7)
        elif delay < self.calm:
            self.limit = min(self.highest, self.limit + 0.5)
        self._wake()

    async def __aenter__(self) -> None:
        while self.used + 1 > self.limit:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(future)
            try:
                await future
            except asyncio.CancelledError:
                self._wake()  # its place may have been given to it already
                raise
        self.used += 1

    async def __aexit__(self, *_: object) -> None:
        self.used -= 1
        self._wake()

    def _wake(self) -> None:
        free = int(self.limit) - self.used
        while free > 0 and self._waiters:
            waiter = self._waiters.pop(0)
            if not waiter.done():
                waiter.set_result(None)
                free -= 1
