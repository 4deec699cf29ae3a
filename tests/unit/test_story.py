"""The story of a pair: what `explain` shows is in the record, in the order of time, and ends in the verdict."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from testbed.judge.verdict import judge_run
from testbed.model import InputError
from testbed.plan.recorded import plan_of
from testbed.record import store
from testbed.report.story import story

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
CLEAR, REQUIRED = "prosody-trixie-cleartext.example", "prosody-trixie-opportunistic.example"


@pytest.fixture(scope="module")
def record() -> store.Record:
    return store.load(REFERENCE)


def test_every_source_speaks_and_the_times_rise(record: store.Record) -> None:
    text = story(record, judge_run(record), CLEAR, REQUIRED)
    for who in (
        "DNS",
        "wire",
        "sender's client",
        "sender's log",
        "receiver's log",
        "verdict",
        "cause    tls-required",
        "expected",
    ):
        assert who in text, who
    for part in text.split("what happened")[1:]:
        times = [float(t) for t in re.findall(r"^ +([+-]\d+\.\d+) s", part, re.M)]
        assert times
        assert times == sorted(times)


def test_a_pair_that_differs_from_the_standards_says_so(record: store.Record) -> None:
    verdicts = judge_run(record)
    cell = next(c for c in verdicts["cells"] if c["surprise"])
    text = story(record, verdicts, cell["sender"], cell["receiver"])
    assert "A SURPRISE" in text
    assert "(alone-" in text, "what differs was measured alone as well"


@pytest.mark.parametrize(("a", "b"), [("nobody.example", CLEAR), (CLEAR, CLEAR)])
def test_a_pair_that_is_none_is_an_error(record: store.Record, a: str, b: str) -> None:
    with pytest.raises(InputError):
        story(record, judge_run(record), a, b)


def test_a_recorded_run_can_be_planned_again(record: store.Record) -> None:
    plan = plan_of(record.manifest, [(CLEAR, REQUIRED)])
    assert [c.id for c in plan.cells] == [
        f"{phase}/{a}/{b}/message" for phase in ("before", "after") for a, b in ((CLEAR, REQUIRED), (REQUIRED, CLEAR))
    ]
    for phase, recorded in zip(plan.phases, record.manifest["phases"], strict=True):
        for domain, settings in phase.settings.items():
            assert settings.policy.dimensions() == recorded["settings"][domain]["dimensions"]
            assert settings.policy.name == recorded["settings"][domain]["policy"]


def test_a_verdict_is_told_in_words_and_a_pair_that_was_not_measured_is_said(record: store.Record) -> None:
    verdicts = judge_run(record)
    text = story(record, verdicts, CLEAR, REQUIRED)
    assert "{" not in text
    delivered = next(c for c in verdicts["cells"] if c["channel"]["encryption"] == "tls")
    told = story(record, verdicts, delivered["sender"], delivered["receiver"])
    assert f"  verdict  delivered over {delivered['channel']['tls_version']}, " in told
    others = [c for c in verdicts["cells"] if (c["sender"], c["receiver"]) != (CLEAR, REQUIRED)]
    with pytest.raises(InputError, match="not measured in this run"):
        story(record, {**verdicts, "cells": others}, CLEAR, REQUIRED)


def test_a_void_attempt_is_told_and_one_that_was_given_its_time_needs_no_word() -> None:
    busy = store.load(Path(__file__).parents[1] / "golden" / "void")
    told = " ".join(story(busy, judge_run(busy), "a.example", "b.example").split())
    assert told.count("not given their time: the servers together waited ") == told.count("a failure is void") > 1
    assert "waited 0." not in told
