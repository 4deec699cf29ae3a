"""The evidence of one failed cell, and what can be asked of it. Pure; names no cause.

Rule: what belongs to the cell before or after, or to the stream of the other direction, is kept apart here, so that no rule of
`rules` or `faults` has to think of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from testbed.causes import CAUSES
from testbed.judge.evidence import LOGGED_LATE, Attempt, Evidence, lately
from testbed.judge.federation import Federation
from testbed.judge.undisturbed import times_of
from testbed.model import Cell
from testbed.record.legs import Numbered
from testbed.record.manifest import Dimensions, PlannedSettings
from testbed.record.observations import Observation
from testbed.sides import defect_as

SIDES = ("sender", "receiver")
CHAIN_AND_NAME = ("chain", "name")
"""What software looks at in a certificate where its folder says nothing else (RFC 6120 §13.7.2)."""
TORN_WITHIN = 5.0
"""Seconds, times the run's stretch, that a stream lasts at most which was torn down; a longer one ended by a timer."""
WRITTEN_LATE = 0.05
"""Seconds after the end within which a log line still belongs to the cell, where the next cell writes into the same log; on a
slow machine see `lately`."""
AFTERMATH = 0.25
"""Seconds after the sender was told within which a stream may still begin that belongs to the cell; on a slow machine see
`lately`."""
LAST_WORDS = frozenset(("remote-server-error", "stream-refused"))
"""What a log says of a stream that ended under TLS with a word of one side to the other."""
CIVIL = 4096
"""Bytes in clear that the opening of a stream takes at most, from one side: header, features or a key. More is something else."""


@dataclass(frozen=True)
class Case:
    """The evidence of one failed cell, as far as rules look at it."""

    sender: PlannedSettings
    """The sender's settings in this phase, as in the manifest."""
    receiver: PlannedSettings
    streams: list[Observation]
    """TCP streams from the sender's server to the receiver's."""
    back: list[Observation]
    """TCP streams the other way round."""
    sender_log: list[Observation] = field(default_factory=list)
    """What the sender's server logged of streams that it opened to the receiver."""
    receiver_log: list[Observation] = field(default_factory=list)
    """What the receiver's server logged of streams that the sender opened."""
    back_log: list[Observation] = field(default_factory=list)
    """What both logged of streams that the receiver opened (dialback)."""
    later: list[Observation] = field(default_factory=list)
    """What either logged of streams that the sender opened, after that: lines that are late, or of a retry."""
    tearers: frozenset[str] = frozenset()
    """Sides that tore down a stream between the two, in any attempt of the phase: the defect shows by chance."""
    error: dict[str, Any] = field(default_factory=dict)
    verifies: tuple[tuple[str, ...], ...] = (CHAIN_AND_NAME, CHAIN_AND_NAME)
    """What each side looks at in a certificate that must verify."""
    began: float = 0.0
    """When the stanza was written. What of the other direction ended before belongs to an earlier cell."""
    ended: float = float("inf")
    """When the sender was told. What of the other direction began after it belongs to the next cell."""
    stretch: int = 1
    """How much longer the short timers were than on a machine that is not slow."""
    following: float = float("inf")
    """When the next attempt between the two began, in either direction."""
    gaps: Mapping[str, str] = field(default_factory=dict)
    """`wire`, `sender` (the log of its server), `receiver` -> why that was not taken in: then its silence says nothing."""

    def settings(self, side: str) -> Dimensions:
        """What a side was set to, as it acts in effect."""
        settings = self.sender if side == "sender" else self.receiver
        return settings.get("effective") or settings["dimensions"]

    def strict(self, side: str) -> bool:
        """True if that side demands a certificate that verifies."""
        return bool(self.settings(side)["authentication"] == ["external"])

    def defect(self, side: str, role: str) -> str | None:
        """What is wrong with the certificate that this side was issued, as a TLS ``client`` or ``server``."""
        settings = self.sender if side == "sender" else self.receiver
        return defect_as(role, settings.get("defect"), settings.get("defective_as"))

    def looks_at(self, side: str, defect: str) -> bool:
        """Whether the software of a side looks at what is defective at all."""
        return CAUSES[defect].examines in self.verifies[SIDES.index(side)]

    @property
    def answered(self) -> list[Observation]:
        """Streams in which the receiver's host answered."""
        return [s for s in self.streams if s.data.get("answered")]

    @property
    def directed(self) -> Iterator[tuple[Observation, str, str]]:
        """Every stream that may tell, who initiated and who received it.

        The sender's first, older ones too: a server that still tries for the last cell's sake puts this stanza on that stream.
        """
        for streams, ends in ((self.streams, SIDES), (self.called_back, SIDES[::-1])):
            for stream in sorted(streams, key=lambda s: s.data.get("end", s.time) < self.began):
                yield stream, *ends

    @property
    def called_back(self) -> list[Observation]:
        """Streams for dialback that were open while the cell lasted."""
        return [s for s in self.back if s.data.get("end", s.time) >= self.began and s.time <= self.ended]

    @property
    def answered_back(self) -> list[Observation]:
        """What was logged of the stream for dialback, if the wire shows that there was one: a late line is of another."""
        return self.returned if self.called_back else []

    @property
    def returned(self) -> list[Observation]:
        """What was logged of the stream for dialback while the cell lasted."""
        latest = lately(self.ended, WRITTEN_LATE, self.stretch, self.following)
        return [o for o in self.back_log if self.began <= o.time <= latest]

    def refusals(self) -> Iterator[tuple[str, str, str]]:
        """Who would refuse whose certificate for what: both ends of the sender's stream, then of the stream for dialback."""
        for initiator, receiver in (SIDES, SIDES[::-1]):
            for judge, holder, role in ((initiator, receiver, "server"), (receiver, initiator, "client")):
                if self.strict(judge) and (defect := self.defect(holder, role)):
                    yield judge, holder, defect


