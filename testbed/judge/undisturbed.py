"""Which of the evidence of an epoch tells of a cell: not what belongs to the time of attempts that are void. Pure.

Rule: what came while an attempt of the cell lasted that counts is kept, and what began while one of the two's that is void did is
not, however long it went on. A look-up that timed out on a starved machine must not name the cause of the attempt after it.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.judge.evidence import LOGGED_LATE, Evidence
from testbed.judge.unmeasured import why_void
from testbed.model import Cell
from testbed.record.observations import Observation


@dataclass(frozen=True)
class Times:
    """Spans of time (Unix seconds, the end included only in those that count) of the attempts of two servers in an epoch."""

    counting: tuple[tuple[float, float], ...] = ()
    """Of the cell's attempts that count: until the next one began, or as long as logs are late."""
    void: tuple[tuple[float, float], ...] = ()
    """Of those that are void, in either direction."""

    def tell(self, o: Observation) -> bool:
        """Whether a log line or a stream tells of what counts."""
        end = o.data.get("end", o.time)
        if any(low <= end and o.time <= high for low, high in self.counting):
            return True
        return not any(low <= o.time < high for low, high in self.void)


def times_of(evidence: Evidence, cell: Cell, epoch: str) -> Times:
    """When attempts between the two lasted, as far as they bear on ``cell``.

    A void attempt of the cell lasts until its next one, since retries are of it: with none, to the end of the epoch. One of the
    other direction, or of another exchange, lasts until its answer; then lines are late for a while.
    """
    counting, void = list[tuple[float, float]](), list[tuple[float, float]]()
    attempts = evidence.between.get((cell.phase, epoch, frozenset((cell.sender, cell.receiver))), [])
    for whose, attempt in attempts:
        following = evidence.next_try(whose, attempt)
        late = min(attempt.over + LOGGED_LATE * evidence.stretch, following)
        if why_void(evidence, whose, attempt):
            void.append((attempt.started, following if whose == cell else late))
        elif whose == cell:
            counting.append((attempt.started, late))
    return Times(tuple(counting), tuple(void))
