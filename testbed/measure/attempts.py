"""Lets a client write, and waits for what becomes of it: one attempt of a cell, and the two directions of a pair.

Rule: servers reach each other's s2s port for just as long as their pair is measured (the gate); a silence counts only with
both clients proven alive; a failure counts when a second attempt, in quiet, has seen it too. What it means is judged elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from testbed.engine.messages import Envelope
from testbed.measure.driver.protocol import Bounced, Received, Unsendable
from testbed.measure.epoch import Epoch
from testbed.measure.pace import LINGER, NEGOTIATION, OVERLAP, PATIENCE, RECOVERY, Rank
from testbed.measure.parts import Parts
from testbed.measure.tasks import task_group
from testbed.measure.wiretap.wiretap import Gate
from testbed.model import Cell, EngineError
from testbed.record import observations
from testbed.record.observations import Source

Answered = Callable[[Cell], None]
"""Told of each cell that has one more answer."""
Progress = Callable[[bool], None]
"""Told once per cell, with whether its first attempt failed."""
REPORTS = {Received: observations.RECEIVED, Bounced: observations.ERROR}
"""What a client reports -> the kind of observation that it is."""


@dataclass(frozen=True)
class Letter:
    """A stanza on its way: the cell that it belongs to, and what became of it."""

    cell: Cell
    epoch: Epoch
    answer: asyncio.Future[str]


class Attempts:
    """Tries cells, in one run: `pair` is the way in."""

    def __init__(self, parts: Parts, run: str, timers: str) -> None:
        self.parts, self.run, self.timers = parts, run, timers
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
    ) -> None:
        """Both directions of a pair, ``a`` first, each exchange; what fails a second time, in quiet.

        ``answered`` is told of every answer, ``progress`` of every cell's first.
        """
        up = [await asyncio.shield(epoch.online[d]) for d in (a, b)]
        cells = [Cell(epoch.phase.name, s, r, x) for s, r in ((a, b), (b, a)) for x in exchanges]
        if not all(up):
            for cell in cells:
                epoch.answers[cell.id] = ["not-started"]
                progress(False)
            return

        def first(cell: Cell) -> None:
            progress(epoch.answers[cell.id][-1] != "received")
            answered(cell)

        gate = [[epoch.macs[a], epoch.macs[b]], [epoch.macs[b], epoch.macs[a]]]
        await self._in_turn(epoch, (a, b), cells, rank, first, gate)
        if failed := [c for c in cells if epoch.answers[c.id] != ["received"]]:
            # In quiet: when no server boots any more, and after the time for which a server may remember the first.
            await epoch.booted.wait()
            await asyncio.sleep(RECOVERY[self.timers])
            await self._in_turn(epoch, (a, b), failed, Rank.AGAIN, answered)
        # The last acknowledgements are still under way, and a stream that is cut within a segment looks like a sick one.
        asyncio.get_running_loop().call_later(LINGER, self._close, gate)

    async def _in_turn(
        self, epoch: Epoch, pair: tuple[str, str], cells: Sequence[Cell], rank: Rank, answered: Answered, gate: Gate | None = None
    ) -> None:
        """Each of a pair's ``cells`` once, one after the other; the ``gate`` is opened first if there is one."""
        async with task_group() as attempts:
            for cell in cells:
                async with self.parts.admission.place(*(epoch.client(d) for d in pair), rank=rank):
                    if gate:
                        await self._open(gate)
                        gate = None
                    attempt = attempts.create_task(self._attempt(epoch, cell, answered))
                    # What has no answer by then only waits for a timer, and needs no place among those that negotiate: unless
                    # the servers themselves are behind with their work.
                    await asyncio.wait({attempt}, timeout=NEGOTIATION)
                    if not attempt.done():
                        await self._quick(epoch, cell, attempt)
                # The second direction begins when the first has its answer; one that is stuck does not hold it up for ever.
                await asyncio.wait({attempt}, timeout=OVERLAP[self.timers] - NEGOTIATION)

    async def _open(self, gate: Gate) -> None:
        """Let two servers reach each other's s2s port. Raises EngineError."""
        asked = time.monotonic()
        await self.parts.wiretap.open(gate)
        self.parts.admission.measured(time.monotonic() - asked)

    def _close(self, gate: Gate) -> None:
        """Shut the gate again; a wiretap that is gone took the gate with it."""
        with contextlib.suppress(EngineError):
            self.parts.wiretap.close(gate)

    async def _attempt(self, epoch: Epoch, cell: Cell, answered: Answered) -> None:
        """Let the sender's client write and wait for what becomes of it; a silence is noted with what is known of both ends."""
        number = len(epoch.answers[cell.id]) + 1
        token = "cell-" + hashlib.sha256(f"{self.run}/{cell.id}/{epoch.name}/{number}".encode()).hexdigest()[:16]
        letter = self._letters[token] = Letter(cell, epoch, asyncio.get_running_loop().create_future())
        note, patience = self.parts.journal.note, PATIENCE[self.timers]
        note(observations.ATTEMPT, epoch=epoch, cell=cell, token=token, cold=epoch.cold(cell))
        reply = await self.parts.driver.send(epoch.client(cell.sender), cell.exchange, cell.receiver, token)
        sent = not isinstance(reply.message, Unsendable)
        note(observations.SENT if sent else observations.UNSENDABLE, at=reply.time, epoch=epoch, cell=cell, token=token)
        if sent:
            await asyncio.wait({letter.answer}, timeout=patience)
        else:
            letter.answer.set_result("unsendable")
        if not letter.answer.done():
            sender, receiver = await self._alive(epoch, cell)
            note(
                observations.SILENCE, epoch=epoch, cell=cell, token=token, waited=patience,
                sender_alive=sender, receiver_alive=receiver,
            )  # fmt: skip
        epoch.answers[cell.id].append(letter.answer.result() if letter.answer.done() else "silence")
        answered(cell)

    async def _alive(self, epoch: Epoch, cell: Cell) -> tuple[bool, bool]:
        """Whether the clients of sender and receiver got a message to themselves back through their own servers."""
        alive = [self.parts.driver.alive(epoch.client(d)) for d in (cell.sender, cell.receiver)]
        sender, receiver = await asyncio.gather(*alive)
        return sender, receiver

    async def _quick(self, epoch: Epoch, cell: Cell, attempt: asyncio.Task[None]) -> None:
        """Return when both servers were as quick as to pass a client's message to itself, or ``attempt`` is done.

        A server that is quick with that is not behind with its work.
        """
        both = asyncio.ensure_future(self._alive(epoch, cell))
        try:
            await asyncio.wait({both, attempt}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            both.cancel()

    def _reported(self, envelope: Envelope) -> None:
        """A client received a stanza, or was told that it failed."""
        event = envelope.message
        letter = self._letters.get(event.token)
        if letter is None:
            return
        cell, epoch = letter.cell, letter.epoch
        kind = REPORTS[type(event)]
        end = cell.receiver if kind.source is Source.RECEIVER else cell.sender
        if event.client != epoch.client(end):
            return  # the other end's echo: what matters is which client was told
        data = {k: v for k, v in vars(event).items() if k != "client" and v != ""}
        self.parts.journal.note(kind, at=envelope.time, epoch=epoch, cell=cell, **data)
        if not letter.answer.done():
            letter.answer.set_result(kind.word)
