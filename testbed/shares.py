"""How often a cell delivers, and when that is known: shares with their interval, and the test that says when to stop repeating.

Rule: attempts under the same conditions are taken to have one outcome with the same probability p each time. p >= 0.95 is that
outcome, p <= 0.05 is not; a cell between them is unstable, and must not be called one of the two because its attempts agreed by
luck.

- All attempts agree: that is the outcome; where chance is suspected, when `AGREEING` starts have agreed.
- Two or more dissent: for no outcome is p likely to be 0.95 or more. Unstable, unless the order explains it.
- One dissents: it is forgiven when `COLD_STARTS` were made. Before, nothing is settled.
- The order: over `COLD_STARTS` all cold attempts agree, and warm ones differ from them beyond chance (Fisher's exact test,
  two-sided, `LEVEL`). The cold outcome counts, and depends on history.

The error rates of the whole rule are enumerated in `tests/unit/test_shares.py` and told in `docs/measuring.md`. Pure, and of
neither half: `measure` asks which start is still missing, `judge` what the attempts come to.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Word = TypeVar("Word", bound=Hashable)
"""An outcome, as whoever asks calls it."""

AGREEING = 3
"""Starts of the servers, the mesh among them, that have to agree where chance is suspected."""
COLD_STARTS = 8
"""Cold starts of the pair alone after which one that dissents is forgiven, or warm attempts that differ are put down to order."""
LEVEL = 0.01
"""Of the test whether cold and warm attempts differ."""
Z = 1.959964
"""Quantile of the normal distribution for an interval of 95 %."""


@dataclass(frozen=True)
class Share:
    """How many of so many attempts delivered."""

    delivered: int
    tries: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval for 95 %, as if the number of tries had been fixed; all of it, where nothing was tried."""
        if not self.tries:
            return 0.0, 1.0
        p, z = self.delivered / self.tries, Z * Z / self.tries
        centre, half = p + z / 2, Z * math.sqrt((p * (1 - p) + z / 4) / self.tries)
        low, high = (centre - half) / (1 + z), (centre + half) / (1 + z)
        return (low if self.delivered else 0.0), (high if self.delivered < self.tries else 1.0)


TRIES = {"cold": ("cold start", "cold starts"), "warm": ("warm try", "warm tries")}
"""Kinds of attempts of a pair alone: what one and what several are called."""


def tell(shares: Mapping[str, Share]) -> str:
    """``delivers in 5 of 8 cold starts (31 to 86 %) and in 8 of 8 warm tries (68 to 100 %)``"""
    parts = []
    for kind, share in shares.items():
        low, high = (f"{round(100 * bound)}" for bound in share.interval)
        parts.append(f"in {share.delivered} of {share.tries} {TRIES[kind][share.tries != 1]} ({low} to {high} %)")
    return f"delivers {' and '.join(parts)}"


@dataclass(frozen=True)
class Tally(Generic[Word]):
    """What came of those attempts of one cell that say something: how often each outcome."""

    cold: Counter[Word] = field(default_factory=Counter)
    """Of the pair alone, in the direction that went first."""
    warm: Counter[Word] = field(default_factory=Counter)
    """Of the pair alone, after the two had talked."""
    mesh: Counter[Word] = field(default_factory=Counter)
    """Among all servers."""
    starts: int = 0
    """Of the pair alone in which the cell was attempted."""
    mute: bool = False
    """Cold attempts were made, alone or in the mesh, and none of them says anything; one more may."""


@dataclass(frozen=True)
class Finding(Generic[Word]):
    """What the attempts of a pair alone come to."""

    outcome: Word | None
    """None: they disagree."""
    settled: bool
    """No further attempt is asked for: where they disagree, the cell is unstable."""
    warm: Word | None = None
    """The outcome of warm attempts, where the order makes the difference."""


def finding(cold: Counter[Word], warm: Counter[Word]) -> Finding[Word]:
    """What at least one attempt comes to; in which order they were made does not matter."""
    tries = cold + warm
    usual = most_frequent(tries)
    dissenting = tries.total() - tries[usual]
    if not dissenting:
        return Finding(usual, settled=True)
    enough = cold.total() >= COLD_STARTS
    if len(cold) == 1:
        (outcome,) = cold
        if enough and _order_matters(cold.total(), warm[outcome], warm.total()):
            return Finding(outcome, settled=True, warm=most_frequent(_others(warm, outcome)))
        if dissenting > 1:
            # Could the order still be found to matter, if from now on every cold attempt agreed and every warm one dissented?
            most = max(cold.total(), COLD_STARTS), warm[outcome], max(warm.total(), COLD_STARTS)
            return Finding(None, settled=not _order_matters(*most))
    if dissenting == 1:
        return Finding(usual if enough else None, settled=enough)
    return Finding(None, settled=len(cold) > 1)


def missing_start(tally: Tally[Word], *, suspect: Collection[Word] = ()) -> bool | None:
    """Whether a cell needs one more start of the pair alone: True with its direction first (cold), False second, None: no.

    ``suspect``: outcomes that chance may have brought about, since a server of the pair is known for it.
    """
    cold, warm, mesh = tally.cold, tally.warm, tally.mesh
    tries = cold + warm
    if not tries:
        return None
    if tally.mute:
        return True
    if len(tries) > 1:
        return None if finding(cold, warm).settled else cold.total() < COLD_STARTS
    (outcome,) = tries
    contradicted = bool(_others(mesh, outcome))
    agreeing = tally.starts + bool(mesh and not contradicted)
    if agreeing < AGREEING and (contradicted or outcome in suspect):
        return cold.total() <= warm.total()
    return True if contradicted and not cold else None


def most_frequent(words: Counter[Word]) -> Word:
    """The most frequent outcome, of at least one; of equal ones the same in whatever order they came."""
    return min(words, key=lambda word: (-words[word], str(word)))


def by_chance(a: int, of_a: int, b: int, of_b: int) -> float:
    """How likely shares differ as much as ``a`` of ``of_a`` and ``b`` of ``of_b`` by chance: Fisher's exact test, two-sided."""
    hits, total = a + b, of_a + of_b

    def ways(first: int) -> int:
        return math.comb(of_a, first) * math.comb(of_b, hits - first)

    possible = range(max(0, hits - of_b), min(of_a, hits) + 1)
    return sum(n for n in map(ways, possible) if n <= ways(a)) / math.comb(total, hits)


def _order_matters(cold: int, alike: int, warm: int) -> bool:
    """Whether ``warm`` attempts, of which so many came out ``alike``, differ beyond chance from ``cold`` ones that all did."""
    return by_chance(cold, cold, alike, warm) <= LEVEL


def _others(words: Counter[Word], outcome: Word) -> Counter[Word]:
    return Counter({word: n for word, n in words.items() if word != outcome})
