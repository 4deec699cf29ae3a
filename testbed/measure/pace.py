"""Every number that bounds load or waiting, and how many negotiations may go on at once. No I/O.

The load that the testbed makes must never be the cause of what it reports: what is admitted follows the delay that is measured on
the machine, not a number that was right for another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass, field

from testbed.record.strain import HEARTBEAT, PRESSURE

SHORTEST = {"short": 4.0, "stock": 10.0}
"""Seconds of the shortest timer under these timers that can end a negotiation: no folder of images/ renders a shorter one."""
MARGIN = 20
"""How often the control pair's slower message has to fit into the shortest timer: others take longer, and are among more."""
FIRST_STRETCH, MOST_STRETCH = 3, 15
"""How much longer short timers are while the control pair shows how slow the machine is; and at most: the shortest, a minute."""
PATIENCE = {"short": 25.0, "stock": 200.0}
"""Seconds that a cell waits for a receipt or a bounce; longer than the slowest timer of any implementation under these timers."""
SENTINEL = 15.0
"""Seconds within which a client's message to itself must come back, for it to count as alive."""
BOOT = 240.0
"""Seconds that a server may take from its start to its client's login."""
FIRST_BOOT = 60.0
"""The same for the control pair's before the first phase: the lightest that there are, with the machine to themselves."""
FIRST_TRIES = 2
"""How often that pair is tried, each time with fresh servers, before the run ends: a single failure may be chance."""
FIRST_WORD = 60.0
"""Seconds that an agent may take to begin, or to open the gate: only an agent that is gone takes longer."""
ANSWER = 30.0
"""Seconds that an agent may take for anything else that it can do at once."""
ZONE = 30.0
"""Seconds within which a name server must have loaded its zone."""
REACH = 2.5
"""How long the driver asks the name server at one go, before anything is looked into: packets that pass do so in milliseconds."""
REACH_AT_LAST = 30.0
"""The same where no rule of the host explains the silence."""
DISSECTION = 900.0
"""Seconds that tshark may take for a capture."""
NAMES = 2.0
"""Seconds between two questions to the mesh's name server."""
SILENT = 20.0
"""Seconds without an answer after which that name server counts as gone: on a machine with busy cores it takes tenths."""
PROBE = 0.25
"""Seconds between two measurements of how strained the machine is."""
ALIVE = 5.0
"""Seconds after which it is looked whether a server that boots still runs."""
LOOK, LOOKS = 0.3, 5
"""Seconds between two looks at a server whose client lost it, and how many: until then its end is known to the engine."""
PER_SERVER = 6
"""Pairs of one server in flight at once: fairness, and a bound on what one server has to bear."""
NEGOTIATION = 0.4
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
MOST_ALONE = 16
"""Fresh federations that one pair gets per phase at most: for each direction `shares.COLD_STARTS`."""
CAPTURE_KB = (16_000, 16)
"""kB that a phase's capture may grow to: so many, and so many more for each cell (measured: 10 a cell). Then it ends, and a
delivery that it did not see makes the run say so."""
CAPTURE_ALONE = 12
"""Cells' worth of a capture for each pair that may be measured alone (measured on a strained machine: 1.8 starts of 108 kB each;
without it the capture of 48 servers ended when a quarter of the starts were done)."""
OVERLAP = {"short": 1.5, "stock": 12.0}
"""Seconds after which a direction that has no answer yet lets the other begin: negotiations take tenths, timers take tens."""
HEAVY = 1.0
"""CPU seconds of a start from which on a boot keeps its place until it is done."""


BEHIND = 2.0
"""Seconds over which a server's waiting says how many negotiations may go on: half of the shortest timer."""
READINGS = 0.5
"""Seconds between two readings of how long containers had to wait."""
REMEMBERED = 1.2 * MOST_STRETCH * (PATIENCE["short"] + SENTINEL)
"""Seconds for which readings are kept: longer than any attempt lasts, a silence and the proof that both ends are alive."""
MACHINE = 2.0
"""Seconds between two notes of what the machine as a whole had to wait for."""
STRAINED = {PRESSURE: 0.5, HEARTBEAT: 0.1}
"""Which share of the shortest timer the servers of an attempt, and their name server, may have waited within as long a time.

A timer does not run out for that: a negotiation takes a tenth of it. Measured with up to 48 servers on two processors that 13 to
40 processes wanted: of 1021 failures in which they had waited for 1/8 to 7/8 of it none was unlike the undisturbed attempts of
its cell (one server left out, which is not the same every time by itself); what waited for its own container's threads was
counted then, too, and is not now. A heartbeat is what a process loses that wants next to
nothing: 0.1 to 0.4 % of its time on an idle machine, 3 to 27 % where 11 to 26 processes want two processors.
"""
VOID_TRIES = 3
"""Void attempts of a cell after which it is given up in the mesh, and the pair is measured alone."""
VOID_PAUSES = (2.0, 5.0, 15.0, 30.0)
"""Seconds until a pair alone is started again whose attempts were void; so often at most."""
VOID_TIME = 600.0
"""Seconds without a pair alone that was left in peace, from its first void start on, after which none is started again."""


