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
from testbed.measure.pace import BOOT, FIRST_BOOT, FIRST_TRIES
from testbed.measure.parts import Parts
from testbed.model import CONTROL_DOMAINS, Cell, Phase, Plan, Server, Settings
from testbed.plan.catalog import Catalog
from testbed.plan.policy import PRESETS
from testbed.record import observations
from testbed.record.legs import AGAIN, CONTROL

CONTROL_POLICY = "opportunistic"
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
        self, servers: tuple[Server, ...], plan: Plan, parts: Parts, epochs: Epochs, attempts: Attempts, display: Display
    ) -> None:
        """``servers``: the two, or none where no image is there: then no cell is measured either."""
        self.servers, self.plan, self.display = servers, plan, display
        self.parts, self.epochs, self.attempts = parts, epochs, attempts
        self.failure: str | None = None
        """Why the two did not get through before the first phase, however often they were tried; None if they did."""
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
                epoch = Epoch(phase, name, self.servers, settings, at, addresses.dns[0], patience=patience)
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
                        done.set()
                if over:
                    return

    def _why_not(self, epoch: Epoch) -> str | None:
        """What came instead of both messages; None if both arrived at their first attempt."""
        (a, b), exchange = (s.domain for s in self.servers), self.plan.exchanges[0]
        cells = [Cell(epoch.phase.name, sender, receiver, exchange) for sender, receiver in ((a, b), (b, a))]
        if all(epoch.words(c)[:1] == ["received"] for c in cells):
            return None
        absent = [f"{domain}: {why}" for domain, why in epoch.absent.items()]
        return "; ".join(absent or [f"{c.sender} → {c.receiver}: {', '.join(epoch.words(c))}" for c in cells])

    def _note(self, epoch: Epoch, when: str, reasons: Sequence[str], tries: int) -> None:
        """Whether the pair got through in the last of ``tries``; ``reasons``: of each, why it did not."""
        reason = "; then, with fresh servers: ".join(reasons) or None
        self.parts.journal.note(observations.CONTROL, epoch=epoch, when=when, ok=reason is None, reason=reason, tries=tries)
        if reason:
            self.display.say(f"the control pair, which must get through, does not ({epoch.phase.name}, {when}): {reason}")
            self.failure = reason if when == FIRST else self.failure