def case_of(evidence: Evidence, federation: Federation, cell: Cell, attempt: Attempt) -> Case:
    """The evidence of a failed cell, of the attempt that decides it."""
    epoch = attempt.epoch
    # What came after the answer belongs to the other direction, or to a retry that this stanza knows nothing of. What a log
    # says of this direction is another matter: it is written late, and a retry fails for the same cause.
    following = evidence.following(cell, attempt)
    soon = lately(attempt.end, AFTERMATH, evidence.stretch, following)
    late = attempt.end + LOGGED_LATE * evidence.stretch
    times = times_of(evidence, cell, epoch)

    def until(numbered: Sequence[Numbered], latest: float = soon) -> list[Observation]:
        return [o for _, o in numbered if o.time <= latest and times.tell(o)]

    sender, receiver = federation.servers[cell.sender], federation.servers[cell.receiver]
    sender_in = evidence.logged(cell, epoch, by=cell.sender, direction="in")
    receiver_out = evidence.logged(cell, epoch, by=cell.receiver, direction="out")
    opened = sorted(
        evidence.logged(cell, epoch, by=cell.sender, direction="out")
        + evidence.logged(cell, epoch, by=cell.receiver, direction="in"),
        key=lambda numbered: numbered[1].time,
    )
    return Case(
        sender=federation.settings[cell.phase][cell.sender],
        receiver=federation.settings[cell.phase][cell.receiver],
        streams=until(evidence.streams(cell, epoch)),
        back=until(evidence.streams(cell, epoch, back=True)),
        sender_log=until(evidence.logged(cell, epoch, by=cell.sender, direction="out"), late),
        receiver_log=until(evidence.logged(cell, epoch, by=cell.receiver, direction="in"), late),
        back_log=until(receiver_out + sender_in),
        later=[o for _, o in opened if o.time > late and times.tell(o)],
        tearers=_tearers(evidence, cell),
        error=attempt.error,
        verifies=tuple(tuple(s.get("verifies", CHAIN_AND_NAME)) for s in (sender, receiver)),
        began=attempt.started,
        ended=attempt.end,
        stretch=evidence.stretch,
        following=following,
        gaps=gaps_of(evidence, cell, attempt),
    )


def gaps_of(evidence: Evidence, cell: Cell, attempt: Attempt) -> dict[str, str]:
    """What was not taken in of the evidence of an attempt, and why: see `Case.gaps`."""
    answered = attempt.received or attempt.bounced
    until = lately(attempt.end, AFTERMATH, evidence.stretch, evidence.following(cell, attempt))
    found = {
        "wire": evidence.intake.wire_gap(cell.phase, until if answered else attempt.started),
        "sender": evidence.intake.log_gap(cell.phase, attempt.epoch, cell.sender),
        "receiver": evidence.intake.log_gap(cell.phase, attempt.epoch, cell.receiver),
    }
    return {name: gap for name, gap in found.items() if gap}


def named_in(observations: Iterable[Observation]) -> list[str]:
    """The causes that log lines name, in their order; a word that this testbed does not know is passed over."""
    return [str(o.data["cause"]) for o in observations if o.data.get("cause") in CAUSES]


def ended_by(stream: Observation) -> str | None:
    """`out` (the initiator) or `in`: who closed the connection first, else who reset it: what is reset is not closed after."""
    side = stream.data.get("closed_by") or stream.data.get("reset_by")
    return str(side) if side else None


