"""The templates of reports that are sentences: all are installed, all are used, and a value that is missing is an error."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import jinja2
import pytest

from testbed.report.circumstances import CIRCUMSTANCES
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
