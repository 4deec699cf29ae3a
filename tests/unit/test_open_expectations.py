"""An expectation that the standards leave open: either outcome is as expected, and every report says both with their clauses."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from test_verdict import GOLDEN

from testbed.causes import CAUSES
from testbed.compare.cells import brief
from testbed.expectations import expect
from testbed.judge.verdict import judge_run
from testbed.model import Authentication, ForwardSecrecy, Outcome, Policy
from testbed.plan.policy import PRESETS
from testbed.record import store
from testbed.record.observations import Observation, Source
from testbed.report import junit, markdown, story, table, text
from testbed.report.cell import because, expected, headline
from testbed.sides import Side

SENDER, RECEIVER = "server-only.example", "prosody-trixie-authenticated.example"
"""A certificate with serverAuth alone, and a server that accepts it."""


@pytest.fixture
def judged() -> dict[str, Any]:
    verdicts: Any = judge_run(store.load(GOLDEN / "purpose"))
    return dict(verdicts)


def cell_of(judged: dict[str, Any]) -> Any:
    return next(c for c in judged["cells"] if (c["sender"], c["receiver"]) == (SENDER, RECEIVER))


def test_the_verdict_has_both_outcomes_with_their_clauses(judged: dict[str, Any]) -> None:
    cell = cell_of(judged)
    assert (cell["outcome"], cell["surprise"]) == ("delivered", False)
    assert (cell["expected"]["outcome"], cell["expected"]["cause"]) == ("bounced", "certificate-purpose")
    (other,) = cell["expected"]["alternatives"]
    assert (other["outcome"], other["encryption"]) == ("delivered", "tls")
    assert "RFC 5280 §4.2.1.12" in cell["expected"]["because"]
    assert "XEP-0178 §3" in other["because"]


def test_an_expectation_that_is_not_open_has_no_such_key(judged: dict[str, Any]) -> None:
    cell = next(c for c in judged["cells"] if c["sender"] == "early.example")
    assert "alternatives" not in cell["expected"]
    assert "or" not in expected(cell).split()


REPORTS: dict[str, Callable[[Any], str]] = {
    "terminal": lambda v: " ".join(text.render_text(v, colour=False, width=2000).split()),
    "summary.md": markdown.render,
    "junit.xml": lambda v: junit.render(v).decode(),
    "explain": lambda v: story.story(store.load(GOLDEN / "purpose"), v, SENDER, RECEIVER),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_third_outcome_is_a_surprise_and_reports_say_what_would_be_none(judged: dict[str, Any], name: str) -> None:
    cell_of(judged).update(outcome="lost", surprise=True, explanation="nothing came")
    report = REPORTS[name](judged)
    assert "the standards leave it open" in report
    assert "RFC 5280 §4.2.1.12" in report
    assert " or " in report


def test_words_of_a_cell(judged: dict[str, Any]) -> None:
    cell = cell_of(judged)
    assert expected(cell) == "bounced over TLS: certificate-purpose or delivered over TLS"
    assert headline(cell).endswith(f", expected {expected(cell)}")
    assert because(cell).startswith("the standards leave it open: bounced over TLS: certificate-purpose by RFC 6120")
    assert "; delivered over TLS by XEP-0178 §3" in because(cell)
    comparison = brief(cell)
    assert comparison is not None
    assert comparison["expected"] == "bounced or delivered"
    rows = list(csv.DictReader(io.StringIO(table.render_csv(judged))))  # type: ignore[arg-type]
    (row,) = (r for r in rows if (r["sender"], r["receiver"]) == (SENDER, RECEIVER))
    assert (row["expected_outcome"], row["expected_too"], row["surprise"]) == ("bounced", "delivered", "false")


# --- what is not left open --------------------------------------------------------------------------------------------

OLD = replace(PRESETS["encrypted"], tls_min="1.0", tls_max="1.1")
"""Two of these have only versions in common that must not be negotiated any more."""


def side(policy: Policy, defect: str | None = None, roles: tuple[str, ...] | None = None) -> Side:
    return Side(policy, defect, ("dialback", "external"), dialback_over_verified=True, defective_as=roles)


@pytest.mark.parametrize(
    ("sender", "receiver", "causes"),
    [
        (side(OLD), side(OLD), {"no-common-tls-version"}),
        (
            side(replace(OLD, forward_secrecy=ForwardSecrecy.NONE)),
            side(replace(OLD, forward_secrecy=ForwardSecrecy.NONE)),
            {"no-common-tls-version", "no-common-cipher"},
        ),
        (
            side(PRESETS["encrypted"], "certificate-purpose", ("client",)),
            side(PRESETS["authenticated"]),
            {"certificate-purpose"},
        ),
    ],
    ids=["old versions", "old versions and suites", "purpose"],
)  # fmt: skip
def test_a_failure_for_another_reason_than_the_open_one_is_a_surprise(sender: Side, receiver: Side, causes: set[str]) -> None:
    expected = expect(sender, receiver)
    assert expected.outcomes == {Outcome.DELIVERED, Outcome.BOUNCED}
    assert {c for c in CAUSES if expected.agrees(Outcome.BOUNCED, cause=c)} == causes
    assert expected.agrees(Outcome.BOUNCED), "where the evidence of the cause was not taken in, nobody can say"
    assert expected.agrees(Outcome.DELIVERED, "tls")
    assert not expected.agrees(Outcome.DELIVERED, "cleartext")
    assert not expected.agrees(Outcome.LOST)


def test_where_it_fails_by_any_reading_no_cause_is_a_surprise() -> None:
    expected = expect(side(OLD, "certificate-expired"), side(replace(OLD, authentication=Authentication.EXTERNAL)))
    assert expected.outcomes == {Outcome.BOUNCED}
    assert expected.agrees(Outcome.BOUNCED, cause="dialback-refused")


def test_a_failure_of_a_recording_that_the_open_point_does_not_explain_is_a_surprise() -> None:
    """The same pair, which its receiver may refuse for the certificate's purpose: but the receiver's name is not found."""
    record = store.load(GOLDEN / "purpose")
    sender, receiver = SENDER, "jabberd2-trixie-authenticated.example"
    ends = {sender, receiver}

    def seen(o: Observation) -> bool:
        """All but what tells why it failed."""
        ours = {o.data.get("server"), o.data.get("peer")} == ends or {o.data.get("sender"), o.data.get("receiver")} == ends
        return not (o.source in (Source.WIRE, Source.LOG) and ours)

    errors = [o for o in record.observations if o.kind == "error" and (o.cell or "").split("/")[1:3] == [sender, receiver]]
    data = {"server": sender, "peer": receiver, "direction": "out", "cause": "dns", "raw": "no such name"}
    lines = [Observation(e.time, Source.LOG, "s2s-failed", e.phase, e.epoch, None, data) for e in errors]
    other = sorted([*filter(seen, record.observations), *lines], key=lambda o: o.kind == "run-complete")
    for observations, told in ((record.observations, ("certificate-purpose", False)), (other, ("dns", True))):
        verdicts: Any = judge_run(replace(record, observations=tuple(observations)))
        cell = next(c for c in verdicts["cells"] if (c["sender"], c["receiver"]) == (sender, receiver))
        assert (cell["outcome"], cell["cause"], cell["surprise"]) == ("bounced", *told)
