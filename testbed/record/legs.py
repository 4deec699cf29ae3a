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
    LOGIN_FAILED,
    PHASE_COMPLETE,
    RECEIVED,
    RUN_RESUMED,
    SERVER_FAILED,
    SERVER_KEPT,
    SERVER_STARTED,
    SILENCE,
    UNSENDABLE,
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

ENDS = ANSWERS | {UNSENDABLE.word}
"""With which the testbed is done with an attempt, answer or none."""
BEGINNINGS = {kind.word for kind in (SERVER_STARTED, SERVER_KEPT)}
"""With which a server is there in an epoch: from then on it has a log of it."""
FAILURES = {kind.word for kind in (SERVER_FAILED, LOGIN_FAILED)}

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
    """Phase -> the leg in which it was measured whole: to its end, with all of the wire and the log of every server taken in.

    What is not said to be taken in is not: no record that can end a phase is older than `wire-taken-in` and `log-taken-in`.
    """
    ended: dict[str, int] = {}
    gaps: set[tuple[str, int]] = set()
    wire: set[tuple[str, int]] = set()
    missing: dict[tuple[str, int], set[tuple[str | None, str]]] = defaultdict(set)
    """Phase and leg -> epoch and domain of servers that were there, and whose log is not there yet."""
    for leg, _, o in _by_leg(observations):
        if not o.phase:
            continue
        place = o.phase, leg
        if o.kind == PHASE_COMPLETE.word:
            ended[o.phase] = leg
        elif o.kind in GAPS and GAPS[o.kind](o):
            gaps.add(place)
        elif o.kind == WIRE_TAKEN_IN.word:
            wire.add(place)
        elif o.kind in BEGINNINGS and "domain" in o.data:
            missing[place].add((o.epoch, o.data["domain"]))
        elif o.kind == LOG_TAKEN_IN.word:
            missing[place].discard((o.epoch, o.data["domain"]))
    return {p: leg for p, leg in ended.items() if (p, leg) in wire - gaps and not missing[p, leg]}


def answered_cells(observations: Iterable[Observation]) -> dict[tuple[str, int], set[str]]:
    """Phase and leg -> the ids of the cells that have an answer, and the domains of servers that failed: theirs have none."""
    known: dict[tuple[str, int], set[str]] = defaultdict(set)
    for leg, _, o in _by_leg(observations):
        if o.phase and o.cell and o.kind in ENDS:
            known[o.phase, leg].add(o.cell)
        elif o.phase and o.kind in FAILURES:
            known[o.phase, leg].add(str(o.data["domain"]))
    return known


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
