"""What a delivered stanza travelled over: the wire for the encryption, the logs for the proof of the domain. Pure.

Rule: a stream in which the stanza's body was read is cleartext, whatever else is said of it. Policies are never looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from testbed.judge.case import gaps_of
from testbed.judge.evidence import Attempt, Evidence
from testbed.model import Cell
from testbed.record.observations import S2S_AUTHENTICATED, Observation
from testbed.record.verdicts import Channel

SLACK = 0.05
"""Seconds by which client and capture may differ: both read one clock, at different ends of their queues. This and what is
below is times the run's stretch, where nothing is found within it."""
PROOF_LATE = 1.0
"""Seconds after the delivery within which a log may still say how the domain was proven."""


def channel_of(evidence: Evidence, cell: Cell, attempt: Attempt) -> Channel:
    """The stream in which the stanza's body was seen, or else the one that carried data when it was delivered.

    Where the wire was not taken in as a whole, only the former is there to see.
    """
    gaps = gaps_of(evidence, cell, attempt)
    streams = [o for _, o in evidence.streams(cell, attempt.epoch)]
    mechanism = mechanism_logged(evidence, cell, attempt)
    clear = [s for s in streams if attempt.token in s.data.get("tokens", [])]
    if clear:
        if any("in:result:valid" in s.data.get("dialback", []) for s in clear):
            mechanism = "dialback"
        return Channel("cleartext", None, None, None, mechanism or (None if gaps else "none"), True)
    if "wire" in gaps:
        return Channel(authentication=mechanism)
    stream = carrier(streams, attempt, evidence.stretch)
    if stream is None:
        dissected = (cell.phase, attempt.epoch) in evidence.dissected
        return Channel(authentication=mechanism, body_in_clear=False if dissected else None)
    facts = stream.data
    return Channel("tls", facts.get("tls_version"), facts.get("cipher"), facts.get("forward_secrecy"), mechanism, False)


def _widening(seconds: float, stretch: int) -> Iterator[float]:
    """How late something may be: as on any machine, and only if nothing was so, as on a slow one."""
    yield seconds
    if stretch > 1:
        yield seconds * stretch


def carrier(streams: Sequence[Observation], attempt: Attempt, stretch: int = 1) -> Observation | None:
    """The TLS stream with data from the sender's server between the writing and the delivery; the one with the latest.

    ``stretch``: see `Evidence.stretch`.
    """
    return next((stream for slack in _widening(SLACK, stretch) if (stream := _carrier(streams, attempt, slack))), None)


def _carrier(streams: Sequence[Observation], attempt: Attempt, slack: float) -> Observation | None:
    low, high = (attempt.sent or attempt.started) - slack, (attempt.received or attempt.end) + slack
    best: tuple[float, Observation] | None = None
    for stream in streams:
        if not stream.data.get("server_hello"):
            continue
        times = [t for t in stream.data.get("tls_data_out", []) if low <= t <= high]
        if times and (best is None or times[-1] > best[0]):
            best = (times[-1], stream)
    if best:
        return best[1]
    # the times of a long stream are thinned out: one that spans the moment will do if it is the only one
    spanning = [s for s in streams if s.data.get("server_hello") and s.data["start"] <= high and s.data["end"] >= low]
    return spanning[0] if len(spanning) == 1 else None


def mechanism_logged(evidence: Evidence, cell: Cell, attempt: Attempt) -> str | None:
    """The mechanism that the logs name for the sender's stream, last before the delivery; the receiver's word first."""
    for late in _widening(PROOF_LATE, evidence.stretch):
        for by, direction in ((cell.receiver, "in"), (cell.sender, "out")):
            for _, line in reversed(evidence.logged(cell, attempt.epoch, by=by, direction=direction)):
                if line.kind == S2S_AUTHENTICATED.word and line.data.get("mechanism") and line.time <= attempt.end + late:
                    return str(line.data["mechanism"])
    return None
