"""What was logged and seen in the time of a void attempt names neither cause nor fault of one that counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from test_verdict import GOLDEN

from testbed.judge.evidence import Evidence
from testbed.judge.undisturbed import Times, times_of
from testbed.judge.verdict import judge_run
from testbed.model import Cell
from testbed.record import store
from testbed.record.observations import RUN_COMPLETE, STRAIN, Observation, Source
from testbed.record.store import Record
from testbed.record.strain import Strain

FAILED = ("late-line", "refused-and-reset", "clocks", "broken")
"""Recordings with cells that failed twice in one epoch."""


def with_lines(record: Record, lines: Sequence[Observation]) -> Record:
    """A record with more lines, before its last one."""
    before = [o for o in record.observations if o.kind != RUN_COMPLETE.word]
    closing = [o for o in record.observations if o.kind == RUN_COMPLETE.word]
    return replace(record, observations=(*before, *lines, *closing))


def strained(attempt: Observation, time: float) -> Observation:
    data = {"token": attempt.data["token"], **vars(Strain(4.0, 2.0, processor=5.0))}
    return STRAIN.at(time, data, phase=attempt.phase, epoch=attempt.epoch, cell=attempt.cell)


def no_look_up(cell: str, epoch: str | None, time: float) -> Observation:
    """The sender's server says that it did not find the receiver's name."""
    phase, sender, receiver, _ = cell.split("/")
    data = {"server": sender, "peer": receiver, "direction": "out", "cause": "dns", "raw": "no such name"}
    return Observation(time, Source.LOG, "s2s-failed", phase, epoch, None, data)


def cells(record: Record) -> dict[str, Any]:
    return {c["id"]: c for c in judge_run(record)["cells"]}


def word(cell: dict[str, Any]) -> tuple[Any, ...]:
    return cell["outcome"], cell["cause"], cell["fault"]


def failed_twice(record: Record) -> Iterator[tuple[str, list[Observation]]]:
    """Cells that failed, with the attempts of each epoch in which there were several."""
    for cell_id, cell in cells(record).items():
        attempts = [o for o in record.observations if o.kind == "attempt" and o.cell == cell_id]
        for epoch in sorted({o.epoch or "" for o in attempts}):
            several = [o for o in attempts if o.epoch == epoch]
            if cell["outcome"] in ("bounced", "lost") and len(several) > 1:
                yield cell_id, several


@pytest.mark.parametrize("name", FAILED)
def test_a_look_up_that_a_starved_machine_lost_names_no_cause_of_the_attempt_after_it(name: str) -> None:
    record, tried = store.load(GOLDEN / name), 0
    for cell, (first, *_) in failed_twice(record):
        void = with_lines(record, [strained(first, first.time + 3.0)])
        line = no_look_up(cell, first.epoch, first.time + 0.02)
        assert word(cells(with_lines(void, [line]))[cell]) == word(cells(void)[cell]), cell
        tried += 1
    assert tried


def test_who_tears_down_a_stream_of_a_void_start_is_not_to_blame() -> None:
    """In one more start of the pair the other side reset the stream, since its timer ran out on a strained machine."""
    record, blamed = store.load(GOLDEN / "torn-down"), 0
    end = max(o.time for o in record.observations)
    for cell_id, cell in cells(record).items():
        own = [o for o in record.observations if o.cell == cell_id]
        torn = [
            o for o in record.observations
            if o.kind == "stream" and (o.data["sender"], o.data["receiver"]) == (cell["sender"], cell["receiver"])
            and o.phase == cell["phase"] and o.data.get("server_hello") and o.data.get("reset_by")
        ]  # fmt: skip
        if cell["cause"] != "tls-torn-down" or not torn:
            continue
        there: dict[str, Any] = {"epoch": "alone-99", "phase": cell["phase"]}
        began = replace(
            next(o for o in own if o.kind == "attempt"), time=end + 100, data={"token": "cell-v", "cold": True}, **there
        )
        error = next(o for o in own if o.kind == "error")
        other = "out" if torn[0].data["reset_by"] == "in" else "in"
        lasted = {"start": end + 100.1, "end": end + 104.2}
        data = {k: v for k, v in torn[0].data.items() if k != "closed_by"} | lasted
        lines = [
            began,
            replace(error, time=end + 104.3, data=error.data | {"token": "cell-v"}, **there),
            strained(began, end + 105),
            replace(torn[0], time=end + 100.1, data=data | {"reset_by": other}, **there),
        ]  # fmt: skip
        judged = word(cells(with_lines(record, lines))[cell_id])
        if judged[1] == "testbed-strained":  # there was no cold start but the void one, so that nothing is decided at all
            continue
        assert judged == word(cell), cell_id
        blamed += cells(with_lines(record, lines[:2] + lines[3:]))[cell_id]["fault"] == "both"
    assert blamed, "the same start, not void, would blame both"


# --- times ------------------------------------------------------------------------------------------------------------

RUN = store.load(GOLDEN / "torn-down")


def times(*attempts: tuple[str, float, float, bool]) -> Times:
    """Of the cell a → b: attempts as (direction, beginning, end, whether it is void)."""
    lines = []
    for number, (ends, began, ended, void) in enumerate(attempts):
        a, b = ends
        at: dict[str, Any] = {"phase": "now", "epoch": "mesh", "cell": f"now/{a}/{b}/message"}
        first = Observation(began, Source.ENGINE, "attempt", data={"token": f"cell-{number}", "cold": True}, **at)
        error = Observation(ended, Source.SENDER, "error", data={"token": f"cell-{number}", "condition": "x"}, **at)
        lines += [first, error, *([strained(first, ended)] if void else [])]
    return times_of(Evidence(replace(RUN, observations=tuple(lines))), Cell("now", "a", "b", "message"), "mesh")


def line(time: float, end: float | None = None) -> Observation:
    return Observation(time, Source.LOG, "s2s-failed", data={} if end is None else {"end": end})


@pytest.mark.parametrize(
    ("attempts", "o", "tells"),
    [
        ([("ab", 0, 4, True), ("ab", 6, 9, False)], line(1), False),
        ([("ab", 0, 4, True), ("ab", 6, 9, False)], line(5.9), False),
        ([("ab", 0, 4, True), ("ab", 6, 9, False)], line(6), True),
        # a stream that goes on may carry the stanza
        ([("ab", 0, 4, True), ("ab", 6, 9, False)], line(3, 7), True),
        ([("ab", 0, 4, True), ("ab", 6, 9, False)], line(3, 5), False),
        # what is late is of the attempt before, as long as there is no other
        ([("ab", 0, 4, False), ("ab", 7, 9, True)], line(5.5), True),
        ([("ab", 0, 4, False), ("ab", 7, 9, True)], line(7.5), False),
        ([("ab", 0, 4, False), ("ab", 7, 9, True)], line(60), False),
        # the other direction: a look-up for dialback, say
        ([("ba", 0, 4, True), ("ab", 4.1, 9, False)], line(1), False),
        ([("ab", 0, 4, False), ("ba", 4.1, 9, True)], line(5.5), True),
        ([("ab", 0, 4, False), ("ba", 4.1, 9, True)], line(8), False),
        ([("ab", 0, 4, False), ("ba", 4.1, 9, True)], line(60), True),
        ([("ab", 0, 4, False), ("ba", 4.1, 9, False)], line(8), True),
    ],
)
def test_what_tells_of_a_cell(attempts: list[tuple[str, float, float, bool]], o: Observation, tells: bool) -> None:
    assert times(*attempts).tell(o) is tells
