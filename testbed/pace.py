"""How many negotiations may go on at once: what the machine bears, measured rather than fixed. No I/O.

The load that the testbed makes must never be the cause of what it reports.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass
class Admission:
    """How many negotiations may go on at once: follows the measured delay of the machine (additive up, halved down).

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
        while self.used >= self.limit:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(future)
            await future
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
