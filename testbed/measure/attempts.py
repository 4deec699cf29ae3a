"""Lets a client write, and waits for what becomes of it: one attempt of a cell, and the two directions of a pair.

Rule: servers reach each other's s2s port for just as long as their pair is measured (the gate); a silence counts only with
both clients proven alive; a failure counts when a second attempt, in quiet, has seen it too. One that came while the servers
were not given their time is void: it is made again, later, a few times. What it means is judged elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from testbed.engine.channel import AgentError
from testbed.engine.messages import Envelope
from testbed.measure.driver.protocol import Bounced, Received, Unsendable
from testbed.measure.epoch import Answer, Epoch
from testbed.measure.pace import LINGER, NEGOTIATION, VOID_TRIES, Rank
from testbed.measure.parts import Parts
from testbed.measure.tasks import task_group
from testbed.measure.wiretap.wiretap import Gate
from testbed.model import Cell, EngineError
from testbed.record import observations
from testbed.record.legs import ALONE
from testbed.record.observations import Source
from testbed.record.strain import Strain

Answered = Callable[[Cell], None]
"""Told of each cell that has one more answer."""
Settled = Callable[[Cell], bool]
"""Asked of a cell that failed once: whether it need not be tried a second time."""
Progress = Callable[[bool], None]
"""Told once per cell, with whether its first attempt failed."""
REPORTS = {Received: observations.RECEIVED, Bounced: observations.ERROR}
"""What a client reports -> the kind of observation that it is."""
WORDS = {kind.word for kind in REPORTS.values()}


@dataclass(frozen=True)
class Letter:
    """A stanza on its way: the cell that it belongs to, and what became of it."""

    cell: Cell
    epoch: Epoch
    answer: asyncio.Future[str]
    cold: bool
    token: str
    began: float
    """Of `time.monotonic`."""


@dataclass
class PairGate:
    """The way between two servers' s2s ports."""

    parts: Parts
    pairs: Gate
    opened: bool = False

    async def open(self) -> None:
        """Let the two reach each other, if they do not yet. Raises EngineError."""
        if not self.opened:
            asked, self.opened = time.monotonic(), True
            await self.parts.wiretap.open(self.pairs)
            self.parts.admission.measured(time.monotonic() - asked)

    def close(self) -> None:
        """Shut it, if it was opened; a wiretap that is gone took the gate with it."""
        if self.opened:
            with contextlib.suppress(EngineError):
                self.parts.wiretap.close(self.pairs)