@dataclass(frozen=True)
class Waits:
    """How long servers and testbed wait, under a kind of timers and on this machine: what is bounded by time follows both."""

    timers: str
    """`short` or `stock`."""
    stretch: int = 1
    """How much longer the short timers are than on a machine that is not strained."""

    @classmethod
    def on(cls, timers: str, took: float) -> Waits:
        """What fits a machine on which the control pair's slower message ``took`` so many seconds; stock timers stay."""
        wanted = 1 if timers == "stock" else math.ceil(took * MARGIN / SHORTEST[timers])
        return cls(timers, min(max(wanted, 1), MOST_STRETCH))

    @classmethod
    def first(cls, timers: str) -> Waits:
        """What holds before that is known: generous, since a pair that gets through waits for no timer."""
        return cls(timers, 1 if timers == "stock" else FIRST_STRETCH)

    @property
    def shortest(self) -> float:
        """Seconds of the shortest timer in effect that can end a negotiation."""
        return SHORTEST[self.timers] * self.stretch

    @property
    def patience(self) -> float:
        """Seconds that a cell waits for a receipt or a bounce."""
        return PATIENCE[self.timers] * self.stretch

    @property
    def sentinel(self) -> float:
        """Seconds within which a client's message to itself must come back."""
        return SENTINEL * self.stretch

    @property
    def recovery(self) -> float:
        """Seconds after a failure until a second attempt: what a server remembers of the first is not stretched."""
        return RECOVERY[self.timers]

    @property
    def overlap(self) -> float:
        """Seconds after which a direction that has no answer yet lets the other begin."""
        return OVERLAP[self.timers] * self.stretch


class Rank(enum.IntEnum):
    """Whose turn is first where several wait for a place: time that only passes should begin to pass early."""

    AGAIN = 0
    """A second attempt, or a pair that is measured alone."""
    WAITS = 1
    """A pair that somebody's timer has to end."""
    DELIVERS = 2
    VOID = 3
    """An attempt that is made again because the servers were not given their time: where next to nobody else negotiates."""


@dataclass
class Admission:
    """How many negotiations may go on at once: follows what the machine lacks (a tenth up, three tenths down).

    That is a delay, the time from asking the wiretap's agent, for a gate or for nothing, to its answer, a round through two
    processes that do next to nothing: on an idle machine a few milliseconds; when processors are short, it grows before anything
    else breaks. And it is a share, of the last `BEHIND` seconds, for which that server had to wait which waited longest, of those
    that are measured just then. No server has more than `PER_SERVER` negotiations at once.
    """

    limit: float = 6.0
    lowest: float = 2.0
    highest: float = 40.0
    calm: float = 0.06
    strained: float = 0.25
    at_ease: float = 0.15
    behind: float = 0.3
    used: int = 0
    waited: float = 0.0
    """The share that was measured last."""
    delays: list[float] = field(default_factory=list)
    _busy: Counter[str] = field(default_factory=Counter)
    _waiters: dict[Rank, dict[asyncio.Future[None], tuple[str, ...]]] = field(default_factory=lambda: {rank: {} for rank in Rank})

    def measured(self, delay: float) -> None:
        """Take a measured delay in seconds into account."""
        self.delays.append(delay)
        if delay > self.strained:
            self.limit = max(self.lowest, self.limit * 0.7)
        elif delay < self.calm and self.waited < self.at_ease:
            self.limit = min(self.highest, self.limit * 1.1)
        self._wake()

    def server_waited(self, share: float) -> None:
        """Take into account for which share of the last seconds a server waited, the one that waited longest."""
        self.waited = share
        if share > self.behind:
            self.limit = max(self.lowest, self.limit * 0.7)

    @contextlib.asynccontextmanager
    async def place(self, *servers: str, rank: Rank = Rank.DELIVERS) -> AsyncIterator[None]:
        """Have a place for a negotiation of these servers; by rank, then in the order of coming."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[rank][future] = servers
        self._wake()
        try:
            await future
        except asyncio.CancelledError:
            if self._waiters[rank].pop(future, None) is None:
                self._give(servers)  # its place had been given to it already
            raise
        try:
            yield
        finally:
            self._give(servers)

    def _give(self, servers: tuple[str, ...]) -> None:
        self.used -= 1
        self._busy.subtract(servers)
        self._wake()

    def _wake(self) -> None:
        for rank, waiters in self._waiters.items():
            most = min(self.limit, self.lowest) if rank is Rank.VOID else self.limit
            for future, servers in list(waiters.items()) if self.used + 1 <= most else ():
                if self.used + 1 > most:
                    return
                if all(self._busy[s] < PER_SERVER for s in servers):
                    del waiters[future]
                    self.used += 1
                    self._busy.update(servers)
                    future.set_result(None)


@dataclass
class Slots:
    """So many at once; of those that wait, the cheapest is next, and of equals the first that came."""

    free: int
    _waiters: dict[asyncio.Future[None], tuple[Callable[[], int], Hashable]] = field(default_factory=dict)
    _keys: set[Hashable] = field(default_factory=set)
    """Of those that have a slot."""

    @contextlib.asynccontextmanager
    async def place(self, cost: Callable[[], int], key: Hashable = None) -> AsyncIterator[None]:
        """Have a slot; ``cost`` is asked each time that one is to be given away. With one ``key``, one at a time has a slot."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[future] = cost, key
        self._wake()
        try:
            await future
        except asyncio.CancelledError:
            if self._waiters.pop(future, None) is None:
                self._give(key)
            raise
        try:
            yield
        finally:
            self._give(key)

    def waiting(self, key: Hashable) -> int:
        """How many wait with this key."""
        return sum(other == key for _, other in self._waiters.values())

    def _give(self, key: Hashable) -> None:
        self.free += 1
        self._keys.discard(key)
        self._wake()

    def _wake(self) -> None:
        while self.free:
            costs = {future: cost() for future, (cost, key) in self._waiters.items() if key is None or key not in self._keys}
            if not costs:
                return
            cheapest = min(costs, key=costs.__getitem__)
            _, key = self._waiters.pop(cheapest)
            self._keys.add(key)
            self.free -= 1
            cheapest.set_result(None)
