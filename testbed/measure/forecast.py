"""What ought to become of the pairs of a plan, as far as measuring depends on it: whom to doubt, whom to let wait. No verdict."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from testbed.expectations import expect
from testbed.measure.pace import HEAVY
from testbed.model import Cell, Outcome, Phase, Server
from testbed.plan.catalog import Catalog


@dataclass(frozen=True)
class Forecast:
    """The table of expectations, asked for the servers of one run."""

    catalog: Catalog
    servers: Mapping[str, Server]
    """By domain."""
    _outcomes: dict[tuple[str, str, str], frozenset[Outcome]] = field(default_factory=dict, compare=False)

    def outcomes(self, phase: Phase, sender: str, receiver: str) -> frozenset[Outcome]:
        """What may become of a stanza as expected, several where the standards leave it open; only `inconclusive` where nothing
        can be expected."""
        key = (phase.name, sender, receiver)
        if key not in self._outcomes:
            self._outcomes[key] = self._expected(phase, sender, receiver)
        return self._outcomes[key]

    def _expected(self, phase: Phase, sender: str, receiver: str) -> frozenset[Outcome]:
        if any(self.catalog.unknown(self.servers[d].implementation) for d in (sender, receiver)):
            return frozenset({Outcome.INCONCLUSIVE})
        sides = [self.catalog.side(self.servers[d], phase.settings[d]) for d in (sender, receiver)]
        return expect(sides[0], sides[1]).outcomes

    def crosstalks(self, phase: Phase, a: str, b: str) -> bool:
        """Whether a pair ought to deliver, and one of the two is known to behave differently among other peers."""
        known = self._crosstalk(phase, a) or self._crosstalk(phase, b)
        return known and Outcome.DELIVERED in self.outcomes(phase, a, b) | self.outcomes(phase, b, a)

    def chance(self, phase: Phase, cell: Cell) -> tuple[str, ...]:
        """What came of a cell, as an answer's word, that may be chance: a failure that nobody expects.

        Or that leaves open whether it is one, where a server of the pair is known for chance.
        """
        outcomes = self.outcomes(phase, cell.sender, cell.receiver)
        known = Outcome.DELIVERED in outcomes and self.crosstalks(phase, cell.sender, cell.receiver)
        return ("error", "silence") if known or outcomes == {Outcome.DELIVERED} else ()

    def _crosstalk(self, phase: Phase, domain: str) -> bool:
        return self.catalog.image(self.servers[domain].implementation).crosstalks(phase.settings[domain].policy)

    def lasting(self, phase: Phase, a: str, b: str) -> str | None:
        """The domain of a pair whose server may serve several pairs measured alone with one start: its start is dear.

        Only a packaged server that is not known to behave differently among other peers, and only beside one that is: it is that
        one which is in doubt. A server that a user brings is the question itself.
        """
        for domain, peer in ((a, b), (b, a)):
            implementation = self.servers[domain].implementation
            dear = self.catalog.image(implementation).spec.boot_weight >= HEAVY
            if dear and not self._crosstalk(phase, domain) and self._crosstalk(phase, peer):
                return None if self.catalog.is_candidate(implementation) else domain
        return None

    def delivers(self, phase: Phase, a: str, b: str) -> bool:
        """Whether both directions ought to deliver, and neither server is known to behave differently among other peers."""
        outcomes = self.outcomes(phase, a, b) | self.outcomes(phase, b, a)
        return outcomes == {Outcome.DELIVERED} and not self.crosstalks(phase, a, b)

    def doubtful(self, phase: Phase, cell: Cell, answers: Collection[str]) -> bool:
        """Whether what the mesh saw of a cell has to be confirmed: unexpected, or not the same every time."""
        expected, kinds = self.outcomes(phase, cell.sender, cell.receiver), set(answers)
        if Outcome.INCONCLUSIVE in expected:
            return len(kinds) > 1 or "silence" in kinds
        # Where it is open whether it fails, it depends on the cause whether a failure is as expected: nobody knows that here.
        usual = [{"received"}] if Outcome.DELIVERED in expected else [{"error"}]
        return bool(kinds) and kinds not in (*usual, {"not-started"})