class Attempts:
    """Tries cells, in one run: `pair` is the way in."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._letters: dict[str, Letter] = {}
        """By token."""
        for event in REPORTS:
            parts.driver.channel.on(event, self._reported)

    async def pair(
        self,
        epoch: Epoch,
        a: str,
        b: str,
        exchanges: Sequence[str],
        *,
        rank: Rank = Rank.AGAIN,
        answered: Answered = lambda _: None,
        progress: Progress = lambda _: None,
        settled: Settled = lambda _: False,
    ) -> None:
        """Both directions of a pair, ``a`` first, each exchange; what fails a second time, in quiet, unless it is ``settled``.

        What is void is tried again, later, up to `VOID_TRIES` times.

        ``answered`` is told of every answer, ``progress`` of every cell's first.
        """
        up = [await asyncio.shield(epoch.online[d]) for d in (a, b)]
        cells = [Cell(epoch.phase.name, s, r, x) for s, r in ((a, b), (b, a)) for x in exchanges]
        if not all(up):
            for cell in cells:
                epoch.answers[cell.id] = [Answer("not-started")]
                progress(False)
            return

        def first(cell: Cell) -> None:
            progress(epoch.answers[cell.id][-1].word != "received")
            answered(cell)

        async with self._gate(epoch.macs[a], epoch.macs[b]) as gate:
            await self._in_turn(epoch, (a, b), cells, rank, first, gate)
            while (failed := [c for c in cells if _unsettled(epoch, c) and not settled(c)]) and not epoch.failed & {a, b}:
                # In quiet: when no server boots any more, and after the time for which a server may remember the first.
                await epoch.booted.wait()
                await asyncio.sleep(epoch.waits.recovery)
                turn = Rank.VOID if any(epoch.answers[c.id][-1].void for c in failed) else Rank.AGAIN
                await self._in_turn(epoch, (a, b), failed, turn, answered, gate)

    @contextlib.asynccontextmanager
    async def _gate(self, a: str, b: str) -> AsyncIterator[PairGate]:
        """The gate between two hardware addresses; what is opened in the block is shut after it."""
        gate = PairGate(self.parts, [[a, b], [b, a]])
        try:
            yield gate
        except BaseException:
            gate.close()
            raise
        # The last acknowledgements are still under way, and a stream that is cut within a segment looks like a sick one.
        asyncio.get_running_loop().call_later(LINGER, gate.close)

    async def _in_turn(
        self, epoch: Epoch, pair: tuple[str, str], cells: Sequence[Cell], rank: Rank, answered: Answered, gate: PairGate
    ) -> None:
        """Each of a pair's ``cells`` once, one after the other, through the ``gate``."""
        async with task_group() as attempts:
            for cell in cells:
                async with self.parts.admission.place(*(epoch.client(d) for d in pair), rank=rank):
                    await gate.open()
                    attempt = attempts.create_task(self._attempt(epoch, cell, answered, attempts))
                    # What has no answer by then only waits for a timer, and needs no place among those that negotiate: unless
                    # the servers themselves are behind with their work.
                    await asyncio.wait({attempt}, timeout=NEGOTIATION)
                    if not attempt.done():
                        await self._quick(epoch, cell, attempt)
                # The second direction begins when the first has its answer; one that is stuck does not hold it up for ever.
                await asyncio.wait({attempt}, timeout=epoch.waits.overlap - NEGOTIATION)

    async def _attempt(self, epoch: Epoch, cell: Cell, answered: Answered, tasks: asyncio.TaskGroup) -> None:
        """Let the sender's client write and wait for what becomes of it; a silence is noted with what is known of both ends.

        Whether a failure counts is known a little later: one of the ``tasks`` waits for that.
        """
        # drawn, so that no third server can say it: only the two and their clients ever have it
        token = f"cell-{secrets.token_hex(8)}"
        note, patience = self.parts.journal.note, epoch.waits.patience
        answer, cold = asyncio.get_running_loop().create_future(), epoch.begin_to_talk(cell)
        letter = self._letters[token] = Letter(cell, epoch, answer, cold, token, time.monotonic())
        note(observations.ATTEMPT, epoch=epoch, cell=cell, token=token, cold=cold)
        with self._metered(epoch, cell):
            if await self._send(epoch, cell, token):
                await asyncio.wait({letter.answer}, timeout=patience)
            elif not letter.answer.done():
                letter.answer.set_result("unsendable")
        ended, proven = time.monotonic(), True
        if not letter.answer.done():
            sender, receiver = await self._alive(epoch, cell)
            if not (sender and receiver):
                ended = time.monotonic()  # that they were not proven alive may be the machine's doing too
            note(
                observations.SILENCE, epoch=epoch, cell=cell, token=token, waited=patience,
                sender_alive=sender, receiver_alive=receiver,
            )  # fmt: skip
            proven = sender and receiver
        word = letter.answer.result() if letter.answer.done() else "silence"
        reply = Answer(word, cold, ended - letter.began if word in WORDS else None, proven or word != "silence")
        if self.parts.meter and word != "received":
            tasks.create_task(self._settle(letter, reply, ended, answered))
            return
        epoch.answers[cell.id].append(reply)
        answered(cell)
        if self.parts.meter:
            self.parts.meter.when_read(ended, functools.partial(self._note_strain, letter, ended))

    def _metered(self, epoch: Epoch, cell: Cell) -> contextlib.AbstractContextManager[None]:
        """While this lasts, how long the two servers wait says how much else may go on."""
        meter = self.parts.meter
        ends = (epoch.container(d) for d in (cell.sender, cell.receiver))
        return meter.measuring(*ends) if meter else contextlib.nullcontext()

    async def _settle(self, letter: Letter, answer: Answer, ended: float, answered: Answered) -> None:
        """Note what an attempt came to that did not deliver; void if the servers were not given their time."""
        assert self.parts.meter
        await self.parts.meter.has_read(ended)
        strain = self._note_strain(letter, ended, always=True)
        letter.epoch.answers[letter.cell.id].append(replace(answer, void=strain.exceeded))
        answered(letter.cell)

    def _note_strain(self, letter: Letter, ended: float, *, always: bool = False) -> Strain:
        """How long the servers of an attempt had to wait; of a delivery it is noted where that was too long."""
        parts, epoch, cell = self.parts, letter.epoch, letter.cell
        assert parts.meter
        names = epoch.names or parts.names
        containers = [*(epoch.container(d) for d in (cell.sender, cell.receiver)), *([names] if names else [])]
        strain = parts.meter.strain(containers, letter.began, ended, epoch.waits.shortest)
        if always or strain.exceeded:
            parts.journal.note(observations.STRAIN, epoch=epoch, cell=cell, token=letter.token, **vars(strain))
        return strain

    async def _send(self, epoch: Epoch, cell: Cell, token: str) -> bool:
        """Let the sender's client write. Returns whether it did: what the driver could not do says nothing of the servers."""
        note = self.parts.journal.note
        try:
            reply = await self.parts.driver.send(epoch.client(cell.sender), cell.exchange, cell.receiver, token)
        except AgentError as error:
            note(observations.DRIVER_ERROR, error=str(error))
            note(observations.UNSENDABLE, epoch=epoch, cell=cell, token=token)
            return False
        sent = not isinstance(reply.message, Unsendable)
        note(observations.SENT if sent else observations.UNSENDABLE, at=reply.time, epoch=epoch, cell=cell, token=token)
        return sent

    async def _alive(self, epoch: Epoch, cell: Cell) -> tuple[bool, bool]:
        """Whether the clients of sender and receiver got a message to themselves back through their own servers."""
        alive = [self.parts.driver.alive(epoch.client(d), epoch.waits.sentinel) for d in (cell.sender, cell.receiver)]
        sender, receiver = await asyncio.gather(*alive)
        return sender, receiver

    async def _quick(self, epoch: Epoch, cell: Cell, attempt: asyncio.Task[None]) -> None:
        """Return when both servers were as quick as to pass a client's message to itself, or ``attempt`` is done.

        A server that is quick with that is not behind with its work.
        """
        async with task_group() as tasks:
            both = tasks.create_task(self._alive(epoch, cell))
            await asyncio.wait({both, attempt}, return_when=asyncio.FIRST_COMPLETED)
            both.cancel()

    def _reported(self, envelope: Envelope) -> None:
        """A client received a stanza, or was told that it failed."""
        event = envelope.message
        letter = self._letters.get(event.token)
        if letter is None or letter.epoch.over:
            return  # a server that went on says it when its pair is measured no more
        cell, epoch = letter.cell, letter.epoch
        kind = REPORTS[type(event)]
        end = cell.receiver if kind.source is Source.RECEIVER else cell.sender
        if event.client != epoch.client(end):
            return  # the other end's echo: what matters is which client was told
        data = {k: v for k, v in vars(event).items() if k != "client" and v != ""}
        self.parts.journal.note(kind, at=envelope.time, epoch=epoch, cell=cell, **data)
        if not letter.answer.done():
            letter.answer.set_result(kind.word)


def _unsettled(epoch: Epoch, cell: Cell) -> bool:
    """Whether a cell is tried once more in this epoch: it failed once, or what came of it is void, and not too often.

    A pair alone is started again instead: there it is to be cold.
    """
    words, voids = epoch.words(cell), epoch.voids(cell)
    if words[:1] == ["received"] or len(words) > 1 or (words and voids >= VOID_TRIES):
        return False
    return bool(words) or (voids < VOID_TRIES and epoch.kind != ALONE)
