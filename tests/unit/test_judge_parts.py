"""The questions of judging one by one, each on as little evidence as it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from test_verdict import manifest

from testbed.judge.channel import carrier
from testbed.judge.evidence import Attempt, Evidence
from testbed.judge.interference import trouble
from testbed.judge.unmeasured import why_void
from testbed.judge.verdict import delivered_over
from testbed.model import Cell, Expectation, Outcome
from testbed.record.observations import STREAM, Observation
from testbed.record.store import Record
from testbed.record.verdicts import CellEntry, Channel, Fault, FaultWord, Interference, OutcomeWord, Remedy, ThirdParty, Verdict
from testbed.shares import Share

CELL = Cell("now", "a.example", "b.example", "message")
ALIVE = {"sender_alive": True, "receiver_alive": True}


NOTHING = Evidence(Record(Path("r"), manifest(), (), complete=True))


def tried(**facts: Any) -> Attempt:
    return Attempt("mesh", 1, 10.0, sent=10.1, **facts)


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        (tried(received=11.0), None),
        (tried(bounced=11.0), None),
        (tried(silence=ALIVE), None),
        (tried(), "ended before an answer"),
        (tried(unsendable=True), "lost its own server"),
        (tried(silence=ALIVE | {"receiver_alive": False}), "b.example was not proven alive"),
        (tried(silence={}), "a.example and b.example"),
    ],
)
def test_an_attempt_is_void_only_where_the_testbed_cannot_say(attempt: Attempt, said: str | None) -> None:
    found = why_void(NOTHING, CELL, attempt)
    assert found is None if said is None else found and (found.cause, said in found.text) == ("testbed", True)


def tls(start: float, end: float, *data: float, hello: bool = True) -> Observation:
    return STREAM.at(start, {"start": start, "end": end, "server_hello": hello, "tls_data_out": list(data)})


def test_the_carrier_is_the_stream_with_data_nearest_before_the_delivery() -> None:
    early, late = tls(9.0, 20.0, 10.2), tls(10.0, 20.0, 10.2, 10.8)
    delivered = tried(received=11.0)
    assert carrier([early, late], delivered) is late
    assert carrier([late, early], delivered) is late
    assert carrier([tls(9.0, 20.0, 10.5, hello=False)], delivered) is None, "no TLS"
    assert carrier([tls(9.0, 20.0, 5.0, 19.0)], delivered) is not None, "thinned out, and the only one that spans the moment"
    assert carrier([tls(9.0, 20.0, 5.0), tls(9.0, 20.0, 5.0)], delivered) is None, "two that span it: nobody knows"
    assert carrier([tls(12.0, 20.0, 12.5)], delivered) is None


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ({"alerts": ["in:unknown_ca"]}, "unknown_ca"),
        ({"offered_versions": ["TLSv1.3"]}, "ClientHello"),
        ({"offered_versions": ["TLSv1.3"], "server_hello": True, "reset_by": "in"}, "reset"),
        ({"offered_versions": ["TLSv1.3"], "server_hello": True, "closed_by": "in"}, None),
        ({}, None),
    ],
)
def test_a_third_party_is_in_trouble_only_where_the_wire_shows_it(stream: dict[str, Any], said: str | None) -> None:
    found = trouble(stream)
    assert found is None if said is None else said in (found or "")


def test_a_delivery_says_over_what_and_how_the_domain_was_proven() -> None:
    assert delivered_over(Channel("tls", "TLSv1.3", authentication="external")) == (
        "delivered over TLSv1.3, authenticated by certificate"
    )
    assert delivered_over(Channel("cleartext", authentication="dialback")) == "delivered in cleartext, authenticated by dialback"


# --- the whole verdict ------------------------------------------------------------------------------------------------


def test_the_words_of_the_document_are_those_of_the_enums() -> None:
    assert get_args(OutcomeWord) == tuple(o.value for o in Outcome)
    assert get_args(FaultWord) == tuple(f.value for f in Fault)


def test_a_verdict_has_a_key_for_all_that_it_holds_and_none_for_what_does_not_apply() -> None:
    plain = Verdict(
        CELL, Outcome.DELIVERED, Channel(), None, None, "delivered", Expectation(Outcome.DELIVERED, "x"), False, 1.0, 1
    )
    absent = {"flaky", "shares", "history_dependent", "interference", "cause_from", "confirmed"}
    assert set(plain.to_json()) == set(CellEntry.__annotations__) - absent
    whole = Verdict(
        CELL, Outcome.BOUNCED, Channel(), "dns", Fault.NETWORK, "no name; fix it", plain.expected, True, 1.0, 2,
        evidence=("observations.jsonl#1",), reason="no name", remedies=(Remedy("publish it"),), flaky=("bounced", "lost"),
        shares={"cold": Share(0, 8), "warm": Share(2, 3)},
        history_dependent={"cold": "bounced", "warm": "lost"},
        interference=Interference(Outcome.LOST, Outcome.BOUNCED, (ThirdParty("c.example", "b.example", "why"),)),
        cause_from="sender", confirmed=False,
    )  # fmt: skip
    entry = whole.to_json()
    assert list(entry) == list(CellEntry.__annotations__), "in the order of the document"
    assert entry["interference"]["by"] == [{"sender": "c.example", "receiver": "b.example", "because": "why"}]
    assert entry["remedies"] == [{"role": None, "domain": None, "title": None, "text": "publish it", "set": None}]
