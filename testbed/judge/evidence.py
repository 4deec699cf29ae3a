"""What the record holds of one cell: observations sorted by phase, epoch and pair. Decides nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from testbed.judge.intake import Intake
from testbed.model import Cell
from testbed.record import observations as kinds
from testbed.record.legs import Numbered, standing
from testbed.record.observations import Observation, Source
from testbed.record.store import Record
from testbed.record.strain import Strain

LOGGED_LATE = 2.0
"""Seconds, times the run's stretch, after the sender was told within which a log may still say why: lines are stamped late on a
loaded machine. What ends with the next cell (`WRITTEN_LATE`, `AFTERMATH`) is not stretched beyond its beginning: see `lately`."""
GOING_DOWN = 2.0
"""Seconds, times the run's stretch, before a server's end from which on its failures may be of it."""
MOST_STRETCH = 100
"""What a manifest may say of a run's stretch at most: more is a damaged one."""
CELL_WORDS = {kind.word for kind in kinds.CELLS}


@dataclass
class Attempt:
    """One try of a cell in one epoch: what the clients saw."""

    epoch: str
    number: int
    started: float
    sent: float | None = None
    received: float | None = None
    bounced: float | None = None
    error: dict[str, Any] = field(default_factory=dict)
    silence: dict[str, Any] | None = None
    silent: float | None = None
    """When it was noted that no answer had come, or that none would: nothing had been sent."""
    unsendable: bool = False
    strain: Strain | None = None
    """How long its servers had to wait for what the machine lacked; None: nothing is known of it, or it delivered in time."""
    token: str = ""
    cold: bool = False
    """The first attempt of its cell in this epoch, in the direction of the pair that went first there."""
    lines: list[int] = field(default_factory=list)

    @property
    def end(self) -> float:
        """When the answer came, or long after the start."""
        return self.received or self.bounced or self.started + 1e6

    @property
    def over(self) -> float:
        """When the answer came, or it was noted that none had; long after the start if neither was."""
        return self.received or self.bounced or self.silent or self.end


def lately(end: float, seconds: float, stretch: int, following: float) -> float:
    """Until when what is ``seconds`` late, or ``stretch`` times that on a slow machine, belongs to what was over at ``end``.

    There no further than to what is ``following``: it begins as soon after as on any machine.
    """
    return max(end + seconds, min(end + seconds * stretch, following))


def _later(attempts: Iterable[Attempt], attempt: Attempt) -> float:
    """When the first of those began that are later; infinite if none is."""
    return min((a.started for a in attempts if a.started > attempt.started), default=float("inf"))


