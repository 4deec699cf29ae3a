"""Of several attempts of one cell: which one decides, whether they agree, and what their disagreement means. Pure.

A cell means: the pair cold, in its own direction, undisturbed. So an attempt of the pair alone outweighs those in the mesh, and
one in which the direction went first (cold) outweighs one in which it went second, or again (warm). Where the cold attempts say
nothing, a warm delivery does not speak for them, and warm failures do only if they are expected. Whether those that differ do so
by chance or because of the order is decided in `testbed/shares.py`, which also says how often a pair alone is measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from testbed.judge.evidence import Attempt
from testbed.model import Outcome
from testbed.record.legs import MESH, epoch_kind
from testbed.shares import Share, finding

Answer = Callable[[Attempt], Outcome | None]
"""An attempt's outcome; None if it says nothing."""
FEW = 2
"""Cold attempts from which on their share is told even if they agree."""
RANK = {outcome: place for place, outcome in enumerate(Outcome)}
"""Breaks a tie where the order of attempts may not: which of two came first is chance."""


@dataclass(frozen=True)
class Weighed:
    """What the attempts of a cell come to."""

    deciding: Attempt
    outcome: Outcome | None
    """None: they disagree, and nothing says which is right; or the deciding one says nothing."""
    agreeing: int = 1
    """Attempts with that outcome."""
    alone: bool = False
    """The pair was measured alone, and that decided."""
    flaky: tuple[str, ...] = ()
    """Outcomes under the same conditions that differ, in order."""
    shares: Mapping[str, Share] = field(default_factory=dict)
    """How many `cold` and `warm` attempts delivered, of those that were weighed; empty if there are few, and they agree."""
    history: dict[str, str] | None = None
    """Outcome cold and warm, where it depends on whether the two had talked before."""
    mesh: Outcome | None = None
    """What the mesh saw instead, where third parties are the only difference left."""
    mute: Attempt | None = None
    """A cold attempt that failed and says nothing, where only warm ones do, and all failed: as far as that is expected."""
    disturbed: Attempt | None = None
    """The attempt in the mesh that saw that."""


def weigh(attempts: Sequence[Attempt], answer: Answer) -> Weighed:
    """Weigh the attempts (at least one, in order of time). Attempts of equal standing weigh the same in any order."""
    alone = [a for a in attempts if epoch_kind(a.epoch) != MESH]
    mesh = [a for a in attempts if epoch_kind(a.epoch) == MESH]
    mute = None if any(a.cold and answer(a) for a in attempts) else next((a for a in reversed(attempts) if a.cold), None)
    if not alone:
        return Weighed(mute, None) if mute and Outcome.DELIVERED in map(answer, mesh) else _alike(mesh, answer, mute=mute)
    # A pair is measured alone because the mesh's answer was doubted: if that says nothing, the doubted answer does not count.
    conclusive = [a for a in alone if answer(a)]
    if not conclusive:
        return Weighed(alone[-1], None, alone=True)
    cold, warm = [a for a in conclusive if a.cold], [a for a in conclusive if not a.cold]
    if not cold and mute and Outcome.DELIVERED in map(answer, attempts):
        return Weighed(mute, None, alone=True)
    if not cold:
        # Cold in the mesh, warm alone: together they say all, if they say the same.
        return _alike([*warm, *(a for a in mesh if answer(a))], answer, alone=True, mute=mute)
    found = finding(*(Counter(o for a in kind if (o := answer(a))) for kind in (cold, warm)))
    shares = _shares({"cold": cold, "warm": warm}, answer)
    if found.outcome is None:
        differing = cold if len(set(_words(cold, answer))) > 1 else [*cold, *warm]
        return Weighed(cold[-1], None, alone=True, flaky=_words(differing, answer), shares=shares)
    outcome, disturbed = found.outcome, _disturbed(mesh, answer, conclusive)
    return Weighed(
        [a for a in cold if answer(a) is outcome][-1],
        outcome,
        agreeing=sum(answer(a) is outcome for a in attempts),
        alone=True,
        shares=shares,
        history={"cold": outcome.value, "warm": found.warm.value} if found.warm else None,
        mesh=answer(disturbed) if disturbed else None,
        disturbed=disturbed,
    )


def _disturbed(mesh: Sequence[Attempt], answer: Answer, alone: Sequence[Attempt]) -> Attempt | None:
    """The attempt in the mesh that came out as none of the pair ``alone`` did, nor, if it was cold, any cold one.

    A cold one first; of equal ones the earliest.
    """
    others = [
        (a, seen) for a in mesh if (seen := answer(a)) and seen not in {answer(o) for o in alone if o.cold or not a.cold}
    ]  # fmt: skip
    return min(others, key=lambda pair: (not pair[0].cold, RANK[pair[1]], pair[0].started))[0] if others else None


def _alike(attempts: Sequence[Attempt], answer: Answer, *, alone: bool = False, mute: Attempt | None = None) -> Weighed:
    """Attempts that ought to say the same."""
    conclusive = [a for a in attempts if answer(a)]
    if not conclusive:
        return Weighed(attempts[-1], None, alone=alone)
    outcomes = {answer(a) for a in conclusive}
    if len(outcomes) > 1:
        return Weighed(conclusive[0], None, alone=alone, flaky=_words(conclusive, answer))
    return Weighed(conclusive[0], answer(conclusive[0]), agreeing=len(conclusive), alone=alone, mute=mute)


def _shares(attempts: Mapping[str, Sequence[Attempt]], answer: Answer) -> dict[str, Share]:
    """How many `cold` and `warm` attempts of the pair alone delivered; nothing where there is one cold start and no dissent."""
    words = {kind: _words(alike, answer) for kind, alike in attempts.items()}
    if len(words["cold"]) < FEW and len({*words["cold"], *words["warm"]}) < 2:
        return {}
    return {kind: Share(found.count(Outcome.DELIVERED.value), len(found)) for kind, found in words.items() if found}


def _words(attempts: Sequence[Attempt], answer: Answer) -> tuple[str, ...]:
    return tuple(o.value for a in attempts if (o := answer(a)))
