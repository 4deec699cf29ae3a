"""Which pairs of a phase are measured alone, in what order, and how often: until nothing is open, or the bound is reached.

What the mesh saw is doubted where it is unexpected or not the same every time; an isolated run measures every pair so. When
enough has been seen is decided in `testbed/shares.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from testbed.display import Display
from testbed.measure.alone import Alone
from testbed.measure.attempts import Progress
from testbed.measure.epoch import Answer, Epoch
from testbed.measure.pace import MOST_ALONE, VOID_PAUSES, VOID_TIME
from testbed.model import Cell, Phase
from testbed.record.legs import MESH
from testbed.shares import Tally, missing_start

Order = tuple[str, str]
"""The two domains of a pair, the one that writes first in front."""
Chance = Callable[[Cell], Collection[str]]
"""What came of a cell, in words of its answers, that may be chance: a server of its pair is known for that."""
OUTCOMES = {"received", "error", "silence"}
"""Answers that say something of the servers."""


def answers(epochs: Iterable[Epoch], cell: Cell, *, alone: bool, cold: bool | None = None) -> list[str]:
    """What came of those attempts of a cell that count, in the mesh or alone; ``cold``: only of cold ones, or of the others."""
    return [
        answer.word
        for epoch in epochs
        if (epoch.kind != MESH) is alone
        for answer in epoch.answers.get(cell.id, ())
        if cold in (None, answer.cold) and _counts(epoch, cell, answer)
    ]


def _counts(epoch: Epoch, cell: Cell, answer: Answer) -> bool:
    """Whether an answer can say something of the servers, as `judge/unmeasured.py` asks it."""
    if answer.word == "received":
        return True
    failed = epoch.kind != MESH and bool(epoch.failed & {cell.sender, cell.receiver})
    return answer.proven and not answer.void and not failed


def tally(epochs: Sequence[Epoch], cell: Cell) -> Tally[str]:
    """What the attempts of a cell came to so far; those that say nothing of the servers are left out."""
    cold, warm, mesh = (
        Counter(word for word in words if word in OUTCOMES)
        for words in (
            answers(epochs, cell, alone=True, cold=True),
            answers(epochs, cell, alone=True, cold=False),
            answers(epochs, cell, alone=False),
        )
    )
    starts = sum(bool(OUTCOMES.intersection(answers([e], cell, alone=True))) for e in epochs)
    return Tally(cold, warm, mesh, starts, _mute(epochs, cell))


def _mute(epochs: Sequence[Epoch], cell: Cell) -> bool:
    """Whether a cell was tried cold and no such try counts; not where one alone came to nothing though the machine gave time."""
    tries = [(e, a, a.word in OUTCOMES and _counts(e, cell, a)) for e in epochs for a in e.answers.get(cell.id, ())]
    cold = [counts for _, answer, counts in tries if answer.cold]
    hopeless = any(e.kind != MESH and not counts and not answer.void for e, answer, counts in tries)
    return bool(cold) and not any(cold) and not hopeless


def open_questions(
    epochs: Sequence[Epoch], phase: str, pair: Order, exchanges: Sequence[str], chance: Chance = lambda _: ()
) -> list[Order]:
    """Which direction has to go first, alone, in one more fresh federation; the one that had fewer cold starts in front."""
    orders: dict[Order, int] = {}
    for sender, receiver in (pair, pair[::-1]):
        for exchange in exchanges:
            cell = Cell(phase, sender, receiver, exchange)
            attempts = tally(epochs, cell)
            cold = missing_start(attempts, suspect=chance(cell))
            if cold is not None:
                orders.setdefault((sender, receiver) if cold else (receiver, sender), attempts.cold.total())
    return sorted(orders, key=orders.__getitem__)


def seen_enough(elsewhere: Iterable[Epoch], epoch: Epoch, cell: Cell) -> bool:
    """Whether a cell that failed once in an ``epoch`` of its pair alone says nothing more when it is tried again there.

    So it is if at least two attempts of the pair alone, in other starts, all ended alike: what counts then are starts. Or if at
    least two in the mesh did, and a timer ended it: what fails at once (negotiations take tenths of seconds) costs no time.
    """
    epochs, tries = list(elsewhere), [a for a in epoch.answers[cell.id] if not a.void]
    if len(tries) != 1:
        return False
    (first,) = tries
    slow = first.seconds is not None and first.seconds > epoch.waits.overlap
    others = answers(epochs, cell, alone=True) or (answers(epochs, cell, alone=False) if slow else [])
    return len(others) > 1 and {*others} == {first.word} <= OUTCOMES


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
        chance: Chance = lambda _: (),
    ) -> None:
        """At most ``bound`` pairs (None: all), each a task of ``tasks``; ``isolated``: both directions first, by themselves."""
        self.phase, self.exchanges, self.alone, self.tasks, self.display = phase, exchanges, alone, tasks, display
        self.bound, self.isolated, self.progress, self.chance = bound, isolated, progress, chance
        self.epochs: list[Epoch] = []
        """What was measured in this phase, the mesh and what was measured alone."""
        self.ready = asyncio.Event()
        """Until this is set the machine is for the mesh that boots."""
        self.unconfirmed: list[Order] = []
        self._pairs: dict[Order, asyncio.Task[None]] = {}
        self._hopeless: float | None = None
        """When no more is started again because attempts were void; None as long as the last start was left in peace."""

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
        pauses = iter(VOID_PAUSES)
        for number in range(MOST_ALONE):
            if not orders and not (orders := self._missing(a, b)[:1]):
                break
            # What may have to be repeated once more goes first: no chain of federations should begin at the end.
            if not await self._start(*orders.pop(0), pauses, urgent=number > 0) and not orders:
                break  # more of it would be void too
        if not self.isolated:
            self.display.advance(self._stage)

    def _missing(self, a: str, b: str) -> list[Order]:
        return open_questions(self.epochs_of(a, b), self.phase.name, (a, b), self.exchanges, self.chance)

    async def _start(self, a: str, b: str, pauses: Iterator[float], *, urgent: bool) -> bool:
        """A fresh federation, ``a`` first; where attempts in it were void another one, later, while there are ``pauses`` left.

        Returns whether the last one was left in peace.
        """

        def settled(epoch: Epoch, cell: Cell) -> bool:
            # Where chance is suspected nothing tells more of it than a second try.
            return not (self.isolated or self.chance(cell)) and seen_enough(self.epochs_of(a, b), epoch, cell)

        while True:
            epoch = await self.alone.pair(
                self.phase, a, b, self.exchanges, urgent=urgent, progress=self.progress, settled=settled
            )  # fmt: skip
            self.epochs.append(epoch)
            if not epoch.void:
                self._hopeless = None  # the machine was only busy for a while
                return True
            self._hopeless = self._hopeless or time.monotonic() + VOID_TIME
            pause = next(pauses, None)
            if pause is None or time.monotonic() + pause > self._hopeless:
                return False
            await asyncio.sleep(pause)

    def epochs_of(self, a: str, b: str) -> list[Epoch]:
        """The epochs in which a pair was measured."""
        return [e for e in self.epochs if e.kind == MESH or {s.domain for s in e.servers} == {a, b}]