class Evidence:
    """The index of a record."""

    def __init__(self, record: Record) -> None:
        numbered = list(standing(record.observations))
        self.stretch = min(max(int(record.manifest.get("stretch") or 1), 1), MOST_STRETCH)
        """How much longer the short timers were than on a machine that is not slow; the testbed itself waited as much longer."""
        self.intake = Intake(replace(record, observations=tuple(o for _, o in numbered)))
        self.attempts: dict[str, list[Attempt]] = defaultdict(list)
        self.wire: dict[tuple[str, str, str, str], list[Numbered]] = defaultdict(list)
        """(phase, epoch, initiator, receiver) -> TCP streams."""
        self.logs: dict[tuple[str, str, str, str], list[Numbered]] = defaultdict(list)
        """(phase, epoch, server, peer) -> what the server's log says of the peer."""
        self.failures: dict[tuple[str, str, str], Numbered] = {}
        """(phase, epoch, domain) -> since when and why a server was not there; the first that was noted."""
        self.started: dict[tuple[str, str, str], float] = {}
        """(phase, epoch, domain) -> when its server was started."""
        self.ended: dict[tuple[str, str], float] = {}
        """(phase, epoch) -> when its servers were gone."""
        self.given_up: dict[tuple[str, str], Numbered] = {}
        """(phase, epoch) with which the testbed could not go on."""
        self.storms: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        self.versions: dict[tuple[str, str], str | None] = {}
        self.dissected: set[tuple[str, str]] = set()
        """(phase, epoch) of which streams were seen."""
        self.machine: list[Observation] = []
        """What the machine as a whole had to wait for, now and then."""
        self.controls: list[Numbered] = []
        self.phases_ended: set[str] = set()
        """Phases that were measured to their end; records of older testbeds do not say it."""
        self.unconfirmed: set[tuple[str, frozenset[str]]] = set()
        """(phase, pair) that would have been measured alone, beyond the bound."""
        self.between: dict[tuple[str, str, frozenset[str]], list[tuple[Cell, Attempt]]] = defaultdict(list)
        """(phase, epoch, pair) -> every attempt of the two, in either direction."""
        self.opened: dict[tuple[str, str, frozenset[str]], str] = {}
        """(phase, epoch, pair) -> the domain that wrote first."""
        by_token: dict[str, Attempt] = {}
        for number, o in numbered:
            if o.cell and o.source in (Source.ENGINE, Source.SENDER, Source.RECEIVER):
                self._cell(number, o, by_token)
                continue
            phase, epoch = o.phase or "", o.epoch or ""
            match o.kind:
                case kinds.STREAM.word:
                    self.wire[phase, epoch, o.data["sender"], o.data["receiver"]].append((number, o))
                    self.dissected.add((phase, epoch))
                case kinds.SERVER_FAILED.word | kinds.LOGIN_FAILED.word:
                    self.failures.setdefault((phase, epoch, o.data["domain"]), (number, o))
                case kinds.EPOCH_ENDED.word:
                    self.ended[phase, epoch] = o.time
                case kinds.EPOCH_FAILED.word:
                    self.given_up[phase, epoch] = (number, o)
                case kinds.SERVER_STARTED.word if "domain" in o.data:
                    self.started[phase, epoch, o.data["domain"]] = o.time
                case kinds.SERVER_KEPT.word if "domain" in o.data:
                    since = (phase, str(o.data.get("since")), o.data["domain"])
                    self.started[phase, epoch, o.data["domain"]] = self.started.get(since, o.time)
                case kinds.STORM.word:
                    self.storms[phase, epoch].append(o.data)
                case kinds.UNCONFIRMED.word:
                    self.unconfirmed |= {(phase, frozenset(pair)) for pair in o.data["pairs"]}
                case kinds.MACHINE.word:
                    self.machine.append(o)
                case kinds.CONTROL.word:
                    self.controls.append((number, o))
                case kinds.PHASE_COMPLETE.word:
                    self.phases_ended.add(phase)
                case kinds.VERSION.word:
                    self.versions[o.data["implementation"], o.data["release"]] = o.data.get("version")
                case _ if o.kind in kinds.LOG_WORDS:
                    self.logs[phase, epoch, o.data["server"], o.data["peer"]].append((number, o))

    def _cell(self, number: int, o: Observation, by_token: dict[str, Attempt]) -> None:
        if o.kind not in CELL_WORDS:
            return  # a newer testbed's, whose fields nobody here knows
        cell, token = o.cell or "", o.data.get("token", "")
        if o.kind == kinds.ATTEMPT.word:
            cold = bool(o.data.get("cold", self._cold_by_order(o)))
            attempt = Attempt(o.epoch or "", number, o.time, token=token, cold=cold, lines=[number])
            self.attempts[cell].append(attempt)
            if len(ends := cell.split("/")[-3:]) == 3:
                planned = Cell(o.phase or "", *ends)
                self.between[planned.phase, attempt.epoch, frozenset(ends[:2])].append((planned, attempt))
            by_token[token] = attempt
            return
        if o.kind == kinds.SILENCE.word:
            for attempt in self.attempts[cell]:
                if attempt.token == token or (not token and attempt.epoch == o.epoch):
                    attempt.silence, attempt.silent = o.data, o.time
                    attempt.lines.append(number)
            return
        answered = by_token.get(token)
        if answered is None:
            return
        answered.lines.append(number)
        match o.kind:
            case kinds.SENT.word:
                answered.sent = o.time
            case kinds.RECEIVED.word:
                answered.received = answered.received or o.time
            case kinds.ERROR.word:
                answered.bounced = answered.bounced or o.time
                answered.error = o.data
            case kinds.STRAIN.word:
                answered.strain = Strain.of(o.data)
            case kinds.UNSENDABLE.word:
                answered.unsendable, answered.silent = True, o.time

    def _cold_by_order(self, o: Observation) -> bool:
        """Whether an attempt was cold, from the order of attempts: for records in which the attempt does not say it itself."""
        ends = (o.cell or "").split("/")[-3:-1]
        if len(ends) != 2:
            return False  # no cell of any plan
        sender, receiver = ends
        first = self.opened.setdefault((o.phase or "", o.epoch or "", frozenset((sender, receiver))), sender)
        return first == sender and all(earlier.epoch != o.epoch for earlier in self.attempts[o.cell or ""])

    def following(self, cell: Cell, attempt: Attempt) -> float:
        """When the next attempt between the two of a cell began after this one, in either direction; infinite if none did."""
        attempts = self.between.get((cell.phase, attempt.epoch, frozenset((cell.sender, cell.receiver))), ())
        return _later((a for _, a in attempts), attempt)

    def next_try(self, cell: Cell, attempt: Attempt) -> float:
        """When the next attempt of a cell itself began in that epoch; infinite if none did."""
        return _later((a for a in self.attempts.get(cell.id, ()) if a.epoch == attempt.epoch), attempt)

    def failure(self, cell: Cell, attempt: Attempt) -> Observation | None:
        """The failure of a server of ``cell`` that may have made the outcome of an attempt: it began before the attempt ended.

        A server that is on its way down fails its peers before its process is gone, so a little later counts too.
        """
        ended = attempt.received or attempt.bounced or attempt.silent or self._over(cell, attempt)
        found = [self.failures.get((cell.phase, attempt.epoch, domain)) for domain in (cell.sender, cell.receiver)]
        failures = [f[1] for f in found if f and f[1].time <= ended + GOING_DOWN * self.stretch]
        return min(failures, key=lambda o: o.time, default=None)

    def _over(self, cell: Cell, attempt: Attempt) -> float:
        """When nothing more could become of an attempt without answer: its cell's next one there began, or its epoch ended."""
        return min(self.next_try(cell, attempt), self.ended.get((cell.phase, attempt.epoch), attempt.end))

    def streams(self, cell: Cell, epoch: str, *, back: bool = False) -> list[Numbered]:
        """TCP streams that the sender's server opened to the receiver's (or, ``back``, the other way round: dialback)."""
        a, b = (cell.receiver, cell.sender) if back else (cell.sender, cell.receiver)
        return self.wire.get((cell.phase, epoch, a, b), [])

    def streams_with_others(self, cell: Cell, epoch: str, low: float, high: float) -> list[Observation]:
        """Streams between one end of ``cell`` and a third party that were open at some time between ``low`` and ``high``."""
        ends = {cell.sender, cell.receiver}
        return [
            o
            for (phase, where, a, b), streams in self.wire.items()
            if (phase, where) == (cell.phase, epoch) and len(ends & {a, b}) == 1
            for _, o in streams
            if o.data["start"] <= high and o.data["end"] >= low
        ]

    def logged(self, cell: Cell, epoch: str, *, by: str, direction: str | None = None) -> list[Numbered]:
        """What the log of one end (``by`` its domain) says of the other, in one direction of streams as that server sees it."""
        peer = cell.receiver if by == cell.sender else cell.sender
        lines = self.logs.get((cell.phase, epoch, by, peer), [])
        return [n for n in lines if direction is None or n[1].data.get("direction") in (direction, None)]
