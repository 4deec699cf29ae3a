"""Of several attempts of one cell: which one decides, whether they agree, and what their disagreement means. Pure.

A cell means: the pair cold, in its own direction, undisturbed. So an attempt of the pair alone outweighs those in the mesh, and
one in which the direction went first (cold) outweighs one in which it went second, or again (warm).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from testbed.judge.evidence import Attempt
from testbed.model import Outcome

MESH = "mesh"


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


def weigh(attempts: Sequence[Attempt], answer: Callable[[Attempt], Outcome | None]) -> Weighed:
    """Weigh the attempts (at least one, in order of time); ``answer`` gives an attempt's outcome, None if it says nothing."""
    alone = [a for a in attempts if a.epoch != MESH]
    mesh = [a for a in attempts if a.epoch == MESH]
    if not alone:
        return _alike(mesh, answer)
    # A pair is measured alone because the mesh's answer was doubted: if that says nothing, the doubted answer does not count.
    told = [a for a in alone if answer(a)]
    if not told:
        return Weighed(alone[-1], None, alone=True)
    cold, warm = [a for a in told if a.cold], [a for a in told if not a.cold]
    seen = [a for a in mesh if answer(a)]
    if not cold:
        # Cold in the mesh, warm alone: together they say all, if they say the same.
        return _alike([*warm, *seen], answer, alone=True)
    decided = _alike(cold, answer, alone=True)
    if decided.outcome is None:
        return decided
    outcome, others = decided.outcome, [a for a in warm if answer(a) is not decided.outcome]
    if others and len(cold) < 2:
        return Weighed(cold[-1], None, alone=True, flaky=_words([*cold, *warm], answer))
    history = {"cold": outcome.value, "warm": _words(others, answer)[0]} if others else None
    first = seen[0] if seen else None
    by_order = first is not None and not first.cold and history is not None and _words([first], answer)[0] == history["warm"]
    disturbed = first if first and answer(first) is not outcome and not by_order else None
    return Weighed(
        cold[-1],
        outcome,
        agreeing=sum(answer(a) is outcome for a in attempts),
        alone=True,
        history=history,
        mesh=answer(disturbed) if disturbed else None,
        disturbed=disturbed,
    )


def _alike(attempts: Sequence[Attempt], answer: Callable[[Attempt], Outcome | None], *, alone: bool = False) -> Weighed:
    """Attempts that ought to say the same."""
    told = [a for a in attempts if answer(a)]
    if not told:
        return Weighed(attempts[-1], None, alone=alone)
    outcomes = {answer(a) for a in told}
    if len(outcomes) > 1:
        return Weighed(told[0], None, alone=alone, flaky=_words(told, answer))
    return Weighed(told[0], answer(told[0]), agreeing=len(told), alone=alone)


def _words(attempts: Sequence[Attempt], answer: Callable[[Attempt], Outcome | None]) -> tuple[str, ...]:
    return tuple(o.value for a in attempts if (o := answer(a)))
