"""Of several attempts of one cell: which one decides, whether they agree, and what their disagreement means. Pure.

A cell means: the pair cold, in its own direction, undisturbed. So an attempt of the pair alone outweighs those in the mesh, and
one in which the direction went first (cold) outweighs one in which it went second, or again (warm).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from testbed.judge.evidence import Attempt
from testbed.model import Outcome
from testbed.record.legs import MESH, epoch_kind

Answer = Callable[[Attempt], Outcome | None]
"""An attempt's outcome; None if it says nothing."""
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
    history: dict[str, str] | None = None
    """Outcome cold and warm, where it depends on whether the two had talked before."""
    mesh: Outcome | None = None
    """What the mesh saw instead, where third parties are the only difference left."""
    disturbed: Attempt | None = None
    """The attempt in the mesh that saw that."""


def weigh(attempts: Sequence[Attempt], answer: Answer) -> Weighed:
    """Weigh the attempts (at least one, in order of time). Attempts of equal standing weigh the same in any order."""
    alone = [a for a in attempts if epoch_kind(a.epoch) != MESH]
    mesh = [a for a in attempts if epoch_kind(a.epoch) == MESH]
    if not alone:
        return _alike(mesh, answer)
    # A pair is measured alone because the mesh's answer was doubted: if that says nothing, the doubted answer does not count.
    conclusive = [a for a in alone if answer(a)]
    if not conclusive:
        return Weighed(alone[-1], None, alone=True)
    cold, warm = [a for a in conclusive if a.cold], [a for a in conclusive if not a.cold]
    if not cold:
        # Cold in the mesh, warm alone: together they say all, if they say the same.
        return _alike([*warm, *(a for a in mesh if answer(a))], answer, alone=True)
    decided = _alike(cold, answer, alone=True)
    if decided.outcome is None:
        return decided
    outcome, others = decided.outcome, [a for a in warm if answer(a) is not decided.outcome]
    if others and len(cold) < 2:
        return Weighed(cold[-1], None, alone=True, flaky=_words([*cold, *warm], answer))
    history = {"cold": outcome.value, "warm": _most(others, answer).value} if others else None
    disturbed = _disturbed(mesh, answer, outcome, history["warm"] if history else None)
    return Weighed(
        cold[-1],
        outcome,
        agreeing=sum(answer(a) is outcome for a in attempts),
        alone=True,
        history=history,
        mesh=answer(disturbed) if disturbed else None,
        disturbed=disturbed,
    )


def _disturbed(mesh: Sequence[Attempt], answer: Answer, outcome: Outcome, warm: str | None) -> Attempt | None:
    """The attempt in the mesh that came out otherwise than the pair alone, where the order (``warm``) does not explain it.

    A cold one first; of equal ones the earliest.
    """
    others = [(a, seen) for a in mesh if (seen := answer(a)) and seen is not outcome and (a.cold or seen.value != warm)]
    return min(others, key=lambda pair: (not pair[0].cold, RANK[pair[1]], pair[0].started))[0] if others else None


def _alike(attempts: Sequence[Attempt], answer: Answer, *, alone: bool = False) -> Weighed:
    """Attempts that ought to say the same."""
    conclusive = [a for a in attempts if answer(a)]
    if not conclusive:
        return Weighed(attempts[-1], None, alone=alone)
    outcomes = {answer(a) for a in conclusive}
    if len(outcomes) > 1:
        return Weighed(conclusive[0], None, alone=alone, flaky=_words(conclusive, answer))
    return Weighed(conclusive[0], answer(conclusive[0]), agreeing=len(conclusive), alone=alone)


def _most(attempts: Sequence[Attempt], answer: Answer) -> Outcome:
    """The outcome that most of the attempts have, which all say something."""
    counts = Counter(outcome for a in attempts if (outcome := answer(a)))
    return max(counts, key=lambda outcome: (counts[outcome], -RANK[outcome]))


def _words(attempts: Sequence[Attempt], answer: Answer) -> tuple[str, ...]:
    return tuple(o.value for a in attempts if (o := answer(a)))
