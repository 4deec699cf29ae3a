"""The control pair: two servers that must get through, first and last, over all that every cell uses.

Rule: what they are does not depend on what is asked; if they do not get through, no cell of the run says anything.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from testbed.engine.images import Images
from testbed.measure.epochs import Epoch
from testbed.model import CONTROL_DOMAINS, Cell, Phase, Plan, Server, Settings
from testbed.plan.catalog import Catalog
from testbed.plan.policy import PRESETS
from testbed.record import observations

if TYPE_CHECKING:
    from testbed.measure.conductor import RunMeasurement

CONTROL_POLICY = "opportunistic"


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


class Control:
    """One start of the control pair, with the name server, bridge, gate and driver of the mesh."""

    def __init__(self, run: RunMeasurement, phase: Phase, when: str, turn: asyncio.Event) -> None:
        """``when``: `first` or `last`; the pair starts at once, and writes when its ``turn`` has come."""
        self.run, self.phase, self.when, self.turn = run, phase, when, turn
        self.measured = asyncio.Event()
        """Set when both have their answers, or there is no pair; that the two end is awaited by the next pair alone."""

    async def measure(self, epochs: list[Epoch]) -> None:
        """Start the two, let them write to each other, and note whether both got through. Raises EngineError.

        Their epoch is added to ``epochs``, those of the phase.
        """
        run = self.run
        if not run.controls:
            self.measured.set()  # no image at all: no cell is measured either
            return
        async with run.control_turn:
            servers, addresses = run.controls, run.parts.mesh.addresses
            settings = {s.domain: Settings(s.policy, s.certificate) for s in servers}
            at = {s.domain: addresses.of(s.index) for s in servers}
            epoch = Epoch(self.phase, f"control-{self.when}", servers, settings, at, addresses.dns[0])
            epochs.append(epoch)
            async with run.epochs.running(epoch):
                await epoch.booted.wait()
                await self.turn.wait()
                await run.attempts.pair(epoch, servers[0].domain, servers[1].domain, run.plan.exchanges[:1])
                self._note(epoch)
                self.measured.set()

    def _note(self, epoch: Epoch) -> None:
        (a, b), exchange = (s.domain for s in self.run.controls), self.run.plan.exchanges[0]
        cells = [Cell(self.phase.name, sender, receiver, exchange) for sender, receiver in ((a, b), (b, a))]
        ok = all(epoch.answers[c.id][:1] == ["received"] for c in cells)
        reason = "; ".join(f"{c.sender} → {c.receiver}: {', '.join(epoch.answers[c.id])}" for c in cells)
        self.run.parts.journal.note(observations.CONTROL, epoch=epoch, when=self.when, ok=ok, reason=None if ok else reason)
        if not ok:
            self.run.display.say(f"the control pair, which must get through, does not ({self.phase.name}, {self.when}): {reason}")
