"""The same failure has the same cause and the same fault every time, whichever of its symptoms came first: attempt by attempt."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace

import pytest
from test_verdict import GOLDEN, RECORDINGS

from testbed.judge.case import case_of, torn, torn_by
from testbed.judge.channel import carrier
from testbed.judge.evidence import Attempt, Evidence, lately
from testbed.judge.faults import fault_of
from testbed.judge.federation import Federation
from testbed.judge.rules import cause_of
from testbed.judge.unmeasured import not_expressible, why_void
from testbed.judge.verdict import judge_run, outcome_of
from testbed.model import Cell, Outcome
from testbed.record import store
from testbed.record.observations import Observation, Source

Told = tuple[str | None, str | None]
"""A cause, and whose fault it is."""

RECORDED: dict[tuple[str, str, str], tuple[int, Told]] = {
    # recording, sender, receiver: attempts that failed, the cause and fault of each; below, what they had been called before
    ("late-line", "ejabberd-trixie-authenticated", "jabberd2-trixie-authenticated"): (2, ("tls-torn-down", "receiver")),
    ("closed-and-reset", "jabberd2-trixie-authenticated", "jabberd2-bullseye-authenticated"): (2, ("tls-torn-down", "sender")),
    ("waited", "jabberd2-trixie-authenticated", "ejabberd-trixie-encrypted"): (4, ("tls-torn-down", "sender")),
    ("back-still-open", "ejabberd-sid-opportunistic-0", "jabberd2-trixie-authenticated-0"): (2, ("tls-torn-down", "receiver")),
}
"""`late-line`: the second attempt was `dialback-refused`, by a line about an earlier stream the other way, stamped late.
`closed-and-reset`: `tls-handshake-failed`, because one side's orderly end reached the wire before the other side's reset.
`waited`: the fault was the receiver's where its answer to the failed dialback came as a reset, the sender's where it did not.
`back-still-open`: a stream that is torn down while one of the other direction goes on did not wait for that one."""


def failures(name: str) -> Iterator[tuple[str, Outcome, Attempt, Told]]:
    """Every attempt of a recording that says something and failed, judged by itself."""
    record = store.load(GOLDEN / name)
    evidence, federation = Evidence(record), Federation.of(record.manifest)
    for cell in store.planned_cells(record.manifest):
        if not_expressible(federation, cell):
            continue
        for attempt in evidence.attempts.get(cell.id, []):
            if why_void(evidence, cell, attempt) or outcome_of(attempt) is Outcome.DELIVERED:
                continue
            case = case_of(evidence, federation, cell, attempt)
            cause, _ = cause_of(case)
            fault = fault_of(cause, case) if cause else None
            yield cell.id, outcome_of(attempt), attempt, (cause, fault.value if fault else None)


@pytest.mark.parametrize("place", RECORDED, ids="/".join)
def test_both_recordings_of_what_flipped_have_one_word(place: tuple[str, str, str]) -> None:
    name, sender, receiver = place
    count, told = RECORDED[place]
    words = [word for cell, _, _, word in failures(name) if f"/{sender}.example/{receiver}.example/" in cell]
    assert words == [told] * count


@pytest.mark.parametrize("name", RECORDINGS)
def test_attempts_of_a_cell_that_failed_alike_have_one_cause_and_one_fault(name: str) -> None:
    words: dict[tuple[str, Outcome], set[Told]] = defaultdict(set)
    for cell, outcome, _, word in failures(name):
        if word[0] is not None:  # of an attempt whose evidence was not taken in
            words[cell, outcome].add(word)
    assert {place: told for place, told in words.items() if len(told) > 1} == {}


def test_the_recordings_have_cells_that_failed_more_than_once() -> None:
    """Else the test above would hold of nothing."""
    repeated = Counter(cell for name in RECORDINGS for cell, *_ in failures(name))
    assert sum(count > 1 for count in repeated.values()) > 20


# --- who tore a stream down -------------------------------------------------------------------------------------------


def stream(**data: object) -> Observation:
    return Observation(10.0, Source.WIRE, "stream", data={"server_hello": True, "end": 10.2, **data})


def line(cause: str, time: float = 10.2) -> Observation:
    return Observation(time, Source.LOG, "s2s-failed", data={"cause": cause})


@pytest.mark.parametrize(
    ("data", "incoming", "told", "side"),
    [
        ({"reset_by": "in"}, [], [], "in"),
        ({"reset_by": "out"}, [], [], "out"),
        # who is the server of TLS says that it ended it: the other's reset is the answer, whichever came to the wire first
        ({"reset_by": "out"}, ["tls-handshake-failed"], [], "in"),
        ({"reset_by": "out", "closed_by": "in"}, ["tls-handshake-failed"], [], "in"),
        ({"closed_by": "in"}, ["tls-handshake-failed"], [], "in"),
        # there may have been a last word under TLS
        ({"reset_by": "out", "closed_by": "in"}, [], [], None),
        ({"closed_by": "in"}, [], [], None),
        ({"reset_by": "out"}, [], ["remote-server-error"], None),
        # nothing of that kind
        ({"reset_by": "in", "server_hello": False}, [], [], None),
        ({"reset_by": "in", "alerts": ["in:bad_certificate"]}, [], [], None),
        ({"reset_by": "in", "end": 16.0}, [], [], None),
        ({}, ["tls-handshake-failed"], [], None),
    ],
)
def test_who_tore_a_stream_down(data: dict[str, object], incoming: list[str], told: list[str], side: str | None) -> None:
    assert torn_by(stream(**data), map(line, incoming), map(line, told)) == side


def test_what_takes_longer_on_a_slow_machine_has_the_same_name() -> None:
    slow, late = stream(reset_by="out", end=17.0), [line("tls-handshake-failed", 22.0)]
    assert (torn_by(slow, []), torn_by(slow, [], stretch=2)) == (None, "out")
    assert torn_by(slow, late, stretch=3) == "in"
    assert torn_by(stream(reset_by="out", end=10.0 + 31.0), [], stretch=6) is None, "a timer ran out"


@pytest.mark.parametrize("place", ["late-line", "closed-and-reset", "torn-down"])
def test_a_recording_that_took_five_times_as_long_has_the_same_causes(place: str) -> None:
    """Everything in it is as much further apart as its timers are longer."""
    record = store.load(GOLDEN / place)
    begun = min(o.time for o in record.observations)
    spread = [replace(o, time=begun + (o.time - begun) * 5, data=_later(o, begun)) for o in record.observations]
    slow = replace(record, manifest=record.manifest | {"stretch": 5}, observations=tuple(spread))
    federation = Federation.of(record.manifest)
    words = []
    for each in (record, slow):
        evidence = Evidence(each)
        words.append(
            {
                (cell.id, number): cause_of(case_of(evidence, federation, cell, attempt))[0]
                for cell in store.planned_cells(record.manifest)
                for number, attempt in enumerate(evidence.attempts.get(cell.id, []))
                if not (why_void(evidence, cell, attempt) or outcome_of(attempt) is Outcome.DELIVERED)
            }
        )
    assert words[0] == words[1]
    assert "tls-torn-down" in words[0].values()


def _later(o: Observation, begun: float) -> dict[str, object]:
    return {k: begun + (v - begun) * 5 if k in ("end", "until") and isinstance(v, float) else v for k, v in o.data.items()}


@pytest.mark.parametrize("name", ["broken", "strict", "clocks", "waited"])
@pytest.mark.parametrize("stretch", [2, 15])
def test_a_recording_that_took_longer_has_the_same_verdicts(name: str, stretch: int) -> None:
    """Faults and channels too: a line about the stream for dialback, or the capture, is as much later."""
    record = store.load(GOLDEN / name)
    begun = min(o.time for o in record.observations)

    def later(o: Observation) -> Observation:
        ends = {k: v for k, v in o.data.items() if k in ("start", "end", "until") and v is not None}
        times = {k: begun + (v - begun) * stretch for k, v in ends.items()}
        return replace(o, time=begun + (o.time - begun) * stretch, data=o.data | times)

    slow = replace(
        record, manifest=record.manifest | {"stretch": stretch}, observations=tuple(map(later, record.observations))
    )  # fmt: skip
    told = [
        [(c["id"], c["outcome"], c["cause"], c["fault"], c["channel"]) for c in judge_run(each)["cells"]]
        for each in (record, slow)
    ]  # fmt: skip
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("stretch", "following", "until"),
    [(1, 1e9, 10.25), (4, 1e9, 11.0), (4, 10.4, 10.4), (4, 10.1, 10.25), (4, 9.0, 10.25)],
)
def test_what_is_late_is_later_on_a_slow_machine_but_not_of_the_next_attempt(
    stretch: int, following: float, until: float
) -> None:  # fmt: skip
    assert lately(10.0, 0.25, stretch, following) == until


def test_a_capture_that_is_late_on_a_slow_machine_still_shows_what_a_stanza_travelled_over() -> None:
    attempt = Attempt("mesh", 1, 10.0, sent=10.0, received=10.2)
    early, ours = stream(start=9.0, tls_data_out=[9.1]), stream(start=10.1, tls_data_out=[10.1, 10.5])
    late = stream(start=9.0, end=20.0, tls_data_out=[10.6])
    assert carrier([early, late], attempt) is None, "nor does either alone span the moment"
    assert carrier([early, late], attempt, stretch=10) is late
    assert carrier([early, ours, late], attempt, stretch=10) is ours, "what is in time goes first"


@pytest.mark.parametrize("stretch", [-3, 0, 10**400], ids=["less than none", "none", "beyond any number"])
def test_a_manifest_whose_stretch_is_nonsense_is_judged_all_the_same(stretch: int) -> None:
    record = store.load(GOLDEN / "torn-down")
    assert len(judge_run(replace(record, manifest=record.manifest | {"stretch": stretch}))["cells"])


def test_a_line_of_another_time_says_nothing_of_a_stream() -> None:
    lines = [line("tls-handshake-failed", 9.0), line("tls-handshake-failed", 13.0)]
    assert torn_by(stream(reset_by="out"), lines) == "out"


# --- a line that is late ----------------------------------------------------------------------------------------------

REFUSED = (
    ("strict", "after", "jabberd2-trixie-encrypted.example", "ejabberd-trixie-authenticated.example"),
    ("refused-and-reset", "only", "jabberd2-bullseye-authenticated.example", "ejabberd-trixie-authenticated.example"),
)
"""Where the receiver's log says `dialback-refused`, and the sender's only that the peer ended the stream with an error; in the
second the sender then resets the connection, and the wire looks as if TLS were torn down."""


@pytest.mark.parametrize("place", REFUSED, ids=lambda place: place[0])
@pytest.mark.parametrize("delay", [0.0, 1.0, 5.0, 60.0])
def test_how_late_a_line_is_changes_no_cause(place: tuple[str, str, str, str], delay: float) -> None:
    name, phase, sender, receiver = place
    record = store.load(GOLDEN / name)
    cell = Cell(phase, sender, receiver, "message")
    shifted = [
        replace(o, time=o.time + delay) if o.source is Source.LOG and o.data.get("server") == receiver else o
        for o in record.observations
    ]
    evidence = Evidence(replace(record, observations=tuple(shifted)))
    federation = Federation.of(record.manifest)
    words = [cause_of(case_of(evidence, federation, cell, attempt))[0] for attempt in evidence.attempts[cell.id]]
    assert set(words) == {"dialback-refused"}


def test_a_stream_that_waited_for_the_one_back_is_not_torn() -> None:
    record = store.load(GOLDEN / "waited")
    evidence, federation = Evidence(record), Federation.of(record.manifest)
    cell = Cell("only", "jabberd2-trixie-authenticated.example", "ejabberd-trixie-encrypted.example", "message")
    for attempt in evidence.attempts[cell.id]:
        assert {(t.side, t.own) for t in torn(case_of(evidence, federation, cell, attempt))} == {("sender", False)}


@pytest.mark.parametrize("name", ["strict", "refused-and-reset", "clocks", "hostile", "broken"])
def test_a_name_that_was_found_is_no_cause_whoever_says_so_later(name: str) -> None:
    """The receiver's host answered on the wire: that a look-up fails 1.5 s after the answer is of a retry."""
    record, answered = store.load(GOLDEN / name), 0
    before = {c["id"]: c for c in judge_run(record)["cells"]}
    lines = [
        Observation(
            o.time + 1.5, Source.LOG, "s2s-failed", o.phase, o.epoch, None,
            {"server": sender, "peer": receiver, "direction": "out", "cause": "dns", "raw": "no such name"},
        )
        for o in record.observations if o.kind in ("error", "silence")
        for _, sender, receiver, _ in [(o.cell or "").split("/")]
    ]  # fmt: skip
    observations = sorted([*record.observations, *lines], key=lambda o: o.kind == "run-complete")
    for cell in judge_run(replace(record, observations=tuple(observations)))["cells"]:
        was = before[cell["id"]]
        assert (cell["cause"], cell["fault"]) == (was["cause"], was["fault"]), cell["id"]
        answered += was["outcome"] == "bounced" and was["cause"] not in ("dns", "unreachable")
    assert answered
