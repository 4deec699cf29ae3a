"""The control pair: two servers that must get through, first and last, over all that every cell uses.

Rule: what they are does not depend on what is asked; if they do not get through, no cell of the run says anything. If they do not
before the first phase, on an idle machine and twice in a row, nothing else is measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from testbed.display import Display
from testbed.engine.images import Images
from testbed.measure.attempts import Attempts
from testbed.measure.epoch import Epoch
from testbed.measure.epochs import Epochs
from testbed.measure.pace import BOOT, FIRST_BOOT, FIRST_TRIES, Waits
from testbed.measure.parts import Parts
from testbed.model import CONTROL_DOMAINS, Cell, Phase, Plan, Server, Settings
from testbed.plan.catalog import Catalog
from testbed.plan.policy import PRESETS
from testbed.record import observations
from testbed.record.legs import AGAIN, CONTROL

CONTROL_POLICY = "opportunistic"
STRAINED = "no attempt in which the two were given their time"
FIRST = "first"
"""When the pair is measured before anything else."""


def control_pair(plan: Plan, catalog: Catalog, images: Images) -> tuple[Server, ...]:
    """The two servers that must get through: the lightest implementation that the run has, TLS where the peer has it."""
    there = {s.implementation for s in plan.servers if images.server(s.implementation)}
    # what a user gave is the question, and proves nothing of the testbed
    there = {i for i in there if not catalog.is_candidate(i)} or {i for i in there if not catalog.unknown(i)}
    policy = PRESETS[CONTROL_POLICY]
    usable = [i for i in there if not catalog.image(i).unsupported(policy, i.release)] or list(there)
    if not usable:
        return ()
    chosen = min(usable, key=lambda i: (catalog.image(i).spec.boot_weight, str(i)))
    return tuple(
        Server(domain, chosen, policy, "ca", len(plan.servers) + number) for number, domain in enumerate(CONTROL_DOMAINS)
    )


class ControlPair:
    """Two servers of the run's own, started anew each time, with the name server, bridge, gate and driver of the mesh."""

    def __init__(
        self,
        servers: tuple[Server, ...],
        plan: Plan,
        parts: Parts,
        epochs: Epochs,
        attempts: Attempts,
        display: Display,
        stretch: int | None = None,
    ) -> None:
        """``servers``: the two, or none where no image is there: then no cell is measured either.

        ``stretch``: of the timers, if it is chosen already; else it is when the pair has got through for the first time.
        """
        self.servers, self.plan, self.display = servers, plan, display
        self.parts, self.epochs, self.attempts = parts, epochs, attempts
        self.failure: str | None = None
        """Why the two did not get through before the first phase, however often they were tried; None if they did."""
        self._stretch = stretch
        self._turn = asyncio.Lock()
        """Who has the pair's addresses, which are the same every time."""

    async def measure(self, phase: Phase, when: str, begun: list[Epoch], *, turn: asyncio.Event, done: asyncio.Event) -> None:
        """Start the two; when their ``turn`` has come let them write to each other, note whether both got through, set ``done``.

        ``when``: `first`, which is tried `FIRST_TRIES` times, each time with fresh servers, until they do get through, or `last`.
        Their epochs are added to those that the phase has ``begun``. Only the next start of the pair waits for the end of this
        one. Raises EngineError.
        """
        if not self.servers:
            done.set()
            return
        async with self._turn:
            addresses = self.parts.mesh.addresses
            settings = {s.domain: Settings(s.policy, s.certificate) for s in self.servers}
            at = {s.domain: addresses.of(s.index) for s in self.servers}
            tries, patience = (FIRST_TRIES, FIRST_BOOT) if when == FIRST else (1, BOOT)
            reasons: list[str] = []
            for number in range(1, tries + 1):
                name = self.parts.journal.epoch_name(CONTROL, when, *([AGAIN] if number > 1 else []))
                waits = self.epochs.waits
                epoch = Epoch(phase, name, self.servers, settings, at, addresses.dns[0], waits=waits, patience=patience)
                begun.append(epoch)
                async with self.epochs.running(epoch):
                    await epoch.booted.wait()
                    await turn.wait()
                    a, b = (s.domain for s in self.servers)
                    await self.attempts.pair(epoch, a, b, self.plan.exchanges[:1])
                    reason = self._why_not(epoch)
                    reasons += [reason] if reason else []
                    if over := reason is None or number == tries:
                        self._note(epoch, when, reasons if reason else [], number)
                        if when == FIRST and reason is None:
                            self._choose_timers(epoch)
                        done.set()
                if over:
                    return

    def _choose_timers(self, epoch: Epoch) -> None:
        """From now on servers have timers that fit this machine, as slow as it is while the pair gets through."""
        timers, took = self.plan.timers, self._took(epoch) or 0.0
        if self._stretch is None:
            self.epochs.waits = Waits.on(timers, took)
            self.parts.journal.writer.chosen(stretch=self.epochs.waits.stretch)
            why = f"this machine is slow or busy: a message of the control pair took {took:.1f} s, so "
        else:
            self.epochs.waits = Waits(timers, self._stretch)
            why = "as in the first part of this run "
        if (stretch := self.epochs.waits.stretch) > 1:
            self.display.say(f"{why}the servers' short timers are {stretch} times as long")

    def _took(self, epoch: Epoch) -> float | None:
        """Seconds of the slower direction, from the order to write to the receipt; None if one did not arrive."""
        answers = [[a for a in epoch.answers[cell.id] if not a.void][:1] for cell in self._cells(epoch)]
        seconds = [answer.seconds for first in answers for answer in first if answer.word == observations.RECEIVED.word]
        return max((s for s in seconds if s is not None), default=None) if len(seconds) == len(answers) else None

    def _cells(self, epoch: Epoch) -> list[Cell]:
        (a, b), exchange = (s.domain for s in self.servers), self.plan.exchanges[0]
        return [Cell(epoch.phase.name, sender, receiver, exchange) for sender, receiver in ((a, b), (b, a))]

    def _why_not(self, epoch: Epoch) -> str | None:
        """What came instead of both messages; None if both arrived at their first attempt, void ones left out."""
        cells = self._cells(epoch)
        if all(epoch.words(c)[:1] == ["received"] for c in cells):
            return None
        absent = [f"{domain}: {why}" for domain, why in epoch.absent.items()]
        return "; ".join(absent or [f"{c.sender} → {c.receiver}: {', '.join(epoch.words(c)) or STRAINED}" for c in cells])

    def _note(self, epoch: Epoch, when: str, reasons: Sequence[str], tries: int) -> None:
        """Whether the pair got through in the last of ``tries``; ``reasons``: of each, why it did not."""
        reason = "; then, with fresh servers: ".join(reasons) or None
        took = self._took(epoch)
        self.parts.journal.note(
            observations.CONTROL, epoch=epoch, when=when, ok=reason is None, reason=reason, tries=tries,
            seconds=round(took, 3) if took is not None else None,
        )  # fmt: skip
        if reason:
            self.display.say(f"the control pair, which must get through, does not ({epoch.phase.name}, {when}): {reason}")
            self.failure = reason if when == FIRST else self.failure
