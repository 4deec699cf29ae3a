"""Which evidence of a run was taken in: the wire of a phase, a server's log of an epoch. Pure.

Rule: what is absent from evidence that was not taken in says nothing. Records that are older than `wire-taken-in` and
`log-taken-in` do not say it: a complete one was taken in as a whole; of an incomplete one what something else was recorded after.
"""

from __future__ import annotations

from collections.abc import Iterable

from testbed.record import observations as kinds
from testbed.record.observations import Observation
from testbed.record.store import Record

Place = tuple[str, ...]
"""A phase, whose wire it is; or phase, epoch and domain, whose log it is."""
NOT_READ = "the run ended before {what} was read"


class Intake:
    """What a record holds of wire and logs, and up to when."""

    def __init__(self, record: Record) -> None:
        self._complete = record.complete
        self._says = any(o.kind in SAYING for o in record.observations)
        """The record says itself what was taken in."""
        self._failed: dict[Place, str] = {}
        """Why what was read is not the whole."""
        self._taken: set[Place] = set()
        self._until: dict[str, float] = {}
        """Of a phase whose capture ended early: Unix seconds of the last packet."""
        for o in record.observations:
            self._add(o)
        if not self._says and not record.complete:
            self._taken |= shown(record.observations)

    def _add(self, o: Observation) -> None:
        phase, epoch = o.phase or "", o.epoch or ""
        match o.kind:
            case kinds.WIRE_TAKEN_IN.word:
                self._taken.add((phase,))
                if o.data["status"]:
                    self._failed.setdefault((phase,), f"tshark ended with {o.data['status']}")
                if (until := o.data.get("until")) is not None:
                    self._until[phase] = until
            case kinds.WIRETAP_FAILED.word if phase:
                self._failed[phase,] = str(o.data["reason"])
            case kinds.LOG_TAKEN_IN.word:
                self._taken.add((phase, epoch, o.data["domain"]))
                if not o.data["ok"]:
                    self._failed[phase, epoch, o.data["domain"]] = str(o.data.get("reason"))

    def wire_gap(self, phase: str, until: float = 0.0) -> str | None:
        """Why the wire of a phase is not known ``until`` a time (Unix seconds), as a sentence; None if it is."""
        what = f"the capture of phase '{phase}'"
        if gap := self._gap((phase,), what):
            return gap
        if until > self._until.get(phase, until):
            return f"{what} had reached its bound before, and ended"
        return None

    def log_gap(self, phase: str, epoch: str, domain: str) -> str | None:
        """Why the log of a server in an epoch is not known, as a sentence; None if it is."""
        return self._gap((phase, epoch, domain), f"the log of {domain} in phase '{phase}' ({epoch})")

    def _gap(self, place: Place, what: str) -> str | None:
        if reason := self._failed.get(place):
            return f"{what} could not be read: {reason}"
        if place in self._taken or (self._complete and not self._says):
            return None
        return NOT_READ.format(what=what)


SAYING = {kind.word for kind in kinds.TAKEN_IN}


def shown(observations: Iterable[Observation]) -> set[Place]:
    """What an older record shows to have been taken in: it was written at once, so another observation behind it ends it."""
    places: set[Place] = set()
    last: Place | None = None
    for o in observations:
        place = _place(o)
        if last is not None and place != last:
            places.add(last)
        last = place
    return places


def _place(o: Observation) -> Place | None:
    if o.kind == kinds.STREAM.word:
        return (o.phase or "",)
    if o.kind in kinds.LOG_WORDS:
        return o.phase or "", o.epoch or "", str(o.data["server"])
    return None
