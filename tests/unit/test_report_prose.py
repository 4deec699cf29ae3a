"""The templates of reports that are sentences: all are installed, all are used, and a value that is missing is an error."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import jinja2
import pytest

from testbed.report.circumstances import CIRCUMSTANCES, doubts, facts
from testbed.report.prose import say

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "testbed" / "report"
TEMPLATES = {p.name for p in (REPORT / "templates").iterdir()}


def test_every_template_is_installed_and_used() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["testbed.report"]
    assert {p.name for pattern in patterns for p in REPORT.glob(pattern)} >= TEMPLATES
    used = {name for path in REPORT.glob("*.py") for name in re.findall(r'"(\w[\w.]*\.j2)"', path.read_text())}
    assert used == TEMPLATES


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_value_that_is_missing_is_an_error(name: str) -> None:
    with pytest.raises(jinja2.UndefinedError):
        say(name)


def test_a_circumstance_is_of_the_cells_that_have_it() -> None:
    cell = {
        "outcome": "bounced",
        "history_dependent": {"cold": "bounced", "warm": "delivered"},
        "interference": {"mesh": "lost", "alone": "bounced", "by": [{"sender": "c", "receiver": "b", "because": "a storm"}]},
        "flaky": ["bounced", "lost"],
        "confirmed": False,
    }
    assert {c.key: c.detail(cell) for c in CIRCUMSTANCES if c.of(cell)} == {
        "history_dependent": "cold bounced, warm delivered",
        "interference": "mesh lost, alone bounced (c → b: a storm)",
        "flaky": "bounced, lost",
        "confirmed": "bounced",
    }
    assert not [c for c in CIRCUMSTANCES if c.of({"outcome": "delivered", "confirmed": True})]


SHARES = {"cold": [5, 8], "warm": [8, 8], "interval": {"cold": [0.31, 0.86], "warm": [0.68, 1.0]}}
TOLD = "delivers in 5 of 8 cold starts (31 to 86 %) and in 8 of 8 warm tries (68 to 100 %)"


def test_a_share_is_told_with_what_it_is_about() -> None:
    flaky = {"outcome": "inconclusive", "flaky": ["bounced", "delivered", "delivered"], "shares": SHARES, "surprise": True}
    assert doubts(flaky) == [f"attempts under the same conditions disagree: bounced, delivered; {TOLD}"]
    history = {"outcome": "bounced", "history_dependent": {"cold": "bounced", "warm": "delivered"}, "shares": SHARES}
    assert doubts(history | {"surprise": True}) == [
        f"depends on whether the two had talked before: cold bounced, warm delivered; {TOLD}"
    ]
    assert ("share", TOLD) in facts(flaky)


def test_a_share_is_a_doubt_of_its_own_only_where_some_attempts_delivered_and_some_did_not() -> None:
    forgiven = {"outcome": "delivered", "surprise": False, "shares": {"cold": [7, 8], "interval": {"cold": [0.53, 0.98]}}}
    assert doubts(forgiven) == [
        "delivered in some attempts and not in others: delivered; delivers in 7 of 8 cold starts (53 to 98 %)"
    ]
    for counts in ([3, 3], [0, 3]):
        agreed = forgiven | {"shares": {"cold": counts, "interval": {"cold": [0, 1]}}}
        assert not doubts(agreed)
        assert [name for name, _ in facts(agreed)] == ["share"]


def test_a_share_that_the_explanation_tells_is_not_told_twice() -> None:
    cell = {"outcome": "inconclusive", "cause": "unstable", "shares": SHARES}
    assert TOLD in [text for _, text in facts(cell)]
    assert TOLD not in [text for _, text in facts(cell | {"explanation": f"attempts came out differently: {TOLD}"})]
