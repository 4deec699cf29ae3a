"""Which pairs of a phase are measured alone, in what order, and how often: until nothing is open, or the bound is reached.

What the mesh saw is doubted where it is unexpected or not the same every time; an isolated run measures every pair so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from testbed.display import Display
from testbed.measure.alone import Alone
from testbed.measure.attempts import Progress
from testbed.measure.epoch import Epoch
from testbed.measure.pace import MOST_ALONE
from testbed.model import Cell, Phase
from testbed.record.legs import MESH

Order = tuple[str, str]
"""The two domains of a pair, the one that writes first in front."""


def answers(epochs: Iterable[Epoch], cell: Cell, *, alone: bool, cold: bool | None = None) -> list[str]:
    """What came of a cell in the mesh, or alone; ``cold``: only of cold attempts, or only of the others."""
    return [
        answer.word
        for epoch in epochs
        if (epoch.kind != MESH) is alone
        for answer in epoch.answers.get(cell.id, ())
        if cold in (None, answer.cold)
    ]


def open_questions(epochs: Sequence[Epoch], phase: str, pair: Order, exchanges: Sequence[str]) -> list[Order]:
    """Which direction has to go first, alone, in one more fresh federation.

    Where a direction went second and came out otherwise than in the mesh; or where it went first, once, and came out otherwise
    than when it went second: chance, or the order?
    """
    orders = []
    for sender, receiver in (pair, pair[::-1]):
        for exchange in exchanges:
            cell = Cell(phase, sender, receiver, exchange)
            cold, warm = (answers(epochs, cell, alone=True, cold=c) for c in (True, False))
            others = warm if cold else warm + answers(epochs, cell, alone=False)
            if (len({*cold, *others}) > 1 and len(cold) < 2) or len(set(cold)) > 1:
                orders.append((sender, receiver))
                break
    return orders


class Confirmations:
    """The pairs of one phase that are measured alone."""

    def __init__(
        self,
        phase: Phase,
        exchanges: Sequence[str],
        alone: Alone,
        tasks: asyncio.TaskGroup,
        display: Display,
        *,
        bound: int | None,
        isolated: bool,
        progress: Progress,
    ) -> None:
        """At most ``bound`` pairs (None: all), each a task of ``tasks``; ``isolated``: both directions first, by themselves."""
        self.phase, self.exchanges, self.alone, self.tasks, self.display = phase, exchanges, alone, tasks, display
        self.bound, self.isolated, self.progress = bound, isolated, progress
        self.epochs: list[Epoch] = []
        """What was measured in this phase, the mesh and what was measured alone."""
        self.ready = asyncio.Event()
        """Until this is set the machine is for the mesh that boots."""
        self.unconfirmed: list[Order] = []
        self._pairs: dict[Order, asyncio.Task[None]] = {}

    def request(self, a: str, b: str) -> None:
        """Have a pair measured alone, once. In the mesh ``a`` wrote first, so alone ``b`` does."""
        if (a, b) in self._pairs:
            return
        if self.bound is not None and len(self._pairs) >= self.bound:
            if (a, b) not in self.unconfirmed:
                self.unconfirmed.append((a, b))
            return
        if not self.isolated:
            self.display.grow(self._stage)
        self._pairs[a, b] = self.tasks.create_task(self._settle(a, b))

    async def settled(self) -> None:
        """Return when no requested pair is open any more."""
        while waiting := [t for t in self._pairs.values() if not t.done()]:
            await asyncio.wait(waiting)

    @property
    def _stage(self) -> str:
        return f"{self.phase.name}: confirmed alone"

    async def _settle(self, a: str, b: str) -> None:
        """A pair alone, until nothing is open."""
        await self.ready.wait()
        orders = [(a, b), (b, a)] if self.isolated else [(b, a)]
        for number in range(MOST_ALONE):
            if not orders and not (orders := open_questions(self.epochs_of(a, b), self.phase.name, (a, b), self.exchanges)):
                break
            # What may have to be repeated once more goes first: no chain of federations should begin at the end.
            epoch = await self.alone.pair(self.phase, *orders.pop(0), self.exchanges, urgent=number > 0, progress=self.progress)
            self.epochs.append(epoch)
        if not self.isolated:
            self.display.advance(self._stage)

    def epochs_of(self, a: str, b: str) -> list[Epoch]:
        """The epochs in which a pair was measured."""
        return [e for e in self.epochs if e.kind == MESH or {s.domain for s in e.servers} == {a, b}]
