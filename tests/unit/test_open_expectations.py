"""An expectation that the standards leave open: either outcome is as expected, and every report says both with their clauses."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest
from test_verdict import GOLDEN

from testbed.compare.cells import brief
from testbed.judge.verdict import judge_run
from testbed.record import store
from testbed.report import junit, markdown, story, table, text
from testbed.report.cell import because, expected, headline

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