@dataclass(frozen=True)
class Torn:
    """A stream that had come to TLS, and that one side ended then without a word to the other."""

    side: str
    """Who did: `sender` or `receiver` of the cell."""
    own: bool
    """Whether the sender had opened it."""


def torn(case: Case) -> list[Torn]:
    """Streams that were torn down before authentication, in the order of `Case.directed`.

    A stream for dialback is begun while another one waits for it: how that one ends then follows from it, and says nothing.
    """
    streams = [(s, initiator == "sender") for s, initiator, _ in case.directed]
    found = []
    for stream, own in streams:
        log, returned = (case.receiver_log, case.back) if own else (case.back_log, [])
        told = case.sender_log + case.receiver_log if own else case.back_log
        if (side := torn_by(stream, log, told, stretch=case.stretch)) and not _waited(stream, returned):
            found.append(Torn(_end_of(side, own=own), own))
    return found


def torn_by(
    stream: Observation, incoming: Iterable[Observation], told: Iterable[Observation] = (), *, stretch: int = 1
) -> str | None:
    """Which end of a stream tore it down (`out`: the initiator); None where neither did, or where there may have been a word.

    ``incoming`` is what was logged where the stream was received, ``told`` what either end logged of its direction. A stream that
    was closed in order may have had its last word under TLS, where the wire does not show it; so may one of which an end says
    that it ended with an error. The server of TLS ends the handshake last (RFC 8446 §2): if it says that it failed although it
    had answered, it ended the stream, and the other side's reset is the answer to that.
    """
    d, end = stream.data, stream.data.get("end", stream.time)
    if not d.get("server_hello") or d.get("alerts") or d.get("stream_errors") or not ended_by(stream):
        return None
    if end - stream.time > TORN_WITHIN * stretch:
        return None
    if "tls-handshake-failed" in named_in(_while(stream, incoming, stretch)):
        return "in"
    if d.get("closed_by") or LAST_WORDS & set(named_in(_while(stream, told, stretch))):
        return None
    return str(d["reset_by"])


def _while(stream: Observation, log: Iterable[Observation], stretch: int) -> list[Observation]:
    """Lines that were written while a stream was open, or late."""
    return [o for o in log if stream.time <= o.time <= stream.data.get("end", stream.time) + LOGGED_LATE * stretch]


def _waited(stream: Observation, back: Iterable[Observation]) -> bool:
    """Whether a stream the other way was begun while this one was open, and ended no later."""
    end = stream.data.get("end", stream.time)
    return any(stream.time < other.time and other.data.get("end", other.time) <= end for other in back)


def _end_of(side: str, *, own: bool) -> str:
    return SIDES[(side == "in") is own]


def _tearers(evidence: Evidence, cell: Cell) -> frozenset[str]:
    """Who tore down streams between the two in any epoch of the phase in which the cell was attempted."""
    found = set()
    for epoch in {attempt.epoch for attempt in evidence.attempts.get(cell.id, ())}:
        times = times_of(evidence, cell, epoch)
        for own in (True, False):
            a, b = (cell.sender, cell.receiver) if own else (cell.receiver, cell.sender)
            incoming = [o for _, o in evidence.logged(cell, epoch, by=b, direction="in")]
            outgoing = [o for _, o in evidence.logged(cell, epoch, by=a, direction="out")]
            back = [o for _, o in evidence.streams(cell, epoch, back=own)]
            for _, stream in evidence.streams(cell, epoch, back=not own):
                side = torn_by(stream, incoming, incoming + outgoing, stretch=evidence.stretch)
                if side and times.tell(stream) and not _waited(stream, back):
                    found.add(_end_of(side, own=own))
    return frozenset(found)


def proven(case: Case) -> Observation | None:
    """The sender's last stream, if it shows in clear that the sender's domain was proven, and no error or end until the answer.

    One that ended long after the sender was told ended for another reason: its last packet is the servers' end.
    """
    last = max(case.streams, key=lambda s: s.time, default=None)
    if last is None or last.data.get("server_hello") or last.data.get("stream_errors"):
        return None
    if "in:result:valid" not in last.data.get("dialback", []) or last.data.get("end", last.time) < case.began:
        return None
    early = ended_by(last) and last.data.get("end", last.time) <= case.ended
    return None if early else last


def refused_in_clear(case: Case) -> set[str]:
    """Stream errors that the receiver sent in clear, but for the one that only says that time ran out."""
    said = {e.partition(":")[2] for s in case.streams for e in s.data.get("stream_errors", []) if e.startswith("in:")}
    return said - {"connection-timeout"}
