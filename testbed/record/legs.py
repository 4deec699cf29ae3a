"""A run that was interrupted and resumed has several legs: what each start of servers is called in them, and what of them counts.

Rule: a phase is judged from one leg. It was measured whole in that, or it is measured again; what other legs recorded of it stays
in the record and counts for nothing. Pure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from testbed.record.observations import (
    ERROR,
    LOG_TAKEN_IN,
    PHASE_COMPLETE,
    RECEIVED,
    RUN_RESUMED,
    SILENCE,
    WIRE_TAKEN_IN,
    WIRETAP_FAILED,
    Observation,
)

MESH, ALONE, CONTROL = "mesh", "alone", "control"
"""The kinds of epochs: all servers of a phase, a pair by itself, the control pair."""
AGAIN = "again"
"""Ends the name of an epoch in which the control pair is tried once more, before its leg."""

ANSWERS = {kind.word for kind in (RECEIVED, ERROR, SILENCE)}
"""With which an attempt of a cell ends."""

Numbered = tuple[int, Observation]
"""A line number of observations.jsonl, and the observation there."""


def epoch_name(kind: str, *which: object, leg: int) -> str:
    """``mesh``, ``alone-7``, ``control-first``; from the second leg on with its number: ``alone-7.2``."""
    return "-".join([kind, *map(str, which)]) + (f".{leg}" if leg > 1 else "")


def epoch_kind(name: str) -> str:
    """The kind of an epoch, by its name."""
    return re.split(r"[-.]", name, maxsplit=1)[0]


def repeated(name: str) -> str | None:
    """The name of the epoch that one repeats with fresh servers: ``control-first`` of ``control-first-again``; else None."""
    first = re.sub(rf"-{AGAIN}(?=\.|$)", "", name)
    return None if first == name else first


GAPS: dict[str, Callable[[Observation], bool]] = {
    WIRE_TAKEN_IN.word: lambda o: bool(o.data["status"]),
    LOG_TAKEN_IN.word: lambda o: not o.data["ok"],
    WIRETAP_FAILED.word: lambda _: True,
}
"""What says, of a phase, that its evidence is not all there."""


def complete_phases(observations: Iterable[Observation]) -> dict[str, int]:
    """Phase -> the leg in which it was measured whole: to its end, with all of the wire and every log taken in."""
    ended: dict[str, int] = {}
    gaps: set[tuple[str, int]] = set()
    for leg, _, o in _by_leg(observations):
        if o.phase and o.kind == PHASE_COMPLETE.word:
            ended[o.phase] = leg
        elif o.phase and o.kind in GAPS and GAPS[o.kind](o):
            gaps.add((o.phase, leg))
    return {phase: leg for phase, leg in ended.items() if (phase, leg) not in gaps}


def standing(observations: Sequence[Observation]) -> Iterator[Numbered]:
    """What counts, with its line: each phase from one leg, and everything that is of no phase.

    That leg is the one in which the phase was measured whole; while there is none, the one that answered most of its cells, and
    of equal ones the latest.
    """
    by_leg = list(_by_leg(observations))
    answered: dict[str, dict[int, set[str | None]]] = defaultdict(lambda: defaultdict(set))
    for leg, _, o in by_leg:
        if o.phase:
            cells = answered[o.phase][leg]
            if o.kind in ANSWERS:
                cells.add(o.cell)
    chosen = {phase: max(by, key=lambda leg: (len(by[leg]), leg)) for phase, by in answered.items()}
    chosen |= complete_phases(observations)
    for leg, number, o in by_leg:
        if not o.phase or chosen[o.phase] == leg:
            yield number, o


def _by_leg(observations: Iterable[Observation]) -> Iterator[tuple[int, int, Observation]]:
    """Each observation with its leg and its line."""
    leg = 1
    for number, o in enumerate(observations, 1):
        leg += o.kind == RUN_RESUMED.word
        yield leg, number, o


def legs_of(observations: Iterable[Observation]) -> int:
    """How many legs a run has."""
    return 1 + sum(o.kind == RUN_RESUMED.word for o in observations)
